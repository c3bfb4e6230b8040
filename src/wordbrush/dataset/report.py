"""The report of a selection: what was kept and why the rest was not, as one page and one picture."""

from __future__ import annotations

import base64
import difflib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from wordbrush.dataset.formats.picture import Picture
from wordbrush.dataset.funnel import Step, funnel, percent
from wordbrush.dataset.selection import Selection
from wordbrush.dataset.statistics import Example, examples, histograms
from wordbrush.files import write_files
from wordbrush.version import __version__

SIDE = 256
"""Pictures are shown at most so wide and high, in pixels."""

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2328; background: #fff; max-width: 1100px; margin: 2.5rem auto;
  padding: 0 1.25rem; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem; }
.quiet { color: #6b7280; } .tiles { display: flex; gap: 1rem; flex-wrap: wrap; margin: 1.25rem 0; }
.tile { background: #f6f7f8; border-radius: 8px; padding: .6rem 1.1rem; }
.tile b { display: block; font-size: 1.35rem; } .chart { max-width: 100%; }
table { border-collapse: collapse; }
td, th { padding: .2rem .8rem; text-align: left; border-bottom: 1px solid #e5e7eb; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
tr.step td { font-weight: 600; padding-top: .9rem; }
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(330px, 1fr)); gap: 1rem; }
.pair { border: 1px solid #e5e7eb; border-radius: 8px; padding: .75rem; }
.two { display: grid; grid-template-columns: 1fr 1fr; gap: .4rem; } .two img { width: 100%; border-radius: 4px; }
.none { background: #f6f7f8; border-radius: 4px; padding: 2rem .5rem; text-align: center; grid-column: 1 / 3; }
.instruction { font-weight: 600; margin: .5rem 0 .15rem; } .reason { color: #b3261e; margin: .3rem 0; }
.captions, .scores { font-size: .85rem; } .captions b { color: #2a7f62; } .scores { color: #6b7280; }
.key { font: .75rem ui-monospace, monospace; color: #9aa3ad; }
"""


@dataclass(frozen=True)
class Report:
    """The files of a report."""

    html: Path
    png: Path


def write_report(folder: Path, *, selection: Selection, out: Path) -> Report:
    """Write ``report.html``, which needs no other file and no network, and ``report.png`` into ``out``.

    Args:
        folder: a run, or a folder of pair shards.
        selection: the verdict on its pairs.
        out: a folder; an older report in it is replaced.

    Raises:
        DataError: a shard cannot be read, or the picture of an example does not decode.
        CannotWrite: the disk refuses.
    """
    from wordbrush.dataset.charts import chart

    folder = Path(folder)
    steps, shown = funnel(folder, selection), examples(folder, selection)
    picture = chart(
        steps, histograms(folder, selection), title=f"{folder.resolve().name}: {selection.preset}"
    )
    page = _page(folder, selection, steps, picture, shown)
    report = Report(Path(out) / "report.html", Path(out) / "report.png")
    write_files({report.html: page.encode(), report.png: picture})
    return report


def _page(
    folder: Path, selection: Selection, steps: Sequence[Step], chart: bytes, shown: Sequence[Example]
) -> str:
    name = escape(folder.resolve().name)
    tiles = [
        (f"{selection.pairs:,}", "pairs"),
        (f"{selection.selected:,}", "selected"),
        (percent(selection.selected, selection.pairs), "of the pairs"),
        (f"{_triplets(selection):,}", "triplets with a selected pair"),
    ]
    kept = [example for example in shown if example.reason is None]
    rejected = [example for example in shown if example.reason is not None]
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{name}: selection</title><style>{STYLE}</style></head><body>
<h1>{name}</h1>
<div class="quiet">rules {escape(selection.preset)} · wordbrush {__version__}</div>
<div class="tiles">{"".join(f'<div class="tile"><b>{number}</b>{label}</div>' for number, label in tiles)}</div>
<img class="chart" alt="The funnel and the distribution of every score" src="{_inline(chart)}">
<h2>Every gate</h2>
{gates_table(steps)}
<h2>Selected</h2>
{examples_grid(kept, "Nothing was selected.")}
<h2>Rejected</h2>
{examples_grid(rejected, "Nothing was rejected.")}
</body></html>
"""


def _triplets(selection: Selection) -> int:
    import pyarrow.compute as pc

    return pc.count_distinct(selection.verdicts.filter(selection.verdicts["kept"])["triplet_key"]).as_py()


def gates_table(steps: Sequence[Step]) -> str:
    """Return the steps and their gates as an HTML table."""
    rows = []
    for step in steps:
        rows.append(_row(step.name, f"{step.records:,}", "", "", "", kind="step"))
        for gate, left in zip(step.gates, step.survivors, strict=True):
            alone = "" if gate.alone is None else f"{gate.alone:,}"
            share = percent(gate.rejected, step.records)
            rows.append(_row(gate.rule or gate.gate, f"{left:,}", f"{gate.rejected:,}", share, alone))
    return (
        '<table><tr><th></th><th class="n">left</th><th class="n">rejected</th><th class="n">of the stage</th>'
        f'<th class="n">as the only gate</th></tr>{"".join(rows)}</table>'
    )


def _row(label: str, *numbers: str, kind: str = "") -> str:
    cells = "".join(f'<td class="n">{number}</td>' for number in numbers)
    return f'<tr class="{kind}"><td>{escape(label)}</td>{cells}</tr>'


def examples_grid(shown: Sequence[Example], none: str) -> str:
    """Return pairs as HTML, with their scores and why they were rejected; ``none`` stands where there are none."""
    if not shown:
        return f'<p class="quiet">{none}</p>'
    return f'<div class="pairs">{"".join(_example(one) for one in shown)}</div>'


def _example(example: Example) -> str:
    if example.pictures:
        pictures = "".join(f'<img alt="" src="{_inline(_small(one))}">' for one in example.pictures)
    else:
        pictures = '<div class="none quiet">given up before it was decoded</div>'
    scores = " · ".join(f"{name} {value:.3f}" for name, value in example.scores.items())
    reason = f'<div class="reason">{escape(example.reason)}</div>' if example.reason else ""
    return (
        f'<div class="pair"><div class="two">{pictures}</div>'
        f'<div class="instruction">{escape(example.instruction)}</div>'
        f'<div class="captions">{escape(example.before)} → {_changed(example.before, example.after)}</div>'
        f'{reason}<div class="scores">{scores}</div><div class="key">{escape(example.key)}</div></div>'
    )


def _changed(before: str, after: str) -> str:
    """Return the second caption as HTML, with the words that are new in bold."""
    old, new = before.split(), after.split()
    parts = []
    for tag, _, _, start, stop in difflib.SequenceMatcher(a=old, b=new, autojunk=False).get_opcodes():
        words = escape(" ".join(new[start:stop]))
        if words:
            parts.append(words if tag == "equal" else f"<b>{words}</b>")
    return " ".join(parts)


def _small(picture: Picture) -> bytes:
    image = picture.image.copy()
    image.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _inline(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"
