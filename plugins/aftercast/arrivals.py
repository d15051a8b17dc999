"""Whether as many rows arrived as usual, and whether the last one is as fresh as usual: each source and entity against its own history.

Volume: the rows of the last complete day against the same weekday of the weeks before (or, where there are too few, against the days
before). The interval is robust: median and median absolute deviation of counts whose variance was made stable (2 sqrt(n + 3/8), Anscombe
1948), never narrower than a fifth of the usual. Freshness: how long before the end of the covered window the last row lies, against how
long it was quiet at other moments; unusual is what was longer at less than one moment in a thousand. Too little history is said and
judged by nobody. Pure: counts by hour in, one row per judgement out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from statistics import median

import polars as pl

from aftercast.analyses import DERIVED

WEEKS = 8
LEAST_WEEKDAYS = 4
DAYS = 28
LEAST_DAYS = 14
WIDTH = 4.0  # robust standard deviations
SLACK = 0.2  # of the usual count: less is growth or chance, not trouble
LEAST_GAPS = 20
RARE = 0.001  # share of moments
DAY = timedelta(days=1)
HOUR = 1.0  # what history is told by: a gap is known to the hour
REDATED = frozenset({"service_edges"})  # a row moves to when it was last seen, so that earlier days empty themselves

ABOUT = {
    "volume": "Fewer rows than usual mean that part of a source is missing, more that something is told twice; every count, rate and loss "
    "built on them is off by as much. Look at the source, then extract the day again.",
    "freshness": "A source that went quiet looks like a company in which nothing happens: alarms stay silent and losses end. Look whether "
    "the system still writes, then extract the window again.",
}


def volume(counts: list[int], weekdays: list[int]) -> tuple[float | None, float | None, int]:
    """Return low, high and n for the count that is to be judged; low and high are None when there is too little history.

    Args:
        counts: rows of every complete day before the judged one, in order.
        weekdays: rows of the same weekday before it, in order.
    """
    known = weekdays[-WEEKS:] if len(weekdays) >= LEAST_WEEKDAYS else counts[-DAYS:]
    if len(weekdays) < LEAST_WEEKDAYS and len(known) < LEAST_DAYS:
        return None, None, len(known)
    stable = [2 * math.sqrt(count + 3 / 8) for count in known]
    middle = median(stable)
    spread = max(1.0, 1.4826 * median(abs(one - middle) for one in stable))
    half = WIDTH * spread * math.sqrt(1 + math.pi / (2 * len(known)))
    usual = float(median(known))
    low = max(0.0, (max(middle - half, 0.0) / 2) ** 2 - 3 / 8)
    return min(low, (1 - SLACK) * usual), max(((middle + half) / 2) ** 2 - 3 / 8, usual / (1 - SLACK)), len(known)


def longest_quiet(gaps: list[float]) -> float | None:
    """Return the quiet time (hours) that was longer at RARE of all moments of a history only; None for too few gaps."""
    if len(gaps) < LEAST_GAPS:
        return None
    allowed, longest = RARE * sum(gaps), sorted(gaps, reverse=True)
    above = 0.0
    for number, gap in enumerate(longest, start=1):
        # With `number` gaps longer than some age between this gap and the next shorter one, the moments beyond the age add up linearly.
        above += gap
        age = (above - allowed) / number
        if number == len(longest) or age >= longest[number]:
            return max(age, 0.0)
    return None


def judge(hours: pl.DataFrame, covered: Mapping[tuple[str, str], tuple[datetime, datetime]], stopping: frozenset[str]) -> pl.DataFrame:
    """Return the judgements as rows of `gate_results`.

    Args:
        hours: source, entity, hour, rows (how many), last (time of the last one).
        covered: the first and last covered moment of each source and entity.
        stopping: sources whose unusual arrivals are critical.
    """
    found = []
    known = hours.partition_by("source", "entity", as_dict=True) if hours.height else {}
    for (source, entity), (begin, end) in sorted(covered.items()):
        part = known.get((source, entity), hours.clear())
        severity = "critical" if source in stopping else "warning"
        row = {"table_name": entity, "source": source, "severity": severity}
        found += [row | _freshness(part, end)] + ([] if entity in REDATED else [row | _volume(part, begin, end)])
    schema = DERIVED["gate_results"]
    rows = [{**dict.fromkeys(schema), **row, "position": 1} for row in found]
    return pl.DataFrame(rows, schema=schema) if rows else pl.DataFrame(schema=schema)


def _volume(part: pl.DataFrame, begin: datetime, end: datetime) -> dict[str, object]:
    first = begin.replace(hour=0, minute=0, second=0, microsecond=0) + (DAY if begin.hour or begin.minute else timedelta())
    last = end.replace(hour=0, minute=0, second=0, microsecond=0) - DAY
    by_day = dict(part.group_by(pl.col("hour").dt.truncate("1d")).agg(pl.col("rows").sum()).iter_rows())
    days = [first + number * DAY for number in range(max((last - first) // DAY + 1, 0))]
    expectation = "rows of the last complete day are as many as usual"
    if not days:
        return _judgement("volume", expectation, None, None, None, 0, "not_judged", "no complete day is covered yet")
    counts = [int(by_day.get(day, 0)) for day in days]
    value = counts[-1]
    low, high, n = volume(
        counts[:-1], [count for day, count in zip(days[:-1], counts[:-1], strict=True) if day.weekday() == last.weekday()]
    )
    if low is None or high is None:
        said = f"{value:,} rows on {last:%Y-%m-%d}; not enough history: {n} days, {LEAST_DAYS} are needed"
        return _judgement("volume", expectation, value, None, None, n, "not_judged", said)
    said = f"{value:,} rows on {last:%Y-%m-%d}, usual are {low:,.0f} to {high:,.0f} (n={n} days)"
    return _judgement("volume", expectation, value, low, high, n, "passed" if low <= value <= high else "failed", said)


def _freshness(part: pl.DataFrame, end: datetime) -> dict[str, object]:
    expectation = "the last row is as fresh as usual"
    before = part.filter(pl.col("hour") < end).sort("hour")
    if before.is_empty():
        return _judgement("freshness", expectation, None, None, None, 0, "not_judged", "no row has landed yet")
    latest: datetime = min(before["last"].max(), end)  # type: ignore[type-var,assignment]
    value = (end - latest).total_seconds() / 3600
    gaps = [gap / 3600 for gap in before["hour"].diff().dt.total_seconds().drop_nulls().to_list()]
    high = longest_quiet(gaps)
    if high is None:
        said = f"last row {value:.1f} h before the end of the window; not enough history: {len(gaps)} gaps, {LEAST_GAPS} are needed"
        return _judgement("freshness", expectation, value, None, None, len(gaps), "not_judged", said)
    high += HOUR
    said = f"last row {value:.1f} h before the end of the window, usual are up to {high:.1f} h (n={len(gaps)} gaps)"
    return _judgement("freshness", expectation, value, 0.0, high, len(gaps), "passed" if value <= high else "failed", said)


def _judgement(
    border: str, expectation: str, value: float | None, low: float | None, high: float | None, n: int, status: str, said: str
) -> dict[str, object]:
    return {
        "border": border,
        "expectation": expectation,
        "status": status,
        "observed": said,
        "reason": ABOUT[border],
        "value": value,
        "low": low,
        "high": high,
        "n": n,
    }
