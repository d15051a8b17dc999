"""What thresholds and masks that insights prescribe would do to the alarms since they were prescribed. Pure.

Time-ordered: an insight is compared on alarms that rang after it was recorded; one that runs in shadow, on those since it was declared.
The judged alarms of its signal and subjects tell precision, the incidents that concern its subjects tell recall. One that would have left
an incident without any alarm, of whatever signal, is advised against, whatever else it does.

Assumes, as `scorecard` does, that judged alarms stand for the others, and that evidence is in units of the signal's own threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from aftercast.analyses import DERIVED
from aftercast.declarations import DetectorRow, MaskRow, TuningRow
from aftercast.detection.masks import explained_by, is_of
from aftercast.detection.scorecard import Kept
from aftercast.detection.versions import multiplier_of
from aftercast.entities import FLAG, NUMBER, TEXT, TIME, ColumnType
from aftercast.prescriptions import Advice, detector_with, runs_in, version_name
from aftercast.promoting import Compared, verdict_of

MODEL_VERSION = "insight-effects-1"
LOOKBACK = timedelta(minutes=60)
"""An alarm this long before an incident belongs to it, as `signal_lookback_minutes` of the warehouse says."""
READ_ANOMALIES: dict[str, ColumnType] = {
    **dict.fromkeys(("anomaly_id", "signal", "subject_kind", "subject", "environment", "region", "segment", "direction"), TEXT),
    **dict.fromkeys(("detector_version", "explained_by"), TEXT),
    "evidence": NUMBER,
    "hurts": FLAG,
    **dict.fromkeys(("started_at", "ended_at", "alarmed_at"), TIME),
}
READ_INCIDENTS: dict[str, ColumnType] = {
    **dict.fromkeys(("incident_id", "environment", "region"), TEXT),
    **dict.fromkeys(("started_at", "impact_end_at"), TIME),
}
SUBJECTS: dict[str, ColumnType] = {"incident_id": TEXT, "subject_kind": TEXT, "subject": TEXT}

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _World:
    alarms: Sequence[Row]
    incidents: Sequence[Row]
    detectors: Sequence[DetectorRow]
    as_of: datetime

    @property
    def live(self) -> DetectorRow:
        return next(row for row in self.detectors if row.state == "live")


def effects(
    advice: Sequence[Advice],
    anomalies: pl.DataFrame,
    verdicts: pl.DataFrame,
    incidents: pl.DataFrame,
    subjects: pl.DataFrame,
    detectors: Sequence[DetectorRow],
    as_of: datetime,
) -> pl.DataFrame:
    """Return the rows of `insight_effects` of the thresholds and masks among `advice`, one each.

    Args:
        anomalies: columns of `READ_ANOMALIES` of every detector version.
        verdicts: columns of `scorecard.VERDICTS`.
        incidents: columns of `READ_INCIDENTS`; those that count.
        subjects: columns of `SUBJECTS`: the services and journeys an incident concerns.
        detectors: the declared versions; one is live.
        as_of: until when things are known.
    """
    own = [one for one in advice if one.prescription is not None and one.prescription.kind != "rule"]
    rows: list[Row] = []
    if own:
        world = _World(_harmful(anomalies, verdicts, detectors, as_of), _concerned(incidents, subjects, as_of), detectors, as_of)
        rows = [_effect(one, world) for one in own]
    return pl.DataFrame(rows, schema=dict(DERIVED["insight_effects"]), orient="row")


def _harmful(anomalies: pl.DataFrame, verdicts: pl.DataFrame, detectors: Sequence[DetectorRow], as_of: datetime) -> list[Row]:
    """Episodes that hurt, or would but for a mask, of the version that is most sensitive to their series, with what people said."""
    running = [one for one in detectors if one.state in ("live", "shadow")]
    masked = [mask.name for one in running for mask in one.masks]
    judged = verdicts.filter(pl.col("verdict").is_in(["confirm", "reject"]) & (pl.col("decided_at") < as_of)).select(
        "anomaly_id", "verdict"
    )
    rows = (
        anomalies.select(list(READ_ANOMALIES))
        .filter((pl.col("hurts") | pl.col("explained_by").is_in(masked)) & pl.col("evidence").is_finite())
        .with_columns(rang_at=pl.coalesce("alarmed_at", "started_at"))
        .filter(pl.col("rang_at").is_not_null() & (pl.col("rang_at") < as_of))
        .join(judged, on="anomaly_id", how="left", maintain_order="left")
        .sort("rang_at", "anomaly_id")
    )
    most: dict[tuple[str, str], str] = {}

    def version_for(row: Row) -> str:
        key = row["signal"], row["subject"]
        if key not in most:
            most[key] = max(running, key=lambda one: (multiplier_of(one, *key), one.state == "live", one.version)).version
        return most[key]

    return [row for row in rows.iter_rows(named=True) if row["detector_version"] == version_for(row)]


def _concerned(incidents: pl.DataFrame, subjects: pl.DataFrame, as_of: datetime) -> list[Row]:
    concerns: dict[str, set[tuple[str, str]]] = {}
    for incident_id, kind, subject in subjects.select(list(SUBJECTS)).iter_rows():
        concerns.setdefault(incident_id, set()).add((kind, subject))
    known = incidents.select(list(READ_INCIDENTS)).filter(pl.col("started_at").is_not_null()).sort("started_at", "incident_id")
    return [
        {**row, "impact_end_at": row["impact_end_at"] or as_of, "subjects": concerns.get(row["incident_id"], set())}
        for row in known.iter_rows(named=True)
    ]


def _effect(advice: Advice, world: _World) -> Row:
    live = world.live
    runs = next((one for state in ("live", "shadow") for one in world.detectors if one.state == state and runs_in(advice, one)), None)
    shadow = runs if runs is not None and runs.state == "shadow" else None
    candidate = runs or detector_with(advice, live, version=version_name(advice, live.version), since=advice.recorded_at)
    since = max(advice.recorded_at, shadow.since) if shadow and shadow.since else advice.recorded_at
    without = _without(advice, live) if runs is live else live
    alarms = [alarm for alarm in world.alarms if alarm["rang_at"] >= since and _is_about(advice, alarm)]
    before = [alarm for alarm in world.alarms if alarm["rang_at"] < advice.recorded_at and _is_about(advice, alarm)]
    now, then = (_ringing(alarms, version) for version in (without, candidate))
    kept_now, kept_then = _kept(now), _kept(then)
    incidents = [
        one for one in world.incidents if one["started_at"] >= since and any(_is_of_subject(advice, *whose) for whose in one["subjects"])
    ]
    caught_now, caught_then = ({one["incident_id"] for one in incidents if _is_caught(one, rung)} for rung in (now, then))
    others = [alarm for alarm in world.alarms if alarm["rang_at"] >= since and not _is_about(advice, alarm)]
    missed = [one for one in incidents if one["incident_id"] in caught_now - caught_then]
    lost = sum(not _is_caught(one, _ringing(others, without)) for one in missed)
    compared = _compared(kept_now, kept_then, lost)
    verdict, reason = verdict_of(compared, since, shadow.version if shadow else "", world.as_of)
    tried = [one.version for one in world.detectors if one.state == "retired" and runs_in(advice, one)]
    if runs is live:
        verdict, reason = "adopted", f"live as {live.version}; since {since:%Y-%m-%d} with it: {compared.seen}"
    elif _cannot_tell(candidate, advice, world):
        verdict, reason = (
            ("run_in_shadow" if shadow else "not_enough_data"),
            "more sensitive than any version that runs: only a shadow tells",
        )
    elif tried and shadow is None:
        reason += f"; it ran before, as {', '.join(tried)}"
    if not before and isinstance(advice.row(), MaskRow) and not alarms:
        reason += "; no alarm of its signals and subjects has rung at all"
    assert advice.prescription is not None
    ends = {
        f"{name}_{which}{end}": value
        for name, counted in (("precision", (kept_now, kept_then)), ("recall", _recalls(len(incidents), len(caught_now), len(caught_then))))
        for which, one in zip(("now", "then"), counted, strict=True)
        for end, value in zip(("", "_low", "_high"), one.precision(), strict=True)
    }
    return {
        **advice.told(runs.state if runs else "proposed"),
        "model_kind": "detector",
        "live_version": live.version,
        "shadow_version": shadow.version if shadow else None,
        "compared_from": since,
        "alarms_before": len(_ringing(before, without)),
        "alarms_now": len(now),
        "alarms_then": len(then),
        "confirmed_now": kept_now.confirmed,
        "confirmed_then": kept_then.confirmed,
        "rejected_now": kept_now.rejected,
        "rejected_then": kept_then.rejected,
        "incidents_n": len(incidents),
        "incidents_caught_now": len(caught_now),
        "incidents_caught_then": len(caught_then),
        "incidents_lost": lost,
        **ends,
        "verdict": verdict,
        "reason": reason,
        "model_version": MODEL_VERSION,
    }


def _without(advice: Advice, live: DetectorRow) -> DetectorRow:
    """The live version as it was before the advice: what its effect is told against."""
    tuning = tuple(one for one in live.tuning if one.insight != advice.feature)
    return live.model_copy(update={"tuning": tuning, "masks": tuple(one for one in live.masks if one.insight != advice.feature)})


def _is_of_subject(advice: Advice, kind: str, subject: str) -> bool:
    row = advice.row()
    if isinstance(row, TuningRow):
        return row.subject in ("", subject)
    assert isinstance(row, MaskRow)
    return subject in (row.journeys if kind == "journey" else row.services)


def _is_about(advice: Advice, alarm: Mapping[str, Any]) -> bool:
    """Whether an alarm is of the signal and subjects of an advice, whenever it rang."""
    row = advice.row()
    if isinstance(row, TuningRow):
        return alarm["signal"] == row.signal and row.subject in ("", alarm["subject"])
    assert isinstance(row, MaskRow)
    return is_of(row, alarm)


def _ringing(alarms: Sequence[Row], version: DetectorRow) -> list[Row]:
    """The alarms a version raises and does not expect."""
    return [
        alarm
        for alarm in alarms
        if alarm["evidence"] * multiplier_of(version, alarm["signal"], alarm["subject"]) >= 1 - 1e-9
        and explained_by(version.masks, alarm) is None
    ]


def _kept(alarms: Sequence[Row]) -> Kept:
    said = [alarm["verdict"] for alarm in alarms]
    return Kept(said.count("confirm"), said.count("reject"))


def _recalls(n: int, *caught: int) -> list[Kept]:
    return [Kept(one, n - one) for one in caught]


def _is_caught(incident: Row, alarms: Sequence[Row]) -> bool:
    """Whether an alarm about what an incident concerns rang before its impact ended; the same place, or one that is not told apart."""
    return any(
        (alarm["subject_kind"], alarm["subject"]) in incident["subjects"]
        and (alarm["environment"] or "") in ("", incident["environment"])
        and ("" in (alarm["region"] or "", incident["region"] or "") or alarm["region"] == incident["region"])
        and incident["started_at"] - LOOKBACK <= alarm["started_at"] < incident["impact_end_at"]
        and alarm["rang_at"] < incident["impact_end_at"]
        for alarm in alarms
    )


def _compared(now: Kept, then: Kept, lost: int) -> Compared:
    better = max(now.rejected - then.rejected, 0) + max(then.confirmed - now.confirmed, 0)
    worse = max(then.rejected - now.rejected, 0) + max(now.confirmed - then.confirmed, 0)
    seen = (
        f"{then.confirmed} of {now.confirmed} confirmed and {then.rejected} of {now.rejected} rejected alarms would have rung"
        if now.n
        else "nobody has judged an alarm of its signals and subjects"
    )
    holds = then.worth > now.worth and not then.loses_too_much(now)
    loses = f"{lost} incident{'s' * (lost != 1)} would have gone without any alarm" if lost else ""
    return Compared(max(now.n, then.n), better, worse, holds, loses, seen, "judged alarms")


def _cannot_tell(candidate: DetectorRow, advice: Advice, world: _World) -> bool:
    """Whether it would raise alarms that no running version has raised."""
    row = advice.row()
    if not isinstance(row, TuningRow):
        return False
    running = [one for one in world.detectors if one.state in ("live", "shadow")]
    most = max(multiplier_of(one, row.signal, row.subject) for one in running)
    return multiplier_of(candidate, row.signal, row.subject) > most + 1e-9
