"""Proposals in the marts: worked out by hand for the small company."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.warehouse.conftest import Query
from tests.warehouse.world import ONSET


def test_a_proposal_tells_the_incident_it_is_about_and_how_long_before_it_was_declared(ask: Query):
    row = ask("from marts.mart_incident_proposals where proposal_id = 'proposal-1'").row(0, named=True)
    assert (row["incident_id"], row["incident_ids"], row["is_declared"]) == ("INC-1", ["INC-1"], True)
    assert row["proposal_to_declared_minutes"] == 8  # proposed at 10:04, declared at 10:12
    assert (row["n_members"], row["duration_minutes"]) == (3, 65)


def test_a_proposal_nobody_declared_is_new(ask: Query):
    row = ask("from marts.mart_incident_proposals where not is_declared").row(0, named=True)
    assert (row["proposal_id"], row["incident_id"], row["incident_ids"]) == ("proposal-2", None, [])
    assert row["proposal_to_declared_minutes"] is None


def test_every_alert_and_hurting_episode_is_a_member_once_or_says_why_not(ask: Query):
    members = ask("select member_kind, member_id, role, reason, incident_id from marts.mart_proposal_members order by all")
    signals = ask(
        "select count(*) from (select alert_id from star.fct_alert union all "
        "select anomaly_id from star.fct_anomaly where mode = 'live' and hurts)"
    ).item()
    assert members.height == signals == members.select("member_kind", "member_id").n_unique()
    assert members["reason"].null_count() == 0
    assert members.filter(member_id="E-1")["incident_id"].item() == "INC-1"
    assert members.filter(member_id="E-2")["incident_id"].item() is None


def test_an_incident_names_the_proposal_that_came_first(ask: Query):
    row = ask("from marts.mart_incidents where incident_id = 'INC-1'").row(0, named=True)
    assert (row["proposal_id"], row["proposed_at"], row["proposal_alerts_n"]) == ("proposal-1", ONSET + timedelta(minutes=4), 2)
    other = ask("from marts.mart_incidents where incident_id = 'INC-2'").row(0, named=True)
    assert (other["proposal_id"], other["proposed_at"], other["proposal_alerts_n"]) == (None, None, 0)


def test_noise_is_counted_in_all_and_by_week_with_n_beside_every_share(ask: Query):
    rows = {row["period"]: row for row in ask("from marts.mart_noise_reduction").to_dicts()}
    assert set(rows) == {"all", "2026-W37", "2026-W38"}
    whole = rows["all"]
    assert (whole["alerts_n"], whole["anomalies_n"], whole["proposals_n"], whole["proposed_n"]) == (4, 2, 2, 4)
    assert whole["signal_reduction"] == pytest.approx(1 - 2 / 6)
    assert (whole["incidents_n"], whole["incidents_proposed_n"]) == (2, 1)
    assert whole["proposals_matched_share_low"] < whole["proposals_matched_share"] == 0.5 < whole["proposals_matched_share_high"]
    for name in ("alerts_n", "anomalies_n", "proposals_n", "incidents_n"):
        assert whole[name] == rows["2026-W37"][name] + rows["2026-W38"][name]
    assert rows["2026-W37"]["incidents_proposed_share"] is None


def test_a_signal_tells_how_much_less_there_is_to_look_at(ask: Query):
    row = ask("from marts.mart_signal_quality where signal = 'HighErrors' and environment = 'production'").row(0, named=True)
    assert (row["fired_n"], row["events_n"], row["proposed_n"], row["proposals_n"], row["proposals_matched_n"]) == (2, 2, 2, 1, 1)
    assert row["proposal_reduction"] == 0.5
    never = ask("from marts.mart_signal_quality where fired_n = 0 limit 1").to_dicts()
    assert all(row["proposed_share"] is None for row in never)


def test_a_silenced_alert_says_so(ask: Query):
    assert ask("select distinct is_suppressed from star.fct_alert").to_series().to_list() == [False]
