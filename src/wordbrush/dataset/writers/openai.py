"""A writer behind any server of OpenAI's chat protocol: vLLM, llama.cpp, Ollama, ``transformers serve``, or OpenAI's.

The address and the key come from the environment (``OPENAI_BASE_URL``, ``OPENAI_API_KEY``); the key is written nowhere.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from wordbrush.dataset.writers.base import Answer, Write
from wordbrush.dataset.writers.form import END, Example
from wordbrush.dataset.writers.local import PUBLISHED, TOO_LONG, Sampling, read_answer
from wordbrush.errors import InvalidInput, ModelError

if TYPE_CHECKING:
    import httpx

ADDRESS, KEY = "OPENAI_BASE_URL", "OPENAI_API_KEY"
PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""Statuses that a server may get over."""

REFUSED = (401, 403)
QUOTA_CODE = "insufficient_quota"
"""Of a 429 that no waiting helps."""

CONTENT_CODES = ("content_filter", "content_policy_violation")
LENGTH_CODE = "context_length_exceeded"
LENGTH_WORDS = ("maximum context length", "available context size")
"""What servers without that code say, with status 400."""

MOST_TOKENS = 10**7
"""Of one text; a server that counts more does not count."""

STRANGE = "server: the answer is not of the chat protocol"
LONGEST_WAIT = 60.0

SYSTEM = (
    "You write training data for an image editor that follows instructions. You are given the caption of a picture. "
    "Think of one edit that could be made to the picture, and answer with a short instruction in everyday words and "
    "with the caption of the edited picture. Keep every word of the caption that the edit does not touch."
)
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"instruction": {"type": "string"}, "output": {"type": "string"}},
    "required": ["instruction", "output"],
    "additionalProperties": False,
}
RESPONSE_FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "edit", "strict": True, "schema": SCHEMA},
}


@dataclass(frozen=True)
class OpenAIWriter:
    """Writes by asking a server.

    Args:
        model: as the server names it.
        form: ``"json"`` constrains the answer by a JSON schema and explains the task; ``"published"`` sends the bare
            caption, for servers of a model that was fine-tuned on the published form.
        examples: triplets shown as a conversation before every caption.
        base_url: such as ``"http://127.0.0.1:8000/v1"``; by default what the environment says.
        concurrency: requests under way at once.
        timeout: seconds to wait for an answer.
        retries: how often a request is sent again after a failure that may pass; the waits double, from ``wait``
            seconds on, and are spread by a factor in [0.5, 1.5) that is a function of the text's seed.
    """

    model: str
    form: Literal["json", "published"] = "json"
    examples: tuple[Example, ...] = ()
    base_url: str | None = None
    sampling: Sampling = PUBLISHED
    concurrency: int = 8
    timeout: float = 60.0
    retries: int = 5
    wait: float = 1.0
    name: str = ""

    def __post_init__(self) -> None:
        if self.form not in ("json", "published"):
            raise InvalidInput(f"the form of a server's answers is 'json' or 'published', not {self.form!r}")
        if self.concurrency < 1 or self.retries < 0 or not self.timeout > 0:
            raise InvalidInput(
                f"a server is asked with at least 1 request at once, 0 retries and a timeout above 0, not "
                f"{self.concurrency}, {self.retries} and {self.timeout}"
            )
        if not self.name:
            object.__setattr__(self, "name", self.model)

    def fingerprint(self) -> dict[str, Any]:
        """Return the model, how it is asked, and how is drawn; neither address nor key."""
        return {
            "model": self.model,
            "form": self.form,
            "system": SYSTEM if self.form == "json" else "",
            "examples": [asdict(example) for example in self.examples],
            "sampling": asdict(self.sampling),
        }

    def check(self) -> None:
        """Raise now if no server is named, or none answers, or it refuses the key; any other answer will do.

        Raises:
            InvalidInput: no address is given, or one that is none; or the key is none.
            ModelError: the server is down, or refuses the key.
        """
        import httpx

        with self._client() as client:
            try:
                status = client.get("/models").status_code
            except httpx.DecodingError:
                return  # it is up, whatever it says
            except httpx.RequestError as error:
                raise ModelError(
                    f"the server at {client.base_url} cannot be reached ({type(error).__name__}): start it first"
                ) from error
            if status in REFUSED:
                raise _key_refused(client.base_url, status)

    def open(self) -> Write:
        """Open the connections.

        Raises:
            InvalidInput: no address is given, or one that is none; or the key is none. The returned function raises
                ``ModelError`` if the server is down or stays busy, refuses the key, has no quota left, or does not know
                the model: what is the server's fault is never a caption's.
        """
        client = self._client()

        def write(captions: Sequence[str], seeds: Sequence[int]) -> list[Answer]:
            with ThreadPoolExecutor(self.concurrency) as pool:
                asked = [
                    pool.submit(self._ask, client, caption, seed)
                    for caption, seed in zip(captions, seeds, strict=True)
                ]
                try:
                    return [one.result() for one in asked]
                except BaseException:
                    for one in asked:
                        one.cancel()
                    raise

        return write

    def _client(self) -> httpx.Client:
        import httpx

        key, address = _key(), self._address()
        try:
            return httpx.Client(
                base_url=address,
                headers={"Authorization": f"Bearer {key}"} if key else {},
                timeout=self.timeout,
                limits=httpx.Limits(max_connections=self.concurrency),
            )
        except httpx.InvalidURL as error:
            raise InvalidInput(
                f"the address of the server, {address!r}, cannot be understood: {error}"
            ) from error

    def _address(self) -> str:
        address = self.base_url or os.environ.get(ADDRESS)
        if not address:
            raise InvalidInput(
                f"no server is given: set {ADDRESS}, for example to 'http://127.0.0.1:8000/v1', or give base_url"
            )
        if not address.startswith(("http://", "https://")):
            raise InvalidInput(f"the address of a server begins with http:// or https://, not as {address!r}")
        return address.rstrip("/")

    def request(self, caption: str, seed: int) -> dict[str, Any]:
        """Return the body of the request for ``caption``."""
        messages = [{"role": "system", "content": SYSTEM}] if self.form == "json" else []
        for example in self.examples:
            messages += [
                {"role": "user", "content": example.before},
                {"role": "assistant", "content": self._as_answer(example)},
            ]
        messages.append({"role": "user", "content": caption})
        constraint = {"response_format": RESPONSE_FORMAT} if self.form == "json" else {"stop": [END]}
        return {
            "model": self.model,
            "messages": messages,
            "temperature": self.sampling.temperature,
            "top_p": self.sampling.top_p,
            "frequency_penalty": self.sampling.frequency_penalty,
            "max_tokens": self.sampling.max_tokens,
            "seed": seed % 2**31,  # servers take 32 bits
            **constraint,
        }

    def _as_answer(self, example: Example) -> str:
        if self.form == "published":
            return example.completion
        return json.dumps({"instruction": example.instruction, "output": example.after}, ensure_ascii=False)

    def _ask(self, client: httpx.Client, caption: str, seed: int) -> Answer:
        """Send the request until it is answered; raise ``ModelError`` if it has failed too often."""
        import httpx

        body, failure = self.request(caption, seed), ""
        for attempt in range(self.retries + 1):
            asked_for = 0.0
            try:
                response = client.post("/chat/completions", json=body)
            except httpx.TimeoutException:
                failure = f"no answer within {self.timeout:g} s"
            except httpx.DecodingError as error:
                failure = f"an answer that cannot be decoded: {error}"
            except httpx.RequestError as error:
                if attempt == self.retries:
                    raise ModelError(
                        f"the server at {client.base_url} cannot be reached after {attempt + 1} tries "
                        f"({type(error).__name__}): start it, and run the same command again"
                    ) from error
                failure = type(error).__name__
            else:
                told = _json(response)
                if response.status_code not in PASSING and _is_answer(response, told):
                    return _storable(self._read(response, told))
                code, message = _said(response, told)
                if code == QUOTA_CODE:
                    raise ModelError(
                        f"the server at {client.base_url} has no quota left for the key ({message}): the same command "
                        "goes on when it has"
                    )
                failure, asked_for = f"status {response.status_code}: {message}", _retry_after(response)
            if attempt < self.retries:
                spread = 0.5 + np.random.default_rng([seed, attempt]).random()
                time.sleep(min(LONGEST_WAIT, max(asked_for, self.wait * 2**attempt * spread)))
        raise ModelError(
            f"the server at {client.base_url} has failed {self.retries + 1} times, at last with {failure!r}: "
            "the same command goes on when it works again"
        )

    def _read(self, response: httpx.Response, body: Any) -> Answer:
        if response.status_code != 200:
            return self._refused(response, body)
        try:
            choice = body["choices"][0]
            text = choice["message"]["content"]
            tokens = _count(body, "prompt_tokens"), _count(body, "completion_tokens")
            finish, refusal = choice.get("finish_reason"), choice["message"].get("refusal")
        except (TypeError, KeyError, IndexError, ValueError, AttributeError):
            return Answer(raw=response.text[:2000], fault=STRANGE)
        if refusal or not isinstance(text, str):
            return Answer(raw=str(refusal or body)[:2000], fault="refused: the model wrote no answer")
        if finish == "length":
            fault = f"form: cut off after {tokens[1] or self.sampling.max_tokens} tokens"
            return Answer(raw=text, fault=fault, tokens_in=tokens[0], tokens_out=tokens[1])
        read = read_json if self.form == "json" else _read_published
        return replace(read(text), tokens_in=tokens[0], tokens_out=tokens[1])

    def _refused(self, response: httpx.Response, body: Any) -> Answer:
        """Raise what concerns every request; what concerns this caption alone is an answer with a fault."""
        code, message = _said(response, body)
        where, status = response.request.url.copy_with(path="/"), response.status_code
        if code in CONTENT_CODES:
            return Answer(raw=message, fault="refused: the server's content policy")
        if code == LENGTH_CODE or (status == 400 and any(one in message.lower() for one in LENGTH_WORDS)):
            return replace(TOO_LONG, raw=message)
        if status in REFUSED:
            raise _key_refused(where, status)
        if status == 404:
            raise ModelError(
                f"the server at {where} has no model {self.model!r}, or its address lacks the '/v1' at the end "
                f"(status 404: {message})"
            )
        raise ModelError(f"the server at {where} refuses the request (status {status}): {message}")


def _key() -> str | None:
    """Return the key, which no message repeats. Raises ``InvalidInput`` for one that cannot be sent."""
    key = os.environ.get(KEY)
    if key and key != key.strip():
        raise InvalidInput(f"{KEY} begins or ends with a space or a line break: set it without")
    if key and not (key.isascii() and key.isprintable()):
        raise InvalidInput(f"{KEY} holds a character that is not printable ASCII: set it to the key alone")
    return key


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except (ValueError, RecursionError):
        return None


def _count(body: dict[str, Any], name: str) -> int:
    """Return a number of tokens; 0 if the server does not say, or says no number."""
    used = body.get("usage")
    told = used.get(name) if isinstance(used, dict) else None
    return int(told) if isinstance(told, int | float) and 0 <= told <= MOST_TOKENS else 0


def _storable(answer: Answer) -> Answer:
    """Return an answer that a shard can hold; one with half of a surrogate pair has a fault of the gate ``form``."""
    try:
        "".join((answer.instruction, answer.after, answer.raw)).encode()
    except UnicodeEncodeError:
        fault = answer.fault or "form: the answer holds half of a surrogate pair, which is no character"
        raw = answer.raw.encode(errors="backslashreplace").decode()
        return replace(answer, instruction="", after="", raw=raw, fault=fault)
    return answer


def _is_answer(response: httpx.Response, body: Any) -> bool:
    """Tell whether the server itself speaks, not a page of something before it: that is no caption's fault."""
    return response.status_code != 200 or (
        isinstance(body, dict) and ("choices" in body or "error" not in body)
    )


def _said(response: httpx.Response, body: Any) -> tuple[str | None, str]:
    """Return the code of an error, if it has one, and what the server says about it."""
    told = body.get("error", body.get("detail")) if isinstance(body, dict) else None
    code = told.get("code") if isinstance(told, dict) else None
    message = told.get("message") if isinstance(told, dict) else told
    text = " ".join(str(message or response.text).split())[:300]
    return code, text.encode(errors="backslashreplace").decode()  # half of a surrogate pair cannot be printed


def read_json(text: str) -> Answer:
    """Return an answer written as ``{"instruction": …, "output": …}``; its fault is of the gate ``form``."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return Answer(raw=text, fault="form: the answer is not JSON")
    parts = [values.get(name) for name in SCHEMA["required"]] if isinstance(values, dict) else []
    for name, part in zip(SCHEMA["required"], parts or (None, None), strict=True):
        if not isinstance(part, str) or not part.strip():
            return Answer(raw=text, fault=f"form: the answer has no {name!r}")
    instruction, after = (" ".join(str(part).split()) for part in parts)
    return Answer(instruction, after, text)


def _read_published(text: str) -> Answer:
    """Read an answer from which the server has cut the end mark at which it stopped, or has not."""
    return replace(read_answer(text if END in text else text + END, 0, 0), raw=text)


def _key_refused(where: object, status: int) -> ModelError:
    return ModelError(f"the server at {where} refuses the key (status {status}): set {KEY}")


def _retry_after(response: httpx.Response) -> float:
    """Return the seconds that the server asks to wait for, 0 if it does not say."""
    try:
        return max(0.0, float(response.headers.get("retry-after", 0)))
    except ValueError:  # the other form is a date
        return 0.0
