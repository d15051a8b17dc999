"""What the pipeline says of itself: how fresh the mart was, figures in a form that Prometheus reads, and a late run told once."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastapi import HTTPException, Request
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from aftercast import diagnosis, warehouse, watching
from aftercast.acting.outbox import Outbox
from aftercast.declarations import FreshnessRow
from aftercast.errors import ConfigError, SourceUnavailable
from aftercast.page import application
from aftercast.settings import PROJECT, Settings
from aftercast.steps import watching as steps
from aftercast.watching import deadlines, records
from aftercast.watching.exposition import MEANINGS, Sample
from aftercast.watching.freshness import Publish
from tests.unit import landing_fixture, page_fixture
from tests.unit.test_channels import connect

NOW = datetime(2026, 11, 9, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)
PROMISE = FreshnessRow(within_hours=24, objective=0.9, window_days=10)


def daily(days: int, delay: timedelta = HOUR) -> list[Publish]:
    """A publish every day, `delay` after the midnight it knows until."""
    midnight = NOW.replace(hour=0)
    return [Publish(midnight - day * timedelta(days=1) + delay, midnight - day * timedelta(days=1)) for day in range(days)]


def test_a_mart_an_hour_behind_its_day_is_late_for_one_hour_of_each_day():
    stands = watching.standing(daily(30), PROMISE, NOW)
    assert stands
    assert stands.age == 6 * HOUR
    assert stands.ratio == pytest.approx(23 / 24)
    assert (stands.kept, stands.is_late, stands.known) == (True, False, timedelta(days=10))


def test_a_day_without_a_publish_breaks_the_promise_of_ten_days():
    missed = [one for one in daily(30) if one.as_of.day != 5]
    stands = watching.standing(missed, PROMISE, NOW)
    assert stands
    assert stands.ratio == pytest.approx((10 * 23 - 23) / 240)
    assert stands.kept is False


def test_time_before_the_first_publish_is_not_counted():
    stands = watching.standing([Publish(NOW - 5 * HOUR, NOW - 25 * HOUR)], PROMISE, NOW)
    assert stands
    assert stands.known == 5 * HOUR
    assert stands.ratio == pytest.approx(4 / 5), "it became too old after four hours"
    assert watching.standing([Publish(NOW + HOUR, NOW)], PROMISE, NOW) is None
    at_once = watching.standing([Publish(NOW, NOW)], PROMISE, NOW)
    assert at_once
    assert (at_once.ratio, at_once.kept) == (None, None)


@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 100)), min_size=1, max_size=8),
    st.integers(1, 100),
    st.integers(1, 14),
)
def test_the_share_is_what_counting_hours_gives(times: list[tuple[int, int]], hours: int, days: int):
    given_publishes = [Publish(NOW - ago * HOUR, NOW - (ago + behind) * HOUR) for ago, behind in times]
    promise = FreshnessRow(within_hours=hours, objective=0.9, window_days=days)
    stands = watching.standing(given_publishes, promise, NOW)
    assert stands
    first = max(NOW - timedelta(days=days), min(one.at for one in given_publishes))
    counted = [NOW - number * HOUR for number in range(1, int((NOW - first) / HOUR) + 1)]
    ordered = sorted(given_publishes, key=lambda one: one.at)

    def fresh(moment: datetime) -> bool:
        newest = [one for one in ordered if one.at <= moment][-1]
        return moment - newest.as_of < promise.within

    if not counted:
        assert stands.ratio is None
    else:
        assert stands.ratio == pytest.approx(sum(map(fresh, counted)) / len(counted), abs=1e-9)


def test_text_is_read_by_both_parsers_whatever_labels_hold():
    hostile = 'a"b\\c\nd,{}= \u202e'
    samples = [
        Sample("aftercast_task_failed", 1, {"dag": hostile, "task": "x"}),
        Sample("aftercast_mart_freshness_ratio", 0.1 + 0.2),
        Sample("aftercast_mart_freshness_limit_seconds", float("nan")),
        Sample("aftercast_mart_as_of_timestamp_seconds", 1_794_204_000.25),
    ]
    for parse in (openmetrics, prometheus):
        found = {sample.name: sample for family in parse(watching.text(samples)) for sample in family.samples}
        assert found["aftercast_task_failed"].labels == {"dag": hostile, "task": "x"}
        assert found["aftercast_mart_freshness_ratio"].value == 0.1 + 0.2
        assert found["aftercast_mart_as_of_timestamp_seconds"].value == 1_794_204_000.25
    with pytest.raises(KeyError, match="no meaning"):
        watching.text([Sample("aftercast_unheard_of", 1)])


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    settings = landing_fixture.deployment(tmp_path)
    (settings.config / "sources.yml").write_text(
        'history: {start: "2026-09-01", end: "2026-09-08"}\nsources: [{name: shop, kind: files}]\n', encoding="utf-8"
    )
    monkeypatch.setenv("AFTERCAST_HOME", str(settings.home))
    monkeypatch.setenv("AFTERCAST_CONFIG", str(settings.config))
    return settings


def measured(place: Settings, now: datetime = NOW) -> dict[str, dict[tuple[str, ...], float]]:
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for sample in watching.measure(place, now):
        found.setdefault(sample.metric, {})[tuple(sample.labels.values())] = sample.value
    return found


def publish(place: Settings, as_of: datetime) -> None:
    made = page_fixture.publish(place.published / "versions" / "one")
    place.mart.parent.mkdir(parents=True, exist_ok=True)
    place.mart.symlink_to(made)
    with warehouse.connect(made, read_only=False) as connection:
        warehouse.execute(connection, f"update marts.mart_run set as_of = timestamptz '{as_of.isoformat()}'")


def test_a_new_deployment_is_measured_without_a_mart(place: Settings):
    found = measured(place)
    assert found["aftercast_mart_freshness_limit_seconds"] == {(): 86_400}
    assert "aftercast_mart_as_of_timestamp_seconds" not in found
    assert found["aftercast_source_rows"][("shop", "landed")] == 0
    assert found["aftercast_outbox_unreadable"] == {(): 0}
    assert not place.metrics.exists(), "measuring writes nothing"


def test_what_landed_what_was_refused_and_what_failed_is_counted(place: Settings):
    window = landing_fixture.hours(0, 3)
    rows = landing_fixture.in_window(window)
    bad = rows.with_columns(value=None)
    landing_fixture.land(place, window, landing_fixture.batch(rows), landing_fixture.batch(bad[:2]))
    (place.home / "quality").mkdir()
    (place.home / "quality" / "published__mart_run.json").write_text('{"expectations": 4, "failed": ["x"]}', encoding="utf-8")
    (place.home / "quality" / "torn.json").write_text("{", encoding="utf-8")
    found = measured(place)
    assert found["aftercast_source_rows"][("shop", "landed")] == 3
    assert found["aftercast_source_rows"][("shop", "rejected")] == found["aftercast_source_quarantined_rows"][("shop",)] == 2
    assert found["aftercast_source_covered_until_timestamp_seconds"] == {("shop",): window.end.timestamp()}
    assert found["aftercast_gate_failed"] == {("published__mart_run",): 1}


def test_the_age_of_the_mart_and_incidents_nobody_can_learn_from_are_told(place: Settings):
    publish(place, NOW - 2 * HOUR)
    with warehouse.connect(place.mart.resolve(), read_only=False) as connection:
        warehouse.execute(connection, "update marts.mart_incidents set top_candidate_kind = null where incident_id = 'INC-1'")
        expected = warehouse.frame(
            connection,
            "select count(*) from marts.mart_incidents where not exclude_from_metrics "
            "and (top_candidate_kind is null or impact_status is null)",
        ).item()
    found = measured(place)
    assert found["aftercast_mart_as_of_timestamp_seconds"] == {(): (NOW - 2 * HOUR).timestamp()}
    assert found["aftercast_mart_incidents_unscored"] == {(): expected}
    assert expected >= 1


def test_an_outbox_that_cannot_be_read_does_not_look_empty(place: Settings):
    place.outbox.mkdir(parents=True)
    (place.outbox / "aftercast-1.json").write_text("{", encoding="utf-8")
    found = measured(place)
    assert found["aftercast_outbox_unreadable"] == {(): 1}
    assert "aftercast_outbox_deliveries" not in found


def test_a_task_is_remembered_with_its_last_try_and_a_mapped_one_as_a_whole(place: Settings):
    def end(task: str, run: str, index: int, state: str, seconds: int) -> None:
        at = NOW + (HOUR if run == "2" else timedelta(0))
        steps.task_ended("refresh_warehouse", task, run, index, state, at, at + timedelta(seconds=seconds), whole=False)

    end("stage", "1", -1, "failed", 5)
    end("stage", "1", -1, "success", 7)
    for index, seconds in enumerate((10, 20, 90)):
        end("detect", "1", index, "success", seconds)
    end("detect", "2", 0, "success", 11)
    end("detect", "2", 1, "failed", 12)
    found = measured(place)
    assert found["aftercast_task_duration_seconds"] == {("refresh_warehouse", "stage"): 7, ("refresh_warehouse", "detect"): 12}
    assert found["aftercast_task_failed"] == {("refresh_warehouse", "stage"): 0, ("refresh_warehouse", "detect"): 1}


def test_a_publish_is_remembered_once_and_the_file_is_whole(place: Settings):
    publish(place, NOW - 2 * HOUR)
    for minutes in (0, 10):
        at = NOW + timedelta(minutes=minutes)
        steps.task_ended("refresh_warehouse", "publish", "1", -1, "success", at, at, whole=True)
    assert watching.history(place) == [Publish(NOW, NOW - 2 * HOUR)]
    text = (place.metrics / "aftercast.prom").read_text(encoding="utf-8")
    assert text.endswith("# EOF\n")
    assert "aftercast_mart_freshness_ratio 1\n" in text
    assert [path.name for path in place.metrics.glob(".aftercast.prom*")] == []
    assert (place.metrics / "aftercast.prom").stat().st_mode & 0o777 == 0o644, "another user's exporter reads it"


def test_what_is_remembered_survives_a_torn_line_and_forgets_what_is_old(place: Settings):
    records.note_published(place, "old", NOW, NOW - timedelta(days=500))
    records.note_published(place, "new", NOW, NOW)
    path = place.metrics / records.PUBLISHED
    path.write_text(path.read_text() + '{"at": "20', encoding="utf-8")
    assert len(records.publishes(place)) == 1
    records.note_published(place, "newer", NOW, NOW + HOUR)
    assert [json.loads(line)["version"] for line in path.read_text().splitlines()] == ["new", "newer"]


def test_the_doctor_and_the_metrics_go_by_one_declaration(place: Settings):
    publish(place, NOW - 30 * HOUR)
    records.note_published(place, "one", NOW - 30 * HOUR, NOW - 29 * HOUR)

    def said(settings: Settings) -> list[tuple[str, str]]:
        findings = diagnosis.diagnose(Settings(settings.home, settings.config), NOW)
        return [(one.verdict, one.said) for one in findings if one.subject in ("mart", "freshness")]

    with warehouse.connect(place.mart.resolve(), read_only=False) as connection:
        warehouse.execute(connection, f"update marts.mart_run set code_version = {warehouse.literal(diagnosis.code_version())}")
    (mart, freshness) = said(place)
    assert mart[0] == "warning"
    assert "30 hours ago; promised are 24 hours" in mart[1]
    assert freshness == ("warning", "younger than 24 hours 79.3% of the last 1 days; promised are 95.0%")
    (place.config / "pipeline.yml").write_text("freshness: {within_hours: 31, objective: 0.9}\n", encoding="utf-8")
    assert [verdict for verdict, _ in said(place)] == ["good", "good"]
    again = Settings(place.home, place.config)
    assert measured(again)["aftercast_mart_freshness_limit_seconds"] == {(): 31 * 3600}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("freshness: {within: 3}", "unknown key.*within_hours"),
        ("freshness: {objective: 95}", "freshness.objective"),
        ("deadlines: [{dag: refresh, minutes: 3}]", "row 1 of deadlines: no DAG 'refresh' takes a deadline.*refresh_warehouse"),
        ("deadlines: [{dag: refresh_warehouse, minutes: 3, channels: [chat]}]", "channel 'chat', which is not declared"),
        (
            "channels: [{name: chat, kind: slack, connection: c}]\ndeadlines: [{dag: refresh_warehouse, minutes: 3, channels: [chat]}]",
            "says to nobody; give it `to`",
        ),
        ("deadlines: [{dag: refresh_warehouse, minutes: 3}, {dag: refresh_warehouse, minutes: 4}]", "declared twice"),
    ],
)
def test_a_declaration_that_cannot_be_kept_is_refused_with_file_and_row(place: Settings, content: str, message: str):
    (place.config / "pipeline.yml").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as told:
        _ = Settings(place.home, place.config).deployment
    assert "pipeline.yml" in str(told.value)


CONTEXT = {"dag_run": {"dag_run_id": "asset__1"}, "deadline": {"deadline_time": "2026-11-09T06:00:00+00:00"}}


def pipeline(place: Settings, *, live: bool) -> None:
    channel = f"{{name: duty, kind: email, connection: post, to: duty@acme.example, live: {str(live).lower()}}}"
    (place.config / "pipeline.yml").write_text(
        f"channels: [{channel}]\ndeadlines: [{{dag: refresh_warehouse, minutes: 3, channels: [duty]}}]\n", encoding="utf-8"
    )


def test_a_late_run_is_only_written_down_until_a_channel_is_live(place: Settings):
    pipeline(place, live=False)
    for _ in range(2):
        steps.tell_late("refresh_warehouse", CONTEXT)
    (row,) = Outbox(place.outbox).rows().to_dicts()
    assert (row["state"], row["key"]) == ("dry_run", "deadline/refresh_warehouse/asset__1/duty")
    assert "run asset__1 was not done by 2026-11-09 06:00 UTC" in row["payload"]
    assert len((place.metrics / records.MISSED).read_text().splitlines()) == 1
    assert "aftercast_deadline_missed_timestamp_seconds" in (place.metrics / "aftercast.prom").read_text()


def test_without_a_channel_a_late_run_is_known_and_nothing_is_sent(place: Settings):
    steps.tell_late("refresh_warehouse", CONTEXT)
    assert list(measured(place)["aftercast_deadline_missed_timestamp_seconds"]) == [("refresh_warehouse",)]
    assert not place.outbox.exists() or Outbox(place.outbox).rows().is_empty()


def test_a_channel_that_cannot_be_reached_says_so_and_is_tried_again(place: Settings, monkeypatch: pytest.MonkeyPatch):
    pipeline(place, live=True)
    connect(monkeypatch, landing_free_port(), host="localhost")
    with pytest.raises(SourceUnavailable, match="deadline/refresh_warehouse/asset__1/duty is planned"):
        steps.tell_late("refresh_warehouse", CONTEXT)
    assert "aftercast_deadline_missed" in (place.metrics / "aftercast.prom").read_text(), "it is known although nobody heard"


def landing_free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_what_is_said_names_the_page_of_its_dag():
    for dag in ("refresh_warehouse", "send_reports__weekly"):
        said = deadlines.said(deadlines.late_run(dag, CONTEXT))
        page = said.split("See ")[1].rstrip(".")
        assert (PROJECT / page).exists(), page


def test_every_metric_is_explained_on_the_page():
    page = (PROJECT / "docs" / "operations.md").read_text(encoding="utf-8")
    for metric, meaning in MEANINGS.items():
        assert f"| `{metric}` | {meaning} |" in page, metric
    assert set(re.findall(r"^\| `(aftercast_\w+)`", page, re.MULTILINE)) == set(MEANINGS)


def test_lineage_knows_every_derived_table_and_who_writes_it(place: Settings):
    from aftercast import detection
    from aftercast.analyses import DERIVED
    from aftercast.steps import lineage

    assert set(lineage.DETECTED) == {*detection.TABLES, "tuning_proposals"}
    written = {task: [one.name for one in lineage.tables_of("refresh_warehouse", task)[1]] for task in ("gather", "correlate", "measure")}
    names = sorted(name for names in written.values() for name in names)
    assert names == sorted(f"warehouse.derived.{name}" for name in DERIVED), "each is written by one task"
    assert "warehouse.derived.candidates" in written["correlate"]
    reads, writes = lineage.tables_of("refresh_warehouse", "publish")
    assert [one.name.replace("warehouse.", "aftercast.", 1) for one in reads] == [one.name for one in writes]
    assert len(writes) > 20
    assert lineage.tables_of("send_reports__weekly", "send") == ([], [])


def test_the_page_serves_the_metrics_behind_its_guards_and_calls_old_what_is_declared_old(place: Settings):
    publish(place, NOW - 30 * HOUR)

    def refuse(request: Request) -> None:
        if "token" not in request.headers:
            raise HTTPException(401)

    def served(hours: float) -> TestClient:
        def text() -> str:
            return watching.text(watching.measure(place, NOW))

        return TestClient(application(lambda: place.mart, [refuse], lambda: NOW, within=lambda: hours * HOUR, metrics=text))

    assert served(24).get("/metrics").status_code == 401
    answer = served(24).get("/metrics", headers={"token": "x"})
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert f"aftercast_mart_as_of_timestamp_seconds {int((NOW - 30 * HOUR).timestamp())}\n" in answer.text
    for hours, is_stale in ((24, True), (31, False)):
        assert ("Stale data" in served(hours).get("/health", headers={"token": "x"}).text) is is_stale
