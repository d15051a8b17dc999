"""Where to begin: the five questions, each with its answer of this mart in a sentence and the way to its evidence."""

from __future__ import annotations

from typing import Any

from aftercast.page.reading import Mart
from aftercast.reporting import losses, wording

DEMO = "Demo company"


def begun(mart: Mart, company: str | None) -> dict[str, Any]:
    """Return what the first page says."""
    costliest = mart.row(
        "select * from mart_incidents where impact_status = 'quantified' and not coalesce(exclude_from_metrics, false) "
        "order by lost_revenue desc nulls last, incident_id limit 1"
    )
    return {
        "is_demo": company == DEMO,
        "n": (mart.row("select count(*) as n from mart_incidents") or {"n": 0})["n"],
        "costliest": costliest,
        "candidate": _candidate(mart, costliest),
        "family": mart.row("select * from mart_families where n_incidents > 1 order by n_incidents desc, family_id limit 1"),
        "fix": _fix(mart),
        "advice": mart.row("select * from mart_recommendations order by rank nulls last limit 1"),
        "budget": mart.row(
            "select title, slo, status, budget_left_ratio from mart_slo_health where is_latest and status = 'missed' "
            "order by budget_left_ratio, slo limit 1"
        ),
    }


def _candidate(mart: Mart, incident: dict[str, Any] | None) -> dict[str, Any] | None:
    if incident is None:
        return None
    found = mart.row(
        "select * from mart_incident_candidates where incident_id = ? order by rank nulls last, kind, candidate_id limit 1",
        [incident["incident_id"]],
    )
    return found and found | {"words": losses.candidate_words(found["kind"], found["candidate_id"], found["title"])}


def _fix(mart: Mart) -> dict[str, Any]:
    counted = mart.rows("select verdict, count(*) as n from mart_fix_impact where outcome = 'recurrence' group by verdict order by verdict")
    n = {row["verdict"]: row["n"] for row in counted}
    judged = n.get("effective", 0) + n.get("not_effective", 0)
    told = mart.row(
        "select fixes.title, fixes.verdict, items.incident_id from mart_fix_impact as fixes "
        "inner join mart_action_items as items on items.action_item_id = fixes.action_item_id "
        "where fixes.outcome = 'recurrence' and items.incident_id is not null "
        "order by fixes.verdict = 'effective' desc, fixes.action_item_id limit 1"
    )
    early, effective = n.get("too_early", 0), n.get("effective", 0)
    return {
        "judged": judged,
        "effective": effective,
        "early": early,
        "told": told,
        "words": f"{effective} of {wording.count(judged, 'judged fix', 'judged fixes')} effective" if judged else "no fix is judged yet",
    }
