"""Promises of recommendations: ranked by money from data, never invented."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from aftercast.analyses import DERIVED
from aftercast.learning import recommend

START = datetime(2026, 1, 5, tzinfo=UTC)
AS_OF = START + timedelta(days=90)


def frames(families: dict[str, int], kinds: dict[str, tuple[str, str]] | None = None) -> dict[str, pl.DataFrame]:
    rows = [(f"{family}-{number}", family, START + timedelta(days=3 + 7 * number)) for family, n in families.items() for number in range(n)]
    kinds = kinds or {}
    return {
        "incidents": pl.DataFrame([{"incident_id": name, "started_at": begin} for name, _, begin in rows]),
        "families": pl.DataFrame([{"incident_id": name, "family_id": family} for name, family, _ in rows]),
        "incident_services": pl.DataFrame([{"incident_id": name, "service": "web"} for name, _, _ in rows]),
        "candidates": pl.DataFrame(
            [
                {"incident_id": name, "rank": 1, "kind": kind, "candidate_id": f"c-{name}", "service": service}
                for name, family, _ in rows
                for kind, service in [kinds.get(family, ("change", "pay"))]
            ]
        ),
        "changes": pl.DataFrame([{"change_id": f"c-{name}", "kind": "config", "started_at": START} for name, _, _ in rows]),
        "services": pl.DataFrame(
            [
                {"service": "pay", "team": "money", "criticality": "critical"},
                {"service": "web", "team": "edge", "criticality": "medium"},
            ]
        ),
        "action_items": pl.DataFrame([{"action_item_id": "todo", "incident_id": "a-0", "status": "open"}]),
    }


def losses(amounts: dict[str, float | None], currency: str = "EUR") -> pl.DataFrame:
    rows = [
        {
            "incident_id": name,
            "lost_revenue": amount,
            "lost_revenue_low": None if amount is None else amount * 0.8,
            "lost_revenue_high": None if amount is None else amount * 1.2,
            "currency": None if amount is None else currency,
            "status": "unknown" if amount is None else "quantified",
        }
        for name, amount in amounts.items()
    ]
    return pl.DataFrame(rows, schema={key: DERIVED["incident_loss"][key] for key in rows[0]}) if rows else pl.DataFrame()


def verdicts(*rows: tuple[str, str]) -> pl.DataFrame:
    listed = [
        {"action_item_id": f"fix-{number}", "family_id": family, "verdict": said, "shipped_at": START + timedelta(days=number)}
        for number, (family, said) in enumerate(rows)
    ]
    return pl.DataFrame(listed) if listed else pl.DataFrame()


def amounts(families: dict[str, int], each: dict[str, float | None]) -> dict[str, float | None]:
    return {f"{family}-{number}": each[family] for family, n in families.items() for number in range(n)}


def test_the_costliest_family_comes_first_with_its_evidence_owner_and_approvals():
    families = {"a": 4, "b": 4, "c": 1}
    found = recommend(frames(families), losses(amounts(families, {"a": 100.0, "b": 5_000.0, "c": 9_000.0})), verdicts(), AS_OF)
    assert found.schema == DERIVED["recommendations"]
    assert found["family_id"].to_list() == ["b", "a"]  # one incident is no family to fix
    first = found.row(0, named=True)
    assert first["evidence"] == [f"b-{number}" for number in range(4)]
    assert first["owner_team"] == "money"
    assert first["approvals"] == ["owner of pay (money)", "platform owner"]
    assert first["action"].startswith("Validate settings of pay")
    assert 0 <= first["risk_reduction_low"] < first["expected_risk_reduction"] < first["risk_reduction_high"]
    # four incidents in ninety days of 5,000 each, half of it prevented, shrunk a little
    assert first["expected_risk_reduction"] == pytest.approx(4 * 5_000 / 2, rel=0.4)
    assert "already planned: todo" in found.row(1, named=True)["rationale"]


def test_an_unknown_loss_gives_no_figure_and_ranks_last_with_the_reason():
    families = {"a": 5, "b": 2}
    found = recommend(frames(families), losses(amounts(families, {"a": None, "b": 1.0})), verdicts(), AS_OF)
    last = found.row(1, named=True)
    assert last["family_id"] == "a"
    assert last["expected_risk_reduction"] is None
    assert "cannot be stated" in last["rationale"]


def test_losses_in_two_currencies_are_not_added():
    families = {"a": 2}
    both = pl.concat([losses({"a-0": 10.0}), losses({"a-1": 10.0}, "USD")])
    row = recommend(frames(families), both, verdicts(), AS_OF).row(0, named=True)
    assert row["expected_risk_reduction"] is None
    assert "EUR, USD" in row["rationale"]


def test_a_family_whose_fix_is_verified_is_left_out_until_a_later_fix_fails():
    families = {"a": 3, "b": 3}
    stated = losses(amounts(families, {"a": 100.0, "b": 100.0}))
    assert recommend(frames(families), stated, verdicts(("a", "effective")), AS_OF)["family_id"].to_list() == ["b"]
    again = recommend(frames(families), stated, verdicts(("a", "effective"), ("a", "not_effective")), AS_OF)
    assert set(again["family_id"]) == {"a", "b"}


def test_verdicts_on_fixes_of_the_same_kind_move_the_expectation():
    families = {"a": 3, "b": 3, "c": 3}
    stated = losses(amounts(families, dict.fromkeys("abc", 1_000.0)))
    kinds = {"a": ("change", "pay"), "b": ("change", "pay"), "c": ("provider", "bank")}

    def saved(said: str) -> dict[str, float]:
        found = recommend(frames(families, kinds), stated, verdicts(("a", said)), AS_OF)
        return dict(found.select("family_id", "expected_risk_reduction").iter_rows())

    assert saved("not_effective")["b"] < saved("too_early")["b"] < saved("effective")["b"]
    assert saved("not_effective")["c"] == saved("effective")["c"]


def test_recommendations_repeat_exactly_whatever_the_order_of_rows():
    families = {"a": 3, "b": 4}
    stated = losses(amounts(families, {"a": 50.0, "b": 60.0}))
    straight = frames(families)
    turned = {name: frame.reverse() for name, frame in straight.items()}
    assert recommend(straight, stated, verdicts(), AS_OF).equals(recommend(turned, stated.reverse(), verdicts(), AS_OF))


def test_without_incidents_nothing_is_recommended():
    assert recommend({}, pl.DataFrame(), pl.DataFrame(), AS_OF).is_empty()
