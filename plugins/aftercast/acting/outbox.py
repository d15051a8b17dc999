"""Effects outside the house (tickets, comments, messages, pages): each happens once, whatever is retried or killed. Nothing is sent twice.

An effect has a key, chosen by whoever wants it. What is meant is written down durably before anything is sent, and what came of it
afterwards, one file for each key, under a lock for each key. A process that dies in between leaves a record that says `sending`. Then the
next attempt asks the other side whether the effect is there, by a mark that everything we send carries. A channel that cannot be asked is
never sent to again on a guess: its delivery is `unsure` until a person settles it. So one that can be asked gets an effect exactly once,
and one that cannot gets it at most once.

    planned   nothing has left; the next attempt sends                 unsure    it may have arrived; a person settles it
    sending   an attempt was begun and its end is not known            failed    refused, nothing was done; the next attempt sends
    sent      it is there, under `reference`                           dry_run   what would be sent; nothing has left

Files are small, readable by the owner only, and never removed: they are the audit log, and they are what keeps an effect from happening
again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import polars as pl

from aftercast import store
from aftercast.errors import AftercastError, NotSent, OutboxError, SourceRejected, StoreUnavailable
from aftercast.privacy import redact
from aftercast.settings import Settings

log = logging.getLogger(__name__)

State = Literal["planned", "sending", "sent", "unsure", "failed", "dry_run"]
Send = Callable[[Mapping[str, object], str], str]
Find = Callable[[str], str | None]
Copy = Callable[[Path, bytes], None]

NOTHING_LEFT: tuple[State, ...] = ("planned", "failed", "dry_run")
LONGEST_ERROR = 400
MOMENT = pl.Datetime("us", "UTC")
ROWS: dict[str, pl.DataType | type[pl.DataType]] = {
    "key": pl.String,
    "channel": pl.String,
    "state": pl.String,
    "reference": pl.String,
    "attempts": pl.Int64,
    "first_at": MOMENT,
    "last_at": MOMENT,
    "error": pl.String,
    "mark": pl.String,
    "payload": pl.String,
}
HISTORY: dict[str, pl.DataType | type[pl.DataType]] = {"key": pl.String, "at": MOMENT, "state": pl.String, "note": pl.String}


@dataclass(frozen=True, slots=True)
class Delivery:
    """What is known of an effect.

    Attributes:
        channel: where it goes, such as `jira`, `github`, `slack`, `email`.
        key: its stable id.
        state: see the module.
        reference: what the other side calls it; None until it is sent.
        attempts: how often sending was begun.
        first_at, last_at: when it was first wanted, and last looked at or changed.
        error: what stands in its way, redacted; None when nothing does.
    """

    channel: str
    key: str
    state: State
    reference: str | None
    attempts: int
    first_at: datetime
    last_at: datetime
    error: str | None = None

    @property
    def is_settled(self) -> bool:
        """Whether another attempt would change nothing: it is there, or only a person can say."""
        return self.state in ("sent", "unsure")


@dataclass(frozen=True, slots=True)
class _Record:
    delivery: Delivery
    fingerprint: str
    payload: dict[str, Any]
    history: tuple[dict[str, str], ...] = ()


def of(settings: Settings) -> Outbox:
    """Return the outbox of a deployment; with a store, what is about to be sent is known there too, should this machine be lost."""
    return Outbox(settings.outbox, store.copier(settings))


def mark_of(key: str) -> str:
    """Return the mark of an effect: short, the same for ever, good as a label, a marker in a text, or an idempotency key."""
    return "aftercast-" + hashlib.blake2s(key.encode(), digest_size=8).hexdigest()


def repeatable(mark: str) -> str | None:
    """A `find` for effects that do the same when done twice: setting a state, or a request the other side knows by our mark."""
    return None


class Outbox:
    """The record of what goes out, in a folder of one deployment. Workers on several machines share the folder or send from one of them."""

    def __init__(self, folder: Path, copy: Copy | None = None) -> None:
        """Open the outbox of a folder. `copy` puts every record elsewhere too, before it counts here and before anything is sent."""
        self._folder = folder
        self._copy = copy

    def deliver(
        self,
        *,
        channel: str,
        key: str,
        payload: Mapping[str, object],
        send: Send,
        find: Find | None,
        now: datetime,
        dry_run: bool = False,
        settle: timedelta = timedelta(0),
    ) -> Delivery:
        """Make an effect happen unless it has; return what is known of it then.

        Two callers with one key take turns: the second meets what the first has done. What was sent, or is unsure, is not touched.

        Args:
            channel: where it goes; it is part of what the key stands for.
            key: stable id of the effect. What would be said anew (a changed text, a later reminder) is another effect with another key.
            payload: what is sent, values that JSON knows; it is kept in the record, so it holds no secret.
            send: does it and returns the reference. It puts the mark into what it makes. It raises SourceRejected where the other side
                refused and did nothing, NotSent where nothing can have arrived, and any other error where that is not known.
            find: returns the reference of what carries the mark, None where nothing does. It is asked before each attempt, the first
                too, so a lost or restored folder doubles nothing. `repeatable` for effects that may be done twice; None where nobody
                can be asked.
            now: the time written down.
            dry_run: write down what would be sent, ask nobody, send nothing.
            settle: how long the other side may need until `find` finds what it was given; until then an attempt whose end is not known is
                not made again.

        Raises:
            OutboxError: the key was used for another payload or channel, or its record cannot be read; nothing was sent.
        """
        wanted = _Record(
            Delivery(channel, key, "dry_run" if dry_run else "planned", None, 0, now, now), _fingerprint(channel, payload), dict(payload)
        )
        with self._turn(key):
            record = self._begun(self._read(key), wanted)
            state = record.delivery.state
            if state in ("sent", "unsure") or (dry_run and state != "dry_run"):
                return record.delivery
            if dry_run:
                return self._change(record, now, "dry_run", note="would be sent")
            if state == "sending" and find is None:
                return self._change(record, now, "unsure", error=_unsure(record.delivery))
            if state == "dry_run":
                record = self._change_record(record, now, "planned")
            if find is not None:
                try:
                    found = find(mark_of(key))
                except AftercastError as error:
                    return self._change(record, now, record.delivery.state, error=f"could not ask whether it is there: {_shown(error)}")
                if found is not None:
                    return self._change(record, now, "sent", reference=found, note="found there")
                if state == "sending" and now < record.delivery.last_at + settle:
                    return replace(record.delivery, error=f"not found yet; asked again after {record.delivery.last_at + settle:%H:%M} UTC")
            return self._send(record, send, find, now)

    def settle(self, key: str, verdict: Literal["sent", "again"], *, now: datetime, reference: str | None = None) -> Delivery:
        """Write down what a person found out about a delivery whose end is not known: it is there, or it is not and shall be sent again.

        Raises:
            OutboxError: no such delivery, or its end is known.
        """
        with self._turn(key):
            record = self._read(key)
            if record is None:
                raise OutboxError(f"nothing with the key {key!r} was ever sent; `aftercast outbox` lists the keys")
            if record.delivery.state not in ("unsure", "sending"):
                raise OutboxError(f"{key!r} is {record.delivery.state}, not unsure: there is nothing to settle")
            state: State = "sent" if verdict == "sent" else "planned"
            return self._change(record, now, state, reference=reference, note=f"settled by a person: {verdict}")

    def delivery(self, key: str) -> Delivery | None:
        """Return what is known of an effect; None when it was never wanted."""
        record = self._read(key)
        return record.delivery if record else None

    def rows(self) -> pl.DataFrame:
        """Return the audit log: one row per effect, oldest first; `payload` is JSON."""
        records = sorted(self._records(), key=lambda one: (one.delivery.first_at, one.delivery.key))
        return pl.DataFrame(
            [
                {**asdict(one.delivery), "mark": mark_of(one.delivery.key), "payload": json.dumps(one.payload, ensure_ascii=False)}
                for one in records
            ],
            schema=ROWS,
        )

    def history(self) -> pl.DataFrame:
        """Return every change of state: one row each, by key, oldest first."""
        records = sorted(self._records(), key=lambda one: one.delivery.key)
        events = [{"key": one.delivery.key, **event} for one in records for event in one.history]
        return pl.DataFrame([{**event, "at": datetime.fromisoformat(event["at"])} for event in events], schema=HISTORY)

    def _begun(self, record: _Record | None, wanted: _Record) -> _Record:
        """The record to go on with: the one there is, or what is wanted. While nothing has left, what is wanted may still change."""
        if record is None:
            return self._write(wanted, "wanted") if wanted.delivery.state == "planned" else wanted
        if record.fingerprint == wanted.fingerprint:
            return record
        if record.delivery.state in NOTHING_LEFT:
            return replace(record, delivery=replace(record.delivery, channel=wanted.delivery.channel), **_content(wanted))
        raise OutboxError(
            f"the key {wanted.delivery.key!r} stands for another effect, which is {record.delivery.state} (first wanted "
            f"{record.delivery.first_at:%Y-%m-%d %H:%M} UTC over {record.delivery.channel}). Nothing was sent. "
            "What is said anew needs a key of its own"
        )

    def _send(self, record: _Record, send: Send, find: Find | None, now: datetime) -> Delivery:
        key = record.delivery.key
        record = self._change_record(record, now, "sending", attempts=record.delivery.attempts + 1)
        try:
            reference = send(record.payload, mark_of(key))
        except NotSent as error:
            return self._change(record, now, "planned", error=_shown(error))
        except SourceRejected as error:
            return self._change(record, now, "failed", error=_shown(error))
        except AftercastError as error:
            if find is None:
                return self._change(record, now, "unsure", error=f"{_unsure(record.delivery)} ({_shown(error)})")
            return self._change(record, now, "sending", error=_shown(error))
        return self._change(record, now, "sent", reference=reference)

    def _change(self, record: _Record, now: datetime, state: State, **changed: Any) -> Delivery:
        return self._change_record(record, now, state, **changed).delivery

    def _change_record(
        self,
        record: _Record,
        now: datetime,
        state: State,
        *,
        reference: str | None = None,
        attempts: int | None = None,
        error: str | None = None,
        note: str | None = None,
    ) -> _Record:
        before = record.delivery
        # While it is not known whether an attempt arrived, `last_at` stays the time of that attempt: `settle` counts from there.
        at = before.last_at if state == before.state == "sending" else now
        tried = before.attempts if attempts is None else attempts
        after = replace(before, state=state, reference=reference, attempts=tried, last_at=at, error=error)
        (log.warning if error else log.info)("%s: %s %s%s", after.channel, after.key, state, f" ({error})" if error else "")
        return self._write(replace(record, delivery=after), error or note or state)

    def _write(self, record: _Record, note: str) -> _Record:
        """Put a record in place so that it is there after a power cut, and return it."""
        delivery = record.delivery
        event = {"at": delivery.last_at.isoformat(), "state": delivery.state, "note": note}
        if record.history and record.history[-1]["state"] == delivery.state and record.history[-1]["note"] == note:
            kept = record.history  # the same again says nothing new
        else:
            kept = (*record.history, event)
        record = replace(record, history=kept)
        content = {
            **asdict(delivery),
            "first_at": delivery.first_at.isoformat(),
            "last_at": delivery.last_at.isoformat(),
            "fingerprint": record.fingerprint,
            "payload": record.payload,
            "history": list(kept),
        }
        target = self._path(delivery.key)
        beside = target.with_name(f".{target.name}.new")  # one name is enough: the key is locked
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123
            json.dump(content, file, ensure_ascii=False, indent=1, default=str)
            file.flush()
            os.fsync(file.fileno())
        if self._copy is not None:
            try:
                self._copy(target, beside.read_bytes())
            except StoreUnavailable as error:
                if delivery.state in ("planned", "sending"):
                    raise  # nothing has left yet, and nothing leaves that the store does not know
                log.warning("%s is %s, which the store will learn later: %s", delivery.key, delivery.state, error)
        beside.replace(target)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return record

    def _read(self, key: str) -> _Record | None:
        path = self._path(key)
        record = _parsed(path) if path.exists() else None
        if record is not None and record.delivery.key != key:
            raise OutboxError(f"{path} is the record of {record.delivery.key!r}, not of {key!r}; nothing was sent")
        return record

    def _records(self) -> Iterator[_Record]:
        yield from (_parsed(path) for path in sorted(self._folder.glob("aftercast-*.json")))

    def _path(self, key: str) -> Path:
        return self._folder / f"{mark_of(key)}.json"

    @contextmanager
    def _turn(self, key: str) -> Iterator[None]:
        """Wait until nobody else works on a key. The lock ends with the process that holds it; its file stays, or two could hold one."""
        locks = self._folder / "locks"
        locks.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (locks / mark_of(key)).open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def redact_records(folder: Path, change: Callable[[str], str], *, write: bool) -> int:
    """Change the words of what was sent where the law asks for it; return how many records changed. What they say has happened stays true.

    Raises:
        OutboxError: a record cannot be read.
    """
    changed = 0
    for path in sorted(folder.glob("aftercast-*.json")):
        text = path.read_text(encoding="utf-8")
        after = change(text)
        if after == text:
            continue
        changed += 1
        if write:
            _parsed(path)
            content = json.loads(after)
            content["fingerprint"] = _fingerprint(content["channel"], content["payload"])
            beside = path.with_name(f".{path.name}.new")
            with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123
                json.dump(content, file, ensure_ascii=False, indent=1)
            beside.replace(path)
            path.replace(folder / f"{mark_of(content['key'])}.json")
    return changed


def _content(record: _Record) -> dict[str, Any]:
    return {"fingerprint": record.fingerprint, "payload": record.payload}


def _fingerprint(channel: str, payload: Mapping[str, object]) -> str:
    text = json.dumps([channel, payload], sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _shown(error: AftercastError) -> str:
    return redact(" ".join(str(error).split()))[:LONGEST_ERROR]


def _unsure(delivery: Delivery) -> str:
    return (
        f"the attempt of {delivery.last_at:%Y-%m-%d %H:%M} UTC did not end, and {delivery.channel} cannot be asked whether it arrived: "
        f"it is not sent again. Look there, then say `aftercast outbox settle {delivery.key} sent` or `... again`"
    )


def _parsed(path: Path) -> _Record:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        first, last = (datetime.fromisoformat(content[name]).astimezone(UTC) for name in ("first_at", "last_at"))
        known = {name: content[name] for name in ("channel", "key", "state", "reference", "attempts", "error")}
        delivery = Delivery(**known, first_at=first, last_at=last)
        return _Record(delivery, content["fingerprint"], content["payload"], tuple(content["history"]))
    except (ValueError, KeyError, TypeError) as error:
        raise OutboxError(
            f"{path} cannot be read ({error}). It says whether an effect has happened, so nothing is sent for it. "
            "Restore it from a backup, or look at the other side and remove it where the effect is not there"
        ) from error
