"""The folders of the published InstructPix2Pix data and code: several pairs per prompt, with seeds and scores.

    seeds.json              [["0000000", ["1234", "99"]], ...], sorted; seeds are strings
    0000000/prompt.json     {"input": ..., "edit": ..., "output": ..., "url": ...}; older files say "caption"
    0000000/1234_0.jpg      before, and 1234_1.jpg after
    0000000/metadata.jsonl  a line per pair: seed, p2p_threshold, cfg_scale, clip_sim_0, clip_sim_1, ...

In the published data a seed names one pair, and is what its noise was drawn from. Candidates of a run that share a
picture share their noise as well, so each goes by a number made of its key, and ``noise_seed`` of the metadata has the
seed of its noise.

Pictures that came as JPEG keep their bytes; others are compressed with quality 100, as published, which loses a little.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wordbrush.dataset.formats.base import Content, Format, Split
from wordbrush.dataset.formats.lines import first, number, optional, read_json, read_objects
from wordbrush.dataset.formats.pair import EditPair
from wordbrush.dataset.formats.picture import Picture
from wordbrush.dataset.keys import key_seed
from wordbrush.errors import DataError

SCORES = {
    "clip_sim_0": "clip_before",
    "clip_sim_1": "clip_after",
    "clip_sim_dir": "clip_direction",
    "clip_sim_image": "clip_image",
}
SETTINGS = {"p2p_threshold": "share", "cfg_scale": "guidance", "noise_seed": "noise_seed"}


def read(source: Any, split: str | None) -> Iterator[EditPair]:
    """Yield the pairs in the order of ``seeds.json``; without one, of the folders and files, as it would be made.

    The folder, the seed and the url are settings. A seed that ``metadata.jsonl`` has twice, because the published
    script appends to it when it is run again, counts as its last line says.

    Raises:
        DataError: a split, which the layout has not; a file that is missing or malformed.
    """
    if split is not None:
        raise DataError(f"the original layout has no splits, so none called {split!r}")
    folder = Path(source)
    for name, seeds in _seeds(folder):
        yield from _read_prompt(folder / name, seeds)


def _seeds(folder: Path) -> list[tuple[str, list[str]]]:
    path = folder / "seeds.json"
    if path.exists():
        try:
            return [(str(name), [str(seed) for seed in seeds]) for name, seeds in read_json(path)]
        except (TypeError, ValueError) as error:
            raise DataError(f'{path} is not a list such as [["0000000", ["1234"]]]') from error
    found = sorted(path.parent for path in folder.glob("*/prompt.json"))
    if not found:
        raise DataError(
            f"{folder} has neither seeds.json nor folders with prompt.json: it is not the original layout"
        )
    return [(place.name, [_seed(path) for path in sorted(place.glob("*_0.jpg"))]) for place in found]


def _seed(path: Path) -> str:
    return path.name.removesuffix("_0.jpg")


def _read_prompt(folder: Path, seeds: list[str]) -> Iterator[EditPair]:
    path = folder / "prompt.json"
    prompt = read_json(path)
    if not isinstance(prompt, dict):
        raise DataError(f"{path} is not a JSON object but {type(prompt).__name__}")
    url = optional(prompt, ("url",))
    known = _metadata(folder / "metadata.jsonl")
    for seed in seeds:
        made = known.get(seed, {})
        settings = {"folder": folder.name, "seed": int(seed) if seed.isdecimal() else seed, "url": url}
        settings |= {name: made.get(column) for column, name in SETTINGS.items()}
        yield EditPair(
            key=f"{folder.name}-{seed}",
            before=optional(prompt, ("input", "caption")),
            instruction=first(prompt, ("edit",), str(path)),
            after=optional(prompt, ("output",)),
            before_picture=Picture.read(folder / f"{seed}_0.jpg"),
            after_picture=Picture.read(folder / f"{seed}_1.jpg"),
            scores={
                name: number(made[column], column, f"{folder.name}/metadata.jsonl, seed {seed}")
                for column, name in SCORES.items()
                if made.get(column) is not None
            },
            settings={name: value for name, value in settings.items() if value is not None},
        )


def _metadata(path: Path) -> dict[str, dict[str, Any]]:
    if not path.exists():
        return {}
    return {str(values.get("seed")): values for _, values in read_objects(path)}


@dataclass
class Prompts:
    """The folders so far: which texts each is of, and its seeds."""

    folders: dict[tuple[Any, ...], str] = field(default_factory=dict)
    seeds: dict[str, list[str]] = field(default_factory=dict)

    def folder(self, pair: EditPair) -> tuple[str, bool]:
        """Return the folder of the pair's texts, and whether it is a new one.

        Without captions an instruction does not tell pictures apart: the pairs of one picture share a folder then.
        """
        known = "folder" in pair.settings or "captions" in pair.holds
        picture = None if known else pair.settings.get("img_id", pair.key)
        texts = (pair.before, pair.instruction, pair.after, pair.settings.get("folder"), picture)
        if texts in self.folders:
            return self.folders[texts], False
        name = str(pair.settings.get("folder", f"{len(self.folders):07d}"))
        if name in self.seeds:
            raise DataError(f"folder {name} is taken by another prompt than that of {pair.key!r}")
        self.folders[texts] = name
        self.seeds[name] = []
        return name, True

    def seed(self, pair: EditPair, folder: str) -> str:
        """Return the pair's seed as a file name; without one, its number in the folder.

        A candidate of a run is named by its key, since others may have its seed.
        """
        if _is_candidate(pair):
            seed = str(key_seed(0, pair.key, "file"))
        else:
            seed = str(pair.settings.get("seed", len(self.seeds[folder])))
        if not seed.isdecimal():
            raise DataError(
                f"the seed of {pair.key!r} is {seed!r}; files are named by it, so it must be a whole number"
            )
        if seed in self.seeds[folder]:
            raise DataError(
                f"two pairs of folder {folder} have the seed {seed}: their files would have one name"
            )
        self.seeds[folder].append(seed)
        return seed


def write(pairs: Iterable[EditPair], folder: Path) -> Content:
    """Write a folder for each prompt, numbered as they come unless a pair names its own, and ``seeds.json``.

    A pair without captions leaves ``input`` and ``output`` out of ``prompt.json``; the published training reads only
    ``edit``.

    Raises:
        DataError: no pairs, two pairs of a prompt with one seed, or a folder for two prompts.
    """
    prompts = Prompts()
    size = 0
    for pair in pairs:
        name, new = prompts.folder(pair)
        place = folder / name
        if new:
            place.mkdir()
            texts = {
                "input": pair.before,
                "edit": pair.instruction,
                "output": pair.after,
                "url": pair.settings.get("url"),
            }
            known = {key: value for key, value in texts.items() if value is not None}
            (place / "prompt.json").write_text(json.dumps(known), encoding="utf-8")
        seed = prompts.seed(pair, name)
        for side, picture in enumerate((pair.before_picture, pair.after_picture)):
            size += (place / f"{seed}_{side}.jpg").write_bytes(picture.jpeg())
        with (place / "metadata.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(_made(pair, seed)) + "\n")
    count = sum(len(seeds) for seeds in prompts.seeds.values())
    if not count:
        raise DataError("there are no pairs to write: nothing was selected")
    ordered = [[name, sorted(seeds, key="{}_0.jpg".format)] for name, seeds in sorted(prompts.seeds.items())]
    (folder / "seeds.json").write_text(json.dumps(ordered), encoding="utf-8")
    return Content({"all": Split(count, size)})


def _is_candidate(pair: EditPair) -> bool:
    return "triplet_key" in pair.settings


def _made(pair: EditPair, seed: str) -> dict[str, Any]:
    settings = dict(pair.settings)
    if _is_candidate(pair):
        settings["noise_seed"] = settings.get("seed")
    values = {
        "seed": int(seed),
        **{column: settings.get(name) for column, name in SETTINGS.items()},
        **{column: pair.scores.get(name) for column, name in SCORES.items()},
    }
    return {name: value for name, value in values.items() if value is not None}


FORMAT = Format(
    "original",
    "the published folders: NNNNNNN/, prompt.json, SEED_0.jpg, SEED_1.jpg, metadata.jsonl, seeds.json",
    frozenset({"captions", "scores", "settings"}),
    read,
    write,
)
