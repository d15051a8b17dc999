"""Drafts of postmortems: what they say, that every number has evidence that resolves, and that the same mart gives the same bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercast.learning import drafts
from aftercast.learning.drafts import evidence
from aftercast.measurement.criteria import read_criterion
from aftercast.sources.postmortems.documents import parse
from aftercast.sources.postmortems.rows import Options, rows_of
from tests.unit import drafts_fixture
from tests.unit.drafts_fixture import START, incident, marts


def text(incident_id: str = "INC-1", frames: Mapping[str, pl.DataFrame] | None = None) -> str:
    drafted = drafts.draft(frames or marts(), incident_id)
    assert drafted is not None
    return drafted.text


def section(document: str, name: str) -> str:
    return document.partition(f"\n## {name}\n")[2].partition("\n## ")[0].strip()


def test_every_sentence_with_a_number_has_evidence_that_resolves_to_rows():
    for one in marts()["mart_incidents"]["incident_id"]:
        document = text(one)
        claims = list(evidence.claims(document))
        assert len(claims) >= 3
        assert drafts.problems(document, marts()) == []
        assert all(evidence.resolve(rows, marts()).height for rows in evidence.explained(document).values())


def test_a_number_without_evidence_and_an_id_that_leads_nowhere_are_named_with_their_line():
    document = text().replace("## Impact\n", "## Impact\n\nIt cost 5 euro. It was bad [E1].\n")
    (found,) = drafts.problems(document, marts())
    assert "a number without evidence: It cost 5 euro." in found
    gone = {**marts(), "mart_recommendations": marts()["mart_recommendations"].clear()}
    assert all("resolves to no row" in one for one in drafts.problems(text(), gone))
    assert len(drafts.problems(text(), gone)) == 1


def test_the_same_mart_in_any_order_gives_the_same_bytes():
    shuffled = {name: frame.sample(fraction=1, shuffle=True, seed=5) for name, frame in marts().items()}
    assert text() == text(frames=shuffled)


def test_it_says_what_it_cost_with_its_interval_and_what_probably_lay_behind_it():
    said = section(text(), "Summary")
    assert "It cost EUR 12.3k (95% interval 9.81k to 14.7k) [E1]." in said
    assert "deploy “Faster cart (v2)” on cart (deploy-77), 71% [E2]" in said
    assert "none of the candidates has 9% [E3]" in said
    assert "Nobody has confirmed a cause yet." in said
    assert "number 3 of 4 incidents of the family “checkout: failures”, and came after a fix" in said
    assert "| shop | region=eu | 169 | 98 | EUR 12.3k | 0 to 20.0k |" in text()


def test_what_resembles_it_and_what_ended_that_stand_beside_the_hypotheses():
    said = section(text(), "Similar incidents")
    assert "| INC-0 “Checkout fails” | Sun 25 Oct 2026, 18:12 UTC | 83% | same services hit: checkout |" in said
    assert "rollback; rollback on cart worked in 3 of 4" in said
    assert "What usually ends incidents of this family is rollback on cart: it worked in 3 of 4 (95% interval 30–95%)" in said
    guessed = section(text(), "Hypotheses")
    assert "| service “Ledger” (ledger) | 20% | `service:ledger` | not judged | [E" in guessed
    assert "| none of those named here | 9% | `none` | not judged | [E3] |" in guessed
    speaks = guessed.partition("What speaks for")[2]
    assert "- deploy Faster cart began 20 min before [E" in speaks
    assert "Errors went from 0.4 % to 38 % [E" in speaks
    assert "cart is changed 1.7 times a day" in speaks.partition("What speaks against")[2]


def test_what_is_not_known_is_said_and_not_made_up():
    document = text("INC-2")
    assert "What it cost is not known: no journey passes through its services [E1]." in document
    assert "No candidate cause is known." in document
    assert "No earlier incident resembles it." in document
    assert "no rule found anything measured" in section(document, "Where we got lucky")
    assert drafts.draft(marts(), "INC-99") is None


def test_words_of_others_cannot_pass_for_citations_headings_or_markup():
    document = text("INC-2")
    assert "“Search (E1) is slow. It's | odd &lt;b>”" in document
    assert "- 18:42 note: Rolled back 3 pods; see (E9) # not a heading [E" in text()
    assert parse(document).front["title"] == "Search [E1] is slow. It's | odd <b>"


def test_anomalies_of_the_same_kind_are_one_line_and_days_have_headings():
    said = section(text(), "Timeline")
    assert "- 18:07 anomaly: conversion of shop (eu) went down (2 series, the last at 18:22)" in said
    assert said.startswith("### 2026-11-03")
    assert "### 2026-11-04\n\n- 00:12 resolved: Resolved" in said


def test_changes_that_are_hardly_suspected_are_no_part_of_the_story():
    said = section(text(), "Timeline")
    assert "- 17:52 change: deploy “Faster cart” on cart" in said
    assert "“Old”" not in said


def test_what_people_confirmed_is_named():
    frames = marts()
    frames["mart_incidents"] = frames["mart_incidents"].with_columns(confirmed_candidate_id=pl.lit("deploy-77"))
    said = section(text(frames=frames), "Summary")
    assert "People confirmed what the cause was: deploy “Faster cart (v2)” on cart (deploy-77) [E2]." in said


def test_what_is_open_already_is_not_proposed_again():
    frames = marts()
    frames["mart_action_items"] = frames["mart_action_items"].with_columns(type=pl.lit("prevent"), owner_team=pl.lit("cart-team"))
    said = section(text(frames=frames), "Action items")
    assert "Open already: “Alert earlier” of cart-team, from INC-0 [E" in said
    assert "canary gate" not in said
    assert drafts.problems(text(frames=frames), frames) == []
    found = rows_of(parse(text(frames=frames)), "INC-1.md", OPTIONS, frozenset(), str)
    assert len(found.rows["action_items"]) == 4


def test_well_badly_and_lucky_follow_stated_rules_from_measured_facts():
    document = text()
    assert section(document, "What went well") == "- Somebody took it 2 min after it was noticed; up to 5 min counts as at once [E1]."
    badly = section(document, "What went badly")
    for words in (
        "A customer told us before we noticed",
        "unnoticed for 17 min; more than 15 min counts as late",
        "had gone on for 12 min when it was noticed",
        "hit for 1 h 11 min; more than 60 min counts as long",
        "after a fix for its family had shipped: “Add a canary” is the last",
        "“Alert earlier” of an earlier incident of its family was overdue",
        "A leading indicator had matched 20 min before",
        "23 alerts fired; 20 or more count as noise",
        "Only 71% of the usual telemetry arrived",
    ):
        assert words in badly
    lucky = section(document, "Where we got lucky")
    assert "EUR 1.00k were made up for later, 7% of what was missing" in lucky
    assert "Only eu lost more than noise; us did not" in lucky


def test_nothing_is_blamed_on_a_quick_and_harmless_incident():
    calm = incident(
        "INC-1",
        **{"is_found_by_us": True, "t_detect_minutes": 1.0, "impact_minutes": 9.0, "anomaly_to_detected_minutes": None},
        **{"recurred_after_fix": False, "alerts_n": 2, "data_coverage_pct": 100.0, "family_id": None},
    )
    frames = {"mart_incidents": pl.DataFrame([calm], infer_schema_length=None)}
    assert "no rule found anything measured" in section(text(frames=frames), "What went badly")
    assert "Customers were hit for 9 min only" in section(text(frames=frames), "What went well")
    assert drafts.problems(text(frames=frames), frames) == []


def test_proposed_actions_are_read_back_with_team_type_and_a_criterion_that_can_be_judged():
    found = rows_of(parse(text().replace("---\n\n#", "created: 2026-11-04T00:10:00Z\n---\n\n#", 1)), "INC-1.md", OPTIONS, frozenset(), str)
    items = found.rows["action_items"]
    assert [(one["type"], one["owner_team"]) for one in items] == [
        ("prevent", "cart-team"),
        ("repair", "cart-team"),
        ("detect", "shop"),
        ("mitigate", "shop"),
        ("detect", "shop"),
    ]
    assert all("[E" not in one["title"] for one in items)
    assert {one["incident_id"] for one in items} == {"INC-1"}
    prevent = read_criterion("prevent", items[0]["success_criterion"], None, None, START, START + timedelta(days=1))
    assert (prevent.status, prevent.outcome, prevent.ratio, prevent.window_days) == ("before_shipping", "recurrence", 0.0, 56.0)
    detect = read_criterion("detect", items[2]["success_criterion"], None, None, START, START + timedelta(days=1))
    assert (detect.outcome, detect.ratio) == ("time_to_detect", 0.5)


OPTIONS = Options(inbox="postmortems")


def test_what_the_mart_knows_already_does_not_come_back_and_what_people_add_does():
    edited = (
        text()
        .replace("---\n\n#", "created: 2026-11-04T00:10:00Z\ncause: change:deploy-77\n---\n\n#", 1)
        .replace("cause: # the candidate it was, as the table below writes it, or none\n", "")
        .replace("- 18:12 started", "- 18:15 We met\n- 18:12 started")
        .replace("<!-- yours to write; an item that begins with RULE: says what to do next time -->", "- RULE: look at the cart first")
    )
    found = rows_of(parse(edited), "INC-1.md", OPTIONS, frozenset(), str)
    assert [one["text"] for one in found.rows["incident_events"]] == ["We met"]
    assert [(one["mood"], one["text"]) for one in found.rows["insights"]] == [("prescriptive", "look at the cart first")]
    (verdict,) = found.rows["verdicts"]
    assert (verdict["subject_kind"], verdict["subject_id"], verdict["verdict"]) == ("change", "deploy-77", "confirm")
    assert (verdict["incident_id"], verdict["decided_at"]) == ("INC-1", "2026-11-04T00:10:00+00:00")
    assert found.bad["incident_events"] == []


def test_incidents_that_are_over_grave_recent_and_without_postmortem_await_a_draft():
    awaiting = drafts.awaiting(marts(), ("sev1", "sev2"), timedelta(days=14))
    assert awaiting == ["INC-1", "INC-2"]
    assert drafts.awaiting(marts(), ("sev1",), timedelta(days=60)) == ["INC-6", "INC-1"]
    assert drafts.awaiting({}, ("sev1",), timedelta(days=14)) == []


@pytest.mark.parametrize("missing", sorted(set(drafts.READ) - {"mart_incidents"}))
def test_a_mart_that_an_earlier_version_did_not_publish_leaves_a_gap_not_an_error(missing: str):
    frames = {name: frame for name, frame in marts().items() if name != missing}
    assert drafts.problems(text(frames=frames), frames) == []


WORDS = st.text(st.sampled_from("ab 1.“”[]E|<>#\n()!,:'`"), max_size=30)


@given(title=WORDS, note=WORDS, why=WORDS, candidate=WORDS, reason=WORDS)
def test_no_words_of_others_break_the_evidence_or_the_document(title: str, note: str, why: str, candidate: str, reason: str):
    frames = marts()
    frames["mart_incidents"] = frames["mart_incidents"].with_columns(title=pl.lit(title), impact_reason=pl.lit(reason))
    frames["mart_incident_timeline"] = frames["mart_incident_timeline"].with_columns(text=pl.lit(note))
    frames["mart_incident_evidence"] = frames["mart_incident_evidence"].with_columns(why=pl.lit(why))
    frames["mart_incident_candidates"] = frames["mart_incident_candidates"].with_columns(title=pl.lit(candidate))
    document = text(frames=frames)
    assert drafts.problems(document, frames) == []
    read = parse(document)
    assert read.front["incident_id"] == "INC-1"
    assert [one.title for one in read.of("timeline")][:1] == ["Timeline"]
    assert not re.search(r"(?m)^# (?!INC-1)", document)


def test_the_published_file_gives_what_the_frames_give(tmp_path):
    from aftercast import warehouse

    mart = drafts_fixture.publish(tmp_path)
    read = {name: warehouse.query(mart, f"select * from marts.{name}") for name in drafts.READ}
    assert text(frames=read) == text()
