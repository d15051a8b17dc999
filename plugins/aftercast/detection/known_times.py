"""Known unusual times on the grid of a panel: promotions, public holidays, maintenance.

Buckets of a declared event are masked from training, so that no event bends a model. What events of one name usually do is learned from
their earlier buckets and expected of the next one. An episode that an event expected is explained by it. Nothing is learned from a
maintenance: it only explains.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl

from aftercast.declarations import CalendarRow
from aftercast.detection.correcting import DOUBT, FEW, GAUSS_MAD, nan_median
from aftercast.detection.series import Panel, places_of, reaches
from aftercast.window import DAY, Window

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]

MOSTLY = 0.5  # of an episode must lie within an event that explains it: what goes on long after an event is not its doing
DIFFER = 0.5  # occurrences are taken to differ by this part of their effect until there are enough to tell; weighs as much as one of them
SIGN = {1: "up", -1: "down"}


@dataclass(frozen=True, slots=True)
class Event:
    """A name, when it happens and whom it touches.

    Attributes:
        expects: up, down or both.
        touches: (N,) the series of the panel it moves.
        spans: its occurrences as buckets [first, until) of the panel, in order and apart; they may begin before the panel and end after it.
        teaches: whether what it did is expected of the next occurrence.
    """

    name: str
    expects: str
    touches: Flags
    spans: tuple[tuple[int, int], ...]
    teaches: bool = True

    def line(self, n_buckets: int) -> Flags:
        """Return which buckets (T,) lie in an occurrence."""
        inside = np.zeros(n_buckets, dtype=bool)
        for first, until in self.spans:
            inside[max(first, 0) : max(until, 0)] = True
        return inside


@dataclass(frozen=True, slots=True)
class Events:
    """The events of a panel of `shape` (N, T), in the order declared."""

    shape: tuple[int, int]
    events: tuple[Event, ...]

    @property
    def masked(self) -> Flags:
        """Which buckets (N, T) lie in an event whose usual effect is learned: no model may see them."""
        flags = np.zeros(self.shape, dtype=bool)
        for event in self.events:
            if event.teaches:
                flags |= event.touches[:, None] & event.line(self.shape[1])
        return flags

    def take(self, rows: Rows) -> Events:
        """Return the events of some of the series."""
        return Events((len(rows), self.shape[1]), tuple(replace(event, touches=event.touches[rows]) for event in self.events))

    def between(self, first: int, until: int) -> Events:
        """Return the events of buckets [first, until)."""
        kept = []
        for event in self.events:
            spans = tuple((begin - first, end - first) for begin, end in event.spans if begin < until and end > first)
            if spans:
                kept.append(replace(event, spans=spans))
        return Events((self.shape[0], until - first), tuple(kept))

    def mark(self, series: int, first: int, until: int) -> bytes:
        """Return what scores of buckets [first, until) depend on: the names and spans of events that teach something there."""
        own = [
            f"{event.name}:{','.join(f'{begin - first}-{end - first}' for begin, end in event.spans if begin < until and end > first)}"
            for event in self.events
            if event.teaches and event.touches[series]
        ]
        return "|".join(one for one in own if not one.endswith(":")).encode()

    def usual_effect(self, residual: Array, noise: Array, block: int, past: int) -> tuple[Array, Array]:
        """Return what events usually add to each bucket (N, T) on the scale of the residuals, and by how much that differs between
        occurrences (N, T), as a standard deviation; both 0 outside of events and before the first occurrence.

        First one level per name, the median over its occurrences, then what that left at each position since the start of an occurrence.
        Both are shrunk by how few occurrences there were and by how loud the noise is; earlier days of an occurrence that goes on count.
        Where events overlap, those declared later explain what the earlier left, and their effects add up.

        Args:
            residual: (N, B) of the means of blocks of `block` buckets; NaN where nothing in the block happened in an event.
            noise: (N,) standard deviation of ordinary residuals.
            past: how many leading blocks may be learned from.
        """
        effect, variance = np.zeros(self.shape), np.zeros(self.shape)
        left = residual.copy()
        left[:, past:] = np.nan
        for event in self.events:
            rows = np.flatnonzero(event.touches)
            if not event.teaches or not len(rows):
                continue
            places = _places(event.spans, block, left.shape[1])
            learned, doubt = _usual(_by_occurrence(left[rows], places), noise[rows])
            by_block = np.zeros((len(rows), left.shape[1]))
            for blocks, position in places:
                by_block[:, blocks] = learned[:, position]
            left[rows] -= by_block
            inside = event.line(self.shape[1])
            effect[rows] += np.where(inside, np.repeat(by_block, block, axis=1)[:, : self.shape[1]], 0.0)
            variance[rows] += np.where(inside, doubt[:, None] ** 2, 0.0)
        return effect, np.sqrt(variance)

    def explains(self, series: int, start: int, end: int, sign: int) -> str | None:
        """Return the name of the event that expected an episode of buckets [start, end), None when none did.

        The event must expect the direction and hold most of the episode; of several it is the one that holds most, then the first declared.
        """
        best, name = 0, None
        for event in self.events:
            if not event.touches[series] or event.expects not in (SIGN[sign], "both"):
                continue
            held = sum(max(0, min(end, until) - max(start, first)) for first, until in event.spans)
            if held > best and held >= MOSTLY * (end - start):
                best, name = held, event.name
        return name


def events_of(
    panel: Panel,
    calendar: Sequence[CalendarRow],
    window: Window,
    masks: pl.DataFrame | None = None,
    before: timedelta = timedelta(0),
    after: timedelta = timedelta(0),
) -> Events:
    """Return the events of a panel: those of calendar rows that overlap the window, and every maintenance among the masks.

    Args:
        masks: columns of `series.MASKS`; rows of another kind than maintenance are ignored.
        before, after: how much the time of a maintenance is widened.
    """
    who = panel.identity.select("subject_kind", "subject", "environment", "region", country=_country()).rows()
    found = []
    for row in calendar:
        if not (panel.signal.name in row.signals if row.signals else panel.signal.fact == "kpi"):
            continue
        touches = np.array([is_in_scope(row, *one) for one in who], dtype=bool)
        margins = timedelta(minutes=row.before_minutes), timedelta(minutes=row.after_minutes)
        spans = _apart(_buckets(panel, one, *margins) for one in occurrences(row, window))
        if spans and touches.any():
            found.append(Event(row.name, row.expects, touches, spans))
    if masks is not None:
        found += _maintenance(panel, masks, before, after)
    return Events(panel.value.shape, tuple(found))


def occurrences(row: CalendarRow, window: Window) -> list[Window]:
    """Return when a calendar row happens, in the order of time: its windows and days that overlap the window, margins not added."""
    windows = row.windows
    if row.country is not None:
        zone = ZoneInfo(row.zone)
        years = range(window.start.year - 1, window.end.year + 2)
        windows = tuple(_day(day, zone) for day in _public_holidays(row.country, row.subdivision, years))
    if row.weekly is not None:
        first, n_days = window.start.date() - 3 * DAY, (window.end - window.start).days + 7  # begun before it, zones, margins
        told = (row.weekly.on(first + number * DAY, row.zone) for number in range(n_days))
        windows = tuple(one for one in told if one is not None)
    margins = timedelta(minutes=row.before_minutes), timedelta(minutes=row.after_minutes)
    return [one for one in windows if one.start - margins[0] < window.end and one.end + margins[1] > window.start]


@cache
def _public_holidays(country: str, subdivision: str | None, years: range) -> tuple[date, ...]:
    import holidays

    return tuple(sorted(holidays.country_holidays(country, subdiv=subdivision, years=years)))


def _day(day: date, zone: ZoneInfo) -> Window:
    """A local day in UTC; 23 or 25 hours where clocks change."""
    return Window(*(datetime.combine(one, time(), zone).astimezone(UTC) for one in (day, day + DAY)))


def _country() -> pl.Expr:
    return pl.col("segment").str.extract(r"(?:^|,)country=([^,]*)").fill_null("")


def is_in_scope(row: CalendarRow, subject_kind: str, subject: str, environment: str, region: str, country: str) -> bool:
    """Whether a row moves a series; one that does not tell subjects, regions or countries apart is moved with any of them."""
    subjects = row.journeys if subject_kind == "journey" else row.services
    if not subjects and (row.journeys or row.services):
        return False  # it names the subjects of the other kind
    chosen = ((subjects, subject, "all"), (row.regions, region, ""), (row.countries, country, ""), (row.environments, environment, ""))
    return all(not names or value in names or value == whole for names, value, whole in chosen)


def _maintenance(panel: Panel, masks: pl.DataFrame, before: timedelta, after: timedelta) -> Iterator[Event]:
    places = places_of(panel)
    own = masks.filter((pl.col("kind") == "maintenance") & pl.col("started_at").is_not_null())
    for row in own.unique().sort("started_at", "name", "service", "region").iter_rows(named=True):
        end = row["ended_at"] or panel.at(panel.value.shape[1])
        if end <= row["started_at"]:
            continue
        touches = np.array([reaches(row["environment"], row["service"], row["region"], place) for place in places], dtype=bool)
        if touches.any():
            first, until = _buckets(panel, Window(row["started_at"], end), before, after)
            yield Event(f"maintenance: {row['name']}", "both", touches, ((first, until),), teaches=False)


def _buckets(panel: Panel, window: Window, before: timedelta, after: timedelta) -> tuple[int, int]:
    """Return the buckets [first, until) of which at least a part lies in a window widened by its margins."""
    length = timedelta(minutes=panel.grain_minutes)
    return (window.start - before - panel.start) // length, -((panel.start - window.end - after) // length)


def _apart(spans: Iterator[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Shorten spans that reach into the next one, as days in a row with margins do."""
    ordered = sorted(spans)
    following = [first for first, _ in ordered[1:]] + [until for _, until in ordered[-1:]]
    return tuple((first, min(until, stop)) for (first, until), stop in zip(ordered, following, strict=True))


Places = list[tuple[Rows, Rows]]


def _places(spans: Sequence[tuple[int, int]], block: int, n_blocks: int) -> Places:
    """Return, per occurrence, its blocks inside the panel and their positions since its start."""
    places = []
    for first, until in spans:
        begin = first // block
        blocks = np.arange(max(begin, 0), min(-(-until // block), n_blocks))
        places.append((blocks, blocks - begin))
    return places


def _by_occurrence(residual: Array, places: Places) -> Array:
    """Return residuals (N, O, P) of every occurrence by position; NaN where unknown."""
    n_positions = max((int(position[-1]) + 1 for _, position in places if len(position)), default=0)
    table = np.full((len(residual), len(places), n_positions), np.nan)
    for number, (blocks, position) in enumerate(places):
        table[:, number, position] = residual[:, blocks]
    return table


def _usual(table: Array, noise: Array) -> tuple[Array, Array]:
    """Return the usual effect (N, P) by position of occurrences (N, O, P), and the standard deviation (N,) of another one around it."""
    each, _ = nan_median(table, axis=2)
    whole = _shrunk_median(each[:, :, None], noise)
    by_position = _shrunk_median(table - whole[:, None, :], noise)
    middle, count = nan_median(each, axis=1)
    spread = _unbiased(nan_median(np.abs(each - middle[:, None]), axis=1)[0], count)
    n = np.maximum(count, 1)
    variance = ((DIFFER * whole[:, 0]) ** 2 + (n - 1) * spread**2) / n
    return whole + by_position, np.where(count > 0, np.sqrt(variance * (1 + 1 / n)), 0.0)


def _unbiased(spread: Array, count: Rows) -> Array:
    """Standard deviation from a median absolute deviation of so many values; 0 of a single one."""
    return np.where(count > 1, np.nan_to_num(spread) * np.interp(count, *FEW) / GAUSS_MAD, 0.0)


def _shrunk_median(values: Array, noise: Array) -> Array:
    """Median (N, P) over occurrences (N, O, P), drawn to zero by its sampling variance; occurrences differ by the noise at least."""
    middle, count = nan_median(values, axis=1)
    middle = np.nan_to_num(middle)
    spread, _ = nan_median(np.abs(values - middle[:, None]), axis=1)
    deviation = np.fmax(_unbiased(spread, count), np.nan_to_num(noise)[:, None])
    error = 1.5708 * deviation**2 / np.maximum(count, 1)  # variance of a median of Gaussian values
    strength = middle**2
    return np.asarray(middle * np.divide(strength, strength + DOUBT * error, out=np.zeros_like(strength), where=strength > 0))
