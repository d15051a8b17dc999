"""Reports leave the house through channels, each to each address once, by way of the outbox: a retry sends only what is not there yet.

A report of a period goes out once. When its figures change afterwards (late data, a correction) the page on disk changes and nothing is
sent, unless somebody asks for it to be sent again: then once for that state of the data.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from typing import TYPE_CHECKING

from aftercast.acting import channels
from aftercast.acting.deliveries import Outcome
from aftercast.acting.outbox import Outbox, repeatable
from aftercast.declarations import ChannelRow, ReportRow
from aftercast.errors import AftercastError, SourceRejected

if TYPE_CHECKING:
    from aftercast.reporting.letters import Letter, Post

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Dispatch:
    """What is said of one period of a report.

    Attributes:
        row: the report.
        label: the period.
        data_version: the published mart it was made from.
        kind: empty for the report itself, `withheld` for the notice that there is none.
    """

    row: ReportRow
    label: str
    data_version: str
    letter: Letter
    post: Post
    kind: str = ""


def send_out(dispatch: Dispatch, rows: Sequence[ChannelRow], outbox: Outbox, now: datetime, *, again: bool = False) -> list[Outcome]:
    """Send a report through its channels; return what came of each address. One that does not go through holds up no other."""
    outcomes = []
    for row, to in _addresses(dispatch.row, rows):
        key = "/".join(text for text in ("report", dispatch.row.name, dispatch.label, dispatch.kind, row.name, to) if text)
        try:
            outcomes.append(_one(dispatch, row, to, key, outbox, now, again=again))
        except AftercastError as error:  # its connection, its record; the outbox itself says what a sender raised
            log.warning("%s: %s", key, error)
            outcomes.append(Outcome(key, "failed", str(error)))
    return outcomes


def _addresses(report: ReportRow, rows: Sequence[ChannelRow]) -> Iterator[tuple[ChannelRow, str]]:
    """Each channel of a report with each of its addresses: one message each, so that a refused address stops no other."""
    known = {row.name: row for row in rows}
    for name in report.channels:
        if name == "file":
            continue
        row = known[name]
        given = report.recipients if row.kind == "email" and report.recipients else (row.to or "",)
        yield from ((row, to) for to in given)


def _one(dispatch: Dispatch, row: ChannelRow, to: str, key: str, outbox: Outbox, now: datetime, *, again: bool) -> Outcome:
    before = outbox.delivery(key)
    if before is not None and before.is_settled:
        if before.state == "sent" and again:
            key = f"{key}/again/{dispatch.data_version}"
            before = outbox.delivery(key)
        if before is not None and before.is_settled:
            log.info("%s is %s already: nothing is sent", key, before.state)
            return Outcome(key, before.state, before.error)
    payload, write = _mail(dispatch, to) if row.kind == "email" else (_chat(dispatch, to), None)
    found = outbox.deliver(
        channel=row.name,
        key=key,
        payload=payload,
        send=channels.open_channel(row, write) if row.live else _nothing,
        find=None if row.live else repeatable,
        now=now,
        dry_run=not row.live,
    )
    return Outcome(key, found.state, found.error)


def _mail(dispatch: Dispatch, to: str) -> tuple[dict[str, object], channels.Write]:
    """What the outbox keeps of an e-mail, and what writes the whole of it."""
    letter = dispatch.letter
    parts = [letter.html.encode(), *(picture.png for picture in letter.pictures), *((letter.attachment[1],) if letter.attachment else ())]
    digest = hashlib.sha256(b"\0".join(parts)).hexdigest()
    payload: dict[str, object] = {
        "to": to,
        "subject": letter.subject,
        "text": letter.text,
        "rest": digest,
        "data_version": dispatch.data_version,
    }

    def write(sender: str, payload: channels.Payload, mark: str) -> EmailMessage:
        return envelope(letter, channels.message(sender, payload, mark), mark)

    return payload, write


def _chat(dispatch: Dispatch, to: str) -> dict[str, object]:
    return {"to": to, "text": dispatch.post.text, "blocks": list(dispatch.post.blocks), "data_version": dispatch.data_version}


def envelope(letter: Letter, mail: EmailMessage, mark: str) -> EmailMessage:
    """Add to a message of plain text the letter's HTML with its pictures inside, and the document; return it."""
    mail.add_alternative(_with_ids(letter, mark), subtype="html")
    html = mail.get_payload()[1]  # type: ignore[index]
    for picture in letter.pictures:
        html.add_related(  # type: ignore[union-attr]
            picture.png, "image", "png", cid=f"<{_cid(picture.name, mark)}>", disposition="inline", filename=f"{picture.name}.png"
        )
    if letter.attachment:
        name, content = letter.attachment
        mail.add_attachment(content, "application", "pdf", filename=name)
    return mail


def _cid(name: str, mark: str) -> str:
    return f"{name}.{mark}@aftercast"


def _with_ids(letter: Letter, mark: str) -> str:
    """The HTML with ids of pictures that no other message has."""
    html = letter.html
    for picture in letter.pictures:
        html = html.replace(f'"cid:{picture.name}"', f'"cid:{_cid(picture.name, mark)}"')
    return html


def _nothing(*_: object) -> str:
    raise SourceRejected("a dry run sends nothing")
