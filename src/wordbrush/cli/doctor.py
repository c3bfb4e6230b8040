"""``wordbrush doctor``: what is on this machine, and what of wordbrush will work on it."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from wordbrush.cli import options
from wordbrush.cli.console import out, print_json, table, working
from wordbrush.cli.models import hub_cache, installed
from wordbrush.storybook.font import FONT_REMEDY, font_path
from wordbrush.version import __version__

EVERYTHING = "every command"
# What every command may need; the same names as in pyproject.toml.
REQUIRED = (
    "accelerate", "diffusers", "duckdb", "filelock", "httpx", "huggingface-hub", "matplotlib", "numpy", "pillow",
    "pyarrow", "pydantic", "pyyaml", "rich", "safetensors", "scikit-image", "scipy", "tokenizers", "torch",
    "transformers", "typer",
)  # fmt: skip

# Extra → what it is for, and its packages.
EXTRAS = {
    "hub": ("reading data sets of the hub", ("datasets",)),
    "ray": ("making data on many cores or machines", ("ray",)),
    "sentencepiece": ("tokenizers that come as spiece.model alone", ("sentencepiece", "protobuf")),
    "studio": ("the page in the browser", ("gradio",)),
    "training": ("training adapters, and curves in TensorBoard", ("peft", "tensorboard")),
    "writer": ("fine-tuning a writer of instructions", ("peft",)),
}

# Storybook's models → what each is for.
EMBEDDED = {
    "storybook": "generate, edit, maps, figures",
    "storybook/writer": "writing instructions",
    "storybook/contrastive": "scoring pairs of pictures",
    "storybook/judge": "measuring edits",
    "storybook/editor": "editing by instruction",
}


@dataclass(frozen=True)
class Check:
    """One thing that works or does not.

    Args:
        name: what is looked for.
        purpose: what it is needed for.
        works: whether it is there.
        found: what is there: a version, a path, a size.
        remedy: how to come by it, if it is not there.
        needed: whether wordbrush is broken without it.
    """

    name: str
    purpose: str
    works: bool
    found: str = ""
    remedy: str = ""
    needed: bool = False


def doctor(
    torch: Annotated[
        bool, typer.Option("--torch", help="Ask torch about devices too, which takes seconds to start.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Say what is installed on this machine and what will work; the exit status is 1 if anything needed is missing."""
    machine = describe_machine()
    if torch:
        with working("Starting torch"):
            machine |= describe_devices()
    checks = list(examine())
    if json:
        print_json({"machine": machine, "checks": [asdict(check) for check in checks]})
    else:
        show(machine, checks)
    if any(check.needed and not check.works for check in checks):
        raise typer.Exit(1)


def describe_machine() -> dict[str, Any]:
    """Return what can be said of the machine without torch; sizes are in gigabytes."""
    cache = hub_cache()
    return {
        "wordbrush": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": _memory(),
        "gpus": _nvidia_gpus(),
        "hub_cache": str(cache),
        "hub_cache_free_gb": round(shutil.disk_usage(_existing(cache)).free / 1e9, 1),
        "hub_token": has_token(),
    }


def describe_devices() -> dict[str, Any]:
    """Return what torch computes on."""
    import torch

    devices = ["cpu"]
    for number in range(torch.cuda.device_count()):
        known = torch.cuda.get_device_properties(number)
        devices.append(f"cuda:{number} {known.name}, {known.total_memory / 1e9:.0f} GB")
    if torch.backends.mps.is_available():
        devices.append("mps")
    half = torch.cuda.is_bf16_supported() if torch.cuda.is_available() else None
    return {"torch_devices": devices, "torch_threads": torch.get_num_threads(), "cuda_bfloat16": half}


def examine() -> Iterator[Check]:
    """Look for the packages, storybook's models, models of the hub, and the font."""
    for package in REQUIRED:
        version = version_of(package)
        yield Check(
            package,
            EVERYTHING,
            version is not None,
            version or "",
            "pip install wordbrush",
            needed=True,
        )
    for extra, (purpose, packages) in EXTRAS.items():
        versions = {package: version_of(package) for package in packages}
        found = ", ".join(f"{package} {version}" for package, version in versions.items() if version)
        yield Check(f"[{extra}]", purpose, all(versions.values()), found, f"pip install 'wordbrush[{extra}]'")
    yield from _models()
    font = font_path()
    yield Check(
        "emoji font", "rendering new storybook scenes", font.is_file(), str(font), FONT_REMEDY
    )  # the shipped models need none


def version_of(package: str) -> str | None:
    """Return the installed version of a package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def has_token() -> bool:
    """Tell whether the hub's login would be found, by its own environment variables and files."""
    if os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN"):
        return True
    return Path(os.environ.get("HF_TOKEN_PATH") or hub_cache().parent / "token").expanduser().is_file()


def show(machine: Mapping[str, Any], checks: Sequence[Check]) -> None:
    """Print the machine, and then every check: what is missing comes with its remedy."""
    about = table("", "")
    about.show_header = False
    for name, value in machine.items():
        text = ", ".join(map(str, value)) or "none seen" if isinstance(value, list) else str(value)
        about.add_row(name.replace("_", " "), text)
    out.print(about, "")
    listed = table("", "", "for", "found, or what to do")
    present = [check for check in checks if check.purpose == EVERYTHING and check.works]
    listed.add_row(Text("yes", "green"), f"{len(present)} packages", EVERYTHING,
                   ", ".join(f"{check.name} {check.found}" for check in present))  # fmt: skip
    for check in (check for check in checks if check not in present):
        missing = Text("NO", "red") if check.needed else Text("no", "yellow")
        mark = Text("yes", "green") if check.works else missing
        told = check.found if check.works else check.remedy
        listed.add_row(mark, check.name, check.purpose, told)
    out.print(listed)


def _models() -> Iterator[Check]:
    here = {one.name: one for one in installed()}
    for name, purpose in EMBEDDED.items():
        found = f"{here[name].megabytes:.0f} MB" if name in here else ""
        yield Check(name, purpose, bool(found), found, "reinstall wordbrush", needed=name == "storybook")
    others = [one.name for one in here.values() if one.name not in EMBEDDED]
    yield Check(
        "hub models",
        "--model owner/name without a network",
        bool(others),
        ", ".join(others),
        "none is in the cache; the first use of one downloads it",
    )


def _memory() -> float | None:
    """Return the machine's memory in gigabytes, as far as the system tells."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        return None


def _nvidia_gpus() -> list[str]:
    """Return the names of NVIDIA's GPUs as its Linux driver lists them."""
    files = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    lines = [line for file in files for line in file.read_text(errors="replace").splitlines()]
    return [line.partition(":")[2].strip() for line in lines if line.startswith("Model")]


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
