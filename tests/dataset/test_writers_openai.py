"""Servers of the chat protocol: what is asked, what is understood, and every way in which they fail."""

from __future__ import annotations

import json
import os
import pickle
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest

from chat_server import Reply, chat_server, completion
from wordbrush.dataset.engines.local import LocalEngine
from wordbrush.dataset.keys import caption_key
from wordbrush.dataset.readers import Storybook
from wordbrush.dataset.shards import read_shard
from wordbrush.dataset.stage import run_stage
from wordbrush.dataset.triplets import CHECKS, TripletStage
from wordbrush.dataset.writers.base import StorybookTruth
from wordbrush.dataset.writers.form import Example
from wordbrush.dataset.writers.local import Sampling
from wordbrush.dataset.writers.openai import SCHEMA, OpenAIWriter, read_json
from wordbrush.dataset.writers.storybook import WEIGHTS
from wordbrush.errors import InvalidInput, ModelError

GOOD = '{"instruction": "make it a dog", "output": "a dog on a beach"}'


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def writer(url: str, **options: Any) -> OpenAIWriter:
    return OpenAIWriter(
        "some-model", base_url=url, **{"wait": 0.001, "timeout": 5.0, "retries": 2, **options}
    )


def always(reply: Reply) -> Any:
    return lambda body, number: reply


def test_the_request_is_constrained_by_the_schema(monkeypatch: pytest.MonkeyPatch):
    example = Example("a cat", "make it a dog", "a dog")
    with chat_server(always(completion(GOOD))) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url + "/")
        monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
        (answer,) = OpenAIWriter("some-model", examples=(example,)).open()(["a cat on a beach"], [2**40 + 5])
    assert (answer.instruction, answer.after, answer.fault) == ("make it a dog", "a dog on a beach", None)
    assert (answer.tokens_in, answer.tokens_out) == (30, 12)
    (body,) = server.bodies
    assert body["response_format"]["json_schema"]["schema"] == SCHEMA
    assert body["response_format"]["json_schema"]["strict"] is True
    assert (body["model"], body["temperature"], body["top_p"], body["max_tokens"]) == (
        "some-model",
        0.7,
        1.0,
        256,
    )
    assert body["seed"] == 5
    assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "user"]
    assert json.loads(body["messages"][2]["content"]) == {"instruction": "make it a dog", "output": "a dog"}
    assert server.headers[0]["path"] == "/v1/chat/completions"
    assert server.headers[0]["Authorization"] == "Bearer secret-key"


def test_the_published_form_sends_the_caption_alone():
    with chat_server(always(completion("make it a dog\n%%\na dog on a beach"))) as server:
        (answer,) = writer(server.url, form="published").open()(["a cat on a beach"], [1])
    assert (answer.instruction, answer.after, answer.fault) == ("make it a dog", "a dog on a beach", None)
    (body,) = server.bodies
    assert body["messages"] == [{"role": "user", "content": "a cat on a beach"}]
    assert body["stop"] == ["\nEND"]
    assert "response_format" not in body


def test_key_and_address_are_in_no_record_of_the_run(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    one, other = writer("http://a/v1"), writer("http://b/v1", concurrency=2)
    assert one.fingerprint() == other.fingerprint() != writer("http://a/v1", form="published").fingerprint()
    assert "secret-key" not in repr(pickle.loads(pickle.dumps(one))) + json.dumps(one.fingerprint())


def test_answers_come_in_order_and_no_more_requests_than_allowed_are_under_way():
    def slow_echo(body: dict[str, Any], number: int) -> Reply:
        caption = body["messages"][-1]["content"]
        time.sleep(0.02 * (3 - number % 3))
        return completion(json.dumps({"instruction": "x", "output": caption.upper()}))

    captions = [f"caption {n}" for n in range(12)]
    with chat_server(slow_echo) as server:
        answers = writer(server.url, concurrency=3).open()(captions, list(range(12)))
    assert [answer.after for answer in answers] == [caption.upper() for caption in captions]
    assert server.most_at_once == 3


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_passes_is_tried_again(status: int):
    def third_time(body: dict[str, Any], number: int) -> Reply:
        return completion(GOOD) if number == 2 else (status, "busy")

    with chat_server(third_time) as server:
        (answer,) = writer(server.url).open()(["a cat on a beach"], [1])
    assert answer.fault is None
    assert len(server.bodies) == 3


def test_waits_double_and_are_functions_of_the_seed(monkeypatch: pytest.MonkeyPatch):
    waits: list[float] = []
    monkeypatch.setattr("wordbrush.dataset.writers.openai.time.sleep", waits.append)
    with chat_server(always((503, "busy"))) as server:
        ask = writer(server.url, wait=1.0, retries=4).open()
        for seed in (1, 1, 2):
            with pytest.raises(ModelError, match="has failed 5 times, at last with 'status 503: busy'"):
                ask(["a cat"], [seed])
    assert waits[:4] == waits[4:8] != waits[8:]
    assert all(0.5 * 2**n <= wait < 1.5 * 2**n for n, wait in enumerate(waits[:4]))


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        ((200, '{"choices": []}'), "server: the answer is not of the chat protocol"),
        ((200, '{"choices": 3}'), "server: the answer is not of the chat protocol"),
        (completion("Sure! Here is an edit."), "form: the answer is not JSON"),
        (completion('{"instruction": "make it a dog"}'), "form: the answer has no 'output'"),
        (completion('{"instruction": " ", "output": "a dog"}'), "form: the answer has no 'instruction'"),
        (completion('{"instruction": ["a"], "output": "a dog"}'), "form: the answer has no 'instruction'"),
        (completion("[]"), "form: the answer has no 'instruction'"),
        (completion('{"instruction": "ma', finish="length"), "form: cut off after 12 tokens"),
        (completion("[" * 100_000), "form: the answer is not JSON"),
        (completion(None), "refused: the model wrote no answer"),
        (
            (
                400,
                '{"message": "This model\'s maximum context length is 4096 tokens. However, you requested 5000"}',
            ),
            "form: the caption is longer than the model reads",
        ),
        (
            (400, '{"error": {"code": 400, "message": "the request exceeds the available context size"}}'),
            "form: the caption is longer than the model reads",
        ),
        (
            (400, '{"error": {"code": "content_filter", "message": "no"}}'),
            "refused: the server's content policy",
        ),
    ],
)
def test_nonsense_is_a_reject_with_its_reason_and_text(reply: Reply, fault: str):
    with chat_server(always(reply)) as server:
        stage = TripletStage(writer(server.url), attempts=2)
        row = {"key": caption_key("a cat on a beach"), "text": "a cat on a beach", "url": None}
        (made,) = stage.open()([row])
    assert (made["kept"], made["reason"], made["attempts"]) == (False, fault, 2)
    if reply[0] == 200 and fault.startswith("form"):
        assert made["raw"] == json.loads(reply[1])["choices"][0]["message"]["content"]
        assert (made["tokens_in"], made["tokens_out"]) == (60, 24)


@pytest.mark.parametrize(
    "text",
    [
        '{"instruction": "make it \\ud83d", "output": "a dog"}',
        '{"instruction": "make it \ud83d", "output": "a dog"}',
        "\udc00 is no JSON",
    ],
    ids=["escaped", "as it is", "no JSON"],
)
@pytest.mark.parametrize("form", ["json", "published"])
def test_half_a_character_is_a_reject_that_can_be_stored(text: str, form: str, tmp_path: Path):
    row = {"key": caption_key("a cat"), "text": "a cat", "url": None}
    with chat_server(always(completion(text))) as server:
        stage = TripletStage(writer(server.url, form=form), attempts=1)
        report = run_stage(stage, Rows([row]), tmp_path, engine=LocalEngine())
    assert (report.kept, report.reasons) == (0, {"form": 1})
    (made,) = read_shard(tmp_path / "triplets" / "00000.parquet").to_pylist()
    assert "\\ud" in made["raw"]


@pytest.mark.parametrize(
    "used", [None, [3], {}, {"prompt_tokens": None}, {"prompt_tokens": 1e300}, {"x": "y"}]
)
def test_a_good_answer_is_taken_whatever_is_counted(used: Any):
    body = json.loads(completion(GOOD)[1]) | {"usage": used}
    with chat_server(always((200, json.dumps(body)))) as server:
        (answer,) = writer(server.url).open()(["a cat"], [1])
    assert (answer.fault, answer.after, answer.tokens_in, answer.tokens_out) == (
        None,
        "a dog on a beach",
        0,
        0,
    )


def test_an_answer_nested_too_deeply_is_the_servers_fault():
    with (
        chat_server(always((200, "[" * 100_000))) as server,
        pytest.raises(ModelError, match="has failed 3 times"),
    ):
        writer(server.url).open()(["a cat"], [1])


def test_an_answer_that_cannot_be_decoded_is_the_servers_fault(monkeypatch: pytest.MonkeyPatch):
    """As one that says that it is compressed, and is not."""

    def handle(request: httpx.Request) -> httpx.Response:
        raise httpx.DecodingError("incorrect header check", request=request)

    def client(asked: OpenAIWriter) -> httpx.Client:
        return httpx.Client(base_url="http://a/v1", transport=httpx.MockTransport(handle))

    monkeypatch.setattr(OpenAIWriter, "_client", client)
    with pytest.raises(
        ModelError, match="failed 3 times, at last with 'an answer that cannot be decoded: inc"
    ):
        writer("http://a/v1").open()(["a cat"], [1])
    writer("http://a/v1").check()


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("se-cret\n", "OPENAI_API_KEY begins or ends with a space or a line break"),
        ("se-crét", "OPENAI_API_KEY holds a character that is not printable ASCII"),
        ("se-\tcret", "OPENAI_API_KEY holds a character that is not printable ASCII"),
    ],
)
def test_a_key_that_cannot_be_sent_is_said_and_not_shown(
    key: str, sentence: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    for ask in (writer("http://a/v1").check, writer("http://a/v1").open):
        with pytest.raises(InvalidInput, match=sentence) as caught:
            ask()
        assert "se-" not in str(caught.value)


def test_a_server_that_never_answers_stops_the_run():
    def sleep(body: dict[str, Any], number: int) -> Reply:
        time.sleep(0.5)
        return completion(GOOD)

    with (
        chat_server(sleep) as server,
        pytest.raises(ModelError, match=r"failed 2 times.*no answer within 0\.1 s"),
    ):
        writer(server.url, timeout=0.1, retries=1).open()(["a cat"], [1])


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (
            (503, '{"error": {"message": "overloaded"}}'),
            "failed 3 times, at last with 'status 503: overloaded'",
        ),
        (
            (429, '{"error": {"message": "slow down"}}'),
            "failed 3 times, at last with 'status 429: slow down'",
        ),
        ((200, "<html>log in</html>"), "failed 3 times, at last with 'status 200: <html>log in</html>'"),
        ((200, "[1, 2]"), "failed 3 times"),
        ((200, '{"error": {"code": 502, "message": "upstream"}}'), "at last with 'status 200: upstream'"),
        ((429, '{"error": {"code": "insufficient_quota", "message": "pay"}}'), r"no quota left .*\(pay\)"),
        ((401, '{"error": {"message": "bad key"}}'), "refuses the key"),
    ],
)
def test_what_is_the_servers_fault_is_no_captions(reply: Reply, message: str, tmp_path: Path):
    """The run stops, with the units that are whole; the same call asks for the rest, and for nothing twice."""
    captions = [{"key": caption_key(text), "text": text, "url": None} for text in map(str, range(6))]
    good = completion(json.dumps({"instruction": "count on", "output": "a dog"}))
    healthy = False

    def handle(body: dict[str, Any], number: int) -> Reply:
        return good if healthy or int(body["messages"][-1]["content"]) < 3 else reply

    with chat_server(handle) as server:
        stage = TripletStage(writer(server.url, concurrency=1), rows_per_unit=2, checks=())
        with pytest.raises(ModelError, match=message):
            run_stage(stage, Rows(captions), tmp_path, engine=LocalEngine())
        assert [path.name for path in tmp_path.rglob("*.parquet")] == ["00000.parquet"]
        tries = len(server.bodies) - 3
        assert tries == (1 if reply[0] == 401 or "quota" in reply[1] else 3)
        healthy = True
        report = run_stage(stage, Rows(captions), tmp_path, engine=LocalEngine())
    assert (report.reused, report.made, report.kept) == (1, 2, 6)
    assert len(server.bodies) == 3 + tries + 4


@dataclass(frozen=True)
class Rows:
    """A source of rows that are there."""

    given: list[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.given)

    def rows(self, start: int, stop: int) -> list[dict[str, Any]]:
        return self.given[start:stop]

    def fingerprint(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ((401, '{"error": {"message": "bad key"}}'), r"refuses the key \(status 401\): set OPENAI_API_KEY"),
        ((404, '{"error": {"message": "no such model"}}'), r"has no model 'some-model', .*no such model"),
        ((400, '{"detail": "response_format is not known"}'), r"status 400\): response_format is not known"),
    ],
)
def test_what_concerns_every_request_stops_the_run(reply: Reply, message: str):
    with chat_server(always(reply)) as server, pytest.raises(ModelError, match=message):
        writer(server.url, concurrency=1).open()(["a cat"] * 20, list(range(20)))
    assert len(server.bodies) < 20


def test_a_server_that_is_down_is_one_sentence():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(ModelError, match=r"cannot be reached after 3 tries .*run the same command again"):
        writer(url).open()(["a cat"], [1])


def test_bad_settings_are_a_sentence():
    with pytest.raises(InvalidInput, match="no server is given: set OPENAI_BASE_URL"):
        OpenAIWriter("some-model").open()
    with pytest.raises(InvalidInput, match="begins with http"):
        OpenAIWriter("some-model", base_url="localhost:8000").open()
    for address in ("http://[::1/v1", "http://here:port/v1"):
        with pytest.raises(InvalidInput, match="cannot be understood"):
            OpenAIWriter("some-model", base_url=address).check()
    with pytest.raises(InvalidInput, match="'json' or 'published', not 'xml'"):
        OpenAIWriter("some-model", form="xml")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="at least 1 request at once"):
        OpenAIWriter("some-model", concurrency=0)


def test_line_breaks_in_json_become_spaces():
    assert read_json('{"instruction": "make it\\n a dog", "output": "a dog"}').instruction == "make it a dog"


@pytest.mark.slow
@pytest.mark.skipif(not (find_spec("fastapi") and find_spec("uvicorn")), reason="needs transformers[serving]")
@pytest.mark.skipif(not (WEIGHTS / "config.json").exists(), reason="needs the shipped writer")
def test_a_real_server_runs_the_storybook_writer(tmp_path: Path):
    """``transformers serve`` on this machine, with the writer that is shipped; what it writes is checked for truth."""
    model = str(WEIGHTS)
    captions = [found.text or "" for found in Storybook(8)]
    rows = [{"key": caption_key(text), "text": text, "url": None} for text in captions]
    with serving(model, tmp_path) as url:
        asked = OpenAIWriter(
            model, form="published", base_url=url, sampling=Sampling(max_tokens=80), concurrency=2
        )
        asked.check()
        made = list(TripletStage(asked, checks=(*CHECKS, StorybookTruth())).open()(rows))
        (cut,) = replace(asked, sampling=Sampling(max_tokens=2)).open()(captions[:1], [1])
        with pytest.raises(ModelError):
            replace(asked, model="no/such-model", retries=0).open()(captions[:1], [1])
    assert [row["before"] for row in made] == captions
    assert sum(row["kept"] for row in made) >= 4  # half of what it writes is true, and it may try four times
    assert all(row["tokens_in"] > 0 and row["tokens_out"] > 0 for row in made)
    assert cut.fault == "form: cut off after 2 tokens"


class serving:
    """``transformers serve MODEL`` on a free port, stopped at the end."""

    def __init__(self, model: str, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.model, self.log = model, folder / "server.log"

    def __enter__(self) -> str:
        code = "from transformers.cli.transformers import main; main()"
        command = [sys.executable, "-c", code, "serve", self.model, "--port", str(self.port)]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--device", "cpu", "--dtype", "float32"],
                env=environment, stdout=log, stderr=log,
            )  # fmt: skip
        for _ in range(240):
            if self.process.poll() is not None:
                raise AssertionError(self.log.read_text())
            try:
                if httpx.get(f"http://127.0.0.1:{self.port}/health", timeout=2).status_code == 200:
                    return f"http://127.0.0.1:{self.port}/v1"
            except httpx.TransportError:
                time.sleep(0.5)
        raise AssertionError(self.log.read_text())

    def __exit__(self, *stopped: object) -> None:
        self.process.terminate()
        self.process.wait(30)
