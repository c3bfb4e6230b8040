"""The published text form of a triplet, and files of triplets written by hand.

A model reads ``caption`` + ``"\\n##\\n"`` and writes ``instruction`` + ``"\\n%%\\n"`` + ``output caption`` +
``"\\nEND"`` (InstructPix2Pix, arXiv:2211.09800, section 3.1.1, and the released scripts).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wordbrush.dataset.readers import json_objects
from wordbrush.errors import DataError

ASK, CHANGE, END = "\n##\n", "\n%%\n", "\nEND"

INPUTS = ("input", "caption", "before", "original_prompt")
EDITS = ("edit", "instruction", "edit_prompt")
OUTPUTS = ("output", "after", "edited_prompt")


@dataclass(frozen=True, slots=True)
class Example:
    """A triplet written by a person."""

    before: str
    instruction: str
    after: str

    @property
    def prompt(self) -> str:
        """What a model reads."""
        return self.before + ASK

    @property
    def completion(self) -> str:
        """What a model writes."""
        return self.instruction + CHANGE + self.after + END


class BadForm(ValueError):
    """A completion that is not in the published form; the message says how."""


def read_completion(text: str) -> tuple[str, str]:
    """Return the (instruction, output caption) of a completion.

    What stands after ``END`` is no part of it. Raises ``BadForm`` if ``END`` or the mark between the two is missing,
    if the mark stands there more than once, or if a part is empty.
    """
    written, end, _ = text.partition(END)
    if not end:
        raise BadForm("it does not end with END")
    parts = [part.strip() for part in written.split(CHANGE)]
    if len(parts) != 2:
        raise BadForm(f"one line %% is expected between instruction and caption, not {len(parts) - 1}")
    for name, part in zip(("instruction", "caption"), parts, strict=True):
        if not part:
            raise BadForm(f"the {name} is empty")
        if "\n" in part:
            raise BadForm(f"the {name} has more than one line")
    return parts[0], parts[1]


def read_examples(path: Path) -> list[Example]:
    """Return the triplets of a file of JSON lines with ``input`` (or ``caption``), ``edit`` and ``output``.

    Raises:
        DataError: the file is empty or cannot be read, or a line is not such an object; named by file and line.
    """
    examples = []
    for number, row in json_objects(path):
        values = []
        for names in (INPUTS, EDITS, OUTPUTS):
            name = next((name for name in names if name in row), None)
            if name is None:
                raise DataError(
                    f"{path}, line {number}: no {' or '.join(map(repr, names[:2]))} among {', '.join(row)}"
                )
            if not isinstance(row[name], str) or not row[name].strip():
                raise DataError(f"{path}, line {number}: {name!r} is a text, not {row[name]!r}")
            values.append(row[name].strip())
        examples.append(Example(*values))
    if not examples:
        raise DataError(f"{path} holds no triplets")
    return examples
