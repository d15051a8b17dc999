"""Small facts the pipeline writes down about itself below `AFTERCAST_HOME/metrics`: how tasks ended, what was published, what was late.

Standard library only: a task's end writes here. One file a task, replaced whole; lists grow by a line and forget what is old.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from aftercast.settings import Settings
from aftercast.watching.freshness import Publish

KEEP = timedelta(days=400)
PUBLISHED, MISSED = "published.jsonl", "deadlines.jsonl"


def write_whole(path: Path, content: str) -> None:
    """Put a file in place so that a reader meets the old one or the new one. Anybody may read it: it holds counts and names of tasks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    beside.write_text(content, encoding="utf-8")
    beside.chmod(0o644)
    beside.replace(path)


@dataclass(frozen=True, slots=True)
class TaskEnd:
    """How the last try of a task ended; `index` is the number of a mapped task, -1 where it is not mapped."""

    dag: str
    task: str
    run: str
    index: int
    state: str
    started: datetime
    ended: datetime


def note_task(settings: Settings, end: TaskEnd) -> None:
    """Remember how the last try of a task ended."""
    name = re.sub(r"[^\w.-]", "_", f"{end.dag}.{end.task}" + (f".{end.index}" if end.index >= 0 else ""))
    kept = asdict(end) | {"started": end.started.isoformat(), "ended": end.ended.isoformat()}
    write_whole(settings.metrics / "tasks" / f"{name}.json", json.dumps(kept))


def tasks(settings: Settings) -> list[TaskEnd]:
    """Return what is remembered of tasks; a file that cannot be read is left out, the next try of its task replaces it."""
    found = []
    for path in sorted((settings.metrics / "tasks").glob("*.json")):
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            times = {name: datetime.fromisoformat(kept[name]) for name in ("started", "ended")}
            found.append(TaskEnd(**(kept | times)))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found


def note_published(settings: Settings, version: str, as_of: datetime, at: datetime) -> None:
    """Remember that a version was put in place; the version that is remembered last is not written again."""
    with _turn(settings):
        before = _lines(settings.metrics / PUBLISHED)
        if not before or before[-1].get("version") != version:
            _keep(settings.metrics / PUBLISHED, before, {"version": version, "as_of": as_of.isoformat(), "at": at.isoformat()}, at)


def publishes(settings: Settings) -> list[Publish]:
    """Return when marts were published and until when they know; empty when nothing is remembered."""
    found = []
    for line in _lines(settings.metrics / PUBLISHED):
        try:
            found.append(Publish(datetime.fromisoformat(line["at"]).astimezone(UTC), datetime.fromisoformat(line["as_of"]).astimezone(UTC)))
        except (KeyError, ValueError):
            continue
    return found


def note_missed(settings: Settings, dag: str, run: str, at: datetime) -> None:
    """Remember that a run missed its deadline, once for each run."""
    with _turn(settings):
        before = _lines(settings.metrics / MISSED)
        if not any((line.get("dag"), line.get("run")) == (dag, run) for line in before):
            _keep(settings.metrics / MISSED, before, {"dag": dag, "run": run, "at": at.isoformat()}, at)


def missed(settings: Settings) -> dict[str, datetime]:
    """Return when each DAG last missed its deadline."""
    found: dict[str, datetime] = {}
    for line in _lines(settings.metrics / MISSED):
        moment = datetime.fromisoformat(line["at"])
        found[line["dag"]] = max(moment, found.get(line["dag"], moment))
    return found


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").split("\n"):
        try:
            entry = json.loads(line)
            datetime.fromisoformat(entry["at"])
        except (ValueError, KeyError, TypeError):
            continue
        found.append(entry)
    return found


def _keep(path: Path, before: list[dict[str, Any]], entry: dict[str, Any], now: datetime) -> None:
    kept = [line for line in before if now - datetime.fromisoformat(line["at"]) <= KEEP]
    write_whole(path, "".join(json.dumps(line) + "\n" for line in (*kept, entry)))


@contextmanager
def _turn(settings: Settings) -> Iterator[None]:
    settings.metrics.mkdir(parents=True, exist_ok=True)
    handle = os.open(settings.metrics / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
