"""The landing entities: what may be landed, under which columns, types and keys.

Everything that enters the warehouse is one of these shapes. Times are UTC with microseconds, money is in minor units with its
currency, identities of people are tokens. `LINEAGE` columns are added to every entity.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

TIME = pl.Datetime("us", "UTC")
TEXT = pl.String
TEXTS = pl.List(pl.String)
COUNT = pl.Int64
NUMBER = pl.Float64
FLAG = pl.Boolean

ORIGIN_ROW = "origin_row"  # a batch may number its rows in this column; it does not land
LINEAGE: dict[str, pl.DataType | type[pl.DataType]] = {"source": TEXT, "source_id": TEXT, "ingested_at": TIME}

ColumnType = pl.DataType | type[pl.DataType]


@dataclass(frozen=True, slots=True)
class Entity:
    """One landable shape.

    Attributes:
        name: folder under `landing/` and dbt source table.
        time: the column that decides a row's day partition.
        key: columns that identify a row; two rows with the same key are versions of one thing, the later `ingested_at` wins.
        columns: every column with its type, without lineage columns, in order.
        required: columns that must not be null; the key always is required.
        choices: allowed values of a column.
        non_negative: columns that must not be below zero.
        ahead: columns and the values of them that let a row be dated after the window it was found in (a planned change).
        stamped: the time says when a record was last written: who reads an old window again finds later ones.
    """

    name: str
    time: str
    key: tuple[str, ...]
    columns: dict[str, ColumnType]
    required: frozenset[str] = frozenset()
    choices: dict[str, frozenset[str]] = field(default_factory=dict)
    non_negative: tuple[str, ...] = ()
    ahead: dict[str, frozenset[str | bool]] = field(default_factory=dict)
    stamped: bool = False

    @property
    def schema(self) -> dict[str, ColumnType]:
        """Column types as landed, lineage included."""
        return {**LINEAGE, **self.columns}

    @property
    def must_have(self) -> frozenset[str]:
        """Columns that may not be null in a landed row."""
        return self.required | frozenset(self.key)


CHANGE_KINDS = frozenset({"deploy", "rollback", "config", "flag", "migration", "infra", "provider", "maintenance"})
SEVERITIES = frozenset({"sev1", "sev2", "sev3", "sev4", "unknown"})
DETECTION_METHODS = frozenset({"customer", "employee", "monitor", "other", "unknown"})

METRIC_POINTS = Entity(
    name="metric_points",
    time="ts",
    key=("service", "environment", "region", "metric", "attributes", "ts"),
    columns={
        "service": TEXT,
        "environment": TEXT,
        "region": TEXT,
        "metric": TEXT,
        "attributes": TEXT,
        "ts": TIME,
        "value": NUMBER,
        "unit": TEXT,
        "kind": TEXT,
    },
    required=frozenset({"value"}),
    choices={"kind": frozenset({"gauge", "counter", "histogram"})},
)
LOG_PATTERNS = Entity(
    name="log_patterns",
    time="bucket",
    key=("service", "environment", "region", "bucket", "pattern"),
    columns={
        "service": TEXT,
        "environment": TEXT,
        "region": TEXT,
        "bucket": TIME,
        "pattern": TEXT,
        "severity": TEXT,
        "count": COUNT,
        "sample": TEXT,
        "trace_ids": TEXTS,
    },
    required=frozenset({"count"}),
    non_negative=("count",),
)
SPANS_RED = Entity(
    name="spans_red",
    time="bucket",
    key=("service", "environment", "region", "operation", "peer", "bucket"),
    columns={
        "service": TEXT,
        "environment": TEXT,
        "region": TEXT,
        "operation": TEXT,
        "peer": TEXT,
        "bucket": TIME,
        "count": COUNT,
        "errors": COUNT,
        "p50_ms": NUMBER,
        "p95_ms": NUMBER,
        "p99_ms": NUMBER,
        "own_p50_ms": NUMBER,
        "own_p95_ms": NUMBER,
    },
    required=frozenset({"count", "errors"}),
    non_negative=("count", "errors"),
)
SPAN_EVENTS = Entity(
    name="span_events",
    time="bucket",
    key=("service", "environment", "region", "operation", "event", "bucket"),
    columns={
        "service": TEXT,
        "environment": TEXT,
        "region": TEXT,
        "operation": TEXT,
        "event": TEXT,
        "bucket": TIME,
        "count": COUNT,
    },
    required=frozenset({"count"}),
    non_negative=("count",),
)
SERVICE_EDGES = Entity(
    name="service_edges",
    time="last_seen",
    key=("environment", "caller", "callee", "kind"),
    columns={
        "environment": TEXT,
        "caller": TEXT,
        "callee": TEXT,
        "kind": TEXT,
        "first_seen": TIME,
        "last_seen": TIME,
        "calls": COUNT,
    },
    required=frozenset({"last_seen"}),
    choices={"kind": frozenset({"declared", "spans", "correlation"})},
)
CHANGES = Entity(
    name="changes",
    time="started_at",
    key=("change_id",),
    columns={
        "change_id": TEXT,
        "kind": TEXT,
        "service": TEXT,
        "environment": TEXT,
        "region": TEXT,
        "title": TEXT,
        "started_at": TIME,
        "finished_at": TIME,
        "result": TEXT,
        "version": TEXT,
        "previous_version": TEXT,
        "committed_at": TIME,  # when the newest code of the change was committed
        "actor_token": TEXT,
        "url": TEXT,
        "planned": FLAG,
        "attributes": TEXT,
    },
    required=frozenset({"kind", "service", "started_at"}),
    choices={"kind": CHANGE_KINDS, "result": frozenset({"success", "failure", "aborted", "unknown"})},
    ahead={"kind": frozenset({"maintenance"}), "planned": frozenset({True})},
)
ALERTS = Entity(
    name="alerts",
    time="started_at",
    key=("fingerprint", "started_at"),
    columns={
        "fingerprint": TEXT,
        "started_at": TIME,
        "name": TEXT,
        "service": TEXT,
        "environment": TEXT,
        "region": TEXT,
        "severity": TEXT,
        "ended_at": TIME,
        "suppressed": FLAG,
    },
    required=frozenset({"name"}),
)
INCIDENTS = Entity(
    name="incidents",
    time="started_at",
    key=("incident_id",),
    columns={
        "incident_id": TEXT,
        "title": TEXT,
        "summary": TEXT,
        "severity": TEXT,
        "status": TEXT,
        "mode": TEXT,
        "services": TEXTS,
        "environment": TEXT,
        "region": TEXT,
        "started_at": TIME,
        "detected_at": TIME,
        "declared_at": TIME,
        "acknowledged_at": TIME,
        "mitigated_at": TIME,
        "resolved_at": TIME,
        "detection_method": TEXT,
        "trigger": TEXT,
        "url": TEXT,
        "updated_at": TIME,
    },
    required=frozenset({"title", "started_at"}),
    choices={
        "severity": SEVERITIES,
        "detection_method": DETECTION_METHODS,
        "status": frozenset({"open", "mitigated", "resolved", "closed", "cancelled"}),
        "mode": frozenset({"real", "test", "drill", "maintenance"}),
    },
    ahead={"mode": frozenset({"maintenance"})},
)
INCIDENT_EVENTS = Entity(
    name="incident_events",
    time="recorded_at",
    key=("event_id",),
    columns={
        "event_id": TEXT,
        "incident_id": TEXT,
        "kind": TEXT,
        "text": TEXT,
        "author_token": TEXT,
        "occurred_at": TIME,
        "recorded_at": TIME,
    },
    required=frozenset({"incident_id", "occurred_at", "recorded_at"}),
)
JOURNEY_KPIS = Entity(
    name="journey_kpis",
    time="ts",
    key=("journey", "step", "region", "tier", "plan", "country", "ts"),
    columns={
        "journey": TEXT,
        "step": TEXT,
        "region": TEXT,
        "tier": TEXT,
        "plan": TEXT,
        "country": TEXT,
        "ts": TIME,
        "attempts": COUNT,
        "successes": COUNT,
        "revenue_minor": COUNT,
        "currency": TEXT,
    },
    required=frozenset({"attempts", "successes"}),
    non_negative=("attempts", "successes"),
)
ACTION_ITEMS = Entity(
    name="action_items",
    time="updated_at",
    key=("action_item_id", "version"),
    columns={
        "action_item_id": TEXT,
        "version": COUNT,
        "incident_id": TEXT,
        "title": TEXT,
        "type": TEXT,
        "service": TEXT,
        "owner_team": TEXT,
        "status": TEXT,
        "success_criterion": TEXT,
        "criterion_outcome": TEXT,
        "criterion_change": NUMBER,
        "criterion_set_at": TIME,
        "shipped_change_id": TEXT,
        "created_at": TIME,
        "due_at": TIME,
        "done_at": TIME,
        "updated_at": TIME,
        "url": TEXT,
        "origin": TEXT,
        "author_token": TEXT,
        "confidence": NUMBER,
    },
    required=frozenset({"title", "status", "updated_at"}),
    choices={
        "type": frozenset({"investigate", "mitigate", "repair", "detect", "prevent"}),
        "status": frozenset({"open", "in_progress", "done", "verified", "reopened", "cancelled"}),
        "criterion_outcome": frozenset(
            {
                "recurrence",
                "time_to_detect",
                "time_to_recover",
                "blast_radius",
                "loss_per_incident",
                "loss_per_week",
                "change_failure_rate",
            }
        ),
    },
    stamped=True,
)
POSTMORTEMS = Entity(
    name="postmortems",
    time="updated_at",
    key=("postmortem_id", "version"),
    columns={
        "postmortem_id": TEXT,
        "version": COUNT,
        "incident_id": TEXT,
        "title": TEXT,
        "status": TEXT,
        "text": TEXT,
        "trigger": TEXT,
        "contributing_factors": TEXTS,
        "created_at": TIME,
        "updated_at": TIME,
        "url": TEXT,
        "origin": TEXT,
        "author_token": TEXT,
        "confidence": NUMBER,
    },
    required=frozenset({"incident_id", "updated_at"}),
    choices={"status": frozenset({"draft", "in_review", "reviewed", "closed"})},
    stamped=True,
)
INSIGHTS = Entity(
    name="insights",
    time="recorded_at",
    key=("insight_id", "version"),
    columns={
        "insight_id": TEXT,
        "version": COUNT,
        "incident_id": TEXT,
        "service": TEXT,
        "mood": TEXT,
        "text": TEXT,
        "recorded_at": TIME,
        "origin": TEXT,
        "author_token": TEXT,
        "confidence": NUMBER,
        "prescription": TEXT,
    },
    required=frozenset({"text", "recorded_at"}),
    choices={"mood": frozenset({"descriptive", "prescriptive"})},
    stamped=True,
)
VERDICTS = Entity(
    name="verdicts",
    time="decided_at",
    key=("verdict_id", "version"),
    columns={
        "verdict_id": TEXT,
        "version": COUNT,
        "incident_id": TEXT,
        "subject_kind": TEXT,
        "subject_id": TEXT,
        "verdict": TEXT,
        "decided_at": TIME,
        "origin": TEXT,
        "author_token": TEXT,
        "confidence": NUMBER,
    },
    required=frozenset({"subject_kind", "subject_id", "verdict", "decided_at"}),
    choices={
        "verdict": frozenset({"confirm", "reject", "other"}),
        "subject_kind": frozenset({"change", "service", "provider", "none", "anomaly", "family", "recommendation"}),
    },
    stamped=True,
)

ENTITIES: dict[str, Entity] = {
    entity.name: entity
    for entity in (
        METRIC_POINTS,
        LOG_PATTERNS,
        SPANS_RED,
        SPAN_EVENTS,
        SERVICE_EDGES,
        CHANGES,
        ALERTS,
        INCIDENTS,
        INCIDENT_EVENTS,
        JOURNEY_KPIS,
        ACTION_ITEMS,
        POSTMORTEMS,
        INSIGHTS,
        VERDICTS,
    )
}

COVERAGE_SCHEMA: dict[str, ColumnType] = {
    "source": TEXT,
    "entity": TEXT,
    "window_start": TIME,
    "window_end": TIME,
    "expected": COUNT,
    "received": COUNT,
    "rejected": COUNT,
    "duplicate": COUNT,
    "late": COUNT,
    "landed": COUNT,
    "watermark": TIME,
    "reasons": TEXT,
}
