"""A person's word about an alarm or a cause, from the command line to the landed row."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from aftercast import cli, landing, warehouse
from aftercast.conform import conform
from aftercast.entities import COVERAGE_SCHEMA, ENTITIES
from aftercast.errors import ConfigError
from aftercast.landing import verdicts
from aftercast.settings import Settings

AS_OF = datetime(2026, 9, 21, tzinfo=UTC)
SERIES = "errors|environment=production|service=api"


@pytest.fixture
def place(home: Path) -> Settings:
    """A published file with an episode, a series and an incident of two candidates; two weeks were extracted."""
    settings = Settings.from_environment()
    settings.mart.parent.mkdir(parents=True)
    with warehouse.connect(settings.mart, read_only=False) as connection:
        for statement in (
            "create schema marts",
            f"create table marts.mart_anomalies as select 'anomaly-1' as anomaly_id, '{SERIES}' as series_id, "
            "timestamptz '2026-09-16 10:05:00+00' as peak_at",
            f"create table marts.mart_signal_quality as select 'series' as source_kind, '{SERIES}' as signal_id",
            "create table marts.mart_incidents as select unnest(['INC-1', 'INC-3']) as incident_id",
            "create table marts.mart_recommendations as select 'REC-1' as recommendation_id, 'Release api through a canary gate' as action",
            "create table marts.mart_changes as select 'dep-9' as change_id, 'api' as service",
            "create table marts.mart_incident_candidates as from (values ('INC-1', 1, 'change', 'dep-2'), ('INC-1', 2, 'none', 'none')) "
            "as candidates (incident_id, rank, kind, candidate_id)",
        ):
            connection.execute(statement)
    landing.prepare(settings)
    window = {"source": "hand", "entity": "incidents", "window_start": AS_OF - timedelta(days=14), "window_end": AS_OF}
    path = settings.landing / "coverage" / "source=hand" / "incidents.parquet"
    path.parent.mkdir(parents=True)
    pl.DataFrame([window], schema=COVERAGE_SCHEMA).write_parquet(path)
    return settings


def landed(settings: Settings) -> list[tuple[object, ...]]:
    columns = ["subject_kind", "subject_id", "incident_id", "verdict", "version"]
    rows = pl.read_parquet(settings.landing / "verdicts" / "**" / "*.parquet", hive_partitioning=False)
    return rows.sort("subject_id", "version").select(columns).rows()


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = 0
    try:
        cli.main(arguments)
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, " ".join((captured.out + captured.err).split())


def test_a_verdict_about_an_episode_names_the_moment_of_its_series(place: Settings, capsys: pytest.CaptureFixture[str]):
    code, said = run("verdict", "anomaly-1", "reject", capsys=capsys)
    assert code == 0, said
    assert SERIES in said
    assert landed(place) == [("anomaly", f"{SERIES}@2026-09-16T10:05Z", None, "reject", 1)]


def test_a_second_thought_is_a_new_version(place: Settings, capsys: pytest.CaptureFixture[str]):
    for judgement in ("reject", "confirm"):
        assert run("verdict", "anomaly-1", judgement, capsys=capsys)[0] == 0
    assert [(row[3], row[4]) for row in landed(place)] == [("reject", 1), ("confirm", 2)]


def test_several_things_are_judged_at_once_and_an_incident_by_its_first_candidate(place: Settings, capsys: pytest.CaptureFixture[str]):
    span = f"{SERIES}@2026-09-16T00:00Z/2026-09-17T00:00Z"
    code, said = run("verdict", "INC-1", span, "confirm", capsys=capsys)
    assert code == 0, said
    assert landed(place) == [("change", "dep-2", "INC-1", "confirm", 1), ("anomaly", span, None, "confirm", 1)]


def test_another_candidate_of_an_incident_is_named_by_kind_and_id(place: Settings, capsys: pytest.CaptureFixture[str]):
    assert run("verdict", "INC-1", "confirm", "--cause", "none:none", capsys=capsys)[0] == 0
    assert landed(place) == [("none", "none", "INC-1", "confirm", 1)]


def test_another_cause_rejects_the_first_candidate_and_confirms_what_it_was(place: Settings, capsys: pytest.CaptureFixture[str]):
    code, said = run("verdict", "INC-1", "other", "--instead", "change:dep-9", capsys=capsys)
    assert code == 0, said
    assert "reject: change dep-2" in said
    assert "confirm: change dep-9" in said
    assert landed(place) == [("change", "dep-2", "INC-1", "reject", 1), ("change", "dep-9", "INC-1", "confirm", 1)]


def test_other_without_saying_what_is_one_word_about_the_first_candidate(place: Settings, capsys: pytest.CaptureFixture[str]):
    assert run("verdict", "INC-1", "other", capsys=capsys)[0] == 0
    assert landed(place) == [("change", "dep-2", "INC-1", "other", 1)]


def test_confirming_another_cause_takes_back_the_one_confirmed_before(place: Settings, capsys: pytest.CaptureFixture[str]):
    assert run("verdict", "INC-1", "confirm", capsys=capsys)[0] == 0
    assert run("verdict", "INC-1", "confirm", "--cause", "none:none", capsys=capsys)[0] == 0
    newest = {(row[1]): (row[3], row[4]) for row in landed(place)}
    assert newest == {"dep-2": ("reject", 2), "none": ("confirm", 1)}


@pytest.mark.parametrize(
    ("judgement", "instead", "message"),
    [
        ("reject", "change:dep-9", "when the verdict is other"),
        ("other", "change:dep-8", "no cause 'change:dep-8'; did you mean 'change:dep-"),
        ("other", "change:dep-2", "is the cause that did not do it"),
        ("other", "dep-9", "written kind:id"),
    ],
)
def test_another_cause_nobody_knows_is_refused(
    place: Settings, capsys: pytest.CaptureFixture[str], judgement: str, instead: str, message: str
):
    code, said = run("verdict", "INC-1", judgement, "--instead", instead, capsys=capsys)
    assert code == 1
    assert message in said
    assert landed(place) == []


def test_what_people_say_at_the_same_time_is_all_kept(place: Settings, monkeypatch: pytest.MonkeyPatch):
    """Each of six people reads what was said before while the others do."""
    subjects = [landing.Subject("service", f"s{number}", "INC-1", "") for number in range(6)]
    read = verdicts._spoken

    def slowly(settings: Settings) -> pl.DataFrame:
        found = read(settings)
        time.sleep(0.05)
        return found

    monkeypatch.setattr(verdicts, "_spoken", slowly)
    with ThreadPoolExecutor(len(subjects)) as people:
        list(people.map(lambda subject: landing.record_verdicts(place, [subject], "reject", now=AS_OF), subjects))
    assert [row[1] for row in landed(place)] == [f"s{number}" for number in range(6)]


def test_a_verdict_is_known_to_the_refresh_of_the_mart_it_was_given_on(place: Settings):
    subject = landing.subject_of(place.mart, "anomaly-1")
    landing.record_verdicts(place, [subject], "reject", now=AS_OF + timedelta(days=400))
    rows = pl.read_parquet(place.landing / "verdicts" / "source=people" / "**" / "*.parquet", hive_partitioning=False)
    assert rows["decided_at"].to_list() == [AS_OF - timedelta(seconds=1)]
    window = landing.covered_window(place)
    assert window is not None
    assert window.end == AS_OF


def test_people_who_say_nothing_are_not_behind(place: Settings):
    landing.record_verdicts(place, [landing.subject_of(place.mart, "anomaly-1")], "reject", now=AS_OF)
    assert landed(place)
    assert not list(place.landing.glob("coverage/source=people/*"))


@pytest.mark.parametrize(
    ("named", "cause", "message"),
    [
        ("INC-2", None, "neither an episode, an incident nor a recommendation .* did you mean 'INC-"),
        ("INC-3", None, "incident INC-3 has no candidate cause to judge"),
        ("INC-1", "change:dep-3", "no candidate 'change:dep-3'; did you mean 'change:dep-2'"),
        (f"{SERIES}2@2026-09-16T10:05Z", None, "no series .* did you mean"),
        (f"{SERIES}@2026-09-16T10:05", None, "no time zone"),
        (f"{SERIES}@2026-09-16", None, "with its zone"),
        (f"{SERIES}@noon", None, "with its zone"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_nearest_that_could(place: Settings, named: str, cause: str | None, message: str):
    with pytest.raises(ConfigError, match=message):
        landing.subject_of(place.mart, named, cause)


def test_an_unknown_verdict_is_refused(place: Settings, capsys: pytest.CaptureFixture[str]):
    code, said = run("verdict", "anomaly-1", "perhaps", capsys=capsys)
    assert code == 1
    assert "choose from confirm, other, reject" in said
    assert landed(place) == []


@pytest.mark.parametrize(
    ("subject", "fits"),
    [
        ("anomaly-1", True),
        (f"{SERIES}@2026-09-16T10:05Z", True),
        (f"{SERIES}@2026-09-16T10:05:00.5+02:00/2026-09-17 00:00Z", True),
        ("errors|name=a@b@2026-09-16T10:05Z", True),
        (f"{SERIES}@2026-09-16T10:05", False),
        (f"{SERIES}@2026-09-16", False),
        (f"{SERIES}@", False),
        (f"{SERIES}@2026-09-16T10:05Z/", False),
    ],
)
def test_a_moment_without_a_zone_is_quarantined(subject: str, fits: bool):
    row = {"verdict_id": "v", "version": 1, "subject_kind": "anomaly", "subject_id": subject, "verdict": "reject", "decided_at": AS_OF}
    found = conform(ENTITIES["verdicts"], pl.DataFrame([row]), origin="test", key=b"k")
    assert (found.accepted.height, found.rejected.height) == ((1, 0) if fits else (0, 1))


def test_tuning_shows_the_proposals_and_the_shadow_to_paste(place: Settings, capsys: pytest.CaptureFixture[str]):
    with warehouse.connect(place.mart, read_only=False) as connection:
        connection.execute(
            "create table marts.mart_tuning_proposals as select 'error_ratio' as signal, 'api' as subject, 1.0 as current_sensitivity, "
            "0.8 as proposed_sensitivity, unnest(['run_in_shadow', 'promote']) as verdict, 'drops 5 of 7' as reason, "
            "timestamptz '2026-09-21 00:00+00' as as_of"
        )
    code, said = run("tune", capsys=capsys)
    assert code == 0, said
    assert "drops 5 of 7" in said
    assert "- {signal: error_ratio, subject: api, sensitivity: 0.8}" in said
    assert "set its state to live" in said


def test_tuning_without_verdicts_says_how_to_give_one(place: Settings, capsys: pytest.CaptureFixture[str]):
    with warehouse.connect(place.mart, read_only=False) as connection:
        connection.execute(
            "create table marts.mart_tuning_proposals (signal varchar, subject varchar, current_sensitivity double, "
            "proposed_sensitivity double, verdict varchar, reason varchar, as_of timestamptz)"
        )
    code, said = run("tune", capsys=capsys)
    assert code == 0, said
    assert "aftercast verdict <anomaly_id>" in said


def test_a_recommendation_is_accepted_and_later_declined(place: Settings, capsys: pytest.CaptureFixture[str]):
    code, said = run("verdict", "REC-1", "confirm", capsys=capsys)
    assert code == 0
    assert "the recommendation REC-1: Release api through a canary gate" in said
    run("verdict", "REC-1", "reject", capsys=capsys)
    assert landed(place) == [("recommendation", "REC-1", None, "confirm", 1), ("recommendation", "REC-1", None, "reject", 2)]
