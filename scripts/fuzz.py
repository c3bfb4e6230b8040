"""Throw input of every kind at the public entry points, and tell what comes out as anything but a result or a sentence.

    python scripts/fuzz.py --minutes 10
    python scripts/fuzz.py --only prompts --seed 1234 --minutes 0     # one case again

A case is made from its seed alone. It passes if the call returns, or raises a ``WordbrushError`` of one line. All else
is told once for every place it comes from, with the seed that makes it again; the exit status is 1 if there was any.
"""

from __future__ import annotations

import io
import json
import random
import shlex
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

import wordbrush as wb
from wordbrush.cli.app import app
from wordbrush.dataset import config as data_config
from wordbrush.dataset import formats
from wordbrush.dataset.config import Captions
from wordbrush.dataset.engines.local import LocalEngine
from wordbrush.dataset.run import make_captions
from wordbrush.dataset.source import ShardSource
from wordbrush.models import EMBEDDED
from wordbrush.pictures import read_picture
from wordbrush.studio.snippets import command, python
from wordbrush.studio.state import Draft, Knobs, Limits
from wordbrush.training import config as training_config

ROOT = Path(__file__).parents[1]
WORDS = (
    *("a", "the", "on", "in", "at", "with", "and", "red", "cat", "dog", "snow", "beach", "sunset", "night"),
    *("castle", "hippopotamus"),
)
ODD = (
    *("", " ", "\n", "\x00", "\ud800", "\u200b", "é", "e\u0301", "ß", "İ", "猫", "🐱", "👨‍👩‍👧"),
    *("...", "-", "'", '"', "cat's", "a" * 400),
)
NUMBERS = (
    *(0, 1, -1, 2, 0.3, 0.8, 1.0, 7.5, 1e9, -1e9, 1e-12, float("nan"), float("inf")),
    *(True, None, "3", 2**63, 10**30),
)
PILLOW_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "ICO", "PPM", "TGA")
MODES = ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16", "I", "F", "YCbCr", "HSV", "LAB")


@lru_cache
def model() -> wb.Model:
    """Return the storybook's model; at the sizes used here a step takes milliseconds."""
    return wb.load("storybook", device="cpu")


def prompt(rng: random.Random) -> Any:
    """Return a prompt: mostly words, sometimes anything."""
    if rng.random() < 0.03:
        return rng.choice([None, 3, b"cat", ["a cat"], 1.5])
    words = [rng.choice(WORDS if rng.random() < 0.85 else ODD) for _ in range(rng.randint(0, 12))]
    if rng.random() < 0.05:
        words *= 30
    return rng.choice([" ", " ", " ", "  ", ", ", "\t"]).join(words)


def edited(rng: random.Random, text: Any) -> Any:
    """Return a prompt that shares words with another one."""
    if not isinstance(text, str) or rng.random() < 0.1:
        return prompt(rng)
    words = text.split(" ")
    for _ in range(rng.randint(0, 3)):
        place = rng.randrange(len(words) + 1)
        words[place : place + rng.randint(0, 1)] = [rng.choice(WORDS)] * rng.randint(0, 2)
    return " ".join(words)


def number(rng: random.Random) -> Any:
    return rng.choice(NUMBERS) if rng.random() < 0.5 else rng.uniform(-0.5, 2)


def window(rng: random.Random) -> Any:
    """Return a part of a run: a number, a pair, or a mapping of words."""
    kind = rng.random()
    if kind < 0.6:
        return number(rng)
    if kind < 0.8:
        return tuple(number(rng) for _ in range(rng.choice([1, 2, 2, 2, 3])))
    return {rng.choice([*WORDS, "default_", *ODD, 3]): number(rng) for _ in range(2)}


def word(rng: random.Random) -> Any:
    return rng.choice(
        [rng.choice(WORDS), rng.choice(ODD), rng.randint(-2, 9), (rng.choice(WORDS), rng.randint(-1, 3))]
    )


def edits(rng: random.Random) -> Any:
    """Return what may be given as ``edits``."""
    made: list[Any] = []
    for _ in range(rng.randint(0, 3)):
        kind = rng.random()
        if kind < 0.4:
            made.append(wb.Replace(window(rng)))
        elif kind < 0.6:
            made.append(wb.Refine(window(rng)))
        elif kind < 0.95:
            made.append(wb.Reweight({word(rng): number(rng)}, until=window(rng)))
        else:
            made.append(rng.choice([wb.Replace, None, "replace", 3]))
    return rng.choice([None, made, [made], [made, made], made[0] if made else None])


def prompts(rng: random.Random, folder: Path) -> None:
    """Plans of random prompts and edits, and some of them carried out."""
    source = prompt(rng)
    to = (
        edited(rng, source) if rng.random() < 0.7 else [edited(rng, source) for _ in range(rng.randint(0, 3))]
    )
    given: dict[str, Any] = {"edits": edits(rng)}
    if rng.random() < 0.5:
        given["self_attention"] = rng.choice(
            [window(rng), wb.SelfAttention(0.5, max_pixels=rng.choice([0, 4, 64, 10**9]))]
        )
    if rng.random() < 0.4:
        given["blend"] = rng.choice(
            ["auto", "none", "all", wb.Blend(word(rng), word(rng), threshold=rng.random())]
        )
    if rng.random() < 0.2:
        given["blocks"] = rng.choice([[0], [0, 1], [99], [], "0", [0.5], 3])
    wb.plan(model(), source, to=to, **given).describe()
    if rng.random() < 0.3:
        made = wb.edit(
            model(), source, to=to, seed=1, steps=rng.randint(1, 3), size=rng.choice([16, (16, 32)]), **given
        )
        assert torch.isfinite(made.latents).all()


def settings(rng: random.Random, folder: Path) -> None:
    """Runs with random seeds, sizes, steps, guidance, schedulers and negative prompts."""
    given: dict[str, Any] = {
        "seed": rng.choice([0, 1, *NUMBERS, [1, 2], range(2), "1"]),
        "steps": rng.choice([1, 2, 3, *NUMBERS]),
    }
    if isinstance(given["steps"], int) and given["steps"] > 3:
        given["steps"] = 10**4  # refused; anything smaller would only take long
    given["size"] = rng.choice(
        [16, (16, 24), (8, 8), 0, -8, 17, (16,), "16", (16.0, 16), 1.5, True, (16, 16, 16)]
    )
    for name, choices in (
        (
            "guidance",
            [*NUMBERS, wb.ClassifierFree(3.0), wb.Unguided(), wb.Distilled(3.0), wb.TextImage(3.0, 1.0), "7"],
        ),
        (
            "scheduler",
            ["ddim", "euler", "heun", "pndm", "lcm", "flow", "dmi", "", 3, None, object(), "unipc"],
        ),
        ("negative", ["", "snow", "\ud800", None, 3, ["snow"], "snow " * 200]),
    ):
        if rng.random() < 0.5:
            given[name] = rng.choice(choices)
    texts = rng.choice(["a cat", ["a cat", "a dog"], [], "", prompt(rng), [prompt(rng), prompt(rng)]])
    wb.generate(model(), texts, **given)


def picture_file(rng: random.Random) -> bytes:
    """Return a picture in some format, mode and size, damaged or not."""
    size = (rng.randint(1, 40), rng.randint(1, 40))
    pixels = np.random.default_rng(rng.randrange(2**32)).integers(0, 256, (size[1], size[0], 4), np.uint8)
    image = Image.fromarray(pixels, "RGBA")
    buffer = io.BytesIO()
    try:
        mode = rng.choice(MODES)
        shown = (
            image.convert("L").convert(mode)
            if mode in ("I;16", "I", "F")
            else image.convert("RGB").convert(mode)
        )
        more = {"save_all": True, "append_images": [shown]} if rng.random() < 0.1 else {}
        shown.save(buffer, format=rng.choice(PILLOW_FORMATS), **more)
    except (OSError, ValueError, KeyError, TypeError):  # Pillow cannot write this mode in this format
        image.save(buffer, format="PNG")
    return damaged(rng, buffer.getvalue())


def damaged(rng: random.Random, content: bytes) -> bytes:
    """Return bytes with some of them changed, cut off, left out or said twice; half of the time as they are."""
    kind = rng.random()
    data = bytearray(content)
    if kind < 0.5 or not data:
        return content
    if kind < 0.7:
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    elif kind < 0.8:
        del data[rng.randrange(len(data)) :]
    elif kind < 0.9:
        first = rng.randrange(len(data))
        del data[first : first + rng.randint(1, 20)]
    else:
        first = rng.randrange(len(data))
        data[first:first] = data[first : first + 50]
    return bytes(data)


def images(rng: random.Random, folder: Path) -> None:
    """Pictures and masks of every kind, read alone and inverted."""
    path = folder / rng.choice(["photo.png", "photo.jpg", "photo", "photo.txt"])
    path.write_bytes(picture_file(rng))
    opened = read_picture(path, mask=rng.random() < 0.3)
    assert opened.image.mode in ("RGB", "L")
    if rng.random() < 0.3:
        size = rng.choice([None, 16, (16, 24)])
        start = wb.invert(model(), path, "a cat", steps=1, size=size, crop=rng.random() < 0.5)
        saved = folder / "start.safetensors"
        start.save(saved)
        saved.write_bytes(damaged(rng, saved.read_bytes()))
        wb.Start.load(saved)


@lru_cache
def editor() -> wb.Editor:
    """Return the storybook's editor."""
    return wb.load_editor("storybook", device="cpu")


def instructions(rng: random.Random, folder: Path) -> None:
    """Pictures of every kind, edited by random instructions, scales, masks, sizes and samplers."""
    picture = folder / "photo.png"
    picture.write_bytes(picture_file(rng))
    given: dict[str, Any] = {"steps": rng.choice([1, 2, 0, -1, 1.5, True, None, "2", 10**4])}
    for name, choices in (
        ("text_guidance", NUMBERS),
        ("image_guidance", NUMBERS),
        ("seed", (*NUMBERS, [1, 2], [], "1")),
        ("mask", (picture, np.ones((8, 8), bool), np.zeros((0, 3)), "", 3)),
        ("preset", ("fast", "nonsense", "", 3)),
        ("scheduler", ("ddim", "euler_a", "dmi", 3)),
        ("guided", (wb.GuidedSteps((0, 0.5)), 0.5, "all")),
        ("negative", ("", "snow " * 200, ["a", "b"], None)),
        ("size", ("native", "whole", "published", "x", 32, (32, 48), 0, -8, 1.5, True, None)),
        ("batch", (1, 0, None)),
    ):
        if rng.random() < 0.3:
            given[name] = rng.choice(choices)
    if given["steps"] is None:
        given["preset"] = "fast"
    made = editor()(picture, prompt(rng), **given)
    assert all(image.mode == "RGB" for image in made.images)


def drafts(rng: random.Random, folder: Path) -> None:
    """What may be done to the words on the studio's page; what is copied from there can be read again."""
    draft = Draft.of(model().backbone.read(prompt(rng)))
    for _ in range(rng.randint(0, 4)):
        if draft.spans:
            one = rng.randrange(len(draft.spans))
            written = rng.choice([*WORDS, *ODD, str(prompt(rng))])
            draft = draft.retype(one, written) if rng.random() < 0.6 else draft.weigh(one, number(rng))
    knobs = Knobs(
        *(number(rng) for _ in range(3)),
        blend=rng.choice(["auto", "none", "cat:dog", ":", "", None, rng.choice(ODD)]),
        steps=rng.choice([1, 20, 101]),
        guidance=number(rng),
        negative=rng.choice(["", *ODD]),
        size=rng.choice(["", "16", "16x24", "x", "9" * 20, "4096x4096"]),
    )
    order = knobs.order(draft, model().backbone.read, model().defaults, Limits())
    assert shlex.split(command(order, "storybook", {}))[0] == "wordbrush"
    compile(python(order, "storybook", {}), "copied.py", "exec")


def value(rng: random.Random) -> str:
    """Return something that stands to the right of an equals sign."""
    numbers = ("1", "-1", "0.5", "nan", "inf", "1e400", "9" * 30, "2020-01-01")
    others = (
        "true",
        '"x"',
        "[]",
        "{}",
        "[1, 2]",
        '["a"]',
        "{ a = 1 }",
        "'''",
        "",
        "x y",
        "=",
        "\x00",
        "[" * 2000,
    )
    return rng.choice([*numbers, *others, f'"{rng.choice(ODD)}"'.replace("\ud800", "?")])


def configs(rng: random.Random, folder: Path) -> None:
    """Settings of data sets and trainings, with lines changed, taken out and put in, and with overrides."""
    shipped = rng.choice(sorted((ROOT / "configs").glob("*.toml")))
    read = training_config.read_config if shipped.name.startswith("train") else data_config.read_config
    lines = shipped.read_text(encoding="utf-8").splitlines()
    names = [line.partition("=")[0].strip() for line in lines if "=" in line and not line.startswith("#")]
    sections = [line.strip("[] ") for line in lines if line.startswith("[")]
    for _ in range(rng.randint(0, 3)):
        place = rng.randrange(len(lines) + 1)
        kind = rng.random()
        if kind < 0.3 and place < len(lines):
            del lines[place]
        elif kind < 0.8:
            lines.insert(place, f"{rng.choice([*names, 'nonsense'])} = {value(rng)}")
        else:
            lines.insert(
                place, rng.choice(["[nonsense]", "[pairs]", "[[pairs]]", "seed", "#", "\x00", "[model.base]"])
            )
    path = folder / "config.toml"
    path.write_bytes(
        damaged(rng, "\n".join(lines).encode()) if rng.random() < 0.3 else "\n".join(lines).encode()
    )
    changes = []
    for _ in range(rng.randint(0, 2)):
        name = rng.choice([*names, "nonsense", "", "seed", "a.b.c", "seed.x", "steps.x"])
        inside = rng.choice(["", "", *(f"{section}." for section in sections)])
        changes.append(f"{inside}{name}{rng.choice(['=', '=', '=', ''])}{value(rng)}")
    read(path, changes)


def pairs(rng: random.Random) -> Iterator[formats.EditPair]:
    for count in range(rng.randint(1, 4)):
        two = [Image.new("RGB", (8, 8), (rng.randrange(256),) * 3) for _ in range(2)]
        yield formats.EditPair(
            key=f"pair-{count}",
            instruction=f"make it {rng.choice(WORDS)} {rng.choice(ODD)}".replace("\ud800", "?"),
            before_picture=formats.Picture.of(two[0]),
            after_picture=formats.Picture.of(two[1]),
            before="a cat",
            after="a dog",
            mask_picture=formats.Picture.of(Image.new("L", (8, 8), 255), mask=True),
            settings={"seed": count},
        )


def data_sets(rng: random.Random, folder: Path) -> None:
    """Data sets of every format, with files damaged, taken away or exchanged, read as this and as other formats."""
    name = rng.choice(list(formats.FORMATS))
    made = folder / "made"
    formats.write(name, pairs(rng), made)
    files = [path for path in sorted(made.rglob("*")) if path.is_file()]
    chosen = rng.choice(files)
    if rng.random() < 0.15:
        chosen.unlink()
    elif rng.random() < 0.15:
        chosen.write_bytes(rng.choice(files).read_bytes())
    else:
        chosen.write_bytes(damaged(rng, chosen.read_bytes()))
    other = name if rng.random() < 0.8 else rng.choice([*formats.FORMATS, "nonsense"])
    for pair in formats.read(other, made, split=rng.choice([None, None, None, "train", "dev", "*", "["])):
        assert pair.before_image.mode == pair.after_image.mode == "RGB"


def shards(rng: random.Random, folder: Path) -> None:
    """Captions of every kind made into shards, which are damaged and read again, and made again."""
    lines = [str(prompt(rng)).replace("\n", " ") for _ in range(rng.randint(1, 20))]
    source = folder / rng.choice(["captions.txt", "captions.jsonl"])
    rows = [json.dumps({"caption": line}) if source.suffix == ".jsonl" else line for line in lines]
    source.write_bytes(damaged(rng, "\n".join(rows).encode(errors="surrogatepass")))
    out = folder / "run"
    section = Captions(sources=(str(source),), rows_per_unit=rng.randint(1, 8), language="any", words=(0, 60))
    make_captions(section, out, engine=LocalEngine())
    files = [path for path in sorted(out.rglob("*")) if path.is_file() and path.name != ".lock"]
    chosen = rng.choice(files)
    chosen.write_bytes(damaged(rng, chosen.read_bytes()))
    if rng.random() < 0.5:
        made = ShardSource(out / "captions")
        made.rows(0, len(made))
    else:
        make_captions(section, out, engine=LocalEngine())


def models(rng: random.Random, folder: Path) -> None:
    """The storybook's model with one of its files damaged, taken away, or put in place of another."""
    copy = folder / "model"
    shutil.copytree(EMBEDDED["storybook"], copy)
    chosen, other = rng.sample([path for path in sorted(copy.rglob("*")) if path.is_file()], 2)
    content = chosen.read_bytes()
    kind = rng.random()
    if kind < 0.6:
        chosen.write_bytes(damaged(rng, content))
    elif kind < 0.8:
        chosen.write_bytes(other.read_bytes())
    else:
        chosen.unlink()
    loaded = wb.load(copy, device="cpu", dtype=rng.choice(["float32", "bfloat16", "int8", "x", None]))
    wb.generate(loaded, "a cat", seed=1, steps=1, size=16)


def commands(rng: random.Random, folder: Path) -> None:
    """Command lines that compute little: plans, renders, settings, and folders that are to be sent."""

    def text() -> str:
        return str(prompt(rng)).replace("\x00", "").replace("\ud800", "") or "x"

    def some(*choices: Any) -> str:
        return str(rng.choice(choices))

    place = str(folder / some("a.png", "b", "c.jpg"))
    change = f"{some('seed', 'pairs.steps', 'seed.x', '', 'captions')}={value(rng)}"
    mini = str(ROOT / "configs" / "storybook-mini.toml")
    until = some("0.3", "cat=2", "x", "0.2:0.8", "cat=0.1:", "")
    weight = some("snow=2", "snow", "=", "snow=1,x", "cat#1=2", "cat#x=1")
    line = rng.choice(
        [
            ["edit", text(), "--to", text(), "--plan", "--until", until],
            ["edit", text(), "--weight", weight, "--plan"],
            [
                "edit",
                text(),
                "--to",
                text(),
                "--plan",
                "--blend",
                some("cat:dog", "cat", ":", "auto", "none"),
            ],
            ["storybook", "render", text(), "-o", place, "--seed", some(0, -1, "x", 2**70)],
            ["data", "run", mini, "--out", str(folder / "run"), "--dry-run", "--set", change],
            ["push", str(EMBEDDED["storybook"]), some("a/b", "a", text()), "--dry-run"],
            ["invert", text(), "--caption", text()],
            [
                some("edit", "data", "nonsense", "figures", "models"),
                some("--help", "--nonsense", "p2p-99", ""),
            ],
        ]
    )
    done = CliRunner().invoke(app, line, prog_name="wordbrush")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code in (0, 1, 2), done.output


TARGETS: dict[str, Callable[[random.Random, Path], None]] = {
    one.__name__: one
    for one in (
        *(prompts, settings, images, instructions, drafts),
        *(configs, data_sets, shards, models, commands),
    )
}


def attempt(target: Callable[[random.Random, Path], None], seed: int) -> tuple[str, str] | None:
    """Make one case; return where it went wrong and how, or None."""
    folder = Path(tempfile.mkdtemp(prefix="wordbrush-fuzz-"))
    try:
        target(random.Random(seed), folder)
    except wb.WordbrushError as error:
        if "\n" in (text := str(error)) or not text:
            return f"{type(error).__name__} that is not one line", traceback.format_exc()
    except Exception as error:  # every other exception is what is looked for
        frames = [
            frame for frame in traceback.extract_tb(error.__traceback__) if "/wordbrush/" in frame.filename
        ]
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "scripts/fuzz.py"
        return f"{type(error).__name__} at {place}", traceback.format_exc()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return None


def main(
    minutes: Annotated[float, typer.Option(min=0, help="How long; 0 is one case of each target.")] = 1.0,
    only: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(TARGETS)}.")] = None,
    seed: Annotated[int, typer.Option(help="Of the first case; the next has the next number.")] = 0,
) -> None:
    """Make cases until the time is up, and tell what went wrong."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    end, found, cases = time.monotonic() + 60 * minutes, {}, dict.fromkeys(only or TARGETS, 0)
    while True:
        for name in cases:
            failed = attempt(TARGETS[name], seed)
            cases[name] += 1
            if failed and failed[0] not in found:
                found[failed[0]] = name
                print(f"\n{name}, seed {seed}: {failed[0]}\n{failed[1]}", flush=True)
        seed += 1
        if time.monotonic() >= end:
            break
    print(f"{', '.join(f'{count} {name}' for name, count in cases.items())}: {len(found)} found")
    sys.exit(bool(found))


if __name__ == "__main__":
    typer.run(main)
