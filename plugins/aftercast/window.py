"""A half-open span of UTC time, [start, end): the unit every extract and refresh is a function of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from aftercast.errors import ConfigError

DAY = timedelta(days=1)


def parse_utc(text: str, *, what: str = "time") -> datetime:
    """Return the instant written in ISO 8601 as an aware UTC datetime.

    A bare date means its midnight in UTC; any other time without a zone is refused, because guessing one shifts data.

    Raises:
        ConfigError: the text is not ISO 8601, or is a time without a zone.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{what} {text!r} is not an ISO 8601 date or time, e.g. 2026-09-21 or 2026-09-21T06:00Z") from error
    if moment.tzinfo is None:
        if len(text) > 10:
            raise ConfigError(f"{what} {text!r} has no time zone; write e.g. {text}Z")
        moment = moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC)


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """[start, end) in UTC. Both ends are aware; end is after start."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        for moment in (self.start, self.end):
            if moment.tzinfo is None or moment.utcoffset() != timedelta(0):
                raise ConfigError(f"a window needs UTC times, got {moment!r}")
        if self.end <= self.start:
            raise ConfigError(f"a window must end after it starts, got {self.start.isoformat()} to {self.end.isoformat()}")

    @classmethod
    def parse(cls, start: str, end: str) -> Window:
        """Build a window from two ISO 8601 texts."""
        return cls(parse_utc(start, what="window start"), parse_utc(end, what="window end"))

    @property
    def length(self) -> timedelta:
        return self.end - self.start

    def contains(self, moment: datetime) -> bool:
        return self.start <= moment < self.end

    def days(self) -> Iterator[Window]:
        """Yield the parts of the window that fall into each UTC day, in order."""
        start = self.start
        while start < self.end:
            midnight = start.replace(hour=0, minute=0, second=0, microsecond=0) + DAY
            end = min(midnight, self.end)
            yield Window(start, end)
            start = end

    def label(self) -> str:
        """Text for file names and logs, sortable: 20260921T0000_20260922T0000."""
        return f"{self.start:%Y%m%dT%H%M}_{self.end:%Y%m%dT%H%M}"

    def __str__(self) -> str:
        return f"{self.start:%Y-%m-%d %H:%M}..{self.end:%Y-%m-%d %H:%M} UTC"
