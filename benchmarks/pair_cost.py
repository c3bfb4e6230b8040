"""What an accepted pair costs: the published recipe of InstructPix2Pix, and one saving after the other on top of it.

    python benchmarks/pair_cost.py                          small: minutes to an hour on two cores
    python benchmarks/pair_cost.py --triplets 200 --candidates 100

Cost is counted in forward-samples, rows that the denoiser evaluates: the count is exact and the same on every machine.
A pair is accepted if it passes the published gates and is among the best 4 of its triplet by direction. Every row makes
the candidates of the same triplets; the same command goes on where it was stopped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
import typer

from common import keep, show
from wordbrush.dataset import run
from wordbrush.dataset.config import Captions, Select, Writer
from wordbrush.dataset.engines.local import LocalEngine
from wordbrush.dataset.pairs import PairStage
from wordbrush.dataset.query import shards
from wordbrush.dataset.records import gate

COLUMNS = ["key", "kept", "reason", "forward_samples", "clip_direction", "clip_image", "truth_after"]
REFERENCE = "larger groups"
"""The row that finishes the same candidates as the row with drafts, whatever their drafts looked like."""


@dataclass(frozen=True)
class Row:
    """A way to make the pairs.

    Args:
        name: also of its folder.
        changes: settings that differ from the row before.
    """

    name: str
    changes: dict[str, Any]


def rows(candidates: int) -> list[Row]:
    """Return the ways, each with one saving more than the one before."""
    published = {
        "control": "published",
        "per_source": 1,
        "enough": candidates,
        "steps": 100,
        "scheduler": "euler_ancestral",
    }
    return [
        Row("published", published),
        Row("shared source", {"per_source": 2}),
        Row(REFERENCE, {"per_source": 5}),
        Row("early stop", {"enough": 4}),
        Row("predicted reject", {"draft_steps": 10}),
        Row("fewer steps", {"steps": 20, "scheduler": "ddim", "draft_steps": 5}),
        Row("full control", {"control": "full", "draft_steps": None}),
    ]


def main(
    out: Annotated[Path, typer.Option(help="Where the pairs go, one folder for each way.")] = Path(
        "out/pair_cost"
    ),
    triplets: Annotated[int, typer.Option(min=1)] = 4,
    candidates: Annotated[int, typer.Option(min=1, help="Published: 100.")] = 10,
    guidance: Annotated[tuple[float, float], typer.Option(help="Published: 7.5 15.")] = (3.0, 6.0),
    threads: Annotated[int, typer.Option(min=1)] = 1,
    seed: int = 0,
) -> None:
    """Measure every way and keep the table in ``results/pair_cost.json``."""
    engine = LocalEngine(threads)
    run.make_captions(Captions(sources=(f"storybook:{triplets}",)), out, engine=engine)
    run.write_triplets(Writer(), out, seed=seed, engine=engine)
    stage = PairStage(candidates=candidates, guidance=guidance, truth=True, seed=seed, rows_per_unit=1)
    measured: list[dict[str, Any]] = []
    for row in rows(candidates):
        stage = replace(stage, **row.changes)
        folder = out / row.name.replace(" ", "-")
        folder.mkdir(parents=True, exist_ok=True)
        for part in (run.CAPTIONS, run.TRIPLETS):
            link = folder / part
            if not link.exists():
                link.symlink_to((out / part).resolve(), target_is_directory=True)
        report = run.make_pairs(stage, folder, engine=engine)
        found = {"way": row.name, **row.changes, **measure(folder)}
        found["seconds"] = round(report.seconds, 1) if not report.reused else None
        found["gain"] = found["per_thousand"] / measured[0]["per_thousand"] if measured else 1.0
        if stage.draft_steps is not None and stage.steps == 100:
            found["prediction"] = prediction(out / REFERENCE.replace(" ", "-"), folder)
        measured.append(found)
        table(measured, triplets, candidates)
        keep(
            "pair_cost",
            {"triplets": triplets, "candidates": candidates, "guidance": guidance, "ways": measured},
        )


def measure(folder: Path) -> dict[str, Any]:
    """Return what the pairs in ``folder`` have cost, and how good the accepted ones are."""
    pairs = read(folder)
    accepted = set(run.select_pairs(Select(), folder).keys)
    chosen = [pair for pair in pairs if pair["key"] in accepted]
    spent = sum(pair["forward_samples"] for pair in pairs)
    return {
        "made": len(pairs),
        "pass": sum(pair["kept"] for pair in pairs),
        "accepted": len(chosen),
        "forward_samples": spent,
        "per_thousand": 1000 * len(chosen) / spent,
        "clip_direction": mean(chosen, "clip_direction"),
        "clip_image": mean(chosen, "clip_image"),
        "truth_after": mean(chosen, "truth_after"),
    }


def prediction(reference: Path, drafted: Path) -> dict[str, Any]:
    """Return how often a draft was wrong, by what became of the same candidates in all the steps."""
    truth = {pair["key"]: pair["kept"] for pair in read(reference)}
    seen = [(pair, truth[pair["key"]]) for pair in read(drafted) if pair["key"] in truth]
    rejected = [passes for pair, passes in seen if gate(pair["reason"] or "").startswith("draft")]
    kept = [passes for pair, passes in seen if not gate(pair["reason"] or "").startswith("draft")]
    return {
        "drafts": len(seen),
        "rejected": len(rejected),
        "rejected_wrongly": sum(rejected),
        "finished": len(kept),
        "finished_in_vain": len(kept) - sum(kept),
    }


def read(folder: Path) -> list[dict[str, Any]]:
    """Return the columns that are counted."""
    return pa.concat_tables(
        pq.read_table(path, columns=COLUMNS) for path in shards(folder, run.PAIRS)
    ).to_pylist()


def mean(pairs: list[dict[str, Any]], name: str) -> float | None:
    """Return the mean of a score; None of no pairs."""
    values = [pair[name] for pair in pairs if pair[name] is not None]
    return sum(values) / len(values) if values else None


def table(measured: list[dict[str, Any]], triplets: int, candidates: int) -> None:
    """Print what has been measured so far."""
    show(
        f"{triplets} captions, up to {candidates} candidates each",
        ["", "made", "pass", "accepted", "forward-samples", "per 1000", "gain", "direction", "truth"],
        [
            [
                row["way"],
                f"{row['made']}",
                f"{row['pass']}",
                f"{row['accepted']}",
                f"{row['forward_samples']:,}",
                f"{row['per_thousand']:.3f}",
                f"{row['gain']:.1f}×",
                number(row["clip_direction"]),
                number(row["truth_after"]),
            ]
            for row in measured
        ],
    )


def number(value: float | None) -> str:
    """Return a score as text."""
    return "–" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    typer.run(main)
