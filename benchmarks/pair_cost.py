"""What an accepted pair costs: the published recipe of InstructPix2Pix, and one saving after the other on top of it.

    python benchmarks/pair_cost.py                          some 40,000 forward-samples: half an hour of one core
    python benchmarks/pair_cost.py --triplets 200 --candidates 100 --per-source 5 --enough 4

Cost is counted in forward-samples, rows that the denoiser evaluates: the count is exact and the same on every machine.
A pair is accepted if it passes the gates and is among the best 4 of its triplet by direction. Every way makes the
candidates of the same triplets; the same command goes on where it was stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
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
from wordbrush.storybook.statistics import share

COLUMNS = [
    "key",
    "triplet_key",
    "kept",
    "reason",
    "forward_samples",
    "clip_direction",
    "clip_image",
    "truth_after",
]
QUALITY = ("clip_direction", "clip_image", "truth_after")
RESAMPLES = 10_000
FINISHED = "20 steps, ddim"
DRAFTED = "predicted reject"


@dataclass(frozen=True)
class Way:
    """A way to make the pairs.

    Args:
        name: what it adds to the way before; also of its folder.
        changes: settings that differ from the way before.
        aside: the next way does not build on it.
    """

    name: str
    changes: dict[str, Any]
    aside: bool = False


def ways(per_source: int, enough: int) -> list[Way]:
    """Return the ways, each with one saving more than the one before.

    Those before the early stop make the same number of candidates and choose the same number of them, so that what is
    accepted compares. The predicted reject stands aside: it pays only where fewer pass than here, and its errors are
    counted on all candidates.
    """
    published = {"control": "published", "per_source": 1, "enough": None}
    return [
        Way("published", {**published, "steps": 100, "scheduler": "euler_a"}),
        Way("shared source", {"per_source": per_source}),
        Way(FINISHED, {"steps": 20, "scheduler": "ddim"}),
        Way(DRAFTED, {"draft_steps": 5}, aside=True),
        Way("8 steps, dpm++", {"steps": 8, "scheduler": "dpm++"}),
        Way("full control", {"control": "full"}),
        Way("early stop", {"enough": enough}),
    ]


def stages(base: PairStage, chosen: Sequence[Way]) -> list[PairStage]:
    """Return the stage of every way."""
    found = []
    for way in chosen:
        stage = replace(base, **way.changes)
        found.append(stage)
        base = base if way.aside else stage
    return found


def main(
    out: Annotated[Path, typer.Option(help="Where the pairs go, one folder for each way.")] = Path(
        "out/pair_cost"
    ),
    triplets: Annotated[int, typer.Option(min=1, help="Captions; some get no true triplet.")] = 8,
    candidates: Annotated[int, typer.Option(min=1, help="Published: 100.")] = 6,
    per_source: Annotated[int, typer.Option(min=2, help="Candidates that share a picture before.")] = 3,
    enough: Annotated[int, typer.Option(min=1, help="So many that pass are enough of a triplet.")] = 2,
    guidance: Annotated[tuple[float, float], typer.Option(help="Published: 7.5 15.")] = (3.0, 6.0),
    threads: Annotated[int, typer.Option(min=1)] = 1,
    seed: int = 0,
) -> None:
    """Measure every way and keep the table in ``results/pair_cost.json``."""
    engine = LocalEngine(threads)
    run.make_captions(Captions(sources=(f"storybook:{triplets}",)), out, engine=engine)
    run.write_triplets(Writer(), out, seed=seed, engine=engine)
    base = PairStage(candidates=candidates, guidance=guidance, truth=True, seed=seed, rows_per_unit=1)
    chosen = ways(per_source, enough)
    measured: list[dict[str, Any]] = []
    for way, stage in zip(chosen, stages(base, chosen), strict=True):
        folder = place(out, way.name)
        report = run.make_pairs(stage, folder, engine=engine)
        found = {"way": way.name, **way.changes, **measure(folder), "triplets": report.rows_in}
        found["seconds"] = None if report.reused else round(report.seconds, 1)
        found["gain"] = gain(found, measured[0]) if measured else 1.0
        if measured:
            found["differs"] = differences(place(out, chosen[0].name), folder, seed)
        if way.name == DRAFTED:
            found["prediction"] = prediction(place(out, FINISHED), folder)
        measured.append(found)
        table(measured, candidates)
        keep("pair_cost", {"candidates": candidates, "guidance": guidance, "ways": measured})


def place(out: Path, name: str) -> Path:
    """Return the folder of a way, which has the captions and triplets of all of them."""
    folder = out / name.replace(",", "").replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    for part in (run.CAPTIONS, run.TRIPLETS):
        link = folder / part
        if not link.exists():
            link.symlink_to((out / part).resolve(), target_is_directory=True)
    return folder


def measure(folder: Path) -> dict[str, Any]:
    """Return what the pairs in ``folder`` have cost, and how good the accepted ones are."""
    pairs, chosen = read(folder), accepted(folder)
    spent = sum(pair["forward_samples"] for pair in pairs)
    return {
        "made": len(pairs),
        "pass": sum(pair["kept"] for pair in pairs),
        "accepted": len(chosen),
        "forward_samples": spent,
        "per_thousand": 1000 * len(chosen) / spent,
        **{name: mean(chosen, name) for name in QUALITY},
    }


def accepted(folder: Path) -> list[dict[str, Any]]:
    """Return the pairs that pass and are among the best of their triplets."""
    keys = set(run.select_pairs(Select(), folder).keys)
    return [pair for pair in read(folder) if pair["key"] in keys]


def differences(reference: Path, folder: Path, seed: int) -> dict[str, dict[str, float] | None] | None:
    """Return by how much the accepted pairs score more than those of the reference, with 95 % intervals.

    The triplets are drawn again, with replacement, and with each all of its accepted pairs of both ways. None where one
    of the two has accepted nothing, or no pair with that score.
    """
    both = accepted(reference), accepted(folder)
    if not all(both):
        return None
    triplets = sorted({pair["triplet_key"] for pair in (*both[0], *both[1])})
    drawn = np.random.default_rng(seed).integers(len(triplets), size=(RESAMPLES, len(triplets)))
    found: dict[str, dict[str, float] | None] = {}
    for name in QUALITY:
        sums = np.zeros((2, 2, len(triplets)))
        for side, pairs in enumerate(both):
            for pair in pairs:
                if pair[name] is not None:
                    sums[side, :, triplets.index(pair["triplet_key"])] += pair[name], 1
        whole = sums.sum(axis=-1)
        if not whole[:, 1].all():
            found[name] = None
            continue
        again = sums[..., drawn].sum(axis=-1)
        with np.errstate(invalid="ignore"):  # a draw may have no pair of one of the ways: it says nothing
            before, after = again[:, 0] / again[:, 1]
        low, high = np.nanquantile(after - before, (0.025, 0.975))
        mean_before, mean_after = whole[:, 0] / whole[:, 1]
        found[name] = {
            "difference": float(mean_after - mean_before),
            "low": float(low),
            "high": float(high),
        }
    return found


def gain(found: dict[str, Any], first: dict[str, Any]) -> float | None:
    """Return how many times more pairs a forward-sample gives than in the first way; None if that gave none."""
    return found["per_thousand"] / first["per_thousand"] if first["accepted"] else None


def prediction(reference: Path, drafted: Path) -> dict[str, Any]:
    """Return how often a draft was wrong, by what became of the same candidates in all the steps.

    ``wrong_rejects``: of those that would have passed, the share that was given up. ``vain``: of those that were
    finished, the share that did not pass. Both with their 95 % intervals.
    """
    passed = {pair["key"]: pair["kept"] for pair in read(reference)}
    given_up = {
        pair["key"]: gate(pair["reason"] or "").startswith("draft")
        for pair in read(drafted)
        if pair["key"] in passed
    }
    return {
        "drafts": len(given_up),
        "rejected": sum(given_up.values()),
        "wrong_rejects": share([lost for key, lost in given_up.items() if passed[key]]),
        "vain": share([not passed[key] for key, lost in given_up.items() if not lost]),
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


def table(measured: list[dict[str, Any]], candidates: int) -> None:
    """Print what has been measured so far."""
    show(
        f"{measured[0]['triplets']} triplets, up to {candidates} candidates each",
        [
            "",
            "made",
            "pass",
            "accepted",
            "forward-samples",
            "per 1000",
            "gain",
            "direction",
            "image",
            "truth",
        ],
        [
            [
                one["way"],
                f"{one['made']}",
                f"{one['pass']}",
                f"{one['accepted']}",
                f"{one['forward_samples']:,}",
                f"{one['per_thousand']:.2f}",
                number(one["gain"], "{:.1f}×"),
                number(one["clip_direction"]),
                number(one["clip_image"]),
                number(one["truth_after"]),
            ]
            for one in measured
        ],
    )
    for one in measured:
        if "prediction" in one:
            print(told(one["prediction"]))


def told(found: dict[str, Any]) -> str:
    """Return the errors of the predicted reject in words."""
    lost, vain = (
        f"{found[name]['share']:.0%} ({found[name]['low']:.0%}-{found[name]['high']:.0%}) of {found[name]['of']}"
        if found[name]["of"]
        else "none of 0"
        for name in ("wrong_rejects", "vain")
    )
    return (
        f"Predicted reject: {found['rejected']} of {found['drafts']} drafts given up. Given up of those that would "
        f"have passed: {lost}. Finished and did not pass: {vain}.\n"
    )


def number(value: float | None, form: str = "{:.3f}") -> str:
    """Return a number as text."""
    return "–" if value is None else form.format(value)


if __name__ == "__main__":
    typer.run(main)
