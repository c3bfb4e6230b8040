"""The scores of pairs, and the gates they have to pass (arXiv:2211.09800, section 3.1.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from wordbrush.dataset.records import Pair
from wordbrush.errors import InvalidInput

if TYPE_CHECKING:
    from PIL.Image import Image

    from wordbrush.metrics.clip import Clip

PUBLISHED_GATES = {"clip_image": 0.7, "clip_before": 0.2, "clip_after": 0.2, "clip_direction": 0.2}
"""The least cosines of the released filter, for CLIP ViT-L/14; the paper has 0.75 for the first."""

STORYBOOK_GATES = {"clip_image": 0.4, "clip_before": 0.7, "clip_after": 0.7, "clip_direction": 0.4}
"""Those for the storybook's own contrastive model, whose cosines lie elsewhere; docs/data.md says how they were set."""


def gates_for(scorer: str) -> dict[str, float]:
    """Return the gates that belong to a scorer: the storybook's to its own, the published ones to all others."""
    return dict(STORYBOOK_GATES if scorer == "storybook" else PUBLISHED_GATES)


def measured(
    clip: Clip, pairs: Sequence[Pair], befores: Sequence[Image], afters: Sequence[Image]
) -> list[Pair]:
    """Return the pairs with their scores, all but those of the truth; the verdict stays as it is.

    Args:
        befores, afters: the pictures of each pair.

    Raises:
        PromptTooLong: a caption does not fit the CLIP model.
    """
    from wordbrush.metrics.alignment import alignment_shift
    from wordbrush.metrics.pixels import l1, ssim

    cosines = clip.pairs(
        befores, afters, before=[pair.before for pair in pairs], after=[pair.after for pair in pairs]
    )
    return [
        replace(
            pair,
            clip_image=float(cosines.image[row]),
            clip_before=float(cosines.before[row]),
            clip_after=float(cosines.after[row]),
            clip_direction=float(cosines.direction[row]),
            l1=l1(before, after),
            ssim=ssim(before, after),
            alignment_shift=alignment_shift(before, after),
        )
        for row, (pair, before, after) in enumerate(zip(pairs, befores, afters, strict=True))
    ]


def judged(pair: Pair, gates: Mapping[str, float]) -> Pair:
    """Return a scored pair with the verdict of the gates."""
    reason = rejected(pair, gates)
    return replace(pair, kept=reason is None, reason=reason)


def rejected(pair: Pair, gates: Mapping[str, float]) -> str | None:
    """Return the first gate that a scored pair fails, with its score, or None.

    Raises:
        InvalidInput: a gate is no score of a pair.
    """
    for name, least in gates.items():
        score = getattr(pair, name, None)
        if not isinstance(score, float):
            raise InvalidInput(f"there is no score {name!r} to be at least {least:g}")
        if not score >= least:  # NaN fails too
            return f"{name}: {score:.3f} is below {least:g}"
    return None
