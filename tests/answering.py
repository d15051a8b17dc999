"""A real HTTP server on loopback that answers what a test says, and remembers what it was asked."""

from __future__ import annotations

import json
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Asked:
    """A request as the server saw it."""

    method: str
    path: str
    params: dict[str, list[str]]
    headers: dict[str, str]
    body: Any

    def param(self, name: str) -> str | None:
        return self.params.get(name, [None])[0]  # type: ignore[list-item]


@dataclass
class Answer:
    """What the server says: JSON of `data`, or `raw` bytes as they are."""

    data: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None


@dataclass
class Server:
    """A running server."""

    url: str
    asked: list[Asked]


Rule = Callable[[Asked], Answer]
WATCHERS: list[Callable[[Asked, Answer], None]] = []
"""Called with every request and what it was answered, before it is sent (tests/documents)."""


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that are gone: drills kill them."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serve(rule: Rule, *, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """Answer every request by `rule` until the block ends."""
    asked: list[Asked] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            text = self.rfile.read(length)
            split = urlsplit(self.path)
            one = Asked(
                self.command,
                split.path,
                parse_qs(split.query, keep_blank_values=True),
                {name.lower(): value for name, value in self.headers.items()},
                json.loads(text) if text and "json" in self.headers.get("content-type", "") else text.decode() or None,
            )
            asked.append(one)
            answer = rule(one)
            for watcher in WATCHERS:
                watcher(one, answer)
            content = answer.raw if answer.raw is not None else json.dumps(answer.data).encode()
            own_date = any(name.lower() == "date" for name in answer.headers)
            (self.send_response_only if own_date else self.send_response)(answer.status)
            for name, value in {"content-type": "application/json", "content-length": str(len(content)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = _answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = _Quiet(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield Server(f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}", asked)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def in_turn(*answers: Answer) -> Rule:
    """Answer the first request with the first answer, and so on; the last one again and again."""
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]
