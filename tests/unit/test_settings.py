from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from aftercast.errors import ConfigError
from aftercast.settings import PROJECT, Settings, load_deployment
from aftercast.sources import check_kind

SOURCES = "history: {start: '2026-09-21', end: '2026-09-28'}\nsources:\n  - {name: shop, kind: files}\n"


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_yml", ".yml").replace("_csv", ".csv")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_the_default_configuration_loads():
    deployment = load_deployment(PROJECT / "config")
    assert deployment.sources
    assert deployment.signals
    assert deployment.journeys
    assert deployment.services
    for row in deployment.sources:
        check_kind(row)


def test_a_missing_sources_file_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"sources\.yml is missing"):
        load_deployment(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match="does not exist"):
        load_deployment(tmp_path / "nowhere")


def test_an_unknown_key_names_row_and_nearest_key(tmp_path: Path):
    write(tmp_path, sources_yml=SOURCES.replace("kind: files", "kind: files, shedule: '@daily'"))
    with pytest.raises(ConfigError, match=r"row 1\.shedule: unknown key; did you mean 'schedule'"):
        load_deployment(tmp_path)


def test_an_unknown_entity_names_the_nearest(tmp_path: Path):
    write(tmp_path, sources_yml=SOURCES.replace("kind: files", "kind: files, entities: [incidnets]"))
    with pytest.raises(ConfigError, match="did you mean 'incidents'"):
        load_deployment(tmp_path)


def test_an_unknown_kind_names_the_nearest(tmp_path: Path):
    write(tmp_path, sources_yml=SOURCES.replace("files", "filess"))
    with pytest.raises(ConfigError, match="unknown kind 'filess'; did you mean 'files'"):
        check_kind(load_deployment(tmp_path).sources[0])


def test_two_sources_of_one_name_are_refused(tmp_path: Path):
    write(tmp_path, sources_yml=SOURCES + "  - {name: shop, kind: demo}\n")
    with pytest.raises(ConfigError, match="'shop' is declared twice"):
        load_deployment(tmp_path)


def test_broken_yaml_names_the_file(tmp_path: Path):
    write(tmp_path, sources_yml="sources: [")
    with pytest.raises(ConfigError, match=r"sources\.yml is not readable YAML"):
        load_deployment(tmp_path)


def test_a_history_without_zone_is_refused(tmp_path: Path):
    write(tmp_path, sources_yml=SOURCES.replace("2026-09-21", "2026-09-21T10:00"))
    with pytest.raises(ConfigError, match="no time zone"):
        load_deployment(tmp_path)


def test_a_journey_step_must_name_a_catalogued_service(tmp_path: Path):
    write(
        tmp_path,
        sources_yml=SOURCES,
        catalog__services_csv="service,kind\ncheckout,service\n",
        journeys_yml=(
            "journeys:\n  - {journey: buy, title: Buy, owner_team: shop, currency: EUR, steps: [{step: pay, services: [chekout]}]}\n"
        ),
    )
    with pytest.raises(ConfigError, match="did you mean 'checkout'"):
        load_deployment(tmp_path)


def test_a_bad_catalogue_line_is_named(tmp_path: Path):
    write(tmp_path, sources_yml=SOURCES, catalog__services_csv="service,kind\ncheckout,thing\n")
    with pytest.raises(ConfigError, match=r"services\.csv line 2"):
        load_deployment(tmp_path)


def test_home_moves_all_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("AFTERCAST_HOME", str(tmp_path))
    settings = Settings.from_environment()
    places = (
        settings.landing,
        settings.quarantine,
        settings.inbox,
        settings.derived,
        settings.warehouse,
        settings.mart,
        settings.reports,
        settings.airflow,
    )
    assert all(place.is_relative_to(tmp_path) for place in places)


SIGNALS = "signals:\n  - {name: errors, fact: metric, value: errors, by: [service]}\n"
LIVE = "detectors:\n  - {version: one, state: live}\n"


def test_without_a_file_one_detector_version_is_live(tmp_path: Path):
    deployment = load_deployment(write(tmp_path, sources_yml=SOURCES))
    assert [(row.version, row.state) for row in deployment.detectors] == [("prophet-episodes-2", "live")]
    assert deployment.live_detector is deployment.detectors[0]


def test_detector_versions_are_read_with_their_tuning(tmp_path: Path):
    shadow = "  - {version: two, state: shadow, since: 2026-10-01, tuning: [{signal: errors, sensitivity: 0.8}]}\n"
    deployment = load_deployment(write(tmp_path, sources_yml=SOURCES, signals_yml=SIGNALS, detectors_yml=LIVE + shadow))
    assert deployment.live_detector.version == "one"
    two = deployment.detectors[1]
    assert two.since == datetime(2026, 10, 1, tzinfo=UTC)
    assert [(row.signal, row.subject, row.sensitivity) for row in two.tuning] == [("errors", "", 0.8)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("detectors: []\n", "exactly one detector version must be live, found none"),
        (LIVE + "  - {version: two, state: live}\n", "must be live, found one, two"),
        (LIVE + "  - {version: one, state: retired}\n", "detector version 'one' is declared twice"),
        (LIVE + "  - {version: two, state: shadow}\n", "shadow version 'two' needs `since`"),
        (LIVE + "  - {version: two, state: retired, since: '2026-10-01T10:00'}\n", "no time zone"),
        (LIVE + "  - {version: two, state: retired, tuning: [{signal: erors, sensitivity: 2}]}\n", "did you mean 'errors'"),
        (LIVE + "  - {version: two, state: retired, tuning: [{signal: errors, sensitivity: 0}]}\n", "greater than 0"),
        (
            LIVE + "  - {version: two, state: retired, tuning: [{signal: errors, sensitivity: 2}, {signal: errors, sensitivity: 3}]}\n",
            "tunes signal 'errors' of every subject twice",
        ),
    ],
)
def test_detector_versions_that_make_no_sense_are_refused(tmp_path: Path, rows: str, message: str):
    write(tmp_path, sources_yml=SOURCES, signals_yml=SIGNALS, detectors_yml=rows)
    with pytest.raises(ConfigError, match=message):
        load_deployment(tmp_path)


def test_without_a_file_one_ranker_version_is_live_and_weighs_by_the_prior(tmp_path: Path):
    (live,) = load_deployment(write(tmp_path, sources_yml=SOURCES)).rankers
    assert (live.state, live.weights) == ("live", "prior")


def test_ranker_versions_are_read_with_what_they_weigh_by(tmp_path: Path):
    rows = "rankers:\n  - {version: one, state: live}\n  - {version: two, state: shadow, weights: learned, since: 2026-10-05}\n"
    one, two = load_deployment(write(tmp_path, sources_yml=SOURCES, rankers_yml=rows)).rankers
    assert (one.weights, two.weights) == ("prior", "learned")
    assert two.since == datetime(2026, 10, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("rankers: []\n", "exactly one ranker version must be live, found none"),
        ("rankers:\n  - {version: one, state: live}\n  - {version: one, state: retired}\n", "ranker version 'one' is declared twice"),
        ("rankers:\n  - {version: one, state: live, weight: learned}\n", "did you mean 'weights'"),
        ("rankers:\n  - {version: one, state: live, weights: guessed}\n", "'prior' or 'learned'"),
    ],
)
def test_ranker_versions_that_make_no_sense_are_refused(tmp_path: Path, rows: str, message: str):
    write(tmp_path, sources_yml=SOURCES, rankers_yml=rows)
    with pytest.raises(ConfigError, match=message):
        load_deployment(tmp_path)
