"""What a fix promised before it shipped: the outcome, the change and the window its success criterion names.

Columns that say so win; otherwise the text is read for a window ("28 days") and a change ("no incident", "by 30 %", "halve"). A criterion
written down after shipping promises nothing: it is flagged, and the fix is judged by the conventions below instead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

OUTCOMES = ("recurrence", "time_to_detect", "time_to_recover", "blast_radius", "loss_per_incident", "loss_per_week", "change_failure_rate")
PROMISED = {"repair": "recurrence", "prevent": "recurrence", "detect": "time_to_detect", "mitigate": "time_to_recover"}
"""What a type of action item promises; one without a type is taken for a repair, and investigating promises nothing that is counted."""
WORTH_THE_NAME = {"recurrence": 0.2}
"""Where nothing is promised: a fix leaves at most this share of what it is against; an interval wholly above refutes it."""
WORTH_ELSEWHERE = 1.0
"""Of the other outcomes only one that got no better is refuted."""
SHORTEST_WINDOW, LONGEST_WINDOW = 28.0, 364.0

_DAYS = {"day": 1.0, "week": 7.0, "month": 30.0, "quarter": 91.0}
_WINDOW = re.compile(r"\b(\d{1,3})[\s-]*(day|week|month|quarter)s?\b", re.IGNORECASE)
_SHARE = re.compile(r"\bby (?:at least )?(\d{1,3}) ?(?:%|percent|per cent)", re.IGNORECASE)
_NONE = re.compile(
    r"\b(?:no|zero|none of)\b.{0,40}\b(?:incident|recurrence|repeat|outage)s?\b|\b(?:does not|never) (?:recur|return)", re.IGNORECASE
)
_HALF = re.compile(r"\bhal(?:f|ve[ds]?)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Criterion:
    """What a fix is judged by.

    Attributes:
        status: before_shipping, after_shipping (flagged, not used), or none.
        outcome: what is promised; None when nothing that is counted.
        ratio: outcome after / before that is promised at most; None when no size is promised.
        window_days: when the promise falls due; None when not said.
    """

    status: str
    outcome: str | None
    ratio: float | None
    window_days: float | None


def read_criterion(
    kind: str | None, text: str | None, outcome: str | None, change: float | None, set_at: datetime | None, shipped_at: datetime | None
) -> Criterion:
    """Return what an item promised: `change` is relative (-0.5 halves), `set_at` when the criterion got its present wording."""
    usual = PROMISED.get(kind or "repair")
    if not (text or outcome or change is not None):
        return Criterion("none", usual, None, None)
    if set_at is None or shipped_at is None or set_at > shipped_at:
        return Criterion("after_shipping", usual, None, None)
    window = _WINDOW.search(text or "")
    days = float(window[1]) * _DAYS[window[2].lower()] if window else None
    ratio = 1 + change if change is not None else _ratio(text or "")
    known = outcome if outcome in OUTCOMES else usual
    return Criterion("before_shipping", known, max(ratio, 0.0) if ratio is not None else None, days)


def _ratio(text: str) -> float | None:
    if _NONE.search(text):
        return 0.0
    share = _SHARE.search(text)
    if share:
        return 1 - min(float(share[1]), 100.0) / 100
    return 0.5 if _HALF.search(text) else None


def refuted_above(outcome: str, criterion: Criterion) -> float:
    """Return the ratio above which, with its whole interval, a fix has failed: its promise, or the convention where it made none.

    A promise of none at all is held to the convention, or a single recurrence would refute it with certainty.
    """
    usual = WORTH_THE_NAME.get(outcome, WORTH_ELSEWHERE)
    return max(criterion.ratio, WORTH_THE_NAME["recurrence"]) if criterion.outcome == outcome and criterion.ratio is not None else usual


def window_of(criterion: Criterion, days_before: float) -> float:
    """Return the days by which most of the error may be spent: the promised window, else as long after as was watched before."""
    return criterion.window_days or min(max(days_before, SHORTEST_WINDOW), LONGEST_WINDOW)
