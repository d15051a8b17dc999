"""What the star says about the small company, worked out by hand."""

from __future__ import annotations

from datetime import timedelta

from tests.warehouse.conftest import Query
from tests.warehouse.world import MINUTE, ONSET


def test_a_point_received_again_under_an_alias_replaces_the_first(ask: Query):
    first = ask("select service, value, n_samples, expected_samples from star.fct_metric_point order by bucket_at limit 2").rows()
    assert first == [("payments", 11.0, 5, 5), ("payments", 10.0, 5, 5)]
    assert ask("select sum(n_samples)::int as n from star.fct_metric_point")["n"].item() == 90


def test_times_are_utc_and_buckets_start_on_the_grid(ask: Query):
    buckets = ask("select distinct bucket_at from star.fct_metric_point order by 1")["bucket_at"]
    assert buckets.dtype.time_zone == "UTC"
    assert buckets[0] == ONSET - timedelta(hours=1)
    assert buckets.diff().drop_nulls().unique().to_list() == [5 * MINUTE]


def test_only_the_earning_step_carries_revenue(ask: Query):
    rows = ask("select step, sum(revenue_minor)::bigint from star.fct_kpi_point group by 1 order by 1").rows()
    assert rows == [("cart", None), ("pay", 9500 + 9500 + 6000)]


def test_nothing_after_the_as_of_time_is_known(ask: Query):
    assert ask("select max(bucket_at) < (select as_of from star.dim_run) as ok from star.fct_kpi_point")["ok"].item()
    assert "INC-9" not in ask("select incident_id from star.fct_incident")["incident_id"].to_list()


def test_a_deploy_of_the_earlier_version_is_the_rollback_of_the_bad_one(ask: Query):
    rows = ask("select change_id, is_rollback, rolls_back_change_id from star.fct_change where service = 'payments' order by 1").rows()
    assert rows == [("dep-1", False, None), ("dep-2", False, None), ("dep-3", True, "dep-2")]


def test_the_newest_version_of_an_incident_counts(ask: Query):
    rows = ask("select title, status, service_origin, is_open from star.fct_incident where incident_id = 'INC-1'").rows()
    assert rows == [("Cards are declined", "resolved", "payments", False)]
    roles = ask("select service, role from star.bridge_incident_service where incident_id = 'INC-1' order by 1").rows()
    assert roles == [("payments", "origin"), ("web", "impacted")]


def test_an_undeclared_provider_is_listed_as_undeclared(ask: Query):
    rows = ask("select kind, team, is_declared from star.dim_service where service = 'cardnet'").rows()
    assert rows == [("provider", "unowned", False)]
    assert "pay-svc" not in ask("select service from star.dim_service")["service"].to_list()


def test_declared_dependencies_carry_declared_names(ask: Query):
    assert ask("select caller, callee, provenance from star.dim_service_dependency").rows() == [("web", "payments", "declared")]


def test_the_newest_version_of_an_action_item_counts(ask: Query):
    rows = ask("select status, shipped_at from star.fct_action_item where action_item_id = 'A-1'").rows()
    assert rows == [("done", ONSET + timedelta(days=3))]
