"""An OpenAI-compatible server on this machine that answers by a script: what tests ask instead of a language model.

    with serving(lambda request, number: "yes") as server:
        Calls(store, server.url, "scripted")

The script gets the request's JSON and its number, and gives the reply's text, or one of the things that go wrong.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Status:
    """A refusal."""

    code: int
    message: str = "scripted"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Body:
    """These bytes instead of a completion; cut: the connection ends before all that was announced is sent."""

    data: bytes
    cut: bool = False


@dataclass(frozen=True)
class Stall:
    """Nothing for so long, then nothing more."""

    seconds: float


Action = str | Status | Body | Stall | dict[str, Any]
Script = Callable[[dict[str, Any], int], Action]


def completion(text: str | None, **more: Any) -> dict[str, Any]:
    """A chat completion with this text."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop", **more}
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 0,
        "model": "scripted",
        "choices": [choice],
        "usage": usage,
    }


class Server(ThreadingHTTPServer):
    """What was asked is in `requests`, how many were at work at once in `busiest`."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, script: Script) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script, self.lock, self.ending = script, threading.Lock(), threading.Event()
        self.requests: list[dict[str, Any]] = []
        self.at_work = self.busiest = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def die(self) -> None:
        """Answer nothing any more, on open connections neither."""
        self.ending.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            number = len(self.server.requests)
            self.server.requests.append(request)
            self.server.at_work += 1
            self.server.busiest = max(self.server.busiest, self.server.at_work)
        try:
            action = self.server.script(request, number)
        finally:
            with self.server.lock:
                self.server.at_work -= 1
        self._do(Stall(0) if self.server.ending.is_set() else action)

    def _do(self, action: Action) -> None:
        if isinstance(action, Stall):
            self.server.ending.wait(action.seconds)
            self.close_connection = True
        elif isinstance(action, Status):
            self._send(action.code, json.dumps({"error": {"message": action.message}}).encode(), action.headers)
        elif isinstance(action, Body):
            self._send(200, action.data, {}, missing=10 if action.cut else 0)
        else:
            found = action if isinstance(action, dict) else completion(action)
            self._send(200, json.dumps(found).encode(), {})

    def _send(self, code: int, data: bytes, headers: dict[str, str], missing: int = 0) -> None:
        self.send_response(code)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data) + missing))
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = self.close_connection or missing > 0

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@contextmanager
def serving(script: Script) -> Iterator[Server]:
    """A server for the block."""
    server = Server(script)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.die()
