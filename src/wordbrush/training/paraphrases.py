"""Other wordings of the instructions, for an editor that should learn the language and not a writer's favourites.

A file of them has one JSON object a line: ``prompt``, what the pairs of one prompt have in common (the key of the
triplet in a folder of ``wordbrush data``), ``instruction`` as the pairs have it, and ``paraphrases``, a list.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path

from wordbrush.dataset.readers import json_objects
from wordbrush.errors import DataError, counted


def read(files: Iterable[str]) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the paraphrases of each (prompt, instruction).

    Raises:
        DataError: a file that is missing, or a line that is no such object.
    """
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for file in files:
        for number, row in json_objects(Path(file)):
            prompt, instruction, others = (row.get(name) for name in ("prompt", "instruction", "paraphrases"))
            if not (
                isinstance(prompt, str)
                and isinstance(instruction, str)
                and isinstance(others, list)
                and all(isinstance(other, str) and other.strip() for other in others)
            ):
                raise DataError(
                    f"{file}, line {number}: expected 'prompt' and 'instruction', both text, and 'paraphrases', a list "
                    f"of texts, got {', '.join(map(repr, row)) or 'nothing'}"
                )
            found[prompt, instruction] = (*found.get((prompt, instruction), ()), *others)
    return found


def wordings(
    files: Sequence[str], prompts: Sequence[str], instructions: Sequence[str]
) -> list[tuple[str, ...]]:
    """Return for every row what its instruction may be: its own one first.

    Raises:
        DataError: what ``read`` raises; or none of the rows is in any of the files.
    """
    known = read(files)
    rows = [
        (instruction, *known.get((prompt, instruction), ()))
        for prompt, instruction in zip(prompts, instructions, strict=True)
    ]
    if files and all(len(row) == 1 for row in rows):
        raise DataError(
            f"data.paraphrases has {counted(len(known), 'instruction')}, but none of these pairs: each line names the "
            f"prompt and the instruction of pairs, such as {prompts[0]!r} and {instructions[0]!r}"
        )
    return rows


def digest(files: Sequence[str]) -> str | None:
    """Return a digest of the files' contents, None of no files.

    Raises:
        DataError: a file cannot be read.
    """
    if not files:
        return None
    mix = blake2b(digest_size=16)
    for file in files:
        try:
            mix.update(Path(file).read_bytes())
        except OSError as error:
            raise DataError(f"the paraphrases {file} cannot be read: {error.strerror}") from error
    return mix.hexdigest()
