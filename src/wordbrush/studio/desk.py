"""Who is there: one desk for each open page, and the studio that they share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wordbrush.errors import ModelError
from wordbrush.studio.instruct import History
from wordbrush.studio.preview import LinearPreview
from wordbrush.studio.state import Draft, Limits, Photo
from wordbrush.studio.turns import Report, Stopped, Turns, Update, stream

if TYPE_CHECKING:
    from wordbrush.dataset.selection import Selection
    from wordbrush.instruct import Editor
    from wordbrush.metrics.clip import Clip
    from wordbrush.models import Model
    from wordbrush.storybook.judges import Judges
    from wordbrush.studio.data import Sieve
    from wordbrush.studio.write import Painting


class Superseded(Stopped):
    """The same person asked for something newer."""


@dataclass(eq=False)
class Desk:
    """What one person has before them.

    Args:
        selected: the word that the panel is about; ``heated`` tells whether the picture shows where it acts.
        sifting: the newest change of the thresholds.
    """

    draft: Draft | None = None
    photo: Photo | None = None
    painting: Painting | None = None
    selected: int | None = None
    heated: bool = False
    sieve: Sieve | None = None
    selection: Selection | None = None
    sifting: object = None
    history: History = field(default_factory=History)
    _work: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> threading.Event:
        """Give up the work that is under way and return what stops the next."""
        with self._lock:
            self._work.set()
            self._work = threading.Event()
            return self._work

    def halt(self) -> None:
        """Stop the work that is under way, if any."""
        self._work.set()

    def is_newest(self, work: threading.Event) -> bool:
        """Tell whether nothing was begun after this work."""
        return self._work is work


@dataclass(eq=False)
class Studio:
    """What everybody shares.

    Args:
        model: edits by words.
        options: how it was loaded: ``dtype``, ``device`` and ``config``, None where they were not given, and
            ``offload``.
        editor: edits by instruction; None for none.
        data: the folder under which data sets may be opened; None for none.
        clip: the name of a CLIP model to compare with; None for the one that is shipped.
    """

    model: Model
    options: Mapping[str, Any] = field(default_factory=dict)
    editor: Editor | None = None
    data: Path | None = None
    clip: str | None = None
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        self.turns = Turns(self.limits.waiting)
        self._desks: dict[str, Desk] = {}
        self._lock = threading.Lock()

    @cached_property
    def preview(self) -> LinearPreview:
        """The cheap decoder, fitted when it is first needed."""
        return LinearPreview.fit(self.model)

    @cached_property
    def editor_preview(self) -> LinearPreview | None:
        """The same of the editor; None where there is none."""
        return LinearPreview.fit(self.editor.model) if self.editor else None

    @cached_property
    def judges(self) -> Judges | None:
        """The storybook judges; None where their weights are not shipped."""
        from wordbrush.storybook.judges import Judges

        try:
            return Judges()
        except ModelError:
            return None

    @cached_property
    def scorer(self) -> Clip | None:
        """The CLIP model; None where none was named and none is shipped."""
        from wordbrush.metrics.clip import EMBEDDED, load_clip

        if self.clip is None and not (EMBEDDED["storybook"] / "config.json").exists():
            return None
        return load_clip(self.clip or "storybook", device=self.options.get("device"))

    def desk(self, name: str) -> Desk:
        """Return a person's desk, a new one at first."""
        with self._lock:
            return self._desks.setdefault(name, Desk())

    def leave(self, name: str) -> None:
        """Stop what the person wanted, and clear the desk."""
        with self._lock:
            desk = self._desks.pop(name, None)
        if desk:
            self.halt(desk)

    def halt(self, desk: Desk) -> None:
        """Stop a desk's work: at its next step, or at once if it is still waiting."""
        desk.halt()
        self.turns.wake()

    def work(self, desk: Desk, work: Callable[[Report], Any], *, patience: float = 0.0) -> Iterator[Update]:
        """Do ``work`` for a desk, in its turn; what the desk wanted before is given up.

        Args:
            patience: seconds to wait first for something newer, such as the next position of a control.

        Raises:
            Superseded: the desk asked for something newer.
            Stopped: it was stopped.
        """
        stop = desk.begin()
        self.turns.wake()
        try:
            if stop.wait(patience):
                raise Stopped
            yield from stream(work, self.turns, stop)
        except Stopped as error:
            if not desk.is_newest(stop):
                raise Superseded from error
            raise
