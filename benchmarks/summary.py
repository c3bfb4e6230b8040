"""The page of all benchmarks, from the results that are there: ratios, machines, and what has changed.

    python benchmarks/summary.py                  write docs/benchmarks.md

A result is held against the last one that was committed to git, so after ``make bench`` the page shows every change.
"""

from __future__ import annotations

import ast
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from common import RESULTS
from wordbrush.files import write_files

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
# A change below this share is noise.
NOISE = 0.05
# Numbers that mean the same on every machine; where a benchmark has none of them, all its numbers are shown.
COMPARABLE = (
    "ratio",
    "gain",
    "forward_samples",
    "forward-samples",
    "success",
    "accepted",
    "psnr",
    "ssim",
    "per_thousand",
)

HEAD = """# Benchmarks

What `make bench` measured last, and on which machine. Ways are measured in interleaved rounds in one process, and
ratios are of medians: they can be compared between machines where seconds cannot. *Change* is against the result that
was committed before, where there was one; below {noise:.0%} it is taken for noise.
"""


def page(results: Mapping[str, Mapping[str, Any]], before: Mapping[str, Mapping[str, Any] | None]) -> str:
    """Return the page as Markdown.

    Args:
        results: the name of a benchmark → its result.
        before: the same names → the results to compare with.
    """
    sections = [section(name, result, before.get(name) or {}) for name, result in results.items()]
    missing = sorted(set(benchmarks()) - set(results))
    left = f"\nNo results are kept of {', '.join(f'`{name}`' for name in missing)}.\n" if missing else ""
    return "\n".join([HEAD.format(noise=NOISE), *sections]) + left


def section(name: str, result: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """Return the table of one benchmark."""
    numbers, old = dict(leaves(result)), dict(leaves(before))
    chosen = [path for path in numbers if any(word in path[-1] for word in COMPARABLE)] or list(numbers)
    rows = [
        f"| {' · '.join(path)} | {numbers[path]:.4g} | {change(numbers[path], old.get(path))} |"
        for path in chosen
    ]
    machine = ", ".join(f"{key} {value}" for key, value in result.get("machine", {}).items())
    device = f", device {result['device']}" if "device" in result else ""
    about = [f"## {name}", "", benchmarks()[name], "", f"On: {machine}{device}."]
    return "\n".join([*about, "", "| | | change |", "|---|--:|--:|", *rows, ""])


def change(now: float, before: float | None) -> str:
    """Return how a number moved, empty for noise."""
    if before is None:
        return "new"
    if before == now or abs(now - before) < NOISE * abs(before):
        return ""
    return f"from {before:.4g}" if before == 0 else f"{now / before - 1:+.0%}"


def leaves(result: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], float]]:
    """Yield the numbers of a result by their path, without the machine and single measurements.

    A list of results, each of which names its way, is read as a mapping from ways to results, and a mean with its
    interval as the mean.
    """
    for name, value in result.items():
        if isinstance(value, Mapping) and {"mean", "low", "high", "of"} == value.keys():
            yield (*above, name), float(value["mean"])
        elif isinstance(value, Mapping) and name != "machine":
            yield from leaves(value, (*above, name))
        elif (
            isinstance(value, list)
            and value
            and all(isinstance(one, Mapping) and "way" in one for one in value)
        ):
            yield from leaves({one["way"]: one for one in value}, above)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield (*above, name), float(value)


def benchmarks() -> dict[str, str]:
    """Return what each benchmark measures: the first line of every file that keeps results."""
    found = {}
    for path in sorted(HERE.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "keep(" in text and path.name != "common.py" and path != Path(__file__):
            found[path.stem] = (ast.get_docstring(ast.parse(text)) or "").splitlines()[0]
    return found


def committed(path: Path) -> dict[str, Any] | None:
    """Return a result as it was last committed, None if it was not or there is no git."""
    shown = ["git", "show", f"HEAD:./{path.name}"]
    try:
        done = subprocess.run(shown, cwd=path.parent, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)
    except (OSError, subprocess.CalledProcessError, ValueError):
        return None


def main() -> None:
    """Write the page."""
    files = [path for path in sorted(RESULTS.glob("*.json")) if path.stem in benchmarks()]
    results = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}
    text = page(results, {path.stem: committed(path) for path in files})
    write_files({PAGE: text.encode()})
    print(PAGE)


if __name__ == "__main__":
    main()
