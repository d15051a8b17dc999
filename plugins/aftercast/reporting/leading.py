"""Leading indicators that match at the end of the week, with what their record was when they did. Rejected ones are not shown."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from aftercast.reporting.figures import LeadingLine
from aftercast.reporting.rows import Rows
from aftercast.reporting.wording import number_word

SHOWN = {"trusted": "trusted", "on_trial": "on trial"}
KEYS = ("matched_subject", "kind", "signal", "family_title")


def lines(rows: Rows, until: datetime) -> tuple[LeadingLine, ...]:
    """Matches whose horizon holds at `until`, trusted ones first, each subject and signal once."""
    matches = rows["mart_leading_matches"].filter(
        (pl.col("matched_at") < until)
        & (pl.col("horizon_end_at") >= until)
        & (pl.col("outcome") == "pending")
        & pl.col("status").is_in(list(SHOWN))
    )
    ordered = matches.sort(pl.col("status") != "trusted", "matched_at", *KEYS, nulls_last=True)
    found: dict[tuple[str, str], LeadingLine] = {}
    for row in ordered.iter_rows(named=True):
        found.setdefault(
            (row["matched_subject"], row["signal"]),
            LeadingLine(
                row["look"] or f"{row['signal']} of {row['matched_subject']}",
                SHOWN[row["status"]],
                _record(row["past_true_n"], row["past_n"], row["past_precision_low"], row["past_precision_high"]),
                row["horizon_end_at"],
                row["family_title"],
            ),
        )
    return tuple(found.values())


def _record(true: int | None, n: int | None, low: float | None, high: float | None) -> str:
    if not n or low is None or high is None:
        return "not judged yet"
    return f"{true} of {n} earlier warnings came true ({100 * low:.0f} to {100 * high:.0f} %)"


def title(found: tuple[LeadingLine, ...]) -> str:
    """What the section says."""
    if not found:
        return "Nothing that came before past incidents is seen now"
    trusted = sum(line.status == "trusted" for line in found)
    noun = "warning is" if len(found) == 1 else "warnings are"
    return f"{number_word(len(found))} early {noun} out; {number_word(trusted).lower() if trusted else 'none'} from a trusted indicator"
