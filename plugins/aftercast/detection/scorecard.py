"""Tuning proposals: how sensitive the live detector should be to a signal or a subject, learnt from what people said of its alarms. Pure.

Time-ordered: a sensitivity is chosen on alarms that had rung and been judged before a cut, and compared on the alarms that rang from the
cut on; a verdict given after the cut never informs the choice. Worth is confirmed alarms kept less rejected alarms kept, and at most
`MAY_LOSE` of the confirmed ones may be lost. What holds on the later alarms is worth a shadow version; a shadow is worth going live after
`SHADOW_DAYS` when the alarms since it was declared agree, judged by an exact sign test of the alarms it would change.

Assumes that judged alarms stand for the others of their context, and that evidence is in units of the signal's own threshold, so that a
version tuned by m raises an alarm of evidence e where e * m is at least 1. Fewer alarms than `LEAST_TRAIN` and `LEAST_HOLDOUT` decide
nothing.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl
from scipy import stats

from aftercast.analyses import DERIVED
from aftercast.declarations import DetectorRow
from aftercast.detection.versions import multiplier_of
from aftercast.entities import TEXT, TIME, ColumnType
from aftercast.promoting import LEAST_HOLDOUT, LUCK, SHADOW_DAYS, luck

MODEL_VERSION = "verdict-tuning-1"
VERDICTS: dict[str, ColumnType] = {"anomaly_id": TEXT, "verdict": TEXT, "decided_at": TIME}
"""The newest verdict of each judged episode (`intermediate.int_anomalies__verdicts`)."""
READ = ("anomaly_id", "signal", "subject", "detector_version", "hurts", "evidence", "started_at", "alarmed_at")
FACTORS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5)
LEAST_TRAIN = 8
TRAIN_SHARE = 0.6
MAY_LOSE = 0.05

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Alarm:
    """A judged alarm: when it rang, how strong it was, what a human said, and when."""

    version: str
    subject: str
    rang_at: datetime
    evidence: float
    is_confirmed: bool
    decided_at: datetime


@dataclass(frozen=True, slots=True)
class Kept:
    """How many judged alarms a sensitivity raises."""

    confirmed: int
    rejected: int

    @property
    def n(self) -> int:
        return self.confirmed + self.rejected

    @property
    def worth(self) -> int:
        return self.confirmed - self.rejected

    def loses_too_much(self, now: Kept) -> bool:
        return now.confirmed - self.confirmed > MAY_LOSE * now.confirmed

    def precision(self) -> tuple[float | None, float | None, float | None]:
        """Return the share of confirmed alarms with its Wilson 95 % interval; nothing of nothing is unknown."""
        if not self.n:
            return None, None, None
        ends = stats.binomtest(self.confirmed, self.n).proportion_ci(confidence_level=0.95, method="wilson")
        share = self.confirmed / self.n
        return share, min(float(ends.low), share), max(float(ends.high), share)


def kept(alarms: Iterable[Alarm], multiplier: float) -> Kept:
    """Count the alarms that a tuning of `multiplier` raises."""
    raised = [alarm.is_confirmed for alarm in alarms if alarm.evidence * multiplier >= 1 - 1e-9]
    return Kept(sum(raised), len(raised) - sum(raised))


def cut_of(alarms: Sequence[Alarm]) -> datetime | None:
    """Return the time that parts alarms to choose on from alarms to compare on, nearest to 60:40; only times decide, never verdicts."""
    best, at = 0.0, None
    known = sorted(max(alarm.rang_at, alarm.decided_at) for alarm in alarms)
    rang = sorted(alarm.rang_at for alarm in alarms)
    n_before = 0
    for number, cut in enumerate(rang):
        while n_before < len(known) and known[n_before] < cut:
            n_before += 1
        balance = min(n_before / TRAIN_SHARE, (len(rang) - number) / (1 - TRAIN_SHARE))
        if (number == 0 or cut != rang[number - 1]) and balance > best:
            best, at = balance, cut
    return at


def choose(alarms: Sequence[Alarm], current: float, most: float) -> float:
    """Return the multiplier of the grid that is worth most on `alarms`; the nearest to `current` of equals, at most `most`."""
    now = kept(alarms, current)

    def order(multiplier: float) -> tuple[float, float, float]:
        return -kept(alarms, multiplier).worth, abs(math.log(multiplier / current)), multiplier

    grid = [round(current * factor, 4) for factor in FACTORS]
    allowed = [one for one in grid if one <= most + 1e-9 and not kept(alarms, one).loses_too_much(now)]
    return min([current, *(one for one in allowed if one != current)], key=order)


def propose(anomalies: pl.DataFrame, verdicts: pl.DataFrame, detectors: Sequence[DetectorRow], as_of: datetime) -> pl.DataFrame:
    """Return the rows of `tuning_proposals`: one per context with judged alarms, and one per context that a shadow tunes otherwise.

    Args:
        anomalies: columns `READ` of every detector version's episodes; those that do not hurt are no alarms.
        verdicts: columns of `VERDICTS`; anything but confirm and reject is left out.
        detectors: the declared versions; one is live.
        as_of: until when things are known.
    """
    live = next(row for row in detectors if row.state == "live")
    shadows = [row for row in detectors if row.state == "shadow"]
    by_signal = _judged(anomalies, verdicts, as_of)
    rows: list[Row] = []
    for signal in sorted({*by_signal, *(row.signal for one in (live, *shadows) for row in one.tuning)}):
        alarms = by_signal.get(signal, [])
        tuned = {row.subject for one in (live, *shadows) for row in one.tuning if row.signal == signal}
        for subject in sorted({"", *(alarm.subject for alarm in alarms), *tuned}):
            context = _Context(signal, subject, live, shadows, _in_context(alarms, signal, subject, (live, *shadows)))
            tried = list(_tried(context, as_of))
            rows += tried
            if context.alarms:
                rows += [
                    row for row in [_chosen(context)] if row["proposed_sensitivity"] not in [one["proposed_sensitivity"] for one in tried]
                ]
    schema = dict(DERIVED["tuning_proposals"])
    return pl.DataFrame(rows, schema=schema, orient="row").sort(
        "detector_version", "signal", "subject", "proposed_sensitivity", "proposal_id"
    )


@dataclass(frozen=True, slots=True)
class _Context:
    signal: str
    subject: str
    live: DetectorRow
    shadows: Sequence[DetectorRow]
    alarms: Sequence[Alarm]
    """Judged alarms of the most sensitive version that runs: what a less sensitive one would raise is among them."""

    def of(self, detector: DetectorRow) -> float:
        return multiplier_of(detector, self.signal, self.subject)

    @property
    def most(self) -> float:
        return max(self.of(one) for one in (self.live, *self.shadows))


def _judged(anomalies: pl.DataFrame, verdicts: pl.DataFrame, as_of: datetime) -> dict[str, list[Alarm]]:
    alarms = (
        anomalies.select(READ)
        .filter(pl.col("hurts") & pl.col("evidence").is_finite())
        .with_columns(rang_at=pl.coalesce("alarmed_at", "started_at"))
        .join(verdicts.select(list(VERDICTS)), on="anomaly_id")
        .filter(pl.col("verdict").is_in(["confirm", "reject"]) & (pl.col("decided_at") < as_of) & pl.col("rang_at").is_not_null())
        .sort("signal", "rang_at", "anomaly_id")
    )
    found: dict[str, list[Alarm]] = {}
    columns = ("signal", "detector_version", "subject", "rang_at", "evidence", "verdict", "decided_at")
    for signal, version, subject, rang_at, evidence, verdict, decided_at in alarms.select(columns).iter_rows():
        found.setdefault(signal, []).append(Alarm(version, subject, rang_at, evidence, verdict == "confirm", decided_at))
    return found


def _in_context(alarms: Sequence[Alarm], signal: str, subject: str, running: Sequence[DetectorRow]) -> list[Alarm]:
    """Alarms of a subject, or of every subject no running version tunes by itself, by the most sensitive version there (live first)."""
    most = max(running, key=lambda one: (multiplier_of(one, signal, subject), one.state == "live", one.version))
    own = {row.subject for one in running for row in one.tuning if row.signal == signal and row.subject}
    return [
        alarm for alarm in alarms if alarm.version == most.version and (alarm.subject == subject if subject else alarm.subject not in own)
    ]


def _chosen(context: _Context) -> Row:
    """Return the proposal of a context: chosen before its cut, compared from it on."""
    current, alarms = context.of(context.live), context.alarms
    cut = cut_of(alarms)
    train = [alarm for alarm in alarms if cut and max(alarm.rang_at, alarm.decided_at) < cut]
    holdout = [alarm for alarm in alarms if cut and alarm.rang_at >= cut]
    if cut is None or len(train) < LEAST_TRAIN or len(holdout) < LEAST_HOLDOUT:
        reason = (
            f"judged so far: {len(alarms)}; choosing needs {LEAST_TRAIN} that were judged before {LEAST_HOLDOUT} later ones rang, "
            f"at best it is {len(train)} and {len(holdout)}"
        )
        return _row(context, current, "not_enough_data", reason, n_train=len(train))
    chosen = choose(train, current, context.most)
    now, then = kept(holdout, current), kept(holdout, chosen)
    if chosen == current:
        told = kept(train, current)
        reason = (
            f"no sensitivity does better on the {len(train)} alarms judged before {cut:%Y-%m-%d}: "
            f"{told.confirmed} confirmed, {told.rejected} rejected"
        )
        return _row(context, current, "keep", reason, n_train=len(train), cut=cut, holdout=(now, then, len(holdout)))
    verdict = "run_in_shadow" if _holds(now, then) else "keep"
    reason = f"{_seen(now, then)} from {cut:%Y-%m-%d} on"
    if verdict == "keep":
        reason = f"{chosen:g} did better on {len(train)} earlier alarms, not on later ones: {reason}"
    return _row(context, chosen, verdict, reason, n_train=len(train), cut=cut, holdout=(now, then, len(holdout)))


def _tried(context: _Context, as_of: datetime) -> Iterator[Row]:
    """Yield a row per shadow that tunes the context otherwise than the live version: what the alarms since it was declared say."""
    current = context.of(context.live)
    for shadow in context.shadows:
        tried = context.of(shadow)
        named = any((row.signal, row.subject) == (context.signal, context.subject) for one in (shadow, context.live) for row in one.tuning)
        if tried == current or not named or shadow.since is None:
            continue
        since = shadow.since
        train = [alarm for alarm in context.alarms if max(alarm.rang_at, alarm.decided_at) < since]
        holdout = [alarm for alarm in context.alarms if alarm.rang_at >= since]
        now, then = kept(holdout, current), kept(holdout, tried)
        ran = f"in shadow as {shadow.version} since {since:%Y-%m-%d}: {_seen(now, then)}"
        long_enough = as_of - since >= timedelta(days=SHADOW_DAYS)
        if len(holdout) < LEAST_HOLDOUT or not long_enough:
            days = "" if long_enough else f"{max((as_of - since).days, 0)} of {SHADOW_DAYS} days, "
            lacking = f"{days}{len(holdout)} judged alarms, {LEAST_HOLDOUT} needed"
            verdict, reason = "run_in_shadow", f"{ran}; too early to tell ({lacking})"
        elif not _holds(now, then):
            verdict, reason = "keep", f"{ran}; not better"
        else:
            chance = _luck(now, then)
            verdict = "promote" if chance <= LUCK else "run_in_shadow"
            reason = f"{ran}; a coin would agree with a chance of {chance:.2g}"
        yield _row(context, tried, verdict, reason, n_train=len(train), cut=since, holdout=(now, then, len(holdout)), shadow=shadow.version)


def _holds(now: Kept, then: Kept) -> bool:
    return then.worth > now.worth and not then.loses_too_much(now)


def _luck(now: Kept, then: Kept) -> float:
    better = max(now.rejected - then.rejected, 0) + max(then.confirmed - now.confirmed, 0)
    worse = max(then.rejected - now.rejected, 0) + max(now.confirmed - then.confirmed, 0)
    return luck(better, worse)


def _seen(now: Kept, then: Kept) -> str:
    """Say what a change of sensitivity does to judged alarms."""
    if then.n > now.n:
        return (
            f"raises {then.confirmed - now.confirmed} confirmed and {then.rejected - now.rejected} rejected alarms more "
            f"than the {now.n} judged ones"
        )
    return (
        f"drops {now.rejected - then.rejected} of {now.rejected} rejected and {now.confirmed - then.confirmed} of {now.confirmed} "
        f"confirmed alarms"
    )


def _row(
    context: _Context,
    proposed: float,
    verdict: str,
    reason: str,
    *,
    n_train: int,
    cut: datetime | None = None,
    holdout: tuple[Kept, Kept, int] | None = None,
    shadow: str = "",
) -> Row:
    now, then, n_holdout = holdout if holdout else (None, None, 0)
    name = f"{context.live.version}|{context.signal}|{context.subject}|{shadow}|{proposed:g}"
    ends = {
        f"precision_{which}{end}": value
        for which, counted in (("current", now), ("proposed", then))
        for end, value in zip(("", "_low", "_high"), counted.precision() if counted else (None,) * 3, strict=True)
    }
    return {
        "proposal_id": "tuning-" + hashlib.sha256(name.encode()).hexdigest()[:16],
        "detector_version": context.live.version,
        "signal": context.signal,
        "subject": context.subject,
        "current_sensitivity": context.of(context.live),
        "proposed_sensitivity": proposed,
        "n_train": n_train,
        "holdout_from": cut,
        "n_holdout": n_holdout,
        "rejected_dropped": now.rejected - then.rejected if now and then else None,
        "confirmed_dropped": now.confirmed - then.confirmed if now and then else None,
        **ends,
        "verdict": verdict,
        "reason": reason,
        "model_version": MODEL_VERSION,
    }
