"""The `cdevents` kind: events of every version, dropped or received; incidents put together from all that is told of them."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from aftercast.errors import ConfigError, SourceUnavailable
from aftercast.sources import cdevents_inbox
from aftercast.window import Window
from tests.unit.inbox_fixture import Inboxed
from tests.unit.tracker_fixture import DAY, HOUR, NEXT, START, clock, utc

PURL = "pkg:oci/cart@sha256%3A0b31b1c0?repository_url=registry.test/cart"


def event(type_: str, id_: str, minutes: float, subject: str = "cart", version: str = "0.1.1", **content: Any) -> dict[str, Any]:
    return {
        "context": {
            "version": "0.3.0",
            "id": id_,
            "source": "/ci/pipelines",
            "type": f"dev.cdevents.{type_}.{version}",
            "timestamp": clock(minutes, shape="%Y-%m-%dT%H:%M:%S.%fZ"),
        },
        "subject": {"id": subject, "source": "/ci/pipelines", "type": type_.partition(".")[0], "content": content},
    }


def deployed(id_: str = "e1", minutes: float = 5, artifact: str = PURL, **given: Any) -> dict[str, Any]:
    return event("service.deployed", id_, minutes, **{"environment": {"id": "production"}, "artifactId": artifact, **given})


def incident(predicate: str, id_: str, minutes: float, subject: str = "i7", **content: Any) -> dict[str, Any]:
    return event(f"incident.{predicate}", id_, minutes, subject, **{"environment": {"id": "production"}, **content})


@pytest.fixture
def inboxed(tmp_path: Path) -> Inboxed:
    return Inboxed(tmp_path, "cdevents", "changes", "incidents", "incident_events")


def test_a_deployment_lands_with_the_version_its_package_names(inboxed: Inboxed):
    inboxed.drop("one.json", deployed())
    inboxed.read()
    row = inboxed.one("changes")
    assert [row[name] for name in ("change_id", "kind", "service", "environment", "result")] == [
        "e1",
        "deploy",
        "cart",
        "production",
        "success",
    ]
    assert (row["version"], row["started_at"], row["finished_at"]) == ("sha256:0b31b1c0", utc(5), utc(5))


@pytest.mark.parametrize(
    ("type_", "kind"),
    [
        ("service.deployed", "deploy"),
        ("service.upgraded", "deploy"),
        ("service.rolledback", "rollback"),
        ("service.removed", "infra"),
        ("service.published", "config"),
    ],
)
@pytest.mark.parametrize("version", ["0.1.0", "0.1.1", "0.2.0", "0.3.0", "0.3.0-draft"])
def test_events_of_services_are_changes_in_every_version(inboxed: Inboxed, type_: str, kind: str, version: str):
    inboxed.drop("one.json", event(type_, "e1", 5, version=version, environment={"id": "staging"}, artifactID="1.2.3"))
    inboxed.read()
    row = inboxed.one("changes")
    assert (row["kind"], row["environment"], row["version"]) == (kind, "staging", "1.2.3")


@pytest.mark.parametrize("shape", ["alone", "list", "lines", "cloudevents", "base64", "batch"])
def test_events_are_read_alone_in_lists_as_lines_and_wrapped(inboxed: Inboxed, shape: str):
    one, two = deployed("e1", 5), deployed("e2", 6)
    wrapped = [{"specversion": "1.0", "id": "x", "type": one["context"]["type"], "source": "/", "data": each} for each in (one, two)]
    coded = {"specversion": "1.0", "data_base64": base64.b64encode(json.dumps(one).encode()).decode()}
    files: dict[str, tuple[str, Any]] = {
        "alone": ("a.json", one),
        "list": ("a.json", [one, two]),
        "lines": ("a.jsonl", f"{json.dumps(one)}\n\n{json.dumps(two)}\n"),
        "cloudevents": ("a.json", wrapped[0]),
        "base64": ("a.json", coded),
        "batch": ("a.json", wrapped),
    }
    inboxed.drop(*files[shape])
    inboxed.read()
    expected = {"e1"} if shape in ("alone", "cloudevents", "base64") else {"e1", "e2"}
    assert {row["change_id"] for row in inboxed.landed("changes")} == expected


def test_types_that_tell_of_nothing_we_keep_are_counted_and_the_unreadable_is_quarantined(inboxed: Inboxed):
    others = [event("pipelineRun.started", "p1", 1), event("pipelineRun.started", "p2", 2), event("novelty.invented", "n1", 3)]
    inboxed.drop("a.json", [deployed(), *others, {"hello": 1}, 5, {"context": {"type": "dev.cdevents.service.deployed.0.1.0"}}])
    inboxed.drop("b.jsonl", '{"torn": \n')
    inboxed.drop("c.txt", "not for us")
    counts = inboxed.read()["changes"]
    assert counts.landed == 1
    assert dict(counts.reasons)["events pipelineRun.started left out"] == 2
    assert dict(counts.reasons)["events novelty.invented left out"] == 1
    assert dict(counts.reasons)["file c.txt is no JSON"] == 1
    assert sorted(inboxed.quarantined("changes"))[:3] == ["no CDEvent: no context with type and id"] * 3
    assert inboxed.quarantined("changes")[-1].startswith("not JSON")


def test_kinds_names_and_environments_can_be_mapped_or_left_out(inboxed: Inboxed):
    events = [
        deployed("e1", environment={"id": "prod-eu"}),
        event("service.published", "e2", 6, environment={"id": "prod-eu"}),
        deployed("e3", environment={"id": "preview-7"}),
        event("environment.modified", "e4", 7, "prod-eu", name="prod"),
    ]
    inboxed.drop("a.json", events)
    inboxed.read(
        kinds={"service.published": None},
        environments={"prod-*": "production", "preview*": None},
        services={"cart": "basket"},
        environment_service="platform",
    )
    found = {row["change_id"]: (row["kind"], row["service"], row["environment"]) for row in inboxed.landed("changes")}
    assert found == {"e1": ("deploy", "basket", "production"), "e4": ("infra", "platform", "production")}


def test_a_modified_environment_without_a_service_is_left_out_and_counted(inboxed: Inboxed):
    inboxed.drop("a.json", event("environment.modified", "e4", 7, "production"))
    assert dict(inboxed.read()["changes"].reasons) == {"events environment.modified left out": 1}


def test_an_incident_is_put_together_from_all_its_events(inboxed: Inboxed):
    inboxed.post(incident("detected", "e1", 2, description="Slow, ask jane@acme.test", service={"id": "cart"}), 3)
    inboxed.post(incident("reported", "e2", 6, ticketURI="https://tickets.test/7"), 7)
    inboxed.read()
    row = inboxed.one()
    assert (row["status"], row["services"], row["detected_at"], row["declared_at"]) == ("open", ["cart"], utc(2), utc(6))
    inboxed.post(incident("resolved", "e3", 70), 71)
    inboxed.read(NEXT)
    row = inboxed.one()
    assert [row[name] for name in ("started_at", "detected_at", "resolved_at")] == [utc(2), utc(2), utc(70)]
    assert (row["status"], row["url"], row["title"]) == ("resolved", "https://tickets.test/7", "Slow, ask <email>")
    events = {one["event_id"]: one for one in inboxed.landed("incident_events")}
    assert [(one["kind"], one["occurred_at"], one["recorded_at"]) for one in events.values()] == [
        ("detected", utc(2), utc(3)),
        ("reported", utc(6), utc(7)),
        ("resolved", utc(70), utc(71)),
    ]


def test_an_incident_is_put_together_across_dropped_and_received_events(inboxed: Inboxed):
    inboxed.drop("a.json", incident("detected", "e1", 2, service={"id": "cart"}))
    inboxed.read()
    inboxed.post(incident("resolved", "e3", 70), 71)
    inboxed.read(NEXT)
    assert (inboxed.one()["status"], inboxed.one()["started_at"], inboxed.one()["services"]) == ("resolved", utc(2), ["cart"])
    months_later = Window(START + timedelta(days=90), START + timedelta(days=91))
    inboxed.read(months_later)
    assert inboxed.one()["status"] == "resolved", "a dropped file that is read again tells nothing new"


def test_an_incident_that_began_again_is_open(inboxed: Inboxed):
    inboxed.drop("a.json", [incident("detected", "e1", 2), incident("resolved", "e2", 8), incident("detected", "e3", 20)])
    inboxed.read()
    assert (inboxed.one()["status"], inboxed.one()["resolved_at"], inboxed.one()["started_at"]) == ("open", None, utc(2))


def test_an_end_whose_beginning_nothing_tells_is_counted_and_lands_as_an_event_only(inboxed: Inboxed):
    inboxed.drop("a.json", incident("resolved", "e2", 8))
    assert dict(inboxed.read()["incidents"].reasons) == {"incidents whose beginning nothing tells": 1}
    assert (inboxed.landed(), len(inboxed.landed("incident_events"))) == ([], 1)


def test_a_window_takes_what_was_received_in_it_however_often_it_is_read(inboxed: Inboxed):
    for number, minutes in enumerate((5, 59.9, 60, 65)):
        inboxed.post(deployed(f"e{number}", minutes), minutes)
    for _ in range(2):
        assert inboxed.read()["changes"].received == 2
    assert {row["change_id"] for row in inboxed.landed("changes")} == {"e0", "e1"}
    inboxed.read(NEXT)
    assert len(inboxed.landed("changes")) == 4


def test_an_event_that_comes_late_lands_on_its_own_day(inboxed: Inboxed):
    inboxed.post(deployed("e1", -3_000), 65)
    assert inboxed.read(NEXT)["changes"].late == 1
    assert inboxed.one("changes")["started_at"] == utc(-3_000)


def test_an_event_sent_twice_lands_once(inboxed: Inboxed):
    inboxed.post(deployed("e1"), 5, x_request_id="a")
    inboxed.post(deployed("e1"), 6, x_request_id="b")
    counts = inboxed.read()["changes"]
    assert (len(inboxed.landed("changes")), counts.duplicate) == (1, 1)


def test_a_clock_that_is_ahead_is_quarantined(inboxed: Inboxed):
    inboxed.post(deployed("e1", 900), 5)
    inboxed.read()
    assert inboxed.quarantined("changes") == ["started_at: in the future of the window"]


def test_a_corrected_file_replaces_what_it_landed_and_a_removed_one_leaves_it(inboxed: Inboxed):
    path = inboxed.drop("a.json", [deployed("e1"), deployed("e2")])
    inboxed.read()
    inboxed.drop("a.json", [deployed("e1")])
    inboxed.read(NEXT)
    assert inboxed.one("changes")["change_id"] == "e1"
    path.unlink()
    inboxed.read(NEXT)
    assert inboxed.one("changes")["change_id"] == "e1"


def test_a_received_event_that_is_taken_out_goes_when_a_wider_window_is_read_again(inboxed: Inboxed):
    inboxed.post(deployed("e1"), 5)
    inboxed.post(deployed("e2"), 6)
    inboxed.read()
    path = inboxed.folder / "received-2026-09-01.jsonl"
    path.write_text(path.read_text().splitlines(keepends=True)[0])
    inboxed.read(DAY)
    assert inboxed.one("changes")["change_id"] == "e1"


def test_files_are_read_in_blocks(inboxed: Inboxed, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cdevents_inbox.inbox, "LINES", 2)
    inboxed.drop("a.jsonl", "".join(f"{json.dumps(deployed(f'e{number}', number))}\n" for number in range(5)))
    inboxed.read()
    assert len(inboxed.landed("changes")) == 5


def test_an_empty_inbox_is_an_answer_and_a_missing_one_is_not(inboxed: Inboxed):
    assert {name: one.received for name, one in inboxed.read().items()} == {"changes": 0, "incidents": 0, "incident_events": 0}
    with pytest.raises(SourceUnavailable, match=r"'inboxed': inbox folder .* does not exist"):
        inboxed.read(inbox="nowhere")
    with pytest.raises(ConfigError, match="kinds"):
        inboxed.read(HOUR, kinds={"service.deployed": "surprise"})
