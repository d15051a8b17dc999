"""ISO weeks, Monday to Sunday in UTC, as windows: which week to report and which weeks to compare it with."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from aftercast.errors import ConfigError
from aftercast.window import Window

WEEK = timedelta(days=7)


def week_of(moment: datetime) -> Window:
    """Return the week that holds a moment."""
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    start = midnight - timedelta(days=midnight.weekday())
    return Window(start, start + WEEK)


def last_complete(as_of: datetime) -> Window:
    """Return the last week that had ended by `as_of`."""
    start = week_of(as_of).start - WEEK
    return Window(start, start + WEEK)


def parse(text: str) -> Window:
    """Return the week written as `2026-W45`.

    Raises:
        ConfigError: it is not an ISO week.
    """
    found = re.fullmatch(r"(\d{4})-W(\d{2})", text.strip())
    try:
        if found:
            start = datetime.fromisocalendar(int(found[1]), int(found[2]), 1).replace(tzinfo=UTC)
            return Window(start, start + WEEK)
    except ValueError as error:
        raise ConfigError(f"week {text!r} does not exist: {error}") from error
    raise ConfigError(f"week {text!r} is not an ISO week; write e.g. 2026-W45")


def label(week: Window) -> str:
    """Return e.g. `2026-W45`."""
    year, number, _ = week.start.isocalendar()
    return f"{year}-W{number:02d}"


def up_to(week: Window, covered: Window, most: int) -> tuple[Window, ...]:
    """Return the week with up to `most - 1` weeks before it that are covered whole, oldest first."""
    found = [week]
    while len(found) < most and found[-1].start - WEEK >= covered.start:
        found.append(Window(found[-1].start - WEEK, found[-1].start))
    return tuple(reversed(found))
