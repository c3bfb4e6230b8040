"""Measuring pairs again, for example with another CLIP model; the pictures and how they were made stay."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from wordbrush.dataset import weights
from wordbrush.dataset.records import PAIRS, SCORES, Pair, gate
from wordbrush.dataset.verdict import gates_for, judged, measured
from wordbrush.errors import DataError, PromptTooLong

if TYPE_CHECKING:
    import pyarrow as pa
    from PIL.Image import Image

    from wordbrush.dataset.stage import Worker

CLIP = ("clip_image", "clip_before", "clip_after", "clip_direction")
AGAIN = {*SCORES, "score"}
"""Gates whose verdict is made again."""


@dataclass(frozen=True)
class ScoreStage:
    """Every score of a pair is made again, and with it the verdict, unless something else than a score decided it.

    Rows without pictures have nothing to measure and keep their verdict; the cosines of their drafts are emptied, since
    another model measured them. What the storybook's judges read stays, too. A pair whose captions are too long for the
    scorer is rejected by the gate ``score``.

    Args:
        scorer: what ``wordbrush.metrics.clip.load_clip`` takes.
        gates: score → its least value; empty for those that belong to the scorer.
        rows_per_unit: pairs per file.
    """

    scorer: str
    gates: Mapping[str, float] = field(default_factory=dict)
    rows_per_unit: int = 500
    name = "pairs"

    def __post_init__(self) -> None:
        if not self.gates:
            object.__setattr__(self, "gates", gates_for(self.scorer))

    @property
    def schema(self) -> pa.Schema:
        """The columns of the rows."""
        return PAIRS

    def fingerprint(self) -> dict[str, Any]:
        """Everything the scores depend on beside the pictures."""
        from wordbrush.metrics import clip

        scorer = weights.digest(self.scorer, clip.EMBEDDED)
        return {**asdict(self), "weights": scorer}

    def computes_on(self, found: str) -> str | None:
        """Return the kind of device: the one that is found."""
        return found

    def open(self) -> Worker:
        """Load the scorer."""
        from wordbrush.metrics.clip import load_clip

        clip = load_clip(self.scorer)

        def work(rows: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
            for row in rows:
                yield self._scored(clip, Pair.from_row(row)).to_row()

        return work

    def _scored(self, clip: Any, pair: Pair) -> Pair:
        unmeasured: dict[str, Any] = dict.fromkeys(CLIP)
        if pair.before_image is None or pair.after_image is None:
            return replace(pair, **unmeasured)
        before, after = (_decode(pair, name) for name in ("before_image", "after_image"))
        try:
            (scored,) = measured(clip, [pair], [before], [after])
        except PromptTooLong as error:
            return replace(pair, **unmeasured, kept=False, reason=f"score: {error}")
        if pair.reason is not None and gate(pair.reason) not in AGAIN:
            return scored
        return judged(scored, self.gates)


def _decode(pair: Pair, name: str) -> Image:
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(io.BytesIO(getattr(pair, name))).convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise DataError(f"{name} of pair {pair.key!r} is no picture that can be decoded") from error
