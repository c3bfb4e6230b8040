"""The picture on the page as a command line and as Python: what is copied makes the same pixels."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from wordbrush.edits.prompt import WordLike
from wordbrush.instruct import EditorDefaults, find_preset
from wordbrush.studio.instruct import Asked
from wordbrush.studio.state import Order, unless

NAMES = ("dtype", "device", "config", "offload")


def command(order: Order, model: str, options: Mapping[str, Any]) -> str:
    """Return the order as a command line.

    Args:
        model: as ``--model`` names it.
        options: ``dtype``, ``device``, ``config`` and ``offload``, as they were given; None where they were not.
    """
    verb = "edit" if order.target is not None else "invert" if order.photo else "generate"
    words = ["wordbrush", verb]
    if order.photo:
        words += ["--caption", order.source, *_given("--method", order.inversion), "--crop"]
    if order.target is not None and order.target != order.source:
        words += ["--to", order.target]
    for word, strength in order.weights.items():
        words += ["--weight", f"{_named(word)}={_number(strength)}"]
    words += _given("--until", order.until) + _given("--self-attention", order.self_attention)
    words += _given("--blend", order.blend)
    words += [] if order.photo else ["--seed", str(order.seed)]
    words += _given("--steps", order.steps) + _given("--guidance", order.guidance)
    words += ["--negative", order.negative] if order.negative else []
    words += ["--size", f"{order.size[0]}x{order.size[1]}"] if order.size else []
    words += ["--model", model] if model != "storybook" else []
    words += _loaded(options)
    # The prompt stands first, unless it would be taken for an option.
    first = order.photo.name if order.photo else order.source
    words = [*words, "--", first] if first.startswith("-") else [*words[:2], first, *words[2:]]
    return shlex.join(words)


def python(order: Order, model: str, options: Mapping[str, Any]) -> str:
    """Return the order as a Python program that saves the picture."""
    loading = [repr(model), *_arguments({name: options[name] for name in NAMES if options.get(name)})]
    lines = ["import wordbrush as wb", "", f"model = wb.load({', '.join(loading)})"]
    begin, sampling = repr(order.source), order.sampling
    if order.photo:
        arguments = [repr(order.photo.name), begin, *_arguments(order.inverting)]
        lines += _call("wb.invert", arguments, result="start")
        begin, sampling = "start", {"negative": order.negative} if order.negative else {}
        if order.target is None:
            return "\n".join([*lines, 'start.save("start.safetensors")'])
    if order.target is None:
        arguments = [begin, *_arguments(sampling)]
        return "\n".join([*lines, *_call("wb.generate", arguments), 'result.images[0].save("picture.png")'])
    written = dict(order.editing)
    if "edits" in written:
        written["edits"] = _edits(order)
    if "blend" in written:
        written["blend"] = _blend(written["blend"])
    arguments = [
        begin,
        f"to={order.target!r}",
        *(
            f"{name}={value if name in ('edits', 'blend') else repr(value)}"
            for name, value in written.items()
        ),
        *_arguments(sampling),
    ]
    return "\n".join([*lines, *_call("wb.edit", arguments), 'result.images[0].save("edited.png")'])


def instruct_command(asked: Asked, defaults: EditorDefaults, editor: str, options: Mapping[str, Any]) -> str:
    """Return an edit by instruction as a command line; what was brushed is the file ``mask.png``.

    Args:
        defaults: of the editor; what stands at them is left out.
        editor: as ``--model`` names it.
        options: as for ``command``.
    """
    words = ["wordbrush", "instruct", "--seed", str(asked.wish.seed)]
    for name, value in _instructed(asked, defaults).items():
        words += _given(f"--{name.replace('_', '-')}", value)
    words += ["--model", editor] if editor != "storybook" else []
    words += _loaded(options)
    return shlex.join([*words, "--output", "edited.png", "--", asked.picture, asked.wish.instruction])


def instruct_python(asked: Asked, defaults: EditorDefaults, editor: str, options: Mapping[str, Any]) -> str:
    """Return an edit by instruction as a Python program that saves the picture."""
    loading = [repr(editor), *_arguments({name: options[name] for name in NAMES if options.get(name)})]
    arguments = [
        repr(asked.picture),
        repr(asked.wish.instruction),
        *_arguments({"seed": asked.wish.seed, **_instructed(asked, defaults)}),
    ]
    lines = [
        "import wordbrush as wb",
        "",
        f"editor = wb.load_editor({', '.join(loading)})",
        "result = editor(",
    ]
    return "\n".join(
        [*lines, *(f"    {one}," for one in arguments), ")", 'result.images[0].save("edited.png")']
    )


def _instructed(asked: Asked, defaults: EditorDefaults) -> dict[str, float | str]:
    """Return the arguments of an editor that differ from its defaults."""
    wish = asked.wish
    given = {
        "text_guidance": unless(wish.text_guidance, defaults.text_guidance),
        "image_guidance": unless(wish.image_guidance, defaults.image_guidance),
        "steps": unless(wish.steps, find_preset(defaults.preset).steps),
        "mask": asked.masked if isinstance(asked.masked, str) else "mask.png" if asked.masked else None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _call(function: str, arguments: Sequence[str], result: str = "result") -> list[str]:
    return [f"{result} = {function}(", "    model,", *(f"    {argument}," for argument in arguments), ")"]


def _arguments(given: Mapping[str, Any]) -> list[str]:
    return [f"{name}={value!r}" for name, value in given.items()]


def _edits(order: Order) -> str:
    parts = [] if order.until is None else [f"wb.Replace(until={order.until!r})"]
    parts += [f"wb.Reweight({dict(order.weights)!r})"] if order.weights else []
    return f"[{', '.join(parts)}]"


def _blend(blend: Any) -> str:
    if isinstance(blend, str):
        return repr(blend)
    return f"wb.Blend(source={blend.source!r}, target={blend.target!r})"


def _loaded(options: Mapping[str, Any]) -> list[str]:
    """Return how the model is loaded, as options of a command line."""
    words: list[str] = []
    for name in NAMES:
        given = options.get(name)
        words += [f"--{name}"] if given is True else _given(f"--{name}", given or None)
    return words


def _given(option: str, value: float | str | None) -> list[str]:
    if value is None:
        return []
    return [option, value if isinstance(value, str) else _number(value)]


def _named(word: WordLike) -> str:
    """Return a word as ``--weight`` names it; a number sign of its own needs a second one behind it."""
    match word:
        case (str(text), int(occurrence)):
            return f"{text}#{occurrence}"
        case str(text) if "#" in text:
            return f"{text}#0"
    return str(word)


def _number(value: float) -> str:
    short = f"{value:g}"
    return short if float(short) == value else repr(value)
