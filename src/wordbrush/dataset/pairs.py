"""The ``pairs`` stage: candidates for each triplet, made by Prompt-to-Prompt, and scored (arXiv:2211.09800, 3.1.2).

The published recipe denoises both pictures of every one of 100 candidates in 100 steps. Here candidates come in groups
that share one picture of the caption before, and one trajectory towards it: they differ in how much of it they keep.
Groups are made until enough candidates pass the gates. A group in few steps, the draft, can say which of its
candidates are worth all the steps.

What is drawn at random is drawn from the keys of the triplet, the group and the candidate, and a group is always
denoised alone: any candidate can be made again, bit for bit, by making its group again (``remake``), with the same
number of threads on the same kind of device.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wordbrush.dataset import weights
from wordbrush.dataset.keys import key_rng, key_seed, pair_key
from wordbrush.dataset.records import DRAFT, PAIRS, SCORES, Pair, Triplet
from wordbrush.dataset.threads import threads_restored
from wordbrush.dataset.verdict import gates_for, judged, measured, rejected
from wordbrush.errors import InvalidInput, nearest

if TYPE_CHECKING:
    import pyarrow as pa
    from PIL.Image import Image

    from wordbrush.metrics.clip import Clip
    from wordbrush.models import Model
    from wordbrush.results import EditResult
    from wordbrush.storybook.judges import Judges

Control = Literal["published", "full"]

ANCESTRAL = "euler_a"
"""The scheduler whose noise is drawn at every step, and here from the key of the group, for both pictures the same."""

GATES = tuple(name for name in SCORES if not name.startswith("truth_"))
"""Scores that a pair can be rejected by."""


@dataclass(frozen=True)
class PairStage:
    """How pairs are made.

    Args:
        model: what ``wordbrush.load`` takes.
        scorer: what ``wordbrush.metrics.clip.load_clip`` takes.
        candidates: the most candidates of a triplet.
        per_source: candidates that share one picture of the caption before.
        enough: stop after the group with which so many candidates have passed; None makes all of them.
        control: ``"published"`` shares self-attention in all guidance branches, and nothing else, in the first
            p of the steps; ``"full"`` injects the words' maps in the first p, self-attention in the first p/2, and
            blends where the changed words act. A model without self-attention to inject (Sana's is linear) takes
            ``"full"`` alone, and injects none.
        share: the interval that p is drawn from.
        guidance: the interval that the scale of a group is drawn from.
        steps: None for the model's default.
        scheduler: a name from ``wordbrush.sampling.SCHEDULERS``, or ``"euler_a"`` for the published sampler;
            None for the model's default.
        dtype: that the model computes in.
        draft_steps: steps of the draft; None makes none.
        slack: how far a draft's scores may lie below the gates.
        gates: score → its least value; empty for those that belong to the scorer (``verdict.gates_for``).
        truth: also let the storybook's judges read the pictures, where they know the captions: a measure, never a
            gate.
        seed: of the run.
        rows_per_unit: triplets per file.
    """

    model: str = "storybook"
    scorer: str = "storybook"
    candidates: int = 100
    per_source: int = 5
    enough: int | None = 4
    control: Control = "full"
    share: tuple[float, float] = (0.1, 0.9)
    guidance: tuple[float, float] = (7.5, 15.0)
    steps: int | None = None
    scheduler: str | None = None
    dtype: str = "float32"
    draft_steps: int | None = None
    slack: float = 0.05
    gates: Mapping[str, float] = field(default_factory=dict)
    truth: bool = False
    seed: int = 0
    rows_per_unit: int = 8
    name = "pairs"

    def __post_init__(self) -> None:
        for what in ("candidates", "per_source", "enough", "steps", "draft_steps", "rows_per_unit"):
            number = getattr(self, what)
            if number is not None and number < 1:
                raise InvalidInput(f"{what} must be at least 1, not {number!r}")
        if self.draft_steps is not None and self.steps is not None and self.draft_steps >= self.steps:
            raise InvalidInput(
                f"draft_steps must be fewer than the {self.steps} steps, not {self.draft_steps}"
            )
        if self.control not in ("published", "full"):
            raise InvalidInput(f"control is 'published' or 'full', not {self.control!r}")
        if not 0 <= self.share[0] <= self.share[1] <= 1:
            raise InvalidInput(f"share is an interval within 0 and 1, not {self.share!r}")
        if self.guidance[0] > self.guidance[1]:
            raise InvalidInput(f"guidance is an interval, the lower end first, not {self.guidance!r}")
        if not self.gates:
            object.__setattr__(self, "gates", gates_for(self.scorer))
        for name in self.gates:
            if name not in GATES:
                raise InvalidInput(
                    f"there is no gate {name!r}{nearest(name, GATES)}; there are {', '.join(GATES)}"
                )

    @property
    def schema(self) -> pa.Schema:
        """The columns of the rows."""
        return PAIRS

    def fingerprint(self) -> dict[str, Any]:
        """Everything the rows depend on beside the triplets."""
        from wordbrush import models
        from wordbrush.metrics import clip
        from wordbrush.storybook import judges

        digests = {
            "model": weights.digest(self.model, models.EMBEDDED),
            "scorer": weights.digest(self.scorer, clip.EMBEDDED),
        }
        if self.truth:
            digests["judges"] = weights.digest(str(judges.FOLDER))
        return {**asdict(self), "weights": digests}

    def computes_on(self, found: str) -> str | None:
        """Return the kind of device: the one that is found."""
        return found

    def check(self) -> None:
        """Raise now for what ``open`` would not find, or take; no network is loaded.

        Of a model that is not a folder here, the scheduler's name is checked, and not whether it is for such a model.

        Raises:
            ModelError: the model or the scorer is not there, or damaged.
            InvalidInput: a dtype or scheduler that there is not, or a number of steps that the model does not have.
        """
        from wordbrush import models
        from wordbrush.metrics import clip

        models.as_dtype(self.dtype)
        weights.check(self.model, "model", index=["model_index.json"], embedded=models.EMBEDDED)
        weights.check(self.scorer, "CLIP model", index=["config.json"], embedded=clip.EMBEDDED)
        folder = models.EMBEDDED.get(self.model, Path(self.model))
        if folder.is_dir():
            self._check_folder(folder)
        else:
            self._check_name()

    def _check_folder(self, folder: Path) -> None:
        """Check scheduler and steps by what a model's folder says of its own; it has to be a pipeline's."""
        from wordbrush import models
        from wordbrush.parts import read_part
        from wordbrush.sampling import check_steps, make_scheduler

        models.pipeline_class(folder)
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        trained = read_part(folder, "scheduler", index, models.as_dtype(self.dtype))
        usual = models.read_defaults(folder, {one.name for one in fields(models.Defaults)})
        chosen = self.sampler(0) or usual.get("scheduler") or trained
        sampler = make_scheduler(chosen, trained)
        for steps in (self.steps, self.draft_steps):
            if steps is not None:
                check_steps(sampler, steps)
        self._check_draft(usual.get("steps"))

    def _check_name(self) -> None:
        from wordbrush import sampling

        known = {
            **sampling.SCHEDULERS,
            **sampling.FLOW_SCHEDULERS,
            **sampling.EDM_SCHEDULERS,
            **sampling.NOISY_SCHEDULERS,
            ANCESTRAL: "",
        }
        classes = {home.rpartition(".")[2] for home in known.values()}
        if self.scheduler is None or self.scheduler in classes or self.scheduler.lower() in known:
            return
        raise InvalidInput(
            f"unknown scheduler {self.scheduler!r}{nearest(self.scheduler.lower(), known)}; use one of "
            f"{', '.join(known)}"
        )

    def _check_draft(self, usual: int | None) -> None:
        """Refuse a draft of as many steps as the pairs have, where those are the model's ``usual`` ones."""
        if (
            self.draft_steps is not None
            and self.steps is None
            and usual is not None
            and self.draft_steps >= usual
        ):
            raise InvalidInput(
                f"draft_steps must be fewer than the model's {usual} steps, not {self.draft_steps}"
            )

    def open(self) -> PairWorker:
        """Load the models, and make one pair: what fails now is no fault of the triplets.

        Raises:
            ModelError: a model that is missing or unreadable.
            InvalidInput: a number of steps or a scheduler that the model does not have, a control that it does not
                take, or pictures that the judges cannot read.
        """
        import wordbrush
        from wordbrush.metrics.clip import load_clip
        from wordbrush.storybook.judges import Judges

        model = wordbrush.load(self.model, dtype=self.dtype)
        self._check_draft(model.defaults.steps)
        for steps in {self.steps, self.draft_steps or self.steps}:
            self._try(model, steps)
        worker = PairWorker(self, model, load_clip(self.scorer), Judges() if self.truth else None)
        worker.try_pair()
        return worker

    def _try(self, model: Model, steps: int | None) -> None:
        """Set a run up and leave it: settings that no triplet can be made with are no fault of the triplets."""
        from wordbrush.run import make_noise, make_run

        make_run(
            model,
            [model.backbone.read("a picture")],
            negative="",
            noise=make_noise(model, [0], None, None),
            guidance=self.guidance[0],
            scheduler=self.sampler(0),
            steps=steps,
        )

    def control_of(self, shares: Sequence[float], *, injects: bool = True) -> dict[str, Any]:
        """Return the arguments of ``wordbrush.edit`` that say how much of the picture before each target keeps.

        Args:
            injects: whether the model has self-attention that can be injected.
        """
        from wordbrush.edits.replace import Replace
        from wordbrush.edits.self_attention import SelfAttention
        from wordbrush.edits.window import Rounding

        if self.control == "full":
            return {
                "edits": [[Replace(until=share)] for share in shares],
                "self_attention": [share / 2 * injects for share in shares],
                "blend": "auto",
            }
        everywhere = {"max_pixels": 2**62, "rounding": Rounding.PUBLISHED_PAIRS, "branches": "all"}
        shared = [SelfAttention(share, **everywhere) for share in shares]  # pyright: ignore[reportArgumentType]
        return {"edits": [], "self_attention": shared, "blend": "none"}

    def sampler(self, seed: int) -> object:
        """Return the scheduler as ``wordbrush.edit`` takes it, with ``seed`` for the noise of its steps, if any."""
        from wordbrush.ancestral import Ancestral

        return Ancestral(seed) if self.scheduler == ANCESTRAL else self.scheduler


@dataclass(frozen=True)
class _Candidate:
    """What is drawn for one candidate."""

    key: str
    number: int
    share: float


@dataclass(frozen=True)
class _Group:
    """Candidates of one triplet that share the picture before."""

    number: int
    seed: int
    step_seed: int
    guidance: float
    candidates: tuple[_Candidate, ...]


class PairWorker:
    """Makes the pairs of a unit: rows of triplets → rows of candidates, in order."""

    def __init__(self, stage: PairStage, model: Model, clip: Clip, judges: Judges | None) -> None:
        from wordbrush.backbones.control import injected_by_default

        self._stage = stage
        self._model = model
        self._clip = clip
        self._judges = judges
        self._injects = bool(injected_by_default(model.backbone))
        if stage.control == "published" and not self._injects:
            raise InvalidInput(
                f"control 'published' shares self-attention, and {model.name} has none that can be: use 'full'"
            )

    def __call__(self, rows: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
        for row in rows:
            for pair in self.of(Triplet.from_row(row)):
                yield pair.to_row()

    def of(self, triplet: Triplet) -> list[Pair]:
        """Make candidates of a triplet until enough of them pass; a triplet that cannot be edited gives one reject."""
        made: list[Pair] = []
        fault = self._fault(triplet)
        for group in self._groups(triplet):
            if fault is not None:
                return [replace(self._unmade(triplet, group, group.candidates[0]), kept=False, reason=fault)]
            made += self._make(triplet, group)
            if self._stage.enough is not None and sum(pair.kept for pair in made) >= self._stage.enough:
                break
        return made

    def remake(self, triplet: Triplet, candidate: int, *, threads: int = 1) -> Pair:
        """Make one candidate again, alone: the same bytes as in the run, on the same kind of device.

        Args:
            threads: of torch while it is made; those that the run had (``run.remake`` looks them up).

        Raises:
            InvalidInput: the triplet has no such candidate.
        """
        import torch

        for group in self._groups(triplet):
            for position, one in enumerate(group.candidates):
                if one.number == candidate:
                    with threads_restored():
                        torch.set_num_threads(threads)
                        return self._make(triplet, group)[position]
        raise InvalidInput(
            f"the candidates of a triplet are 0 to {self._stage.candidates - 1}, not {candidate!r}"
        )

    def try_pair(self) -> None:
        """Make a pair of plain words, and score it.

        Raises:
            WordbrushError: the settings do not work together, whatever the texts.
        """
        triplet = Triplet("trial-0", "trial", "a cat on a beach", "make it a dog", "a dog on a beach", "me")
        group = next(self._groups(triplet))
        most = replace(group.candidates[0], share=self._stage.share[1])
        # In no fewer steps than drafts or pairs have: some schedulers fail in few.
        self._run(triplet, replace(group, candidates=(most,)), self._stage.draft_steps or self._stage.steps)

    def _fault(self, triplet: Triplet) -> str | None:
        """Return why no pair can be made of these texts, found before anything is computed; None if one can."""
        import wordbrush

        try:
            wordbrush.plan(self._model, triplet.before, to=triplet.after, **self._control([0.5]))
            self._clip.texts([triplet.before, triplet.after])
        except InvalidInput as error:
            return f"edit: {error}"
        return None

    def _control(self, shares: Sequence[float]) -> dict[str, Any]:
        return self._stage.control_of(shares, injects=self._injects)

    def _groups(self, triplet: Triplet) -> Iterator[_Group]:
        stage = self._stage
        for number, first in enumerate(range(0, stage.candidates, stage.per_source)):
            own = []
            for candidate in range(first, min(first + stage.per_source, stage.candidates)):
                key = pair_key(triplet.key, candidate)
                own.append(
                    _Candidate(key, candidate, float(key_rng(stage.seed, key, "share").uniform(*stage.share)))
                )
            rng = key_rng(stage.seed, triplet.key, "guidance", number)
            yield _Group(
                number,
                key_seed(stage.seed, triplet.key, "noise", number),
                key_seed(stage.seed, triplet.key, "steps", number),
                float(rng.uniform(*stage.guidance)),
                tuple(own),
            )

    def _make(self, triplet: Triplet, group: _Group) -> list[Pair]:
        stage = self._stage
        spent = dict.fromkeys((one.number for one in group.candidates), 0)
        drafts: dict[int, Pair] = {}
        chosen = group.candidates
        if stage.draft_steps is not None:
            made = self._run(triplet, group, stage.draft_steps)
            drafts = {pair.candidate: self._drafted(pair) for pair in made}
            spent = {number: pair.forward_samples for number, pair in drafts.items()}
            chosen = tuple(one for one in group.candidates if drafts[one.number].kept)
        final = self._run(triplet, replace(group, candidates=chosen), stage.steps) if chosen else []
        finals = {
            pair.candidate: replace(pair, forward_samples=pair.forward_samples + spent[pair.candidate])
            for pair in final
        }
        return [finals.get(one.number) or drafts[one.number] for one in group.candidates]

    def _run(self, triplet: Triplet, group: _Group, steps: int | None) -> list[Pair]:
        import wordbrush

        result = wordbrush.edit(
            self._model,
            triplet.before,
            to=[triplet.after] * len(group.candidates),
            seed=group.seed,
            guidance=group.guidance,
            steps=steps,
            scheduler=self._stage.sampler(group.step_seed),
            **self._control([one.share for one in group.candidates]),
        )
        return self._judged(triplet, group, result)

    def _judged(self, triplet: Triplet, group: _Group, result: EditResult) -> list[Pair]:
        """Score the pairs of one edit and say which gate rejects them."""
        row = result.settings["forward_samples"] // len(result.latents)
        before, made = _png(result.source), []
        for position, (one, image) in enumerate(zip(group.candidates, result.images, strict=True)):
            pair = replace(
                self._unmade(triplet, group, one),
                steps=result.settings["steps"],
                # The first of a group bears the cost of the picture that all of it share.
                forward_samples=row * (2 if position == 0 else 1),
                before_image=before,
                after_image=_png(image),
            )
            made.append(replace(pair, **self._truth(pair, result.source, image)))
        scored = measured(self._clip, made, [result.source] * len(made), result.images)
        return [judged(pair, self._stage.gates) for pair in scored]

    def _unmade(self, triplet: Triplet, group: _Group, one: _Candidate) -> Pair:
        """Return what is known of a candidate before anything is computed."""
        return Pair(
            key=one.key,
            triplet_key=triplet.key,
            before=triplet.before,
            instruction=triplet.instruction,
            after=triplet.after,
            candidate=one.number,
            seed=group.seed,
            share=one.share,
            guidance=group.guidance,
            control=self._stage.control,
            steps=0,
            forward_samples=0,
        )

    def _truth(self, pair: Pair, before: Image, after: Image) -> dict[str, float]:
        """Return the share of each caption's attributes that the judges read in its picture."""
        if self._judges is None:
            return {}
        from wordbrush.storybook.evaluate import described
        from wordbrush.storybook.scene import UnknownCaption, parse

        reading = self._judges.read([before, after])
        shares = {}
        for row, (name, text) in enumerate({"truth_before": pair.before, "truth_after": pair.after}.items()):
            try:
                scene = parse(text)
            except UnknownCaption:
                continue
            wanted, read = described(scene), reading.of(row, coloured=scene.colour is not None)
            shares[name] = sum(read[part] == word for part, word in wanted.items()) / len(wanted)
        return shares

    def _drafted(self, pair: Pair) -> Pair:
        """Return the draft of a pair, kept if it may pass with all the steps; its pictures are not."""
        lower = {name: least - self._stage.slack for name, least in self._stage.gates.items()}
        reason = rejected(pair, lower)
        return replace(
            pair,
            before_image=None,
            after_image=None,
            kept=reason is None,
            reason=reason and f"{DRAFT}{reason}",
        )


def _png(image: Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()
