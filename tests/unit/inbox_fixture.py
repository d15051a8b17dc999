"""A deployment with one source that reads an inbox, and a receiver that fills it."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from aftercast import landing
from aftercast.declarations import SourceRow
from aftercast.sources import open_source
from aftercast.sources.receiving import Inbox, Receiver
from aftercast.window import Window
from tests.unit import landing_fixture
from tests.unit.tracker_fixture import HOUR, START, Tracker

SECRET = "s3cret"
KEY = b"k" * 32


class Inboxed(Tracker):
    """A source row of a kind that reads an inbox folder."""

    def __init__(self, root: Path, kind: str, *entities: str) -> None:
        self.place, self._kind, self._entities = landing_fixture.deployment(root), kind, entities
        self.folder = self.place.home / "inbox"
        self.folder.mkdir(parents=True)
        self.now = START
        self.inbox = Inbox("events", self.folder, SECRET)
        self.receiver = Receiver({"events": self.inbox}, KEY, clock=lambda: self.now)

    def drop(self, name: str, content: Any) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def post(self, body: Any, minutes: float = 5, hook: str = "", **headers: str) -> tuple[int, dict[str, Any]]:
        """Send something so many minutes after the start of HOUR."""
        self.now = START + timedelta(minutes=minutes)
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.receiver.receive(f"/inbox/events/{hook}".rstrip("/"), {"authorization": f"Bearer {SECRET}", **named}, content)

    def read(self, window: Window = HOUR, *, at: datetime | None = None, **options: Any) -> dict[str, landing.Landed]:
        """Extract a window and land it; what landed, by entity."""
        row = SourceRow(name="inboxed", kind=self._kind, entities=self._entities, options={"inbox": "inbox", **options})
        found = open_source(row, self.place).extract(window)
        return landing_fixture.land(self.place, window, *found, source=row, at=at or window.end + timedelta(minutes=1))


def signature(body: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
