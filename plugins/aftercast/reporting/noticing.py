"""How incidents were noticed and how fast they were stopped: shares with intervals, and medians; never a mean of durations."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from aftercast.reporting.figures import Detection
from aftercast.reporting.intervals import Share, quantile, wilson
from aftercast.reporting.losses import within
from aftercast.reporting.wording import count
from aftercast.window import Window

SOON = 30.0  # minutes


def found_by_us(incidents: pl.DataFrame) -> Share:
    """Return the share we noticed before a customer told us, of those whose detection method says."""
    known = incidents.filter(pl.col("is_found_by_us").is_not_null())
    return wilson(known.filter(pl.col("is_found_by_us")).height, known.height)


def found_by_monitors(incidents: pl.DataFrame) -> Share:
    """Return the share first noticed by a monitor, of those whose detection method is known."""
    known = incidents.filter(pl.col("detection_method").is_in(["monitor", "customer", "employee", "other"]))
    return wilson(known.filter(pl.col("detection_method") == "monitor").height, known.height)


def mitigated_soon(incidents: pl.DataFrame) -> Share:
    """Return the share mitigated in under 30 minutes from its start. An incident without a known end counts once it has lasted longer."""
    lasting = pl.col("is_censored").fill_null(value=False) & (pl.col("impact_minutes") >= SOON)
    decided = incidents.filter(pl.col("t_mitigate_minutes").is_not_null() | lasting)
    return wilson(decided.filter(pl.col("t_mitigate_minutes") < SOON).height, decided.height)


def alerted(incidents: pl.DataFrame) -> Share:
    """Return the share with at least one alert, of those whose alerts are counted."""
    known = incidents.filter(pl.col("alerts_n").is_not_null())
    return wilson(known.filter(pl.col("alerts_n") > 0).height, known.height)


def lines(incidents: pl.DataFrame, spans: Sequence[Window]) -> tuple[Detection, ...]:
    """Return each share for the last span, beside the same share over all spans before it."""
    now = within(incidents, spans[-1])
    before = within(incidents, Window(spans[0].start, spans[-1].start)) if len(spans) > 1 else incidents.clear()
    return (
        Detection(
            "Found by us first",
            "noticed by a monitor or an employee before a customer told us",
            found_by_us(now),
            found_by_us(before),
        ),
        Detection(
            "Found by a monitor first",
            "first noticed by a monitor, of incidents with a known way of detection",
            found_by_monitors(now),
            found_by_monitors(before),
        ),
        Detection(
            "Mitigated in under 30 min",
            "from start to mitigation; open incidents older than 30 minutes count as not",
            mitigated_soon(now),
            mitigated_soon(before),
        ),
        Detection(
            "With at least one alert", "an alert of its services from an hour before its start until its end", alerted(now), alerted(before)
        ),
    )


def alerts_per_incident(incidents: pl.DataFrame) -> str:
    """Say how many alerts an incident raised: median, range and n."""
    numbers = [float(n) for n in incidents["alerts_n"].drop_nulls()]
    if not numbers:
        return ""
    shown = f"{quantile(numbers, 0.5):g}"
    return f"Alerts per incident: median {shown}, from {min(numbers):g} to {max(numbers):g}, over {count(len(numbers), 'incident')}."
