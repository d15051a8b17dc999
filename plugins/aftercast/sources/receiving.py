"""The receiver: what systems send by HTTP, stored line by line in the inbox folders of sources, to be extracted like files.

A request is stored whole or not at all, once, without personal data, with the sender's time beside ours, and only when it proves that it
knows the secret: as a bearer token, the password of basic authentication, a GitLab token, or an HMAC-SHA256 signature as GitHub and
PagerDuty send it. The answer 202 means that it is on disk.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aftercast.privacy import protect_document
from aftercast.sources.inbox import received_name

log = logging.getLogger(__name__)

MOST_BYTES = 1_048_576
PATIENCE = 10.0  # seconds a sender may take for a request
SIGNATURES = ("x-hub-signature-256", "x-pagerduty-signature", "x-signature-256", "x-webhook-signature")
IDS = ("x-github-delivery", "x-gitlab-event-uuid", "idempotency-key", "webhook-id", "x-webhook-id", "ce-id", "x-request-id")
KEPT = re.compile(r"^(?:ce-[a-z]+|x-[a-z-]*event[a-z-]*)$")  # headers that tell what a body is
TIMES = ("ce-time", "date")
_HOOK = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")

Answer = tuple[int, dict[str, Any]]


@dataclass(slots=True)
class Inbox:
    """The folder of a source, the secret its senders share with it, and the ids of what came in lately."""

    name: str
    folder: Path
    secret: str = field(repr=False)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    seen: dict[date, set[str]] = field(default_factory=dict, repr=False)

    def knows(self, id_: str, today: date) -> bool:
        """Whether an id came in today or yesterday; files of earlier processes are read once."""
        recent = (today - timedelta(days=1), today)
        self.seen = {day: self.seen[day] if day in self.seen else _ids(self.folder / received_name(day)) for day in recent}
        return any(id_ in ids for ids in self.seen.values())

    def append(self, line: Mapping[str, Any], today: date) -> None:
        """Put a line on disk at the end of the day's file; a line that a crash tore is ended first."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self.folder / received_name(today)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            content = (b"\n" if torn else b"") + json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
            written = os.write(descriptor, content)
            if written != len(content):
                os.ftruncate(descriptor, size)
                raise OSError(f"only {written} of {len(content)} bytes could be written to {path}")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self.seen.setdefault(today, set()).add(str(line["id"]))


def _ids(path: Path) -> set[str]:
    found: set[str] = set()
    if path.exists():
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    found.add(str(json.loads(line)["id"]))
                except (ValueError, LookupError, TypeError):
                    continue
    return found


def is_known(headers: Mapping[str, str], body: bytes, secret: str) -> bool:
    """Whether a request proves that its sender knows the secret. Header names are in lower case."""
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    told = [headers.get("x-gitlab-token", ""), headers.get("x-webhook-token", "")]
    if scheme.casefold() == "bearer":
        told.append(credentials.strip())
    elif scheme.casefold() == "basic":
        try:
            told.append(base64.b64decode(credentials, validate=True).decode().partition(":")[2])
        except (binascii.Error, UnicodeDecodeError):
            return False
    signed = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    signatures = [part.strip().rpartition("=")[2] for name in SIGNATURES for part in headers.get(name, "").split(",")]
    proofs = [hmac.compare_digest(one.encode(), secret.encode()) for one in told if one]
    return any([*proofs, *(hmac.compare_digest(one.encode(), signed.encode()) for one in signatures if one)])


def delivery_id(headers: Mapping[str, str], body: bytes, document: Any) -> str:
    """Return the id of a delivery: the sender's, else that of the event in it, else one made from what it says."""
    given = next((headers[name] for name in IDS if headers.get(name)), None)
    context = document.get("context") if isinstance(document, dict) else None
    if given is None and isinstance(context, dict) and isinstance(context.get("id"), str):
        given = context["id"]
    if given is None and isinstance(document, dict) and "specversion" in document and isinstance(document.get("id"), str):
        given = document["id"]
    return given[:200] if given else hashlib.sha256(body).hexdigest()[:32]


def sent_at(headers: Mapping[str, str]) -> str | None:
    """Return when a request was sent as its sender says; None when it does not say."""
    for name in TIMES:
        given = headers.get(name)
        try:
            if given:
                moment = datetime.fromisoformat(given) if name == "ce-time" else parsedate_to_datetime(given)
                return moment.astimezone(UTC).isoformat()
        except (ValueError, OverflowError):
            continue
    return None


@dataclass(frozen=True, slots=True)
class Receiver:
    """What answers requests: inboxes by name, the token key, how much a body may be, and the time."""

    inboxes: Mapping[str, Inbox]
    key: bytes = field(repr=False)
    most_bytes: int = MOST_BYTES
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    def refusal(self, path: str, length: str | None) -> Answer | None:
        """Say why a request is not even read; None when it is."""
        if self._place(path) is None:
            return 404, {"error": "no such inbox; post to /inbox/<source> or /inbox/<source>/<hook>"}
        if length is None or not length.isdigit():
            return 411, {"error": "say how long the body is"}
        if int(length) > self.most_bytes:
            return 413, {"error": f"a body may have {self.most_bytes} bytes"}
        return None

    def receive(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Check, clean and store a request; the answer's status and JSON."""
        place = self._place(path)
        refused = self.refusal(path, str(len(body)))
        if refused is not None or place is None:
            return refused or (404, {})
        inbox, hook = place
        if not is_known(headers, body, inbox.secret):
            return 401, {"error": "the secret is missing or wrong"}
        try:
            document = json.loads(body)
            cleaned = protect_document(document, self.key)
        except (ValueError, RecursionError) as error:
            return 400, {"error": f"no JSON: {error}"}
        now = self.clock()
        id_ = delivery_id(headers, body, document)
        line = {
            "id": id_,
            "hook": hook,
            "received_at": now.isoformat(),
            "sent_at": sent_at(headers),
            "headers": {name: value for name, value in sorted(headers.items()) if KEPT.match(name)},
            "body": cleaned,
        }
        with inbox.lock:
            if inbox.knows(id_, now.date()):
                log.info("inbox %s: %s came before and is not stored again", inbox.name, id_)
                return 202, {"id": id_, "duplicate": True}
            try:
                inbox.append(line, now.date())
            except OSError:
                log.exception("inbox %s: %s could not be stored", inbox.name, id_)
                return 503, {"error": "could not be stored; send it again later"}
        log.info("inbox %s: stored %s (%s, %d bytes)", inbox.name, id_, hook or "no hook", len(body))
        return 202, {"id": id_, "duplicate": False}

    def _place(self, path: str) -> tuple[Inbox, str] | None:
        root, _, rest = path.split("?", 1)[0].strip("/").partition("/")
        name, _, hook = rest.partition("/")
        inbox = self.inboxes.get(name) if root == "inbox" else None
        return None if inbox is None or (hook and not _HOOK.match(hook)) else (inbox, hook)


def server(receiver: Receiver, host: str, port: int) -> ThreadingHTTPServer:
    """Return a server that listens and answers once it is told to; port 0 takes any that is free."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version, sys_version = "aftercast", ""
        timeout = PATIENCE

        def do_POST(self) -> None:
            refused = receiver.refusal(self.path, self.headers.get("content-length"))
            if refused is not None:
                self.close_connection = True  # its body was not read
                self._say(*refused)
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            length = int(headers["content-length"])
            body = self.rfile.read(length)
            self._say(*((400, {"error": "the body was cut off"}) if len(body) < length else receiver.receive(self.path, headers, body)))

        def do_GET(self) -> None:
            if self.path == "/health":
                self._say(200, {"status": "ok"})
            else:
                self._say(405, {"error": "post to /inbox/<source>"})

        def _say(self, status: int, answer: Mapping[str, Any]) -> None:
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            log.debug(format, *args)

    return ThreadingHTTPServer((host, port), Handler)
