"""The card of a data set: ``README.md`` with the front matter that the Hugging Face hub and ``datasets`` read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from wordbrush.dataset.formats.base import Written
from wordbrush.dataset.funnel import Step, percent
from wordbrush.dataset.records import IMAGE
from wordbrush.dataset.selection import Selection
from wordbrush.version import __version__

PARTS = {
    "captions": "the captions before and after",
    "mask": "the masks",
    "scores": "the scores",
    "settings": "the settings each pair was made with",
}
SIZES = [
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
]
"""What the hub calls a number of rows below the one given."""

MADE = """Captions were given an instruction and a second caption by a language model; both captions were drawn from the
same noise by a text-to-image model with shared attention (Prompt-to-Prompt), as in InstructPix2Pix (arXiv:2211.09800);
every pair was scored, and pairs were selected by their scores."""


def card(
    written: Written,
    *,
    licence: str | None = None,
    selection: Selection | None = None,
    steps: Sequence[Step] = (),
    settings: Mapping[str, Any] | None = None,
    made: str | None = None,
) -> str:
    """Return the card as Markdown.

    Args:
        licence: an identifier of the hub; None says that it is not specified.
        selection: what the pairs were chosen by.
        steps: the funnel of the run.
        settings: what every stage of the run was made with, as JSON values.
        made: a sentence on where the pairs come from; None says that they were made by wordbrush.
    """
    lines = ["---", *_front_matter(written, licence), "---", "", "# Image editing pairs", ""]
    lines += [
        f"{written.pairs:,} edits: a picture, an instruction, and the picture after following it, in the format "
        f"`{written.format.name}` ({written.format.about}).",
        "",
    ]
    lines += ["## How it was made", "", made or MADE, ""]
    if settings:
        lines += ["The settings of every stage:", "", "```json"]
        lines += [json.dumps(settings, indent=1, ensure_ascii=False), "```", ""]
    if selection is not None:
        lines += ["## Selection", "", f"Rules `{selection.preset}`, in this order:", ""]
        lines += [f"- {rule}" for rule in selection.rules] + [""]
    if steps:
        lines += ["## Funnel", "", *_table(steps), ""]
    if written.left_out:
        parts = " and ".join(PARTS[part] for part in written.left_out)
        lines += ["## Left out", "", f"The format has no place for {parts}.", ""]
    lines += ["## Licence", "", licence or "Not specified.", "", f"Written by wordbrush {__version__}.", ""]
    return "\n".join(lines)


def _front_matter(written: Written, licence: str | None) -> list[str]:
    import yaml

    values: dict[str, Any] = {"license": licence} if licence else {}
    values |= {
        "task_categories": ["image-to-image"],
        "tags": ["image-editing", "instruct-pix2pix"],
        "size_categories": [next((name for limit, name in SIZES if written.pairs < limit), "n>10M")],
    }
    schema = written.content.schema
    if schema is not None:
        features = [
            {"name": field.name, "dtype": "image" if field.type == IMAGE else _dtype(str(field.type))}
            for field in schema
        ]
        splits = written.content.splits
        values["dataset_info"] = {
            "features": features,
            "splits": [
                {"name": name, "num_bytes": split.size, "num_examples": split.pairs}
                for name, split in splits.items()
            ],
            "download_size": written.size,
            "dataset_size": sum(split.size for split in splits.values()),
        }
        files = [{"split": name, "path": f"data/{name}-*"} for name in splits]
        values["configs"] = [{"config_name": "default", "data_files": files}]
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True).splitlines()


def _dtype(kind: str) -> str:
    return {"double": "float64"}.get(kind, kind)


def _table(steps: Sequence[Step]) -> list[str]:
    lines = ["| step | records | of the step |", "|---|--:|--:|"]
    for step in steps:
        lines.append(f"| **{step.name}** | {step.records:,} | |")
        lines += [
            f"| rejected: {gate.rule or gate.gate} | {gate.rejected:,} | {percent(gate.rejected, step.records)} |"
            for gate in step.gates
            if gate.rejected
        ]
        lines.append(f"| kept | {step.kept:,} | {percent(step.kept, step.records)} |")
    return lines
