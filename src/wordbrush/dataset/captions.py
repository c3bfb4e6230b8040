"""The first stage: captions from anywhere, tidied, filtered and without repetitions.

Repetition is a question to all captions at once, so the source answers it, in one pass over its inputs, and the stage
only writes the rows down. A million captions take a few hundred megabytes of memory.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain, islice
from typing import Any

import pyarrow as pa

from wordbrush.dataset.filters import DEFAULTS, Filter, first_objection, settings
from wordbrush.dataset.keys import caption_key
from wordbrush.dataset.readers import Found, Reader
from wordbrush.dataset.readers import reader as find_reader
from wordbrush.dataset.records import CAPTIONS, Caption
from wordbrush.dataset.stage import Worker


def tidy(text: str) -> str:
    """Return ``text`` in Unicode's composed form, without control characters, with single spaces."""
    spaced = "".join(
        " " if unicodedata.category(c) == "Cc" else c for c in unicodedata.normalize("NFC", text)
    )
    return " ".join(spaced.split())


class CaptionSource:
    """The rows of the stage ``captions``: everything that was read, in order, each with its verdict.

    As in the published data, a caption is a repetition if its text or its address has been *kept* before; texts
    are compared by ``keys.normalise``. A kept row's key is that of its text; a rejected row's has its number behind
    it, since the same text may be rejected many times.

    Args:
        readers: read one after the other.
        filters: in the order in which they are asked.
        limit: read no more than so many captions; None for all.

    Raises:
        DataError: while reading, for what cannot be read.
    """

    def __init__(
        self, readers: Sequence[Reader], filters: Sequence[Filter] = DEFAULTS, *, limit: int | None = None
    ) -> None:
        self.readers, self.filters, self.limit = tuple(readers), tuple(filters), limit
        self._read: list[dict[str, Any]] | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self, start: int, stop: int) -> list[dict[str, Any]]:
        """Return the rows [start, stop)."""
        return self._rows[start:stop]

    def fingerprint(self) -> dict[str, Any]:
        """Return the filters and a checksum of what was read."""
        hashed = blake2b(digest_size=16)
        for row in self._rows:
            hashed.update(repr((row["text"], row["source"], row["url"])).encode())
        return {"filters": settings(self.filters), "content": hashed.hexdigest()}

    def __getstate__(self) -> dict[str, Any]:
        """Leave what was read behind: a worker that needs it reads it again."""
        return {**self.__dict__, "_read": None}

    @property
    def _rows(self) -> list[dict[str, Any]]:
        if self._read is None:
            found = islice(chain.from_iterable(self.readers), self.limit)
            self._read = [caption.to_row() for caption in judge(found, self.filters)]
        return self._read


def judge(found: Iterable[Found], filters: Sequence[Filter]) -> Iterable[Caption]:
    """Yield a record of every caption, with the reason if it is rejected."""
    texts: dict[str, str] = {}
    urls: dict[str, str] = {}
    for number, one in enumerate(found):
        text = tidy(one.text or "")
        key = caption_key(text)
        reason = "empty: no text" if not text else first_objection(filters, text)
        if reason is None and key in texts:
            reason = f"duplicate: the text of {texts[key]}"
        if reason is None and one.url is not None and one.url in urls:
            reason = f"duplicate: the address of {urls[one.url]}"
        if reason is None:
            texts[key] = one.source
            if one.url is not None:
                urls[one.url] = one.source
        yield Caption(
            key=key if reason is None else f"{key}@{number}",
            text=text,
            source=one.source,
            url=one.url,
            kept=reason is None,
            reason=reason,
        )


def caption_source(
    names: Sequence[str],
    *,
    filters: Sequence[Filter] = DEFAULTS,
    column: str | None = None,
    url_column: str | None = None,
    split: str = "train",
    limit: int | None = None,
) -> CaptionSource:
    """Return the source that reads what a user names, each as in ``readers.reader``.

    Raises:
        DataError, InvalidInput: as ``readers.reader``.
    """
    readers = [find_reader(name, column=column, url_column=url_column, split=split) for name in names]
    return CaptionSource(readers, filters, limit=limit)


@dataclass(frozen=True)
class CaptionStage:
    """Writes the rows of a ``CaptionSource`` down."""

    rows_per_unit: int = 10_000
    name: str = "captions"
    schema: pa.Schema = CAPTIONS

    def fingerprint(self) -> dict[str, Any]:
        """Everything the rows depend on is in the source's own."""
        return {}

    def open(self) -> Worker:
        """Return the worker, which changes nothing."""
        return list
