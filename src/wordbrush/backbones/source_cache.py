"""The source of an edit kept for the next one: its latents after every step, and its queries and keys where it is used.

A later edit of the same source runs the network for the targets only. Where they attend as the source does, its rows
are put back into the attention call from what was kept, so that everything else about control stays as it is. What was
kept is refused when anything that it depends on has changed, or when an edit needs more of it.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from wordbrush.backbones.base import AttentionCall, Layout, Site
from wordbrush.backbones.ragged import Restore, real, unchanged, widened
from wordbrush.errors import InvalidInput
from wordbrush.files import locked, write_files

UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
MANIFEST = "source.safetensors"

# How far the network's answer to the same question may be off, as other kernels round differently. In half precision
# that is more than some adapters change, so other weights are told by the key.
ANSWER_TOLERANCE = 8

LEAN = "keep only what this edit uses: SourceCache(lean=True)"
LEAN_OPTION = "keep only what this edit uses: --lean-cache"

Kept = dict[str, Tensor]
Key = Mapping[str, object]
# The sites at which the source's attention is used, step by step.
Uses = Sequence[frozenset[int]]


class Tape(Protocol):
    """What sees the attention calls of a run besides the edit itself."""

    def prepare(self, uses: Uses) -> frozenset[int]:
        """Learn, before the first step, where the run uses the source's attention; return what else it must see."""
        ...

    def begin(self, step: int) -> None:
        """Go to a step, counted from 0."""
        ...

    def opened(self, site: Site, call: AttentionCall) -> AttentionCall:
        """Return the call as the edit is to see it."""
        ...

    def closed(self, out: Tensor) -> Tensor:
        """Return what the edited call gives to the network."""
        ...


@dataclass(frozen=True, eq=False)
class Source:
    """A source that was kept.

    Args:
        key: what it depends on, by name.
        path: (steps + 1, C, h, w), its latents before, between and after the steps.
        answer: the network's prediction for its first latents, by which a changed network is noticed.
        uses: the sites that were kept, step by step.
        branches: the branches of the guidance that were kept.
        size: bytes of everything that was kept.
        step: returns the queries, keys and masks of a step.
    """

    key: Key
    path: Tensor
    answer: Tensor
    uses: Uses
    branches: tuple[str, ...]
    size: int
    step: Callable[[int], Kept]


class SourceCache:
    """Keeps one source for further edits: ``wordbrush.edit(…, cache=cache)``.

    The first edit fills it, later ones of the same source read it. Kept are the source's queries and keys, in every
    step, of the attention layers with text, of the self-attention layers that are injected by default, and of those
    that the first edit injects.

    Args:
        limit: the most it may take: bytes, or text such as ``"2GB"`` or ``"500 MiB"``.
        folder: where to keep it on disk; None keeps it in memory, on the model's device.
        lean: keep only the steps and layers in which the first edit uses the source; an edit that uses more is
            refused. For large transformers, which use it in few steps.

    Raises:
        InvalidInput: the limit is no such number, or the folder holds something else, damaged or beyond the limit.
    """

    def __init__(
        self, limit: int | str = "2GB", folder: str | Path | None = None, *, lean: bool = False
    ) -> None:
        self.limit = _bytes(limit)
        self.lean = lean
        self.folder = None if folder is None else Path(folder)
        self._source = _load(self.folder) if self.folder else None
        if self._source and self._source.size > self.limit:
            raise InvalidInput(
                f"the cache in {folder} takes {_readable(self._source.size)} and its limit is {_readable(self.limit)}: "
                "raise the limit, or delete the folder"
            )

    @property
    def filled(self) -> bool:
        """Whether a source is kept."""
        return self._source is not None

    def clear(self) -> None:
        """Forget the source, on disk too, so that the next edit fills the cache again."""
        self._source = None
        if self.folder and self.folder.is_dir():
            (self.folder / MANIFEST).unlink(missing_ok=True)
            for path in self.folder.glob("step-*.safetensors"):
                path.unlink()

    def find(self, key: Key) -> Source | None:
        """Return the source that is kept, if one is.

        Raises:
            InvalidInput: it depends on something that is different in ``key``.
        """
        if self._source is None:
            return None
        for name, value in key.items():
            kept = self._source.key.get(name)
            if kept != value:
                told = "" if name.startswith("the ") else f" {kept}, not {value}"
                other = f"{'another value of ' if not told else ''}{name}{told}"
                raise stale(f"it was filled with {other}")
        return self._source

    def keep(self, source: Source, fill: str) -> None:
        """Keep a source whose steps were all recorded; on disk, as the manifest of the steps of this ``fill``."""
        if self.folder:
            header = {
                "fill": json.dumps(fill),
                "key": json.dumps(dict(source.key), ensure_ascii=False),
                "uses": json.dumps([sorted(sites) for sites in source.uses]),
                "branches": json.dumps(source.branches),
                "size": json.dumps(source.size),
            }
            write_files({
                self.folder / MANIFEST: _packed({"path": source.path, "answer": source.answer}, header)
            })  # fmt: skip
        self._source = source

    def record(self, sites: frozenset[int], layout: Layout, branches: Sequence[str]) -> Recording:
        """Return what records a run: the source in some branches, where it is used, and unless lean at ``sites``."""
        return Recording(self, frozenset() if self.lean else sites, layout, tuple(branches))


class Recording:
    """Keeps the source's queries and keys while the first edit runs, and the folder of the cache to itself.

        with cache.record(…) as recording:
            …

    Raises:
        InvalidInput: another run has filled the folder since it was looked into.
        DataError: one is filling it now.
        CannotWrite: the disk refuses.
    """

    def __init__(
        self, cache: SourceCache, always: frozenset[int], layout: Layout, branches: tuple[str, ...]
    ) -> None:
        self._cache = cache
        self._always = always
        self._rows = {branch: layout.rows_of(branch).start for branch in branches}
        self._uses: Uses = ()
        self._sites: frozenset[int] = frozenset()
        self._sizes: dict[int, int] = {}
        self._taken = 0
        self._now: Kept = {}
        self._steps: list[Kept] = []
        self._path: list[Tensor] = []
        self._fill = uuid.uuid4().hex  # tells the files of this filling from those of any other
        self._lock = ExitStack()

    def __enter__(self) -> Recording:
        if self._cache.folder:
            with ExitStack() as entered:
                entered.enter_context(locked(self._cache.folder))
                if (self._cache.folder / MANIFEST).exists():
                    told = f"another run has filled the cache in {self._cache.folder} meanwhile:"
                    raise InvalidInput(
                        f"{told} make a SourceCache of it again", command=f"{told} run this command again"
                    )
                self._cache.clear()  # what a filling that was interrupted has left
                self._lock = entered.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._lock.close()

    def prepare(self, uses: Uses) -> frozenset[int]:
        """Record these sites in these steps, and others in all of them."""
        everywhere = self._always if self._cache.lean else self._always.union(*uses)
        self._uses = [everywhere | here for here in uses]
        return everywhere

    def begin(self, step: int) -> None:
        """Begin a step."""
        self._now, self._sites = {}, self._uses[step]

    def opened(self, site: Site, call: AttentionCall) -> AttentionCall:
        """Keep the source's rows and leave the call as it is."""
        if site.index not in self._sites:
            return call
        size = 0
        for branch, row in self._rows.items():
            only = call.on(slice(row, row + 1), call.value[row : row + 1])
            for name, tensor in (("query", only.query), ("key", only.key), ("mask", only.mask)):
                if tensor is not None:
                    self._now[f"{site.index}.{branch}.{name}"] = tensor.detach().clone()
                    size += tensor.nbytes
        self._sizes[site.index] = size
        return call

    def closed(self, out: Tensor) -> Tensor:
        """Leave what the call gives as it is."""
        return out

    def end_step(self, latents: Tensor) -> None:
        """Keep the source's (1, C, h, w) latents after a step; called once before the first step as well.

        Raises:
            InvalidInput: the whole run would take more than the cache's limit, as far as is known by now.
        """
        self._path.append(latents.clone())
        if len(self._path) == 1:
            return
        self._taken += sum(tensor.nbytes for tensor in self._now.values())
        ahead = sum(self._sizes.get(site, 0) for sites in self._uses[len(self._path) - 1 :] for site in sites)
        needed = self._taken + ahead + latents.nbytes * (len(self._uses) + 1)
        if needed > self._cache.limit:
            raise InvalidInput(
                f"the source takes {_readable(needed)} and the cache's limit is {_readable(self._cache.limit)}: raise "
                f"the limit, use fewer steps, or {'a smaller until and self_attention' if self._cache.lean else LEAN}",
                command=f"the source takes {_readable(needed)} and --cache-limit is {_readable(self._cache.limit)}: "
                "raise it, use fewer --steps, or "
                f"{'a smaller --until and --self-attention' if self._cache.lean else LEAN_OPTION}",
            )
        if self._cache.folder:
            number = len(self._steps)
            step = _packed(self._now, {"fill": self._fill})
            write_files({_step_file(self._cache.folder, number): step})
            self._steps.append({})
        else:
            self._steps.append(self._now)

    def finish(self, key: Key, answer: Tensor) -> None:
        """Hand everything to the cache."""
        folder, branches = self._cache.folder, tuple(self._rows)
        step = _reader(folder, self._fill, self._uses, branches) if folder else self._steps.__getitem__
        path = torch.cat(self._path)
        size = self._taken + path.nbytes
        self._cache.keep(Source(dict(key), path, answer, self._uses, branches, size, step), self._fill)


class Replay:
    """Puts the source's rows back into the attention calls of a run without it.

    Args:
        source: what was kept.
        present: the rows that the network runs.
        whole: those with the source's, as the edit is to see them.
    """

    def __init__(self, source: Source, present: Layout, whole: Layout) -> None:
        self._source = source
        self._present = present
        self._whole = whole
        self._uses: Uses = ()
        self._sites: frozenset[int] = frozenset()
        self._now: Kept = {}
        self._restored: Restore = unchanged
        self._targets = [
            row
            for branch in whole.branches
            for row in list(range(whole.rows))[whole.rows_of(branch)][1 if whole.has_source(branch) else 0 :]
        ]

    def prepare(self, uses: Uses) -> frozenset[int]:
        """Check that everything the edit will ask for was kept.

        Raises:
            InvalidInput: it was not.
        """
        branches = [branch for branch in self._whole.branches if self._whole.has_source(branch)]
        if not set(branches) <= set(self._source.branches):
            raise _too_little("injects less self-attention than this one", "that with branches='all'")
        kept = enumerate(zip(uses, self._source.uses, strict=True))
        if missing := [step for step, (needed, there) in kept if not needed <= there]:
            raise _too_little(
                f"uses less of the source than this one, first in step {missing[0] + 1} of {len(uses)}",
                "the one with the largest until, self_attention and max_pixels, and with the blend or maps,",
            )
        self._uses = uses
        return frozenset()

    def begin(self, step: int) -> None:
        """Go to a step."""
        self._now, self._sites = self._source.step(step), self._uses[step]

    def opened(self, site: Site, call: AttentionCall) -> AttentionCall:
        """Return the call with the source's rows; what they attend to is of no interest, only how."""
        kept = {b: self._kept(site, b, call) for b in self._whole.branches if self._whole.has_source(b)}
        if site.kind == "joint":
            call, kept = self._level(site, call, kept)
        value = self._joined(call.value, lambda branch: call.value[:1])
        query = self._joined(call.query, lambda branch: kept[branch].query)
        key = self._joined(call.key, lambda branch: kept[branch].key)
        mask = call.mask
        if mask is not None and mask.ndim == 4 and (len(mask) > 1 or site.kind == "joint"):
            mask = self._joined(mask, lambda branch: _mask(kept[branch]))
        return AttentionCall(query, key, value, mask, call.options)

    def closed(self, out: Tensor) -> Tensor:
        """Return the rows of the targets."""
        return self._restored(out[self._targets])

    def _kept(self, site: Site, branch: str, call: AttentionCall) -> AttentionCall:
        """Return the call of the source's row, which has its keys for values.

        Where nothing depends on it, a row of the targets takes its place.
        """
        if site.index not in self._sites:
            return call.on(slice(0, 1), call.key[:1])
        parts = {name: self._now.get(f"{site.index}.{branch}.{name}") for name in ("query", "key", "mask")}
        query, key = (parts[name].to(call.key) for name in ("query", "key"))  # pyright: ignore[reportOptionalMemberAccess]
        mask = parts["mask"]
        return AttentionCall(
            query, key, key, mask if mask is None else mask.to(call.key.device), call.options
        )

    def _level(
        self, site: Site, call: AttentionCall, kept: dict[str, AttentionCall]
    ) -> tuple[AttentionCall, dict[str, AttentionCall]]:
        """Return both with as many positions of text, since each was run in a batch with a longest text of its own."""
        height, width = self._source.path.shape[-2:]
        pixels, everyone = site.pixels((height, width)), (call, *kept.values())
        text = max(one.key.shape[2] for one in everyone) - pixels
        wide = [widened(one, text, pixels, text_first=site.text_first) for one in everyone]
        self._restored = wide[0][1]
        calls = [one for one, _ in wide]
        if any(one.mask is not None for one in calls):
            calls = [replace(one, mask=real(one)) for one in calls]
        return calls[0], dict(zip(kept, calls[1:], strict=True))

    def _joined(self, tensor: Tensor, source: Callable[[str], Tensor]) -> Tensor:
        """Return a (rows, heads, positions, channels) tensor with a row of the source in every branch that has one."""
        parts = []
        for branch in self._whole.branches:
            parts += [source(branch)] if self._whole.has_source(branch) else []
            parts.append(tensor[self._present.rows_of(branch)])
        # Joined as they mostly lie in memory: (rows, positions, heads, channels).
        return torch.cat([part.transpose(1, 2) for part in parts]).transpose(1, 2)


def _mask(call: AttentionCall) -> Tensor:
    assert call.mask is not None
    return call.mask


def _too_little(why: str, first: str) -> InvalidInput:
    told = f"the cache was filled by an edit that {why}:"
    return InvalidInput(
        f"{told} clear() it, and make {first} first",
        command=f"{told} delete its folder and make {first} first, or use another folder",
    )


def stale(why: str) -> InvalidInput:
    """Return the error that tells of a cache which is of no use for an edit."""
    told = f"the cache is stale: {why}; use another"
    return InvalidInput(
        f"{told} SourceCache, or clear() this one", command=f"{told} folder, or delete this one"
    )


def same_answer(kept: Tensor, answer: Tensor) -> bool:
    """Whether two predictions of the network differ by no more than rounding."""
    if kept.shape != answer.shape or kept.dtype != answer.dtype:
        return False
    a, b = (tensor.detach().cpu().double() for tensor in (kept, answer))
    return bool((a - b).norm() <= ANSWER_TOLERANCE * torch.finfo(answer.dtype).eps * b.norm())


def _bytes(limit: int | str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]i?b)?", str(limit).strip().lower())
    if isinstance(limit, bool) or not match:
        raise InvalidInput(f"the limit of a cache is bytes or text such as '2GB', not {limit!r}")
    return int(float(match[1]) * UNITS[match[2] or ""])


def _readable(size: int) -> str:
    for unit, power in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= power:
            return f"{size / power:.3g} {unit}"
    return f"{size} bytes"


def _step_file(folder: Path, step: int) -> Path:
    return folder / f"step-{step:04d}.safetensors"


def _packed(tensors: Kept, header: dict[str, str] | None = None) -> bytes:
    from safetensors.torch import save

    return save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, header)


def _reader(folder: Path, fill: str, uses: Uses, branches: Sequence[str]) -> Callable[[int], Kept]:
    """Return what reads a step of one filling, and raises ``InvalidInput`` if it is not there as it was written."""
    from safetensors import SafetensorError, safe_open

    def read(step: int) -> Kept:
        try:
            with safe_open(_step_file(folder, step), framework="pt") as file:
                filled = (file.metadata() or {}).get("fill")
                kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise _damaged(folder) from error
        parts = {f"{site}.{b}.{part}" for site in uses[step] for b in branches for part in ("query", "key")}
        if filled != fill or not parts <= kept.keys():
            raise _damaged(folder)
        return kept

    return read


def _damaged(folder: Path) -> InvalidInput:
    return InvalidInput(f"the cache in {folder} is damaged: delete the folder")


def _load(folder: Path) -> Source | None:
    """Return the source kept in a folder, or None if there is none."""
    from safetensors import SafetensorError, safe_open

    if not (folder / MANIFEST).exists():
        return None
    try:
        with safe_open(folder / MANIFEST, framework="pt") as file:
            header: dict[str, Any] = {name: json.loads(text) for name, text in file.metadata().items()}
            path, answer = file.get_tensor("path"), file.get_tensor("answer")
        whole = all(_step_file(folder, step).is_file() for step in range(len(path) - 1))
        if not whole:
            raise InvalidInput(f"the cache in {folder} lacks some of its steps: delete the folder")
        uses, branches = [frozenset(sites) for sites in header["uses"]], tuple(header["branches"])
        size, fill = int(header["size"]), header["fill"]
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise _damaged(folder) from error
    return Source(header["key"], path, answer, uses, branches, size, _reader(folder, fill, uses, branches))
