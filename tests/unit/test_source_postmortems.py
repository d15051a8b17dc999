"""The `postmortems` kind: documents in the usual templates as rows, broken ones named by file and line, nobody named in a text."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercast import quality
from aftercast.errors import ConfigError, SourceUnavailable
from aftercast.prescriptions import parse as read_prescription
from aftercast.privacy import token, token_key
from aftercast.sources.postmortems.documents import Broken, kind_of, parse
from aftercast.sources.postmortems.rows import Options, rows_of
from aftercast.window import Window
from tests.unit.tracker_fixture import Tracker

LATER = Window(datetime(2026, 10, 9, tzinfo=UTC), datetime(2026, 10, 10, tzinfo=UTC))
ENTITIES = ("postmortems", "incident_events", "action_items", "insights")

FRONT = """---
incident_id: INC-7
title: Checkout down in Europe
date: 2026-09-01
updated: 2026-09-04T09:00:00Z
status: In Review
trigger: config push
contributing_factors: [settings are not validated, no gradual roll-out]
authors: [Anna Smith, "@ben"]
services: [checkout, payments]
---
"""
GOOGLE = """
# Checkout down in Europe

* Authors: Anna Smith, ben
* Status: complete

## Summary
Checkout was down for 40 minutes. @clara.jones and @here noticed.

## Root Causes
A limit of 0 was read as none.

## Action Items
| Action Item | Type | Owner | Bug | Due |
|---|---|---|---|---|
| Refuse a limit of 0 | prevent | payments-team | PAY-12 | 2026-10-01 |
| Page on refused payments | detect | Anna Smith | n/a **DONE** | |
| Talk about it | process | n/a | n/a | |

## Lessons Learned
### What went well
* The roll-back took two minutes
### What went wrong
* Nobody was paged
  for half an hour
### Where we got lucky
- It was night in most of Europe

## Timeline
*2026-09-01* (all times UTC)
* 23:10 Limit of 0 is pushed
* 23:40 **OUTAGE BEGINS** Payments are refused
  by all three shops
* 00:20 Rolled back
* 2026-09-02T08:00:00+02:00 Review begins

## Supporting information
```
# not a heading
23:59 not an entry
```
"""
PAGERDUTY = """
# Overview
Checkout was down.

## Contributing Factors
- Settings are not validated
- No gradual roll-out

## Responders
- Anna Smith (incident commander)
- Ben Miller

## Timeline
| Time | Event |
|------|-------|
| 14:02 | Pushed |
| 2:31 pm | Noticed |

## How'd We Do?
### What Went Well?
People joined quickly.

### What Didn't Go So Well?
We had no runbook.

## Lessons
- We should sleep more
- RULE: compare regions before rolling back

## Action Items
- [ ] Write a runbook (owner: payments-team, due: 2026-10-01, type: mitigate)
- [x] Alert on refusals (team: platform, done: 2026-09-03, id: OPS-3)
- [ ] Ask everybody (why not?)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    place = Tracker(tmp_path, monkeypatch, "postmortems", ENTITIES)
    catalog = place.place.config / "catalog"
    catalog.mkdir()
    (catalog / "teams.csv").write_text("team,title,channel\npayments-team,Payments,#pay\n")
    (place.place.home / "inbox").mkdir(parents=True)
    return place


def write(folder: Tracker, name: str, content: str) -> Path:
    path = folder.place.home / "inbox" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def extract(folder: Tracker, **options: Any) -> dict[str, Any]:
    return folder.extract("", LATER, inbox="inbox", **options)


def at(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 9, day, hour, minute, tzinfo=UTC)


def test_a_document_in_googles_template_lands_as_postmortem_timeline_actions_and_insights(folder: Tracker):
    write(folder, "2026/checkout.md", FRONT + GOOGLE)
    counts = extract(folder)
    row = folder.one("postmortems")
    assert (row["postmortem_id"], row["incident_id"], row["status"], row["trigger"]) == (
        "2026/checkout",
        "INC-7",
        "in_review",
        "config push",
    )
    assert row["contributing_factors"] == ["settings are not validated", "no gradual roll-out"]
    assert (row["created_at"], row["updated_at"], row["version"]) == (at(1, 0), at(4, 9), int(at(4, 9).timestamp()))
    assert "## Supporting information" in row["text"]
    told = [(one["occurred_at"], one["text"]) for one in sorted(folder.landed("incident_events"), key=lambda one: one["occurred_at"])]
    assert told == [
        (at(1, 23, 10), "Limit of 0 is pushed"),
        (at(1, 23, 40), "OUTAGE BEGINS Payments are refused by all three shops"),
        (at(2, 0, 20), "Rolled back"),
        (at(2, 6), "Review begins"),
    ]
    assert {(one["kind"], one["recorded_at"], one["incident_id"]) for one in folder.landed("incident_events")} == {
        ("timeline", at(4, 9), "INC-7")
    }
    assert {(one["mood"], one["text"], one["service"]) for one in folder.landed("insights")} == {
        ("descriptive", "What went well: The roll-back took two minutes", "checkout"),
        ("descriptive", "What went wrong: Nobody was paged for half an hour", "checkout"),
        ("descriptive", "Where we got lucky: It was night in most of Europe", "checkout"),
    }
    actions = {one["title"]: one for one in folder.landed("action_items")}
    kept = actions["Refuse a limit of 0"]
    assert (kept["action_item_id"], kept["type"], kept["owner_team"], kept["status"], kept["due_at"]) == (
        "PAY-12",
        "prevent",
        "payments-team",
        "open",
        datetime(2026, 10, 1, tzinfo=UTC),
    )
    assert (actions["Page on refused payments"]["status"], actions["Page on refused payments"]["owner_team"]) == ("done", None)
    assert (actions["Talk about it"]["type"], actions["Talk about it"]["service"]) == (None, "checkout")
    assert all(one.rejected == 0 for one in counts.values())
    assert counts["postmortems"].reasons == {
        "line that names people left out": 1,
        "timeline line without a time left in the text": 1,
        "owner of an action item left out: teams.csv declares no such team": 1,
        "type 'process' of an action item is none of ours": 1,
    }


def test_a_document_in_pagerdutys_template_lands_too(folder: Tracker):
    write(
        folder,
        "checkout.md",
        "---\nincident_id: INC-7\ndate: 2026-09-01\ntimezone: Europe/Berlin\nstatus: Reviewed\nauthors: Anna Smith\n---\n" + PAGERDUTY,
    )
    extract(folder)
    row = folder.one("postmortems")
    assert (row["title"], row["status"]) == ("Overview", "reviewed")
    assert row["contributing_factors"] == ["Settings are not validated", "No gradual roll-out"]
    assert {one["text"]: one["occurred_at"] for one in folder.landed("incident_events")} == {
        "Pushed": at(1, 12, 2),
        "Noticed": at(1, 12, 31),
    }
    assert row["updated_at"] == at(1, 12, 31), "it was not written before what it tells of"
    assert {one["text"]: one["mood"] for one in folder.landed("insights")} == {
        "What went well: People joined quickly.": "descriptive",
        "What went wrong: We had no runbook.": "descriptive",
        "We should sleep more": "descriptive",
        "compare regions before rolling back": "prescriptive",
    }
    actions = {one["title"]: one for one in folder.landed("action_items")}
    assert {title: (one["status"], one["owner_team"], one["type"]) for title, one in actions.items()} == {
        "Write a runbook": ("open", "payments-team", "mitigate"),
        "Alert on refusals": ("done", "platform", None),
        "Ask everybody (why not?)": ("open", None, None),
    }
    assert (actions["Alert on refusals"]["action_item_id"], actions["Alert on refusals"]["done_at"]) == ("OPS-3", at(2, 22))


def test_nobody_is_named(folder: Tracker):
    write(folder, "a.md", FRONT + GOOGLE)
    write(folder, "b.md", FRONT.replace("INC-7", "INC-8") + PAGERDUTY)
    extract(folder)
    everything = folder.everything()
    assert not [name for name in ("Anna", "Smith", "Miller", "clara", "@ben") if name in everything]
    key = token_key(folder.place.home)
    assert {one["author_token"] for one in folder.landed("postmortems")} == {token("Anna Smith", key)}
    summary = next(one["text"] for one in folder.landed("postmortems") if one["postmortem_id"] == "a")
    assert f"@{token('clara.jones', key)} and @here noticed" in summary


def test_what_lands_passes_the_gates(folder: Tracker):
    write(folder, "a.md", FRONT.replace("updated: 2026-09-04T09:00:00Z\n", "") + GOOGLE)
    extract(folder)
    for entity in ENTITIES:
        landed = list(folder.place.landing.glob(f"{entity}/**/*.parquet"))
        assert landed
        findings = quality.check_landed(entity, pl.read_parquet(landed, hive_partitioning=False))
        assert not [one for one in findings if one.severity == "critical"]


@pytest.mark.parametrize(
    ("content", "reason", "line"),
    [
        ("# Checkout\n", "no front matter: the first line is not ---", 1),
        ("", "no front matter: the first line is not ---", 1),
        ("---\ntitle: x\n\n# Checkout\n", "front matter is not closed by ---", 1),
        ("---\ntitle: x\nstatus: [draft\n---\n", "front matter is no YAML: ", 4),
        ("---\n- a\n---\n", "front matter is no mapping of names to values", 2),
        ("---\ntitle: x\n---\n", "front matter: missing incident_id", 1),
        ("---\nincident_id: 7\ntimezone: Mars\n---\n", "front matter: unknown timezone 'Mars'", 1),
        ("---\nincident_id: 7\n---\n", "front matter: neither `updated` nor `date`", 1),
        ("---\nincident_id: 7\ndate: soon\nupdated: later\n---\n", "created_at: not a time", 1),
        ("---\nincident_id: 7\ndate: 2026-09-01\nstatus: hmm\n---\n", "status: not one of", 1),
    ],
)
def test_a_document_that_cannot_be_read_is_quarantined_by_file_and_line(folder: Tracker, content: str, reason: str, line: int):
    write(folder, "broken.md", content)
    write(folder, "whole.md", FRONT)
    extract(folder)
    (path,) = folder.place.quarantine.glob("postmortems/**/*.jsonl")
    (found,) = [json.loads(text) for text in path.read_text().splitlines()]
    assert found["reason"].startswith(reason)
    assert (found["origin"], found["row"]) == ("broken.md", line if "YAML" not in reason else found["row"])
    assert folder.one("postmortems")["postmortem_id"] == "whole"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("- 25:10 Too late", "timeline: not a time"),
        ("- 10:10 CST Which?", "timeline: zone CST means several; write UTC or an offset"),
        ("- 2026-13-01 10:10 No month", "timeline: not a date"),
        ("- 10:10 +99:00 Nowhere", "timeline: not a time"),
    ],
)
def test_a_line_of_a_timeline_that_cannot_be_placed_is_quarantined_by_line(folder: Tracker, line: str, reason: str):
    write(folder, "a.md", f"{FRONT}## Timeline\n{line}\n- 10:20 Fine\n")
    extract(folder)
    (path,) = folder.place.quarantine.glob("incident_events/**/*.jsonl")
    found = json.loads(path.read_text())
    assert (found["reason"], found["origin"], found["row"]) == (reason, "a.md", 13)
    assert folder.one("incident_events")["text"] == "Fine"


def test_a_time_without_a_date_is_never_guessed(folder: Tracker):
    write(folder, "a.md", "---\nincident_id: 7\nupdated: 2026-09-04\n---\n## Timeline\n- 10:20 When?\n")
    extract(folder)
    assert folder.quarantined("incident_events") == ["timeline: a time without a date, in a document without `date`"]


def test_nothing_was_written_down_before_it_happened(folder: Tracker):
    write(folder, "a.md", "---\nincident_id: 7\ndate: 2026-09-01\nupdated: 2026-09-01\n---\n## Timeline\n- 10:20 It broke\n")
    extract(folder)
    assert folder.one("incident_events")["recorded_at"] == at(1, 10, 20)


def test_what_is_quoted_in_a_fence_is_no_section(folder: Tracker):
    write(folder, "a.md", f"{FRONT}## Summary\n```\n## Timeline\n- 10:20 Quoted\n```\n## Timeline\n- 10:30 Told\n")
    extract(folder)
    assert folder.one("incident_events")["text"] == "Told"


def test_a_due_date_that_is_none_is_quarantined_by_line(folder: Tracker):
    write(folder, "a.md", f"{FRONT}## Action items\n- [ ] Soon (team: pay, due: next week)\n- [ ] Fine (team: pay)\n")
    extract(folder)
    assert folder.quarantined("action_items") == ["due_at: not a time"]
    assert folder.one("action_items")["title"] == "Fine"


def test_a_changed_document_replaces_what_it_said_and_an_unchanged_one_changes_nothing(folder: Tracker):
    write(folder, "a.md", FRONT + GOOGLE)
    extract(folder)
    assert all(one.changed_files == 0 for one in extract(folder).values())
    write(folder, "a.md", FRONT.replace("09-04", "09-05").replace("In Review", "reviewed") + "## Timeline\n- 10:20 Only this\n")
    extract(folder)
    assert (folder.one("postmortems")["status"], folder.one("postmortems")["updated_at"]) == ("reviewed", at(5, 9))
    assert folder.one("incident_events")["text"] == "Only this"
    assert folder.landed("action_items") == folder.landed("insights") == []


def test_the_hash_of_what_was_read_is_kept(folder: Tracker):
    write(folder, "a.md", FRONT)
    extract(folder)
    before = folder.one("postmortems")["source_id"]
    write(folder, "a.md", FRONT + "One more word\n")
    extract(folder)
    after = folder.one("postmortems")["source_id"]
    assert before.startswith("a.md@") and after.startswith("a.md@") and before != after


def test_other_files_are_left_alone_and_an_empty_folder_is_an_answer(folder: Tracker):
    write(folder, "notes.txt", "x")
    write(folder, ".draft.md", "x")
    assert {name: one.received for name, one in extract(folder).items()} == dict.fromkeys(ENTITIES, 0)


def test_a_folder_that_is_not_there_and_a_zone_that_is_none_are_named(folder: Tracker):
    with pytest.raises(SourceUnavailable, match=r"inbox folder .*elsewhere does not exist"):
        folder.extract("", LATER, inbox="elsewhere")
    with pytest.raises(ConfigError, match="unknown timezone 'Mars'"):
        extract(folder, timezone="Mars")


@pytest.mark.parametrize(
    ("title", "kind"),
    [
        ("Timeline (UTC)", ""),
        ("Incident Timeline", "timeline"),
        ("What Didn’t Go So Well?", "badly"),
        ("Where we got lucky", "lucky"),
        ("Action Items 🛠", "actions"),
        ("Root Causes", "factors"),
        ("3. Lessons learned", "lessons"),
        ("Responders", "people"),
        ("Impact", ""),
    ],
)
def test_headings_of_the_usual_templates_are_known(title: str, kind: str):
    assert kind_of(title) == kind


LINES = (
    "--- | incident_id: 7 | date: 2026-09-01 | ## Timeline | ## Action items | # Lessons | - 10:20 a | - 99:99 b | "
    "0001-01-01 00:10 +05:00 c | - [ ] x (due: y) |   more |  | ``` | 2026-09-02 | authors: &a [*a] | title: {a: b} | ### 2026-09-31"
)
A_LINE = st.sampled_from([*LINES.split(" | "), "| a | b |", "|---|---|"]) | st.text(max_size=12)


@given(st.lists(A_LINE, max_size=14))
def test_every_text_is_read_or_refused_by_line(lines: list[str]):
    try:
        found = rows_of(parse("\n".join(lines)), "a.md", Options(inbox="x"), frozenset(), lambda who: "tok_x")
    except Broken as error:
        assert error.line >= 1
    else:
        assert all(row["line"] for rows in found.rows.values() for row in rows)


PRESCRIBES = """---
incident_id: INC-7
date: 2026-09-01
updated: 2026-09-04T09:00:00Z
services: [checkout]
authors: [anna]
prescriptions:
  - mask: {services: [payments], signals: [latency_p95_ms], expects: up, weekly: {days: [mon], starts: 14:00, ends: 16:00}}
    because: The export of @anna doubles latency, nobody is hurt
    confidence: 0.7
  - threshold: {signal: latency_p95_ms, sensitivty: 0.8}
  - rule:
      kinds: [migration]
      of: [ledger-db]
      says: known
    service: ledger-db
  - be more careful
  - rule: {kinds: [flag], of: [web], says: known}
    becuase: typed too fast
---
Words.
"""


def test_what_a_front_matter_prescribes_lands_as_insights_and_what_cannot_be_read_is_refused_with_its_line(folder: Tracker):
    write(folder, "7.md", PRESCRIBES)
    extract(folder)
    mask, rule = sorted(folder.landed("insights"), key=lambda row: row["service"])
    assert (mask["service"], mask["confidence"], mask["recorded_at"], mask["mood"]) == ("checkout", 0.7, at(4, 9), "prescriptive")
    prescribed = read_prescription(mask["prescription"]).mask
    assert prescribed is not None
    assert (prescribed.weekly.starts if prescribed.weekly else "") == "14:00"
    assert "@tok_" in mask["text"]
    assert "anna" not in folder.everything()
    assert (rule["service"], rule["text"]) == ("ledger-db", "changes of kind migration on ledger-db are known to hurt services")
    (path,) = folder.place.quarantine.glob("insights/**/*.jsonl")
    refused = {found["row"]: found["reason"] for found in map(json.loads, path.read_text().splitlines()) if found["origin"] == "7.md"}
    assert refused.keys() == {11, 17, 18}
    assert "prescription: threshold.sensitiv" in refused[11]
    assert "expected names and values, found 'be more careful'" in refused[17]
    assert "found becuase, rule" in refused[18]
    assert all("; write e.g. " in reason for reason in refused.values())


def test_an_insight_prescribed_the_same_keeps_its_id_whatever_else_is_edited(folder: Tracker):
    write(folder, "7.md", PRESCRIBES)
    extract(folder)
    before = {row["insight_id"] for row in folder.landed("insights")}
    reviewed = "reviewed_at: 2026-09-04T12:00:00Z\nupdated: 2026-09-05"
    write(folder, "7.md", PRESCRIBES.replace("updated: 2026-09-04", reviewed).replace("0.7", "0.9"))
    extract(folder)
    after = folder.landed("insights")
    assert {row["insight_id"] for row in after} == before
    assert {row["recorded_at"] for row in after} == {at(4, 12)}, "closing a postmortem later does not make what it prescribes younger"
