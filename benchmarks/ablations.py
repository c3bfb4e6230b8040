"""What fewer pairs, no choice by CLIP and published attention control make of an editor (arXiv:2211.09800, figure 10).

    wordbrush data run configs/storybook.toml --out out/storybook-data
    wordbrush data run configs/storybook.toml --out out/storybook-published --set pairs.control=published
    wordbrush storybook paraphrase out/storybook-data -o out/storybook-paraphrases.jsonl --count 60
    python benchmarks/ablations.py --published out/storybook-published      hours; the same command goes on
    python benchmarks/ablations.py --set steps=4 --examples 1 -o out/quick      a quick check that it works

Every way is trained with one file of settings, ``--set`` changing them for all alike. All are measured on the same
edits of storybook, and the curves of image guidance are drawn as ``ip2p-10``. Without ``--published`` that way is left
out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from wordbrush.cli.data import select
from wordbrush.cli.evaluate import evaluate
from wordbrush.cli.figures import figures
from wordbrush.cli.train import train

UNFILTERED = "unfiltered"


def ways(pairs: Path, published: Path | None) -> dict[str, list[str]]:
    """Return the settings of every way to train, by the label of its curve."""
    found = {
        "all": [],
        "10 % of the data": ["data.share=0.1"],
        "1 % of the data": ["data.share=0.01"],
        "no CLIP filter": [f"data.selection={UNFILTERED}"],
    }
    own = {label: [source(pairs), *settings] for label, settings in found.items()}
    return own | ({"published control": [source(published)]} if published else {})


def source(folder: Path) -> str:
    """Return the setting that a training reads the pairs of ``folder`` by."""
    return f"data.source={json.dumps(str(folder))}"


def main(
    pairs: Annotated[Path, typer.Option(metavar="DIR", help="A run of `wordbrush data`.")] = Path(
        "out/storybook-data"
    ),
    published: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The same with pairs.control=published.")
    ] = None,
    config: Annotated[Path, typer.Option(metavar="CONFIG.toml", help="How editors are trained.")] = Path(
        "configs/train-storybook.toml"
    ),
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="For every training.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(min=0, help="Stop each training after this time.")] = None,
    examples: Annotated[int, typer.Option(min=1, help="Storybook edits to measure on.")] = 140,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.")] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Editors, measures and the figure.")
    ] = Path("out/ablations"),
) -> None:
    """Train in all ways, measure them, and draw the figure."""
    select(pairs, preset=UNFILTERED, name=UNFILTERED)
    editors: dict[str, str] = {}
    for label, own in ways(pairs, published).items():
        folder = output / label.replace(" %", "").replace(" ", "-")
        train(config, folder, [*own, *(settings or [])], minutes=minutes, device=device)
        editors[label] = str(folder / "editor")
    if missing := [name for name in editors.values() if not Path(name).exists()]:
        print(f"Not finished yet, so nothing is measured: {', '.join(missing)}")
        return
    measured = output / "measured"
    evaluate(
        f"storybook:{examples}",
        methods="instruct",
        editors=list(editors.values()),
        folder=measured,
        device=device,
    )
    labelled = [f"{label}={name}" for label, name in editors.items()]
    figures(["ip2p-10"], folder=output, editors=labelled, results=measured)


if __name__ == "__main__":
    typer.run(main)
