"""Published marts for the page: tables of the columns it reads, filled with few invented rows, hostile ones, or a thousand incidents."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from aftercast.page.reading import MARTS

START = datetime(2026, 11, 3, 18, 12, tzinfo=UTC)
AS_OF = datetime(2026, 11, 9, tzinfo=UTC)
NOW = AS_OF + timedelta(hours=1)
HOSTILE = '<img src=x onerror="document.title=\'owned\'"></td></table><script>document.title="owned"</script> {{ 7*7 }} \u202eexe.\u0000'
RTL = "תקלה בתשלומים: הלקוחות אינם יכולים לשלם (עגלה v2.3)"

Rows = Mapping[str, Sequence[Mapping[str, Any]]]


def after(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def incident(name: str, **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "incident_id": name,
        "title": "Checkout fails",
        "url": f"https://pager.example/{name}",
        "severity": "sev1",
        "severity_rank": 1,
        "status": "resolved",
        "environment": "production",
        "service_origin": "checkout",
        "services_impacted": ["cart", "checkout"],
        "team_owner": "shop",
        "detection_method": "customer",
        "family_id": "family-1",
        "family_title": "checkout: failures",
        "top_candidate_kind": "change",
        "top_candidate_id": "deploy-77",
        "top_candidate_probability": 0.71,
        "impact_status": "quantified",
        "currency": "EUR",
        "lost_revenue": 12_345.0,
        "lost_revenue_low": 9_810.0,
        "lost_revenue_high": 14_700.0,
        "impact_minutes": 71.0,
        "is_open": False,
        "is_censored": False,
        "exclude_from_metrics": False,
        "alerts_n": 23,
        "anomalies_n": 2,
        "started_at": START,
        "detected_at": after(17),
        "acknowledged_at": after(19),
        "mitigated_at": after(71),
        "resolved_at": after(90),
        "impact_end_at": after(71),
        "as_of": AS_OF,
    }
    return row | changes


NOTHING_KNOWN = {
    name: None for name in incident("") if name not in ("incident_id", "is_open", "is_censored", "exclude_from_metrics", "as_of")
}


def rows() -> dict[str, list[dict[str, Any]]]:
    """A small company: an incident of which much is known, hostile ones, an open one, one of which nothing is known, a drill."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in MARTS}
    found["mart_run"] = [
        {"company": "Demo & <b>Co</b>", "code_version": "1", "window_start": START - timedelta(days=30), "as_of": AS_OF, "incidents_n": 6}
    ]
    found["mart_incidents"] = [
        incident("INC-1"),
        incident("INC-2", title=HOSTILE, url="javascript:alert(1)", family_title=HOSTILE, family_id="family-<2>", started_at=after(-9000)),
        incident("INC-3", title=RTL, started_at=after(-300), impact_status="below_noise", lost_revenue=10.0, lost_revenue_high=900.0),
        incident("INC/4 ?#%", title="x" * 900 + " " + "word " * 200, started_at=after(-20_000), severity="sev3", severity_rank=3),
        incident("INC-5", **(NOTHING_KNOWN | {"started_at": after(600), "is_open": True, "status": "open", "is_censored": True})),
        incident("INC-6", title="Drill", exclude_from_metrics=True, started_at=after(60), postmortem_status="draft"),
    ]
    entries = [
        ("change", -20, "Faster cart (suspected, 71 %)", "deploy-77"),
        ("change", -900, "Old (suspected, below 1 %)", "deploy-1"),
        ("anomaly", -5, "conversion of shop (eu) went down", "anomaly-1"),
        ("started", 0, "Impact began", "started"),
        ("alert", 17, "Alert HighErrorRatio on checkout", "HighErrorRatio|checkout"),
        ("detected", 17, "Detected (customer)", "detected"),
        ("acknowledged", 19, "Acknowledged", "acknowledged"),
        ("event", 30, HOSTILE, "INC-1-1"),
        ("mitigated", 71, "Impact ended", "mitigated"),
        ("resolved", 90, "Resolved", "resolved"),
    ]
    found["mart_incident_timeline"] = [
        {"incident_id": "INC-1", "position": position, "kind": kind, "subject_id": subject, "text": text, "occurred_at": after(minutes)}
        for position, (kind, minutes, text, subject) in enumerate(entries, start=1)
    ]
    found["mart_anomalies"] = [
        {"anomaly_id": f"anomaly-{n}", "series_id": f"conversion|{n}", "incident_id": "INC-1", "signal": "conversion", "subject": "shop"}
        | {"region": "eu", "direction": "down", "score": 0.9, "hurts": True, "started_at": after(-5 + n), "ended_at": ended}
        | {"alarmed_at": after(10)}
        for n, ended in enumerate((after(60), None))
    ]
    found["mart_incident_candidates"] = [
        {"incident_id": "INC-1", "rank": 1, "kind": "change", "candidate_id": "deploy-77", "service": "cart", "title": "Faster cart"}
        | {"change_kind": "deploy", "probability": 0.71, "rationale": "Began 20 min before.", "url": "https://ci.example/77"},
        {"incident_id": "INC-1", "rank": 2, "kind": "service", "candidate_id": "ledger", "service": "ledger", "title": HOSTILE}
        | {"probability": 0.2, "human_verdict": "reject", "url": "data:text/html,x"},
        {"incident_id": "INC-1", "rank": 3, "kind": "none", "candidate_id": "none", "probability": 0.09},
    ]
    found["mart_incident_evidence"] = [
        {"evidence_id": f"e{n}", "incident_id": "INC-1", "kind": "change", "candidate_id": "deploy-77", "check_name": check, "why": why}
        | {"strength": strength, "is_interesting": interesting}
        for n, (check, why, strength, interesting) in enumerate(
            [
                ("change_before_onset", "deploy Faster cart began 20 min before", 2.0, True),
                ("base_rate", "cart is changed 1.7 times a day", -0.5, True),
                ("graph_distance", "cart is one of the services hit", 0.1, False),
            ]
        )
    ]
    found["mart_incident_impact"] = [
        {"incident_id": "INC-1", "journey": "shop", "segment": f"region={region}", "status": status, "currency": "EUR"}
        | {"expected_successes": 169.2, "actual_successes": 98.0, "lost_revenue": 9.0, "lost_revenue_low": 1.0, "lost_revenue_high": 20.0}
        for region, status in (("eu", "quantified"), ("us", "below_noise"), ("apac", "unknown"))
    ]
    found["mart_incident_slo"] = [
        {
            "incident_id": "INC-1",
            "slo": "shop",
            "title": "Shop",
            "status": "measured",
            "budget_share": 0.124,
            "budget_share_beyond_usual": 0.1,
        }
    ]
    found["mart_similar_incidents"] = [
        {"incident_id": "INC-1", "similar_incident_id": "INC/4 ?#%", "rank": 1, "similar_title": HOSTILE, "similarity": 0.83}
        | {"reasons": ["same services hit: checkout"], "fix": "rollback on cart", "fix_worked_n": 3, "fix_tried_n": 4}
        | {"similar_started_at": after(-20_000)}
    ]
    found["mart_families"] = [
        {"family_id": "family-1", "family_title": "checkout: failures", "n_incidents": 5, "usual_fix": "rollback on cart"}
        | {"usual_fix_worked_n": 3, "usual_fix_tried_n": 4, "usual_loss": 8_000.0, "n_quantified": 4, "currency": "EUR"}
    ]
    found["mart_action_items"] = [
        {"action_item_id": "AI-1", "incident_id": "INC-1", "title": HOSTILE, "status": "open", "is_open": True, "is_overdue": True}
    ]
    found["mart_recommendations"] = [
        {
            "family_id": "family-1",
            "rank": 1,
            "action": "Release cart through a canary",
            "expected_risk_reduction": 37_500.0,
            "currency": "EUR",
        }
        | {"risk_reduction_low": 3_540.0, "risk_reduction_high": 96_900.0, "confidence": "medium", "owner_team": "shop"}
    ]
    last = (AS_OF - timedelta(days=1)).date()
    found["mart_journey_health"] = [
        {"journey": journey, "title": journey.title(), "owner_team": "shop", "day": day, "total": 1000, "good": 1000 - bad(n)}
        | {"good_7d": 6900, "total_7d": 7000, "slo_good": 27_500, "slo_total": 28_000, "slo_target": 0.98, "slo_window_days": 28}
        | {"burn_rate_7d": 0.71, "incidents_28d": 3, "enough_traffic": journey != "quiet", "is_latest": day == last}
        for journey, bad in (("shop", lambda n: 40 if n == 20 else 10), ("gone", lambda n: 45), ("quiet", lambda n: 0))
        for n in range(28)
        for day in (last - timedelta(days=27 - n),)
    ]
    found["mart_slo_health"] = [
        {"slo": name, "title": name.title(), "window_kind": "rolling", "target": 0.98, "window_share": 0.97, "window_days_n": 28}
        | {"budget_left_ratio": left, "burn_rate": 1.2, "status": status, "is_latest": True, "enough_traffic": True, "day": last}
        for name, left, status in (("shop", 0.4, "kept"), ("gone", -1.25, "missed"))
    ]
    found["mart_slo_burn"] = [
        {"slo": "gone", "title": "Gone", "rule": "page_1h", "severity": "page", "status": "firing", "burn_long": 16.2, "long_minutes": 60}
        | {"days_to_empty": 1.7}
    ]
    found["mart_source_coverage"] = [
        {"source": "shop", "entity": "incidents", "status": "complete", "received": 100, "rejected": 0, "duplicate": 1, "late": 0}
        | {"coverage_ratio": 0.998, "is_declared": True, "window_end": AS_OF, "watermark": AS_OF},
        {"source": "shop", "entity": "changes", "status": "rows_rejected", "received": 100, "rejected": 7, "reasons": HOSTILE}
        | {"is_declared": True, "window_end": AS_OF},
        {"source": "silent", "entity": "alerts", "status": "never_extracted", "is_declared": True},
    ]
    found["mart_signal_quality"] = [
        {"source_kind": "series", "signal_id": str(n), "status": "scored" if n else "not_enough_data", "reason": None if n else "3 days"}
        for n in range(4)
    ]
    found["mart_detector_health"] = [
        {"mode": "live", "signal": signal, "status": status, "series_n": 4, "series_scored_n": 3, "coverage": 0.95, "coverage_low": 0.94}
        | {"coverage_high": 0.96, "hurting_per_series_week": 1.4, "week_start": date(2026, 11, 2), "is_complete_week": True}
        for signal, status in (("conversion", "steady"), ("latency_p95_ms", "drifting"))
    ]
    found["mart_unmapped_names"] = [{"kind": "service", "name": HOSTILE, "rows_n": 12, "nearest_name": "cart"}]
    found["mart_instrumentation_gaps"] = [
        {"service": "ledger", "signal_kind": "traces", "status": "missing", "incidents_without_signal_n": 2}
    ]
    return found


def publish(home: Path, found: Rows | None = None, *, without: Collection[str] = ()) -> Path:
    """Write a mart to where a home's published file lies. `without`: marts, or `mart.column`s, that an older version did not publish."""
    path = home / "published" / "aftercast.duckdb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with duckdb.connect(str(path)) as connection:
        connection.execute("set timezone = 'UTC'; create schema marts")
        for mart, given in (rows() if found is None else found).items():
            if mart in without:
                continue
            schema = {name: kind for name, kind in MARTS[mart].items() if f"{mart}.{name}" not in without}
            connection.execute(f"create table marts.{mart} ({', '.join(f'{name} {kind}' for name, kind in schema.items())})")
            if given:
                values = [value for row in given for value in (row.get(name) for name in schema)]
                places = ", ".join(f"({', '.join('?' * len(schema))})" for _ in given)
                connection.execute(f"insert into marts.{mart} values {places}", values)
    return path


def many(home: Path, incidents: int = 1000) -> Path:
    """Write a mart of a year with so many incidents, each with a timeline, episodes, candidates and evidence, as a company would have."""
    path = publish(home)
    with duckdb.connect(str(path)) as connection:
        connection.execute("set timezone = 'UTC'")
        for statement in (_INCIDENTS, _TIMELINE, _ANOMALIES, _CANDIDATES, _EVIDENCE, _IMPACT, _COVERAGE, _QUALITY):
            connection.execute(statement.format(n=incidents))
    return path


def _insert(mart: str, given: str, /, **values: str) -> str:
    chosen = ", ".join(f"({values.get(name, 'null')})::{kind}" for name, kind in MARTS[mart].items())
    return f"insert into marts.{mart} select {chosen} from {given}"


_WHEN = "timestamptz '2025-11-10 00:00:00+00' + to_minutes(cast(i * 523560 / {n} as integer))"
_INCIDENTS = "delete from marts.mart_incidents; " + _insert(
    "mart_incidents",
    "range({n}) as t(i)",
    incident_id="'INC-' || (10000 + i)",
    title="'Orders fail in the ' || ['checkout', 'cart', 'search', 'wallet', 'gateway'][1 + i % 5] || ' of region ' || (i % 7)",
    severity="'sev' || (1 + i % 4)",
    severity_rank="1 + i % 4",
    status="'resolved'",
    environment="'production'",
    service_origin="'service-' || (i % 40)",
    services_impacted="['service-' || (i % 40), 'service-' || (i % 17)]",
    family_id="'family-' || (i % 60)",
    family_title="'service-' || (i % 60) || ': failures after a deploy'",
    top_candidate_kind="'change'",
    top_candidate_id="'deploy-' || i || '-1'",
    top_candidate_probability="(i % 100) / 100.0",
    impact_status="['quantified', 'below_noise', 'unknown'][1 + i % 3]",
    impact_reason="case when i % 3 = 2 then 'no journey passes through its services' end",
    currency="'EUR'",
    lost_revenue="i * 17.5",
    lost_revenue_low="i * 12.5",
    lost_revenue_high="i * 21.5",
    impact_minutes="20 + i % 200",
    is_open="false",
    is_censored="false",
    exclude_from_metrics="false",
    started_at=_WHEN,
    detected_at=f"{_WHEN} + to_minutes(9)",
    impact_end_at=f"{_WHEN} + to_minutes(70)",
    resolved_at=f"{_WHEN} + to_minutes(95)",
    as_of=f"timestamptz '{AS_OF.isoformat()}'",
)
_EACH = "range({n}) as t(i), range(%d) as u(k)"
_TIMELINE = _insert(
    "mart_incident_timeline",
    _EACH % 35,
    incident_id="'INC-' || (10000 + i)",
    position="k",
    kind="['change', 'anomaly', 'alert', 'event'][1 + k % 4]",
    subject_id="'subject-' || k",
    text="'Something happened to service-' || k",
    occurred_at=f"{_WHEN} + to_minutes(cast(k * 3 - 20 as integer))",
)
_ANOMALIES = _insert(
    "mart_anomalies",
    _EACH % 25,
    anomaly_id="'anomaly-' || i || '-' || k",
    series_id="'latency|service-' || k",
    incident_id="'INC-' || (10000 + i)",
    signal="'latency_p95_ms'",
    subject="'service-' || (k % 14)",
    region="'eu'",
    direction="'up'",
    score="k / 25.0",
    hurts="true",
    started_at=f"{_WHEN} + to_minutes(cast(k - 10 as integer))",
    ended_at=f"{_WHEN} + to_minutes(cast(k + 60 as integer))",
)
_CANDIDATES = _insert(
    "mart_incident_candidates",
    _EACH % 36,
    incident_id="'INC-' || (10000 + i)",
    rank="k",
    kind="'change'",
    candidate_id="'deploy-' || i || '-' || k",
    service="'service-' || k",
    title="'Release ' || k",
    probability="1.0 / (k + 2)",
    rationale="'It began before.'",
)
_EVIDENCE = _insert(
    "mart_incident_evidence",
    _EACH % 230,
    evidence_id="'e-' || i || '-' || k",
    incident_id="'INC-' || (10000 + i)",
    kind="'change'",
    candidate_id="'deploy-' || i || '-' || (k % 36)",
    check_name="'change_before_onset'",
    why="'the deploy began before the first deviation of service-' || k",
    strength="(k % 7) - 3",
    is_interesting="k % 2 = 0",
)
_IMPACT = _insert(
    "mart_incident_impact",
    _EACH % 8,
    incident_id="'INC-' || (10000 + i)",
    journey="'shop'",
    segment="'region=eu,tier=' || k",
    status="'quantified'",
    currency="'EUR'",
    lost_revenue="k * 100",
)
_COVERAGE = _insert(
    "mart_source_coverage",
    "range(60) as t(i)",
    source="'source-' || (i % 12)",
    entity="'entity_' || i",
    status="'complete'",
    received="1000000",
    rejected="0",
    is_declared="true",
    window_end=f"timestamptz '{AS_OF.isoformat()}'",
)
_QUALITY = _insert("mart_signal_quality", "range(3000) as t(i)", source_kind="'series'", signal_id="i", status="'scored'")
