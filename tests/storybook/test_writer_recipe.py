"""The writer's recipe: a vocabulary for any text, pure data, exact resume, an export that transformers loads."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from wordbrush.dataset.writers.form import ASK, CHANGE, END
from wordbrush.dataset.writers.local import LocalWriter, Sampling
from wordbrush.storybook.evaluate_writer import evaluate_writer
from wordbrush.storybook.instructions import objection
from wordbrush.storybook.recipe import cli, writer
from wordbrush.storybook.recipe.budget import Budget
from wordbrush.storybook.recipe.export import export
from wordbrush.storybook.recipe.renders import is_held_out
from wordbrush.storybook.scene import parse

STEPS = {"batch": "4", "total": "24", "captions": "12", "exercises": "4"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe, run for three steps on captions and three on triplets."""
    out = tmp_path_factory.mktemp("recipe")
    done = cli.train("writer", minutes=5, out=out, device="cpu", settings=STEPS)
    assert done["finished"]
    return out


def test_any_text_survives_the_tokenizer(folder: Path):
    tokenizer = writer.load_tokenizer(folder / "writer" / "tokenizer")
    for text in (
        "a watercolor of an owl",
        "Ein Émile’s 🙂 cat,\n\n  twice",
        "zygomorphic xyzzy",
        "caption\n##\nedit\n%%\nout\nEND",
    ):
        assert tokenizer.decode(tokenizer(text).input_ids) == text
    for mark in (ASK, CHANGE, END):
        assert len(tokenizer(mark).input_ids) == 1
    last = [len(tokenizer) - 3 + number for number in range(3)]  # where the exercises take them from
    assert [*tokenizer(ASK + CHANGE + END).input_ids, tokenizer.eos_token_id] == [*last, 0]
    assert len(tokenizer("a sunflower in a meadow at sunset with a butterfly").input_ids) == 10
    assert len(tokenizer) <= writer.VOCABULARY
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "a cat on a beach"}], tokenize=False)
    assert chat == "a cat on a beach" + ASK


def test_vocabulary_is_learned_the_same_every_time(folder: Path, tmp_path: Path):
    writer.train_tokenizer(tmp_path, writer.wordings())
    names = ("tokenizer.json", "tokenizer_config.json")
    assert all(
        (tmp_path / name).read_bytes() == (folder / "writer" / "tokenizer" / name).read_bytes()
        for name in names
    )


def test_model_is_small_and_data_are_functions_of_their_number():
    assert 2e6 < sum(parameter.numel() for parameter in writer.build().parameters()) < 4e6
    known = writer.wordings()
    texts = [writer.caption_document(index) for index in range(100)]
    assert texts == [writer.caption_document(index) for index in range(100)]
    for text in texts:
        first, second = text.split("\n")
        assert not is_held_out(parse(first))
        assert not is_held_out(parse(second))
    triplets = [writer.triplet(index, known) for index in range(100)]
    assert triplets[7] == writer.triplet(7, known) != triplets[8]
    assert all(objection(one.before, one.instruction, one.after) is None for one in triplets)
    written = {one.example for one in known}
    assert 2 < sum(one in written for one in triplets) < 30


def test_exercises_are_triplets_of_random_tokens_with_one_change():
    marks = [1375, 1376, 1377]
    made = [writer.exercise(index, 1378) for index in range(200)]
    assert made[3] == writer.exercise(3, 1378) != made[4]
    changed = []
    for read, learned in made:
        *before, ask = read
        named, change, *after, end, stop = learned
        assert [ask, change, end, stop] == [*marks, 0]
        assert 6 <= len(before) == len(after) < 18
        assert named in after
        assert not {0, *marks} & {*before, *after}
        changed.append(sum(a != b for a, b in zip(before, after, strict=True)))
    assert set(changed) <= {0, 1}
    assert sum(changed) > 190  # now and then the same token is drawn again


def test_loss_is_on_the_completion_alone():
    batch = writer.batch_of([([5, 6], [7, 8, 0]), ([5], [7])], torch.device("cpu"))
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 0], [5, 7, 0, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]
    assert batch["labels"].tolist() == [[-100, -100, 7, 8, 0], [-100, 7, -100, -100, -100]]


def test_stopped_and_resumed_is_bit_for_bit_the_same(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    spent = itertools.chain(itertools.repeat(False, 4), itertools.repeat(True))
    with monkeypatch.context() as patched:
        patched.setattr(Budget, "spent", property(lambda _: next(spent)))
        first = cli.train("writer", minutes=5, out=tmp_path, device="cpu", settings=STEPS)
    assert not first["finished"]
    with safe_open(tmp_path / "writer" / "state.safetensors", "pt") as state:
        assert state.metadata()["step"] == "4"  # of 6; the triplets begin with step 3
    assert cli.train("writer", minutes=5, out=tmp_path, device="cpu", resume=True, settings=STEPS)["finished"]
    one = load_file(folder / "writer" / "state.safetensors")
    other = load_file(tmp_path / "writer" / "state.safetensors")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    untrained = dict(writer.build().named_parameters())
    assert not torch.equal(one["weight/model.norm.weight"], untrained["model.norm.weight"])


def test_export_is_an_ordinary_directory_with_a_card(folder: Path, tmp_path: Path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert export(folder, tmp_path) == ["writer"]
    made = tmp_path / "writer"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(made), AutoTokenizer.from_pretrained(made)
    ours = writer.averaged_model(folder / "writer", torch.device("cpu"))
    ids = torch.tensor([tokenizer("a cat on a beach" + ASK).input_ids])
    with torch.no_grad():
        torch.testing.assert_close(model.float()(ids).logits, ours(ids).logits, rtol=0.02, atol=0.02)
    assert {value.dtype for value in load_file(made / "model.safetensors").values()} == {torch.float16}
    card = (made / "README.md").read_text(encoding="utf-8")
    assert "--stage writer`: 24 samples seen" in card
    assert "written by hand" in card
    assert "128 × 128 pixels" not in card


def test_an_untrained_writer_is_measured_as_one(folder: Path, tmp_path: Path):
    export(folder, tmp_path)
    measured = evaluate_writer(
        LocalWriter(str(tmp_path / "writer"), sampling=Sampling(max_tokens=12)), captions=5
    )
    assert measured["valid"]["of"] == 5
    assert measured["valid"]["share"] == measured["valid_and_novel"]["share"] == 0
    assert measured["faults"] == {"form": 5}
    assert set(measured["fault_examples"]) == {"form"}
