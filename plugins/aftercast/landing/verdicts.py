"""What a person says on the command line about an alarm or a cause, landed at once as a row of `verdicts`.

All such rows are one piece of the source `people`, landed whole each time. A verdict about an alarm names the moment of its series, not
the episode, so that it holds for every version of the detector and after a rebuild. Saying something else later is a new version of it;
confirming another cause of an incident takes back the one confirmed before. What others say at the same time is not lost.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from aftercast import warehouse
from aftercast.declarations import SourceRow
from aftercast.entities import ENTITIES, LINEAGE
from aftercast.errors import ConfigError
from aftercast.landing import coverage, storage
from aftercast.landing.context import Gate, Landed
from aftercast.landing.extracts import land
from aftercast.landing.slices import entity_folder
from aftercast.settings import Settings
from aftercast.window import parse_utc

PEOPLE = SourceRow(name="people", kind="files", owner="people", entities=("verdicts",))
VERDICTS = ENTITIES["verdicts"]


@dataclass(frozen=True, slots=True)
class Subject:
    """What a verdict is about, in the columns of the entity, and in words."""

    kind: str
    id: str
    incident_id: str | None
    words: str
    verdict: str | None = None  # what is said of it, when that is not what is said of the others


@dataclass(frozen=True, slots=True)
class _Spoken:
    frame: pl.DataFrame
    entity: str = "verdicts"
    origin: str = "command line"
    expected: int | None = None
    first_row: int = 1
    rejected: pl.DataFrame | None = None
    piece: str | None = "spoken"
    notes: Mapping[str, int] = field(default_factory=dict)


def subject_of(mart: Path, named: str, cause: str | None = None) -> Subject:
    """Return what a person means by an id of an episode, recommendation or incident, `<series_id>@<time>`, or `<series_id>@<from>/<until>`.

    Args:
        mart: the published file.
        named: as typed.
        cause: of an incident: `kind:id` of one of its candidates; its first candidate when not given.

    Raises:
        ConfigError: nothing of that name is published, or its time cannot be read.
        WarehouseError: nothing is published yet.
    """
    series, _, times = named.rpartition("@")
    if series:
        for time in times.split("/"):
            if len(time) <= len("2026-10-01"):
                raise ConfigError(f"{named!r}: write the time after @ with its zone, e.g. 2026-10-01T10:05Z")
            parse_utc(time, what="the time after @")
        known = _texts(mart, "select distinct signal_id from marts.mart_signal_quality where source_kind = 'series'")
        if series not in known:
            raise ConfigError(f"no series {series!r} is watched{_nearest(series, known)}")
        return Subject("anomaly", named, None, f"alarms on {series} at {times}")
    episode = warehouse.query(mart, "select series_id, peak_at from marts.mart_anomalies where anomaly_id = $1", [named])
    if episode.height:
        series_id, peak_at = episode.row(0)
        moment = f"{peak_at.astimezone(UTC):%Y-%m-%dT%H:%MZ}"
        return Subject("anomaly", f"{series_id}@{moment}", None, f"the alarm on {series_id} at {moment}")
    advice = warehouse.query(mart, "select action from marts.mart_recommendations where recommendation_id = $1", [named])
    if advice.height:
        return Subject("recommendation", named, None, f"the recommendation {named}: {advice.item()}")
    sql = "select kind, candidate_id from marts.mart_incident_candidates where incident_id = $1 order by rank"
    candidates = [f"{kind}:{candidate}" for kind, candidate in warehouse.query(mart, sql, [named]).iter_rows()]
    if not candidates:
        known = _texts(mart, "select incident_id from marts.mart_incidents")
        if named in known:
            raise ConfigError(f"incident {named} has no candidate cause to judge")
        raise ConfigError(f"neither an episode, an incident nor a recommendation is called {named!r}{_nearest(named, known)}")
    chosen = cause or candidates[0]
    if chosen not in candidates:
        raise ConfigError(f"{named} has no candidate {chosen!r}{_nearest(chosen, candidates)}")
    kind, _, candidate = chosen.partition(":")
    return Subject(kind, candidate, named, f"{kind} {candidate} as the cause of {named}")


def instead_of(mart: Path, subject: Subject, cause: str) -> list[Subject]:
    """Return what a person means who says that not `subject` but `cause` did it: the one rejected, the other confirmed.

    Args:
        mart: the published file.
        subject: the candidate of an incident that did not do it.
        cause: `kind:id`, a candidate of the incident or anything else we know; what is no candidate counts as none of them.

    Raises:
        ConfigError: the subject is no candidate of an incident, nothing of that name is known, or it is the subject itself.
    """
    if subject.incident_id is None:
        raise ConfigError(f"{subject.words}: only an incident has another cause")
    kind, _, candidate = cause.partition(":")
    if (kind, candidate) == (subject.kind, subject.id):
        raise ConfigError(f"{cause} is the cause that did not do it; name another one, or confirm it")
    sql = "select kind || ':' || candidate_id from marts.mart_incident_candidates where incident_id = $1"
    known = {str(one) for one in warehouse.query(mart, sql, [subject.incident_id]).to_series()} | {"none:none"}
    known.update(f"change:{one}" for one in _texts(mart, "select change_id from marts.mart_changes"))
    known.update(f"service:{one}" for one in _texts(mart, "select distinct service from marts.mart_changes where service is not null"))
    if cause not in known:
        raise ConfigError(f"we know of no cause {cause!r}{_nearest(cause, sorted(known))}; it is written kind:id")
    meant = Subject(kind, candidate, subject.incident_id, f"{kind} {candidate} as the cause of {subject.incident_id}", "confirm")
    return [replace(subject, verdict="reject"), meant]


def record_verdicts(settings: Settings, subjects: Sequence[Subject], verdict: str, *, now: datetime, gate: Gate | None = None) -> Landed:
    """Land a verdict about each subject.

    A verdict is given with what the published mart knows, so it is dated before its as-of time when that lies in the past.

    Raises:
        ConfigError: there is no such verdict, or nothing has landed yet.
        QualityError: the gate refused the rows; the earlier ones stay.
    """
    allowed = sorted(VERDICTS.choices["verdict"])
    if verdict not in allowed:
        raise ConfigError(f"no verdict {verdict!r}; choose from {', '.join(allowed)}")
    covered = coverage.covered_window(settings)
    if covered is None:
        raise ConfigError("nothing has landed yet: there is nothing to judge")
    decided_at = min(now.astimezone(UTC), covered.end - timedelta(seconds=1))
    said = _said(settings, subjects, verdict, decided_at)
    landed = land(settings, PEOPLE, covered, said, ingested_at=now, gate=gate)[0]
    coverage.forget(settings, PEOPLE.name)  # who says nothing is not behind
    return landed


def _said(settings: Settings, subjects: Sequence[Subject], verdict: str, decided_at: datetime) -> Iterator[_Spoken]:
    """Yield everything said so far and now. Landing reads it as the only writer of the source, so that nobody's word is written over."""
    earlier = _spoken(settings)
    versions = dict(earlier.group_by("verdict_id").agg(pl.col("version").max()).iter_rows())
    judged = [(subject, subject.verdict or verdict) for subject in subjects]
    judged += [(subject, "reject") for subject in _taken_back(earlier, judged)]
    rows = [_row(subject, said, decided_at, versions) for subject, said in judged]
    yield _Spoken(pl.concat([earlier, pl.DataFrame(rows, schema=earlier.schema, orient="row")]))


def _taken_back(earlier: pl.DataFrame, judged: Sequence[tuple[Subject, str]]) -> list[Subject]:
    """Causes confirmed before, of incidents of which another cause, or none of the candidates, is confirmed now."""
    now = {(subject.incident_id, subject.kind, subject.id) for subject, _ in judged}
    settled = {subject.incident_id for subject, said in judged if said in ("confirm", "other")} - {None}
    if not settled:
        return []
    newest = earlier.sort("version").unique("verdict_id", keep="last", maintain_order=True)
    confirmed = newest.filter((pl.col("verdict") == "confirm") & pl.col("incident_id").is_in(list(settled))).sort("verdict_id")
    rows = confirmed.select("subject_kind", "subject_id", "incident_id").iter_rows()
    return [Subject(kind, name, incident, "") for kind, name, incident in rows if (incident, kind, name) not in now]


def _spoken(settings: Settings) -> pl.DataFrame:
    schema = {name: kind for name, kind in VERDICTS.schema.items() if name not in LINEAGE or name == "source_id"}
    paths = sorted(entity_folder(settings, VERDICTS.name, PEOPLE.name).glob("date=*/*.parquet"))
    frames = [storage.read(path).select(list(schema)) for path in paths]
    return pl.concat([pl.DataFrame(schema=schema), *frames])


def _row(subject: Subject, verdict: str, decided_at: datetime, versions: dict[Any, int]) -> dict[str, Any]:
    name = "|".join((subject.incident_id or "", subject.kind, subject.id))
    verdict_id = "people-" + hashlib.sha256(name.encode()).hexdigest()[:16]
    versions[verdict_id] = versions.get(verdict_id, 0) + 1
    return {
        "source_id": f"{verdict_id}:{versions[verdict_id]}",
        "verdict_id": verdict_id,
        "version": versions[verdict_id],
        "incident_id": subject.incident_id,
        "subject_kind": subject.kind,
        "subject_id": subject.id,
        "verdict": verdict,
        "decided_at": decided_at,
        "origin": "human",
        "author_token": None,
        "confidence": None,
    }


def _texts(mart: Path, sql: str) -> list[str]:
    return [str(value) for value in warehouse.query(mart, sql).to_series()]


def _nearest(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
