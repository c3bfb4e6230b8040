"""A small real server of the chat protocol, of the standard library, that answers by a function of the request."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, str]
Handle = Callable[[dict[str, Any], int], Reply]
"""``handle(body, number of requests before)`` → (status, text)."""


@dataclass
class Running:
    """A server that is up, and what it was asked."""

    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0


def completion(content: str | None, *, finish: str = "stop", tokens: tuple[int, int] = (30, 12)) -> Reply:
    """A good answer of the protocol."""
    body = {
        "id": "x",
        "object": "chat.completion",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish}
        ],
        "usage": {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)},
    }
    return 200, json.dumps(body)


@contextmanager
def chat_server(handle: Handle) -> Iterator[Running]:
    """Serve on a free port of this machine until the block ends."""
    running, lock = Running(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = len(running.bodies)
                running.bodies.append(body)
                running.headers.append({"path": self.path, **self.headers})
                running.at_once += 1
                running.most_at_once = max(running.most_at_once, running.at_once)
            status, text = handle(body, number)
            with lock:
                running.at_once -= 1
            content = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    running.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
