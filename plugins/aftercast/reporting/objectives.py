"""Objectives declared in OpenSLO: which of them a period met, and which burn-rate rules fire now. Journeys' own targets are told there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import polars as pl

from aftercast.errors import QualityError
from aftercast.reporting.figures import ObjectiveLine
from aftercast.reporting.rows import Rows
from aftercast.reporting.wording import count, listing, number_word
from aftercast.window import Window

ORDER = ("missed", "kept", "not_judged")
# Burn rates are known at the end of the data alone: of a period that was over this long before they say nothing.
NOW = timedelta(days=7)


def lines(rows: Rows, week: Window, as_of: datetime) -> tuple[ObjectiveLine, ...]:
    """Return a line for each declared objective as it stood on its last day of the period, missed ones first, then least budget left.

    Raises:
        QualityError: an objective is called met or missed against its own figures.
    """
    journeys = set(rows["mart_journey_health"]["journey"].to_list())
    declared = rows["mart_slo_health"].filter(~pl.col("slo").is_in(list(journeys)) & (pl.col("day") < week.end.date()))
    latest = declared.sort("slo", "day").unique("slo", keep="last", maintain_order=True)
    rules: dict[str, list[str]] = {}
    if as_of - week.end < NOW:
        firing = rows["mart_slo_burn"].filter(pl.col("status") == "firing").sort("severity", "rule")
        for slo, rule in firing.select("slo", "rule").rows():
            rules.setdefault(slo, []).append(rule)
    found = [_line(row, week, rules.get(row["slo"], ())) for row in latest.iter_rows(named=True)]
    return tuple(sorted(found, key=lambda line: (ORDER.index(line.status), -(line.budget_used or 0.0), line.slo)))


def _line(row: dict[str, object], week: Window, rules: Sequence[str]) -> ObjectiveLine:
    share, target, left, day = row["window_share"], row["target"], row["budget_left_ratio"], row["day"]
    known = isinstance(share, float) and isinstance(target, float)
    silent = day is None or day < week.start.date()  # type: ignore[operator]
    status = {"kept": "kept", "missed": "missed"}.get(str(row["status"]), "not_judged") if known and not silent else "not_judged"
    if isinstance(share, float) and isinstance(target, float) and status != "not_judged" and (share < target) != (status == "missed"):
        raise QualityError(
            f"the figures do not add up: objective {row['slo']} is {status} with {share:.6f} against a target of {target:.6f}"
        )
    return ObjectiveLine(
        slo=str(row["slo"]),
        title=str(row["title"] or row["slo"]),
        target=target if isinstance(target, float) else None,
        success=share if isinstance(share, float) and not silent else None,
        budget_used=1 - left if isinstance(left, float) and status != "not_judged" else None,
        status=status,
        reason="" if status != "not_judged" else "nothing measured" if silent else "not enough traffic",
        firing=tuple(rules),
    )


def title(found: Sequence[ObjectiveLine]) -> str:
    """Say how many of the declared objectives are met and which are not; each is counted once."""
    n = {status: sum(line.status == status for line in found) for status in ORDER}
    names = listing([line.title for line in found if line.status == "missed"], 2)
    what = count(len(found), "objective") + " declared in OpenSLO"
    if n["kept"] == len(found):
        text = f"All {what} are met" if len(found) > 1 else "The objective declared in OpenSLO is met"
    elif len(found) == 1:
        text = "The objective declared in OpenSLO " + (f"is missed: {names}" if n["missed"] else "cannot be judged")
    else:
        first = number_word(n["kept"]) if n["kept"] else "None"
        parts = [f"{first} of {what} {'is' if n['kept'] == 1 else 'are'} met"]
        if n["missed"]:
            parts.append(f"missed: {names}")
        if n["not_judged"]:
            parts.append(f"{n['not_judged']} cannot be judged")
        text = "; ".join(parts)
    burning = [line.title for line in found if line.firing]
    return f"{text}; burning now: {listing(burning, 2)}" if burning else text
