"""Local models: what is written depends on caption and seed alone, in any architecture and batch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from wordbrush.dataset.writers.form import END, Example
from wordbrush.dataset.writers.local import LocalWriter, Sampling, read_answer
from wordbrush.dataset.writers.sampling import KeyedDraw, draw
from wordbrush.dataset.writers.storybook import storybook_writer
from wordbrush.errors import InvalidInput, ModelError

CAPTIONS = ["a cat on a beach", "a dog in a forest at night with a balloon", "an owl"]
SHORT = Sampling(max_tokens=10)


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random-weight GPT-2 with a byte-level vocabulary."""
    from tiny_writer import build

    return build(tmp_path_factory.mktemp("writer") / "gpt2")


def test_a_text_depends_on_caption_and_seed_alone(gpt2: Path):
    write = LocalWriter(str(gpt2), sampling=SHORT, device="cpu").open()
    torch.manual_seed(1)
    state = torch.get_rng_state()
    together = write(CAPTIONS, [5, 6, 7])
    assert torch.equal(torch.get_rng_state(), state)
    assert len({answer.raw for answer in together}) == 3
    assert [answer.raw for answer in write(CAPTIONS, [8, 9, 10])] != [answer.raw for answer in together]
    alone = [write([caption], [seed])[0] for caption, seed in zip(CAPTIONS, [5, 6, 7], strict=True)]
    assert alone == together
    small = LocalWriter(str(gpt2), sampling=SHORT, batch=2, device="cpu").open()
    assert small(CAPTIONS[::-1], [7, 6, 5])[::-1] == together


def test_tokens_are_counted_without_padding(gpt2: Path):
    answers = LocalWriter(str(gpt2), sampling=SHORT, device="cpu").open()(CAPTIONS, [1, 2, 3])
    assert [answer.tokens_in for answer in answers] == [len(f"{text}\n##\n".encode()) for text in CAPTIONS]
    assert all(1 <= answer.tokens_out <= 10 for answer in answers)
    assert all(str(answer.fault).startswith("form: ") for answer in answers)


def test_rows_stop_at_the_end_mark_whatever_the_others_do(gpt2: Path, monkeypatch: pytest.MonkeyPatch):
    """The first row is made to write ``x\\nEND``, the second never ends."""
    forced = [ord(letter) + 1 for letter in "x" + END]

    def script(self: KeyedDraw, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        step = input_ids.shape[1] - self.start
        chosen = torch.tensor([forced[min(step, len(forced) - 1)], ord("y") + 1][: len(input_ids)])
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen[:, None], 0.0)

    monkeypatch.setattr(KeyedDraw, "__call__", script)
    answers = LocalWriter(str(gpt2), sampling=SHORT, device="cpu").open()(CAPTIONS[:2], [1, 2])
    assert [answer.raw for answer in answers] == ["x" + END, "y" * 10]
    assert [answer.tokens_out for answer in answers] == [5, 10]
    assert answers[1].fault == "form: it does not end with END"


def test_examples_are_shown_first(gpt2: Path):
    shown = (Example("a cat", "make it a dog", "a dog"),)
    few, none = (LocalWriter(str(gpt2), examples=one, sampling=SHORT, device="cpu") for one in (shown, ()))
    assert few.head == "a cat\n##\nmake it a dog\n%%\na dog\nEND\n\n"
    assert few.fingerprint() != none.fingerprint()
    assert few.open()(["an owl"], [1])[0].tokens_in == len((few.head + "an owl\n##\n").encode())
    with pytest.raises(InvalidInput, match="more than the 256 tokens the model reads"):
        LocalWriter(str(gpt2), examples=shown * 9, device="cpu").open()


def test_a_caption_that_is_too_long_is_a_reject_alone(gpt2: Path):
    write = LocalWriter(str(gpt2), sampling=SHORT, device="cpu").open()
    one, long, other = write([CAPTIONS[0], "a " * 150, CAPTIONS[1]], [5, 9, 6])
    assert (long.fault, long.tokens_in) == ("form: the caption is longer than the model reads", 0)
    assert [one, other] == write(CAPTIONS[:2], [5, 6])
    assert write(["a " * 150], [1]) == [long]


def test_weights_and_settings_are_in_the_fingerprint(gpt2: Path, tmp_path: Path):
    from tiny_writer import build

    one = LocalWriter(str(gpt2)).fingerprint()
    assert one == LocalWriter(str(gpt2), batch=1, name="other", device="cpu").fingerprint()
    assert one != LocalWriter(str(gpt2), sampling=Sampling(temperature=0.8)).fingerprint()
    assert one != LocalWriter(str(build(tmp_path / "other", seed=1))).fingerprint()


def test_the_base_of_an_adapter_is_in_the_fingerprint(tmp_path: Path):
    from tiny_writer import build

    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": str(tmp_path / "base")})
    )
    build(tmp_path / "base")
    before = LocalWriter(str(adapter)).fingerprint()
    build(tmp_path / "base", seed=1)
    after = LocalWriter(str(adapter)).fingerprint()
    assert before["model"] == after["model"]
    assert before["base"] != after["base"]


def test_draw_follows_the_probabilities_and_top_p():
    p = torch.tensor([[0.1, 0.6, 0.3]], dtype=torch.float64)
    uniform = torch.linspace(0, 0.999, 1000, dtype=torch.float64)
    drawn = draw(p.expand(1000, -1), uniform, top_p=1.0)
    assert torch.bincount(drawn).tolist() == pytest.approx([100, 600, 300], abs=2)
    nucleus = draw(p.expand(1000, -1), uniform, top_p=0.7)
    assert torch.bincount(nucleus, minlength=3).tolist() == pytest.approx([0, 667, 333], abs=2)
    assert set(draw(p.expand(1000, -1), uniform, top_p=0.5).tolist()) == {1}


def test_frequency_penalty_counts_what_was_written_not_what_was_read():
    sampling = Sampling(temperature=1.0, frequency_penalty=50.0)
    ids = torch.tensor([[0, 0, 0, 1, 1]])
    picked = [
        KeyedDraw([seed], sampling, start=3)(ids, torch.zeros(1, 3)).argmax().item() for seed in range(40)
    ]
    assert set(picked) == {0, 2}
    assert (
        KeyedDraw([4], sampling, start=3).generators[0].random()
        == np.random.Generator(np.random.PCG64(4)).random()
    )


def test_bad_models_and_settings_are_a_sentence(tmp_path: Path, gpt2: Path):
    with pytest.raises(ModelError, match=r"no model at '.*nowhere'"):
        LocalWriter(str(tmp_path / "nowhere")).open()
    with pytest.raises(ModelError, match="has no safetensors weights"):
        LocalWriter(str(tmp_path)).open()
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="cannot be read as a causal language model"):
        LocalWriter(str(tmp_path)).open()
    with pytest.raises(InvalidInput, match="no device 'abacus'"):
        LocalWriter(str(gpt2), device="abacus").open()
    LocalWriter(str(gpt2)).check()
    for begin in (LocalWriter.check, LocalWriter.open):
        with pytest.raises(InvalidInput, match="'float23' is no dtype"):
            begin(LocalWriter(str(gpt2), dtype="float23"))
    for bad in ({"temperature": 0.0}, {"top_p": 1.5}, {"max_tokens": 0}):
        with pytest.raises(InvalidInput):
            Sampling(**bad)
    with pytest.raises(ModelError, match=r"storybook writer is missing .* --stage writer"):
        storybook_writer(tmp_path / "nowhere")


def test_answers_keep_the_text_they_were_read_from():
    good = read_answer("make it a dog\n%%\na dog\nEND", 5, 9)
    assert (good.instruction, good.after, good.fault, good.tokens_in, good.tokens_out) == (
        "make it a dog",
        "a dog",
        None,
        5,
        9,
    )
    bad = read_answer("a dog\nEND", 5, 3)
    assert (bad.raw, bad.instruction) == ("a dog\nEND", "")
    assert bad.fault == "form: one line %% is expected between instruction and caption, not 0"
