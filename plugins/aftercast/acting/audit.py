"""The audit log of what was decided and done about incidents: JSON lines, only ever appended, each bound to the one before by a hash.

One line is one event: when, what, about which incident, why (guardrails with their answers), by which evidence, and who: Aftercast, or the
token of a person. The same event written twice, by a task that was killed and tried again, is one line. A line that a crash tore is kept
and passed over; a line that was changed or removed breaks the chain, and `problems` says where.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from aftercast.errors import AftercastError

START = "0" * 16
OURSELVES = "aftercast"


class AuditError(AftercastError):
    """The audit log cannot be trusted or written; nothing may be done that it would not show."""


def event_id(*parts: object) -> str:
    """Return the stable id of an event: the same parts are the same event."""
    return hashlib.sha256(json.dumps(parts, default=str, ensure_ascii=False).encode()).hexdigest()[:16]


def append(folder: Path, events: Sequence[Mapping[str, Any]]) -> int:
    """Append events that are not there yet, durably, and return how many were new.

    Args:
        folder: made when it is missing, readable by its owner only.
        events: values that JSON knows; each has `event_id`, `at` (UTC, ISO) and `who` (`aftercast` or a token).

    Raises:
        AuditError: an event lacks one of these, names a person in clear, or cannot be written.
    """
    for event in events:
        missing = [name for name in ("event_id", "at", "who", "what") if not event.get(name)]
        if missing:
            raise AuditError(f"an event of the audit log needs {', '.join(missing)}: {dict(event)}")
        if event["who"] != OURSELVES and not str(event["who"]).startswith("tok_"):
            raise AuditError("the audit log names nobody in clear: `who` is `aftercast` or a token")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / "log.jsonl"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(handle, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        content = file.read()
        known, last = set[str](), START
        for line in content.splitlines():
            if (row := _row(line)) is not None:
                known.add(str(row["event_id"]))
                last = str(row["chain"])
        lines = [] if not content or content.endswith(b"\n") else [b""]  # after a torn line a new one begins
        new = 0
        for event in events:
            if event["event_id"] in known:
                continue
            last = _chain(last, event)
            known.add(str(event["event_id"]))
            lines.append(json.dumps({**event, "chain": last}, ensure_ascii=False, sort_keys=True).encode())
            new += 1
        if new:
            _write(file.fileno(), b"\n".join(lines) + b"\n", path)
    return new


def _write(handle: int, content: bytes, path: Path) -> None:
    """Write all of it, or say that a part may be missing: a disk that fills up takes a part and says nothing."""
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(handle, left) :]
        os.fsync(handle)
    except OSError as error:
        raise AuditError(f"{path} could not be written ({error.strerror}), so nothing is done; free some space, clear the task") from error


def redact(folder: Path, change: Callable[[str], str], event: Mapping[str, Any], *, write: bool) -> int:
    """Change the words of events where the law asks for it, and append an event that says so; return how many lines changed.

    The chain is made anew from the first changed line on; the event keeps the end of the chain as it was (`chain_before`), so that a copy
    of the log from before can still be told from a forged one. Lines that do not follow from the line before are refused: redacting would
    hide what happened to them. Without `write` nothing changes but the number returned.

    Raises:
        AuditError: the log has problems; look at them first.
    """
    path = folder / "log.jsonl"
    if not path.exists():
        return 0
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        lines = file.read().splitlines()
        changed, last, before, new = 0, START, START, list[bytes]()
        wrong = [problem for problem in problems(folder) if "does not follow" in problem]
        for line in lines:
            after = change(line.decode(errors="replace"))
            row = _row(after.encode())
            changed += after.encode() != line
            if row is None:
                new.append(after.encode())
                continue
            before = str(row.pop("chain"))
            last = _chain(last, row)
            new.append(json.dumps({**row, "chain": last}, ensure_ascii=False, sort_keys=True).encode())
        if not changed or not write:
            return changed
        if wrong:
            raise AuditError(f"{wrong[0]}; nothing was redacted, because that would hide it")
        said = {**event, "lines_n": changed, "chain_before": before}
        new.append(json.dumps({**said, "chain": _chain(last, said)}, ensure_ascii=False, sort_keys=True).encode())
        beside = path.with_name(f".{path.name}.new")
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as target:
            target.write(b"\n".join(new) + b"\n")
            target.flush()
            os.fsync(target.fileno())
        beside.replace(path)
    return changed


def rows(folder: Path) -> list[dict[str, Any]]:
    """Return every event, oldest first; none when there is no log yet."""
    path = folder / "log.jsonl"
    return [row for line in path.read_bytes().splitlines() if (row := _row(line)) is not None] if path.exists() else []


def problems(folder: Path) -> list[str]:
    """Return what is wrong with the log: torn lines, and lines that do not follow from the one before."""
    path = folder / "log.jsonl"
    found, last = [], START
    for number, line in enumerate(path.read_bytes().splitlines() if path.exists() else [], start=1):
        row = _row(line)
        if row is None:
            if line:
                found.append(f"{path} line {number}: torn; what it said was not acted on")
            continue
        chain = str(row.pop("chain"))
        if chain != _chain(last, row):
            found.append(f"{path} line {number}: does not follow from the line before; a line was changed, added or removed")
        last = chain
    return found


def moment(row: Mapping[str, Any]) -> datetime:
    """Return when an event happened."""
    return datetime.fromisoformat(str(row["at"]))


def _chain(last: str, event: Mapping[str, Any]) -> str:
    text = json.dumps([last, {name: value for name, value in event.items() if name != "chain"}], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and {"event_id", "chain"} <= found.keys() else None
