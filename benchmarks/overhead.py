"""What control costs in all steps, against plainly generating the same pictures; goals: time 1.05, memory 1.02.

    python benchmarks/overhead.py                 storybook, and Stable Diffusion 1.5's layout with random weights
    python benchmarks/overhead.py --only sd15-256 the latter with a quarter of the pixels; other results are left
    python benchmarks/overhead.py --tiny          a quick check that the benchmark works

Denoising is timed, text encoding included and decoding not, in rounds that run every way once, in changing order; a
ratio is one of medians. On processors, time is that of the process, which other work disturbs less. Peak memory is that
of the process, or of the GPU, during one run, the weights included.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Annotated, Any

import torch
import typer

import subjects
import wordbrush as wb
from common import keep, kept, measured, ratio, show, stopwatch
from published_control import published_control
from subjects import SOURCE, TARGET, Subject
from wordbrush.edits.align import transfer
from wordbrush.sampling import make_scheduler, sample, start_noise

SEED = 3
GUIDANCE = 7.5


def plain(model: wb.Model, steps: int) -> torch.Tensor:
    """Generate the two pictures with nothing of wordbrush's control in the way."""
    backbone = model.backbone
    scheduler = make_scheduler("ddim", model.scheduler)
    scheduler.set_timesteps(steps, device=model.device)
    height, width = backbone.native_latent_size
    noise = start_noise([SEED, SEED], (backbone.latent_channels, height, width)).to(model.device, model.dtype)
    text = backbone.encode([backbone.read(words) for words in ("", "", SOURCE, TARGET)])
    return sample(backbone, scheduler, noise, text=lambda _: text, guidance=wb.ClassifierFree(GUIDANCE))


def controlled(model: wb.Model, steps: int, edits: Any, blend: Any = "none") -> torch.Tensor:
    """Edit with wordbrush, all steps under control."""
    return wb.edit(
        model, SOURCE, to=TARGET, edits=edits, self_attention=1.0, blend=blend, seed=SEED, steps=steps,
        guidance=GUIDANCE, scheduler="ddim",
    ).latents  # fmt: skip


def published(model: wb.Model, steps: int) -> torch.Tensor:
    """Edit with every map in the open."""
    read = model.backbone.read
    mapper, _ = transfer(read(SOURCE), read(TARGET), swaps=True)
    with published_control(model.unet, torch.tensor(mapper)):
        return plain(model, steps)


WAYS: dict[str, Callable[[wb.Model, int], torch.Tensor]] = {
    "plain": plain,
    "replace": lambda model, steps: controlled(model, steps, [wb.Replace(until=1.0)]),
    "refine + re-weight": lambda model, steps: controlled(
        model, steps, [wb.Refine(until=1.0), wb.Reweight({"beach": 2.0})]
    ),
    "replace, blended": lambda model, steps: controlled(
        model, steps, [wb.Replace(until=1.0)], wb.AutoBlend(max_spread=1.0)
    ),
    "published replace": published,
}


def main(
    only: Annotated[
        list[str] | None, typer.Option(help=f"One of {', '.join(subjects.SUBJECTS)}; repeatable.")
    ] = None,
    repeats: Annotated[int | None, typer.Option(min=1, help="Rounds; None: as the subject needs.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps; None: as the subject needs.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    tiny: Annotated[
        bool, typer.Option("--tiny", help="Random weights of a small model, to check the benchmark.")
    ] = False,
) -> None:
    """Measure and write benchmarks/results/overhead.json."""
    names = only or (["tiny"] if tiny else ["storybook", "sd15"])
    results = {name: measure(name, subjects.SUBJECTS[name], steps, repeats, device) for name in names}
    if names != ["tiny"]:
        others = kept("overhead").get("subjects", {}) if only else {}
        print(keep("overhead", {"device": device, "subjects": others | results}))


def measure(
    name: str, subject: Subject, steps: int | None, repeats: int | None, device: str
) -> dict[str, Any]:
    """Measure one subject in all ways and print its table."""
    model, steps = subject.load(device), steps or subject.steps
    plain(model, steps)  # warms up
    latents: dict[str, torch.Tensor] = {}
    memory: dict[str, float] = {}
    for way, run in WAYS.items():
        latents[way], memory[way] = measured(lambda run=run: run(model, steps), device)
    own, explicit = latents["replace"], latents["published replace"]
    moved = float((own[1] - latents["plain"][1]).norm() / own[1].norm())
    differ = float((own - explicit).norm() / explicit.norm())
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(repeats or subject.repeats):
        for way in list(WAYS)[:: 1 if number % 2 else -1]:
            seconds[way].append(timed(WAYS[way], model, steps, device))
    rows = {
        way: {
            "seconds": median(seconds[way]),
            "time_ratio": ratio(seconds[way], seconds["plain"]),
            "time_ratio_of_rounds": sorted(
                a / b for a, b in zip(seconds[way], seconds["plain"], strict=True)
            ),
            "peak_mb": memory[way],
            "memory_ratio": memory[way] / memory["plain"],
        }
        for way in WAYS
    }
    show(
        f"{name}: {subject.about}, {steps} steps, median of {len(seconds['plain'])} rounds",
        ["", "seconds", "time ratio", "peak MB", "memory ratio"],
        [
            [
                way,
                f"{row['seconds']:.3f}",
                f"{row['time_ratio']:.3f}",
                f"{row['peak_mb']:.0f}",
                f"{row['memory_ratio']:.3f}",
            ]
            for way, row in rows.items()
        ],
    )
    print(
        f"the edit moves the picture by {moved:.2g}; replace and published replace differ by {differ:.1e}\n"
    )
    return {
        "steps": steps,
        "ways": rows,
        "edit_moves": moved,
        "replace_differs_from_published": differ,
    }


def timed(run: Callable[[wb.Model, int], torch.Tensor], model: wb.Model, steps: int, device: str) -> float:
    """Return the seconds of one run."""
    clock = stopwatch(device)
    began = clock()
    run(model, steps)
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - began


if __name__ == "__main__":
    typer.run(main)
