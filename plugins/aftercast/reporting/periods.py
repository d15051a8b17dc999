"""Weeks (ISO, Monday to Sunday), months and quarters in UTC, as windows: which one to report and which ones to compare it with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from aftercast.errors import ConfigError
from aftercast.window import Window

DAY = timedelta(days=1)
WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Cadence:
    """How often a report is made.

    Attributes:
        name: as declared, and the name of the report's files.
        noun: one period of it.
        months: calendar months of a period; 0 for an ISO week.
        compared: how many periods, the reported one included, a figure is compared with.
        form: how a period is written, for messages.
    """

    name: str
    noun: str
    months: int
    compared: int
    form: str

    def of(self, moment: datetime) -> Window:
        """Return the period that holds a moment."""
        midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
        if not self.months:
            start = midnight - timedelta(days=midnight.weekday())
            return Window(start, start + WEEK)
        start = midnight.replace(day=1, month=(midnight.month - 1) // self.months * self.months + 1)
        later = start.month - 1 + self.months
        return Window(start, start.replace(year=start.year + later // 12, month=later % 12 + 1))

    def before(self, period: Window) -> Window:
        """Return the period before."""
        return self.of(period.start - DAY)

    def last_complete(self, as_of: datetime) -> Window:
        """Return the last period that had ended by `as_of`."""
        return self.before(self.of(as_of))

    def usual(self, covered: Window) -> Window:
        """Return the period to report of what is covered: the last complete one, unless the one under way is the first with enough data.

        A month or a quarter that is complete but covered in part only gives way to the one under way, which says that it is not over.
        """
        complete, under_way = self.last_complete(covered.end), self.of(covered.end)
        if complete.end <= covered.start:
            return under_way if under_way.start < covered.end else self.of(covered.start)
        is_whole = complete.start >= covered.start
        return complete if is_whole or not self.months or under_way.start >= covered.end else under_way

    def up_to(self, period: Window, covered: Window) -> tuple[Window, ...]:
        """Return the period with the ones before it that are covered whole, oldest first."""
        found = [period]
        while len(found) < self.compared and self.before(found[-1]).start >= covered.start:
            found.append(self.before(found[-1]))
        return tuple(reversed(found))

    def label(self, period: Window) -> str:
        """Return e.g. `2026-W45`, `2026-10`, `2026-Q4`."""
        if not self.months:
            year, number, _ = period.start.isocalendar()
            return f"{year}-W{number:02d}"
        return f"{period.start:%Y-%m}" if self.months == 1 else f"{period.start.year}-Q{(period.start.month + 2) // 3}"

    def words(self, period: Window) -> str:
        """Return e.g. `Week 45, 2 Nov to 8 Nov 2026`, `October 2026`, `Quarter 4, Oct to Dec 2026`."""
        last = period.end - DAY
        if not self.months:
            return f"Week {self.label(period)[-2:]}, {period.start.day} {period.start:%b} to {last.day} {last:%b} {last.year}"
        if self.months == 1:
            return f"{period.start:%B %Y}"
        return f"Quarter {(period.start.month + 2) // 3}, {period.start:%b} to {last:%b} {last.year}"

    def parse(self, text: str) -> Window:
        """Return the period written in its form.

        Raises:
            ConfigError: it is no such period.
        """
        wanted = text.strip()
        try:
            period = self._parsed(wanted)
        except ValueError as error:
            raise ConfigError(f"{self.noun} {text!r} does not exist: {error}") from error
        if period is None or self.label(period) != wanted:
            iso = "an ISO week" if not self.months else f"a {self.noun}"
            raise ConfigError(f"{self.noun} {text!r} is not {iso}; write e.g. {self.form}")
        return period

    def _parsed(self, text: str) -> Window | None:
        if not self.months:
            found = re.fullmatch(r"(\d{4})-W(\d{2})", text)
            return self.of(datetime.fromisocalendar(int(found[1]), int(found[2]), 1).replace(tzinfo=UTC)) if found else None
        found = re.fullmatch(r"(\d{4})-(\d{2})" if self.months == 1 else r"(\d{4})-Q(\d)", text)
        return self.of(datetime(int(found[1]), (int(found[2]) - 1) * self.months + 1, 1, tzinfo=UTC)) if found else None


WEEKLY = Cadence("weekly", "week", 0, 13, "2026-W45")
MONTHLY = Cadence("monthly", "month", 1, 13, "2026-10")
QUARTERLY = Cadence("quarterly", "quarter", 3, 9, "2026-Q4")
CADENCES = {cadence.name: cadence for cadence in (WEEKLY, MONTHLY, QUARTERLY)}


def parts(period: Window) -> Iterator[Window]:
    """Cut a longer period at Mondays: its ISO weeks, the first and the last of them as far as they lie in it. They add up to it."""
    start = period.start
    while start < period.end:
        end = min(WEEKLY.of(start).end, period.end)
        yield Window(start, end)
        start = end


def part_label(part: Window) -> str:
    """Return e.g. `2–8 Nov`, `26 Oct–1 Nov`, `1 Nov`."""
    first, last = part.start, part.end - DAY
    if first.date() == last.date():
        return f"{first.day} {first:%b}"
    return f"{first.day}–{last.day} {last:%b}" if first.month == last.month else f"{first.day} {first:%b}–{last.day} {last:%b}"
