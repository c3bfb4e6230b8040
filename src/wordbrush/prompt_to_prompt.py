"""Prompt-to-Prompt, the front door: generate pictures, and edit them by editing their words.

Hertz et al. 2022, "Prompt-to-Prompt Image Editing with Cross Attention Control" (arXiv:2208.01626). Source and
targets are denoised together from the same noise, and the targets attend as the source does where the plan says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from wordbrush.backbones.source_cache import SourceCache
from wordbrush.checks import several
from wordbrush.edits.blend import BlendChoice
from wordbrush.edits.plan import EditPlan, Edits, Injection, Recipe, infers, make_plan
from wordbrush.edits.window import Until, with_default
from wordbrush.errors import InvalidInput
from wordbrush.guidance import Guidance
from wordbrush.inversion.start import Start
from wordbrush.masks import Mask, MaskLike
from wordbrush.models import Model
from wordbrush.results import EditResult, Generation
from wordbrush.run import Size, latent_size, make_noise, make_run
from wordbrush.sampling import Progress, Watch
from wordbrush.vocabulary import warn_of_unknown_words

if TYPE_CHECKING:
    from PIL.Image import Image


def generate(
    model: Model,
    prompts: str | Sequence[str],
    *,
    seed: int | Sequence[int] | None = None,
    negative: str = "",
    steps: int | None = None,
    guidance: float | Guidance | None = None,
    scheduler: object = None,
    size: Size | None = None,
    latents: Tensor | None = None,
    maps: bool = False,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Generation:
    """Generate one picture per prompt.

    Args:
        prompts: one or several.
        seed: of the noise; one seed gives every prompt the same, a list gives one to each.
        negative: the prompt to be guided away from.
        steps: of the scheduler; this and ``guidance`` and ``scheduler`` are the model's defaults if None.
        guidance: scale of classifier-free guidance, or a guidance object.
        scheduler: a name from the tables of ``wordbrush.sampling``, or a diffusers scheduler of one of these classes.
        size: pixels, one number or (height, width); None for the size the model was trained for.
        latents: (1 or prompts, C, h, w) unit noise to start from, instead of a seed.
        maps: read word maps along the way; otherwise ``.maps`` repeats the run when first asked for.
        progress: called with (steps done, steps in all) after every step.
        watch: called before ``progress`` with the latents that the pictures seem to be heading for, (n, C, h, w).

    Raises:
        InvalidInput: a prompt, size, number, scheduler or tensor that cannot be used as given.
    """
    read = [model.backbone.read(text) for text in _listed(prompts)]
    if not all(prompt.text.strip() for prompt in read) or not read:
        raise InvalidInput("an empty prompt describes no picture: say what it should show")
    warn_of_unknown_words((prompt.text for prompt in read), model.defaults.words)
    if (seed is None) == (latents is None):
        raise InvalidInput("give the noise to start from exactly once: seed=, such as seed=0, or latents=")
    given = several("seeds", seed)
    seeds = [seed] * len(read) if given is None else given
    if len(seeds) != len(read):
        raise InvalidInput(f"there are {len(seeds)} seeds for {len(read)} prompts: give one, or one for each")
    run = make_run(
        model,
        read,
        negative=negative,
        noise=make_noise(model, seeds, size, latents),
        guidance=guidance,
        scheduler=scheduler,
        steps=steps,
    )
    final, history = run(record=maps, progress=progress, watch=watch)
    return Generation(
        final,
        read,
        settings={**run.settings, "seed": seed},
        model=model,
        read_maps=(lambda: history) if history else run.history,
    )


def edit(
    model: Model,
    source: str | Start,
    *,
    to: str | Sequence[str] | None = None,
    edits: Edits | Recipe | None = None,
    until: Until | None = None,
    self_attention: Injection | None = None,
    blend: BlendChoice | None = None,
    blocks: Sequence[int] | None = None,
    seed: int | None = None,
    steps: int | None = None,
    guidance: float | Guidance | None = None,
    scheduler: object = None,
    negative: str = "",
    size: Size | None = None,
    latents: Tensor | None = None,
    mask: MaskLike | None = None,
    keep_pixels: bool = False,
    cache: SourceCache | None = None,
    maps: bool = False,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> EditResult:
    """Generate the picture of ``source`` and, from the same noise and layout, those of the prompts ``to``.

    Args:
        source: the prompt of the picture to edit, or a ``Start``, which brings its own noise and settings.
        to: one target prompt or several, all edited from the same source in one batch; None for the source's own,
            where ``edits`` only turn its words up or down.
        edits: None infers them from the words; an edit or a list of edits applies to every target; a list of lists
            has one for each target, or None for the inferred one. ``Reweight`` alone acts on top of the inferred edit,
            and comes after ``Replace`` and ``Refine`` wherever it is given; ``[]`` is no edit.
        until: the part of the run in which the inferred edit uses the source's word maps: a fraction, a pair
            (start, stop), or a mapping from words of the targets to either; the words that it does not name follow
            its ``"default_"``, or without one the model's default, as all do if None.
        self_attention: the part of the run in which targets attend to themselves as the source does; a list has one
            for each target; None for the model's default.
        blend: where the pictures may change: a ``Blend``, ``"auto"`` for where the changed words act, ``"none"`` for
            everywhere; None for the model's default.
        blocks: numbers of the transformer blocks in which attention is edited, counted in the order of the forward
            pass; None for the model's default, mostly all of them.
        seed: the seed of the noise that source and targets share.
        steps: of the scheduler; this and ``guidance`` and ``scheduler`` are the model's defaults if None.
        guidance: scale of classifier-free guidance, or a guidance object.
        scheduler: a name from the tables of ``wordbrush.sampling``, or a diffusers scheduler of one of these classes.
        negative: the prompt to be guided away from.
        size: pixels, one number or (height, width); None for the size the model was trained for.
        latents: (1, C, h, w) unit noise to start from, instead of a seed.
        mask: a picture, white where the targets may change; elsewhere their latents are the source's after every
            step. Of the source's size, or for an inverted picture of the size it was given in.
        keep_pixels: give the edited pictures, where the mask is black, the very pixels of the source: those of the
            picture that was inverted, or of the one that was generated.
        cache: keeps the source for further edits, or has it from an earlier one; the network then runs for the targets
            only. Its results differ by rounding.
        maps: read word maps along the way; otherwise ``.maps`` repeats the run when first asked for.
        progress: called with (steps done, steps in all) after every step.
        watch: called before ``progress`` with the latents that the pictures seem to be heading for, the source first.

    Raises:
        UnknownWord: a word named by an edit is not in its target; the message names the tokens.
        AmbiguousWord: it is there more than once.
        InvalidInput: a prompt, size, number, scheduler or tensor that cannot be used as given.
        EditNotApplied: the edit did not reach every attention layer it was meant for.
    """
    start = source if isinstance(source, Start) else None
    if start and start.network:
        start.network.check(model)
    made = plan(
        model,
        source,
        to=to,
        edits=edits,
        until=until,
        self_attention=self_attention,
        blend=blend,
        blocks=blocks,
    )
    if sum(given is not None for given in (start, seed, latents)) != 1:
        raise InvalidInput(
            "give the noise to start from exactly once: seed=, such as seed=0, latents= or an inverted picture"
        )
    if start and start.negative is not None and negative:
        raise InvalidInput(
            "an inverted picture brings the negative side it was fitted with: leave negative out"
        )
    if start and start.fixed and scheduler is not None:
        raise InvalidInput(
            "an inverted picture brings the scheduler it was inverted with: leave scheduler out, or invert it again"
        )
    if start and size is not None and latent_size(model, size) != start.latents.shape[-2:]:
        inverted = " × ".join(str(side * model.factor) for side in start.latents.shape[-2:])
        raise InvalidInput(
            f"the picture was inverted at {inverted} pixels, not at the size {size}: leave size out, or invert it again"
        )
    if keep_pixels and mask is None:
        raise InvalidInput(
            "keep_pixels keeps what is black in a mask: give mask as well",
            command="--keep-pixels keeps what is black in a mask: give --mask as well",
        )
    noise = make_noise(model, [seed], size, start.latents if start else latents)
    height, width = (side * model.factor for side in noise.shape[-2:])
    region = None if mask is None else Mask.read(mask, (height, width), model.factor, start)
    run = make_run(
        model,
        (made.source, *made.targets),
        negative=start.negative if start and start.negative is not None else negative,
        noise=noise,
        guidance=start.guidance if start and guidance is None else guidance,
        scheduler=start.scheduler if start and scheduler is None else scheduler,
        steps=start.steps if start and steps is None else steps,
        plan=made,
        start=start,
        mask=region,
        cache=cache,
    )
    settings = {**run.settings, "seed": seed}  # before the run, which may fill the cache
    final, history = run(record=maps, progress=progress, watch=watch)

    def pasted(pictures: list[Image]) -> list[Image]:
        source, *edited = pictures
        assert region is not None
        original = (start and start.picture) or source
        return [source, *(region.paste(picture, original) for picture in edited)]

    return EditResult(
        final,
        run.prompts,
        plan=made,
        inverted=start is not None,
        original=start.picture if start else None,
        settings=settings,
        model=model,
        read_maps=(lambda: history) if history else run.history,
        finish=pasted if keep_pixels else None,
    )


def plan(
    model: Model,
    source: str | Start,
    *,
    to: str | Sequence[str] | None = None,
    edits: Edits | Recipe | None = None,
    until: Until | None = None,
    self_attention: Injection | None = None,
    blend: BlendChoice | None = None,
    blocks: Sequence[int] | None = None,
) -> EditPlan:
    """Return the plan that ``edit`` would carry out, without computing anything: ``print(plan(…).describe())``.

    The arguments are those of ``edit``.

    Raises:
        UnknownWord: a word named by an edit is not in its target; the message names the tokens.
        AmbiguousWord: it is there more than once.
        InvalidInput: a prompt, edit or number that cannot be used as given.
    """
    if not isinstance(source, str | Start):
        raise InvalidInput(f"the source is a prompt or an inverted picture, not {source!r}")
    if isinstance(edits, Recipe) and (self_attention is not None or blend is not None):
        raise InvalidInput(
            "a recipe brings its own self_attention and blend: give either the recipe or these"
        )
    text = source if isinstance(source, str) else source.prompt
    if to is None:
        to, edits = text, edits or None  # no edits at all would leave nothing to do
    targets = _listed(to)
    if until is not None and not infers(edits, len(targets)):
        raise InvalidInput(
            "until is that of the edit inferred from the words, and none is: give it to Replace(…) or Refine(…)"
        )
    texts = (text, *targets)
    before, *after = (model.backbone.read(text) for text in texts)
    warn_of_unknown_words(texts, model.defaults.words)
    return make_plan(
        before,
        after,
        edits=edits,
        until=model.defaults.until if until is None else with_default(until, model.defaults.until),
        self_attention=model.defaults.self_attention if self_attention is None else self_attention,
        blend=model.defaults.blend if blend is None else blend,
        blocks=model.defaults.blocks if blocks is None else blocks,
        renormalise=model.defaults.renormalise,
    )


def _listed(prompts: str | Sequence[str]) -> Sequence[str]:
    if not isinstance(prompts, str | Sequence):
        raise InvalidInput(f"prompts are a piece of text or a list of them, not {prompts!r}")
    return [prompts] if isinstance(prompts, str) else prompts
