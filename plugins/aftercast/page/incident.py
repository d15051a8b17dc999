"""One incident: its facts, timeline, suspects with their evidence, family, money by segment, and what is being done."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from aftercast.page import timeline
from aftercast.page.incidents import line, safe_url
from aftercast.page.reading import Mart
from aftercast.reporting import losses, wording

SUSPECTS = 6
SEGMENTS = 12
VERDICTS = {"confirm": "confirmed by people", "reject": "rejected by people", "other": "rejected by people: it was another"}


def found(mart: Mart, incident_id: str) -> dict[str, Any] | None:
    """Return everything the page says of an incident; None when the mart does not know it."""
    row = mart.row("select * from mart_incidents where incident_id = ?", [incident_id])
    if row is None:
        return None
    given = [incident_id]
    candidates = mart.rows(
        "select * from mart_incident_candidates where incident_id = ? order by rank nulls last, kind, candidate_id", given
    )
    top = next(
        (one for one in candidates if one["kind"] == row["top_candidate_kind"] and one["candidate_id"] == row["top_candidate_id"]), {}
    )
    entries = mart.rows("select * from mart_incident_timeline where incident_id = ? order by position nulls last, occurred_at", given)
    episodes = mart.rows("select * from mart_anomalies where incident_id = ? order by started_at, anomaly_id", given)
    times = (row["as_of"], row["started_at"], row["resolved_at"], *(one["occurred_at"] for one in entries))
    as_of: datetime | None = row["as_of"] or max(filter(None, times), default=None)
    shown = _shown(candidates)
    probabilities = {one["candidate_id"]: one["probability"] for one in candidates if one["kind"] == "change" and one["probability"]}
    return {
        "i": line(row | {"top_title": top.get("title")}),
        "phases": _phases(row),
        "timeline": timeline.drawn(row, entries, episodes, probabilities, as_of) if as_of else None,
        "entries": [one | {"offset": timeline.offset(one["occurred_at"], row["started_at"])} for one in entries if one["occurred_at"]]
        if row["started_at"]
        else [],
        "suspects": _suspects(mart, incident_id, shown),
        "n_candidates": len(candidates),
        "rest": sum(one["probability"] or 0.0 for one in candidates) - sum(one["probability"] or 0.0 for one in shown),
        "segments": _segments(mart, given),
        "slos": mart.rows(
            "select * from mart_incident_slo where incident_id = ? and budget_share is not null order by budget_share desc, slo limit 5",
            given,
        ),
        "family": mart.row("select * from mart_families where family_id = ?", [row["family_id"]]) if row["family_id"] else None,
        "similar": mart.rows("select * from mart_similar_incidents where incident_id = ? order by rank nulls last limit 5", given),
        "items": [
            one | {"url": safe_url(one["url"])}
            for one in mart.rows(
                "select * from mart_action_items where incident_id = ? order by is_open desc, due_at nulls last, action_item_id limit 20",
                given,
            )
        ],
        "advice": mart.rows("select * from mart_recommendations where family_id = ? order by rank limit 3", [row["family_id"]])
        if row["family_id"]
        else [],
    }


def _shown(candidates: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the likeliest candidates, those people judged, and always that it is none of them."""
    likely = candidates[:SUSPECTS]
    return [one for one in candidates if one in likely or one["kind"] == "none" or one["human_verdict"]]


def _suspects(mart: Mart, incident_id: str, shown: list[dict[str, Any]]) -> list[dict[str, Any]]:
    evidence = mart.rows(
        "select * from mart_incident_evidence where incident_id = ? and list_contains(?, concat(kind, ':', candidate_id)) "
        "order by abs(strength) desc nulls last, check_name, evidence_id",
        [incident_id, [f"{one['kind']}:{one['candidate_id']}" for one in shown]],
    )
    suspects = []
    for one in shown:
        mine = [row for row in evidence if (row["kind"], row["candidate_id"]) == (one["kind"], one["candidate_id"])]
        suspects.append(
            one
            | {
                "words": losses.candidate_words(one["kind"], one["candidate_id"], one["title"]),
                "what": _what(one),
                "verdict": VERDICTS.get(one["human_verdict"], "not reviewed"),
                "url": safe_url(one["url"]),
                "told": [row for row in mine if row["is_interesting"]],
                "little": [row for row in mine if not row["is_interesting"]],
            }
        )
    return suspects


def _what(one: dict[str, Any]) -> str:
    """Return what kind of candidate it is, beyond what its name says."""
    if one["kind"] == "change":
        return str(one["change_kind"] or "change").replace("_", " ")
    told = [one["title"]] if one["title"] and one["kind"] != "none" and one["title"] != one["candidate_id"] else []
    return ", ".join([*told, "by itself, without a change"] if one["kind"] == "service" else told)


def _phases(row: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return how long each phase took: name, duration, and the time it ended."""
    started, words = row["started_at"], []
    for name, moment in (
        ("Until detected", row["detected_at"]),
        ("Until acknowledged", row["acknowledged_at"]),
        ("Until impact ended", row["mitigated_at"]),
        ("Until resolved", row["resolved_at"]),
    ):
        if moment is None or started is None:
            words.append(
                (name, "still open" if row["is_open"] and name in ("Until impact ended", "Until resolved") else wording.NOT_KNOWN, "")
            )
        else:
            minutes = (moment - started).total_seconds() / 60
            after = wording.minutes(abs(minutes)) + (" before it began" if minutes <= -0.5 else "")
            words.append((name, after, f"{wording.day_and_time(moment)} UTC"))
    return words


def _segments(mart: Mart, given: list[str]) -> dict[str, Any]:
    rows = mart.rows(
        "select * from mart_incident_impact where incident_id = ? "
        "order by status <> 'quantified', lost_revenue desc nulls last, journey, segment",
        given,
    )
    told = [row for row in rows if row["status"] == "quantified"]
    return {
        "rows": told[:SEGMENTS],
        "more": max(0, len(told) - SEGMENTS),
        "below_noise": sum(row["status"] == "below_noise" for row in rows),
        "unknown": sum(row["status"] not in ("quantified", "below_noise") for row in rows),
        "n": len(rows),
    }
