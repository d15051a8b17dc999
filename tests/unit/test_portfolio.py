"""Promises of the portfolio of interventions: expected beside observed, ranked with its doubt, consistent with recommendations."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from aftercast.analyses import DERIVED
from aftercast.learning import weigh

AS_OF = datetime(2026, 6, 1, tzinfo=UTC)
FIX = {
    "outcome": "recurrence",
    "is_promised": True,
    "status": "judged",
    "verdict": "too_early",
    "shared_with": [],
    "n_after": 0,
    "avoided_low": 5.0,
    "avoided_high": 15.0,
}


def loss(*families: str, amount: float = 100.0, currency: str = "EUR") -> pl.DataFrame:
    rows = [
        {"incident_id": f"{name}-{n}", "lost_revenue": amount, "lost_revenue_low": 80.0, "lost_revenue_high": 120.0, "currency": currency}
        for name in families
        for n in range(3)
    ]
    return pl.DataFrame(rows, schema=DERIVED["incident_loss"])


def portfolio(items: list[dict[str, object]], effects: list[dict[str, object]], losses: pl.DataFrame | None = None) -> pl.DataFrame:
    families = [{"incident_id": f"{name}-{n}", "family_id": name} for name in "abc" for n in range(3)]
    filled = [
        {"type": "prevent", "status": "done", "owner_team": "edge", "service": "web", "incident_id": "a-0", "created_at": None} | item
        for item in items
    ]
    frames = {
        "action_items": pl.DataFrame(filled, schema_overrides={"created_at": pl.Datetime("us", "UTC"), "owner_team": pl.String}),
        "families": pl.DataFrame(families),
        "services": pl.DataFrame({"service": ["web"], "team": ["edge"]}),
    }
    impact = pl.DataFrame(
        [{name: (FIX | effect).get(name) for name in DERIVED["fix_impact"]} for effect in effects], schema=DERIVED["fix_impact"]
    )
    return weigh(frames, losses if losses is not None else loss(), impact, AS_OF)


def one(found: pl.DataFrame, cut: str = "type", kind: str = "prevent", subject: str = "") -> dict[str, object]:
    cells = (pl.col("cut") == cut) & (pl.col("intervention_type") == kind) & (pl.col("subject") == subject)
    return found.filter(cells).row(0, named=True)


TWO = [{"action_item_id": "x"}, {"action_item_id": "y", "incident_id": "b-0"}]
GOOD = {"action_item_id": "x", "family_id": "a", "expected_after": 10.0, "n_after": 1, "verdict": "effective"}
BAD = {"action_item_id": "y", "family_id": "b", "expected_after": 10.0, "n_after": 9, "verdict": "not_effective"}


def test_incidents_and_money_avoided_stand_beside_what_was_promised():
    row = one(portfolio(TWO, [GOOD | {"promised_ratio": 0.2}, BAD], loss("a", "b")))
    assert (row["n_shipped"], row["n_judged"], row["n_effective"], row["n_not_effective"], row["n_too_early"]) == (2, 2, 1, 1, 0)
    assert (row["incidents_expected"], row["incidents_observed"]) == (20.0, 10)
    assert row["incidents_promised"] == pytest.approx(8 + 5)  # a criterion of a fifth left, and the half recommendations assume
    assert row["incidents_avoided_low"] < row["incidents_avoided"] < row["incidents_avoided_high"]
    assert row["revenue_promised"] == pytest.approx(1300)
    assert row["revenue_avoided"] == pytest.approx(1000, rel=0.1)
    assert row["revenue_avoided_low"] < row["revenue_avoided"] < row["revenue_avoided_high"]
    assert row["currency"] == "EUR"


def test_money_is_unknown_where_a_loss_is_unknown_or_in_another_currency():
    assert one(portfolio(TWO, [GOOD, BAD], loss("a")))["revenue_avoided"] is None
    mixed = pl.concat([loss("a"), loss("b", currency="USD")])
    row = one(portfolio(TWO, [GOOD, BAD], mixed))
    assert (row["revenue_avoided"], row["currency"]) == (None, None)
    assert row["incidents_avoided"] is not None


def test_the_ranking_says_how_sure_it_is():
    found = portfolio(TWO, [GOOD, BAD])
    good, bad = one(found, "family", subject="a"), one(found, "family", subject="b")
    assert (good["rank"], bad["rank"]) == (1, 2)
    assert good["probability_best"] > 0.9
    assert good["probability_best"] + bad["probability_best"] == pytest.approx(1)
    assert good["rank_low"] <= good["rank"] <= good["rank_high"]
    close = portfolio(TWO, [GOOD | {"n_after": 5}, BAD | {"n_after": 6}])
    assert 0.3 < one(close, "family", subject="a")["probability_best"] < 0.8
    assert one(close, "family", subject="a")["rank_high"] == 2


def test_little_evidence_stays_near_what_recommendations_assume_and_is_not_ranked():
    little = portfolio(TWO[:1], [GOOD | {"expected_after": 0.3, "n_after": 0, "avoided_low": 0.0, "avoided_high": 1.0}])
    row = one(little)
    assert row["reduction"] == pytest.approx(0.5, abs=0.05)
    assert (row["status"], row["rank"]) == ("not_enough_data", None)
    assert "fewer than 2 fixes" in row["reason"]


def test_fixes_judged_as_one_count_once():
    effects = [GOOD | {"shared_with": ["y"]}, GOOD | {"action_item_id": "y", "shared_with": ["x"]}]
    row = one(portfolio(TWO, effects))
    assert (row["n_measured"], row["n_effective"], row["incidents_expected"]) == (1, 2, 10.0)


def test_items_that_promise_nothing_or_never_shipped_say_so():
    items = [{"action_item_id": "i", "type": "investigate"}, {"action_item_id": "d", "type": "detect", "status": "cancelled"}]
    found = portfolio(items, [])
    assert one(found, kind="investigate")["reason"] == "promises nothing that is counted"
    detect = one(found, kind="detect")
    assert (detect["reason"], detect["n_cancelled"], detect["n_shipped"]) == ("none has shipped", 1, 0)


def test_times_are_pooled_by_their_precision():
    effect = {"outcome": "time_to_detect", "estimate": 0.5, "ci_low": 0.4, "ci_high": 0.625}
    items = [{"action_item_id": "x", "type": "detect"}, {"action_item_id": "y", "type": "detect"}]
    row = one(portfolio(items, [effect | {"action_item_id": "x"}, effect | {"action_item_id": "y"}]), kind="detect")
    assert row["observed_reduction"] == pytest.approx(0.5)
    assert row["reduction_low"] < 0.5 < row["reduction_high"]
    assert row["incidents_avoided"] is None


def test_the_order_of_rows_does_not_matter():
    there = portfolio(TWO, [GOOD, BAD], loss("a", "b"))
    back = portfolio(TWO[::-1], [BAD, GOOD], loss("b", "a"))
    assert there.equals(back)
