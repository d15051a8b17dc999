"""How often something happens per something: shares by bucket, and how much likelier those of an incident are if they changed.

The normal share is pooled over buckets without the most extreme fifth on either side, so that other incidents of the same service do not
become its normal; how much it wanders from bucket to bucket beyond chance limits how much a long history can claim.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import betaln, gammaln

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

TRIMMED, LEFT_OF_VARIANCE = 0.2, 0.2145
"""A fifth of the wholes is left out on either side; of a normal distribution that leaves this part of the variance."""
KNOWN_BUCKETS = 3
"""An event of fewer normal buckets is news; news of one whole count together, for some operations say something new every time."""
ENOUGH_WHOLES, ENOUGH_NORMAL = 3, 20
FIRMEST = 500.0
NEWS = "new: "


@dataclass(frozen=True, slots=True)
class Tally:
    """Wholes (rows of `wholes`) and events within them (rows of `counts`, belonging to the whole `of`), both by bucket."""

    names: tuple[tuple[str, str], ...]
    wholes: Counts
    events: tuple[str, ...]
    of: Counts
    counts: Counts


@dataclass(frozen=True, slots=True)
class Shift:
    """A share that changed: `evidence` is the logarithm of the Bayes factor of another share against the normal one."""

    service: str
    whole: str
    event: str
    usual: float
    seen: float
    happened: int
    out_of: int
    evidence: float


def shifts(tally: Tally, during: Counts, normal: Counts) -> list[Shift]:
    """Compare every event's share during with its normal one; wholes seen too rarely stay silent."""
    wholes = tally.wholes[:, during].sum(axis=1)
    usual = tally.wholes[:, normal]
    speaking = (wholes >= ENOUGH_WHOLES) & (usual.sum(axis=1) >= ENOUGH_NORMAL)
    rows = np.flatnonzero(speaking[tally.of])
    if not rows.size:
        return []
    seen, history = tally.counts[np.ix_(rows, during)].sum(axis=1), tally.counts[np.ix_(rows, normal)]
    of = tally.of[rows]
    labels = [tally.events[row] for row in rows]
    is_news = (history > 0).sum(axis=1) < KNOWN_BUCKETS
    of, seen, history, labels = _with_news(of, seen, history, labels, is_news)
    seen = np.minimum(seen, wholes[of])
    centre, weight = _normal(history, usual[of])
    evidence = _evidence(seen, wholes[of], centre, weight)
    return [
        Shift(tally.names[whole][0], tally.names[whole][1], label, float(p), float(a) / float(n), int(a), int(n), float(found))
        for whole, label, p, a, n, found in zip(of, labels, centre, seen, wholes[of], evidence, strict=True)
        if found > 0
    ]


def _with_news(
    of: Counts, seen: Counts, history: Counts, labels: list[str], is_news: npt.NDArray[np.bool_]
) -> tuple[Counts, Counts, Counts, list[str]]:
    """Known events, and per whole the sum of those that are not."""
    places, inverse = np.unique(of[is_news], return_inverse=True)
    loudest = {int(of[row]): labels[row] for row in sorted(np.flatnonzero(is_news), key=lambda row: (seen[row], labels[row]))}
    new_seen = np.bincount(inverse, weights=seen[is_news], minlength=places.size).astype(np.int64)
    new_history = np.zeros((places.size, history.shape[1]), dtype=np.int64)
    np.add.at(new_history, inverse, history[is_news])
    known = ~is_news
    return (
        np.concatenate([of[known], places]),
        np.concatenate([seen[known], new_seen]),
        np.concatenate([history[known], new_history]),
        [label for label, new in zip(labels, is_news, strict=True) if not new] + [NEWS + loudest[int(place)] for place in places],
    )


def _normal(history: Counts, wholes: Counts) -> tuple[Floats, Floats]:
    """Share and the number of independent observations it is worth, from the buckets in the middle of the wholes."""
    n = wholes.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = np.where(n > 0, np.minimum(history / n, 1.0), np.nan)
    order = np.argsort(rates, axis=1, kind="stable")
    n, rates = np.take_along_axis(n, order, axis=1), np.take_along_axis(rates, order, axis=1)
    total = n.sum(axis=1, keepdims=True)
    upto = np.cumsum(n, axis=1)
    low, high = TRIMMED * total, (1 - TRIMMED) * total
    kept = np.clip(np.minimum(upto, high) - np.maximum(upto - n, low), 0.0, None)
    filled = np.where(np.isfinite(rates), rates, 0.0)
    mass = np.maximum(kept.sum(axis=1), 1e-9)
    centre = (kept * filled).sum(axis=1) / mass
    variance = (kept * (filled - centre[:, None]) ** 2).sum(axis=1) / mass / LEFT_OF_VARIANCE
    buckets = np.maximum((kept > 0).sum(axis=1), 1)
    chance = centre * (1 - centre) * buckets / mass
    wander = np.maximum(variance - chance, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        firm = np.where(wander > 0, np.maximum(centre * (1 - centre), 1e-4) / wander, FIRMEST)
    return centre, np.clip(np.minimum(firm, mass), 1.0, FIRMEST)


def _evidence(seen: Counts, wholes: Counts, centre: Floats, weight: Floats) -> Floats:
    """Logarithm of: any share is as likely as any other, over the normal share with what is known of it."""
    a, n = seen.astype(np.float64), wholes.astype(np.float64)
    alpha, beta = centre * weight + 0.5, (1 - centre) * weight + 0.5
    choose = gammaln(n + 1) - gammaln(a + 1) - gammaln(n - a + 1)
    as_usual = choose + betaln(a + alpha, n - a + beta) - betaln(alpha, beta)
    return np.asarray(-np.log(n + 1) - as_usual)
