"""States of a postmortem and the days it may wait in them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

DRAFT, IN_REVIEW, REVIEWED, CLOSED = "draft", "in review", "reviewed", "closed"
STATES = (DRAFT, IN_REVIEW, REVIEWED, CLOSED)
DATED = {DRAFT: "created", IN_REVIEW: "in_review_at", REVIEWED: "reviewed_at", CLOSED: "closed_at"}
"""The line of the front matter that says since when."""
WAITS = (DRAFT, IN_REVIEW)
AFTER = {DRAFT: REVIEWED, IN_REVIEW: REVIEWED, REVIEWED: CLOSED}
"""What approving leads to."""


def state_of(word: str) -> str:
    """Return the state a front matter names, however it is written; unknown words are drafts, so that nobody forgets them."""
    plain = " ".join(word.casefold().replace("_", " ").replace("-", " ").split())
    known = {"review": IN_REVIEW, **dict.fromkeys(("final", "complete", "completed", "published"), REVIEWED)}
    return plain if plain in STATES else known.get(plain, DRAFT)


def moment(text: str) -> datetime | None:
    """Return the time a text names, in UTC when it names no zone; None when it names none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Waiting:
    """How long a postmortem may wait for its review.

    Attributes:
        due: when it should be reviewed. None: its severity has no limit, or its incident no time.
        overdue: by how much it is late; None while it is not, or when it waits for nothing.
    """

    due: datetime | None
    overdue: timedelta | None


def waiting(state: str, severity: str, ended: datetime | None, due_days: Mapping[str, float], now: datetime) -> Waiting:
    """Return when a postmortem is due: so many days after its incident ended, by severity."""
    days = due_days.get(severity)
    due = ended + timedelta(days=days) if ended is not None and days is not None else None
    late = due is not None and state in WAITS and now > due
    return Waiting(due, now - due if late and due is not None else None)
