"""Rows that an audience may not see are not in its file: not by name, by key, in a text, in a free page, or in a sum."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from aftercast import narrowing, publishing, warehouse
from aftercast.errors import ConfigError
from aftercast.settings import PROJECT, Settings

AUDIENCES = "audiences: [{name: leaders, hides: []}, {name: board, hides: []}]\n"
RESTRICTED = AUDIENCES + "restricted: [{name: pay, services: [payroll-api], withheld_from: [leaders]}]\n"
MARTS = {
    "mart_run": "select 'Acme' as company, 3 as incidents_n",
    "mart_changes": "select * from (values ('chg-1', 'payroll-api', 'a fix', null), ('chg-2', 'web', 'a fix', null), "
    "('chg-3', 'web', 'undoes it', 'chg-1')) as t(change_id, service, title, rolls_back_change_id)",
    "mart_incidents": "select * from (values ('INC-1', 'web', ['web', 'payroll-api'], 'F1'), ('INC-2', 'web', ['web'], 'F2'), "
    "('INC-3', 'web', ['web'], 'F1'), ('INC-4', 'web', ['web'], 'F3'), ('INC-41', 'web', ['web'], 'F3')) "
    "as t(incident_id, service_origin, services_impacted, family_id)",
    "mart_incident_candidates": "select * from (values ('INC-2', 'chg-1', 0.2), ('INC-2', 'chg-2', 0.5), ('INC-4', 'chg-2', 1.0)) "
    "as t(incident_id, candidate_id, probability)",
    "mart_incident_timeline": "select * from (values ('e1', 'INC-2', 'then the Payroll_API was slow'), ('e2', 'INC-2', 'see INC-1.'), "
    "('e3', 'INC-2', 'all well'), ('e4', 'INC-2', 'wages of https://x.example/SALARIES?q=1')) as t(entry_id, incident_id, text)",
    "mart_incident_impact": "select * from (values ('INC-2', 'shop', 5.0), ('INC-4', 'shop', 7.0)) "
    "as t(incident_id, journey, lost_revenue)",
    "mart_families": "select * from (values ('F1', 2), ('F2', 1), ('F3', 2)) as t(family_id, n_incidents)",
    "mart_anomalies": "select * from (values ('a1', 'metric:errors:payroll-api'), ('a2', 'metric:errors:web')) as t(anomaly_id, series_id)",
    "mart_anomaly_points": "select * from (values ('a1', 1.0), ('a1', 2.0), ('a2', 3.0)) as t(anomaly_id, actual)",
    "mart_dora": "select * from (values ('payroll-api', 4), ('web', 5), ('', 9)) as t(service, deployments_n)",
    "mart_response": "select 'sev1' as severity, 4 as n_incidents",
    "mart_surprise": "select 'nothing' as title, 1 as n",
    "mart_search_documents": "select * from (values ('d1', 'INC-1', 'wages are late', 1.0, timestamptz '2026-09-01 00:00Z'), "
    "('d2', 'INC-4', 'web is slow', 1.0, timestamptz '2026-09-01 00:00Z')) as t(document_id, incident_id, text, importance, occurred_at)",
    "mart_search_terms": "select * from (values ('wage', 'd1', 1.0), ('late', 'd1', 1.0), ('slow', 'd2', 1.0)) "
    "as t(stem, document_id, weight)",
    "mart_search_words": "select * from (values ('wages', 'wage'), ('late', 'late'), ('slow', 'slow')) as t(word, stem)",
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(home=tmp_path / "home", config=tmp_path / "config")
    (settings.config / "catalog").mkdir(parents=True)
    settings.home.mkdir()
    (settings.config / "sources.yml").write_text('history: {start: "2026-09-01", end: "2026-09-08"}\nsources: []\n')
    (settings.config / "catalog" / "services.csv").write_text("service\npayroll-api\nweb\n")
    (settings.config / "catalog" / "aliases.csv").write_text("kind,alias,name\nservice,salaries,payroll-api\n")
    return declare(settings, RESTRICTED)


def declare(settings: Settings, text: str) -> Settings:
    (settings.config / "publishing.yml").write_text(text)
    return Settings(home=settings.home, config=settings.config)


def build(settings: Settings, **more: str) -> None:
    settings.warehouse.unlink(missing_ok=True)
    with duckdb.connect(str(settings.warehouse)) as connection:
        connection.execute("create schema marts")
        for name, sql in (MARTS | more).items():
            connection.execute(f"create table marts.{name} as {sql}")


def audience(settings: Settings, name: str = "leaders") -> Path:
    return settings.published / "audiences" / f"{name}.duckdb"


def column(file: Path, mart: str, name: str) -> list[object]:
    return sorted(warehouse.query(file, f"select {name} from marts.{mart}").to_series(), key=str)


def test_what_names_it_or_hangs_on_it_is_withheld_and_the_rest_is_there(settings: Settings):
    build(settings)
    publishing.publish(settings, version="1")
    leaders = audience(settings)
    assert column(leaders, "mart_changes", "change_id") == ["chg-2"]  # chg-3 undoes what is withheld
    assert column(leaders, "mart_incidents", "incident_id") == ["INC-2", "INC-4", "INC-41"]  # INC-3 is of the family of INC-1
    assert column(leaders, "mart_incident_candidates", "candidate_id") == ["chg-2", "chg-2"]
    assert column(leaders, "mart_incident_timeline", "text") == ["all well"]
    assert column(leaders, "mart_families", "family_id") == ["F2", "F3"]
    assert column(leaders, "mart_anomaly_points", "actual") == [3.0]
    assert column(leaders, "mart_dora", "service") == ["web"]
    assert column(leaders, "mart_incident_impact", "lost_revenue") == [5.0, 7.0]
    assert column(leaders, "mart_search_documents", "document_id") == ["d2"]
    assert column(leaders, "mart_search_words", "word") == ["slow"]
    assert warehouse.query(leaders, "from marts.search('slow')").height == 1
    # The board may see all, as the whole mart has it.
    assert column(audience(settings, "board"), "mart_incidents", "incident_id") == column(settings.mart, "mart_incidents", "incident_id")


def test_sums_and_marts_nobody_thought_of_are_withheld_and_how_many_rows_are_is_said(settings: Settings):
    build(settings)
    publishing.publish(settings, version="1")
    leaders = audience(settings)
    assert column(leaders, "mart_response", "n_incidents") == []
    assert column(leaders, "mart_surprise", "n") == []
    assert warehouse.query(leaders, "select company, incidents_n from marts.mart_run").rows() == [("Acme", None)]
    said = dict(warehouse.query(leaders, "from marts.mart_withheld").rows())
    assert (said["mart_changes"], said["mart_incidents"], said["mart_response"], said["mart_run"]) == (2, 2, 1, 0)
    assert set(said) == set(MARTS)
    assert "mart_withheld" not in set(warehouse.query(settings.mart, "select table_name from duckdb_tables()")["table_name"])


def test_no_byte_of_the_file_names_it_and_there_is_no_parquet_of_it(settings: Settings):
    secret = "if(i % 3 = 0, 'Zebra-Payroll-API-zebra ' || i, 'calm')"
    named = "select 'chg-' || i as change_id, if(i % 3 = 0, 'payroll-api', 'web') as service"
    for rows in (30, 20_000):
        build(settings, mart_changes=f"{named}, {secret} as title from range({rows}) r(i)")
        publishing.publish(settings, version=str(rows))
        with duckdb.connect(str(audience(settings).resolve()), read_only=True) as connection:
            assert connection.execute("select free_blocks from pragma_database_size() where database_name <> 'system'").fetchall()[0] == (
                0,
            )
    assert len(column(audience(settings), "mart_changes", "change_id")) > 13_000
    signs = (b"zebra", b"payroll", b"salaries")
    whole = (settings.published / "versions" / "aftercast-30.duckdb").read_bytes().lower()  # of few rows, which are not compressed
    assert all(sign in whole for sign in signs)
    folder = settings.published / "audiences"
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert {path.suffix for path in files} == {".duckdb"}
    for path in files:
        if "board" not in path.as_posix():
            assert not [sign for sign in signs if sign in path.read_bytes().lower()], path


def test_a_child_that_is_withheld_takes_the_sum_it_is_part_of_with_it(settings: Settings):
    impact = "select * from (values ('INC-2', 'payroll-api', 5.0), ('INC-4', 'shop', 7.0)) as t(incident_id, journey, lost_revenue)"
    build(settings, mart_incident_impact=impact)
    publishing.publish(settings, version="1")
    assert column(audience(settings), "mart_incidents", "incident_id") == ["INC-4", "INC-41"]


def test_a_new_restriction_leaves_no_older_file_that_shows_more(settings: Settings):
    settings = declare(settings, RESTRICTED.split("restricted", maxsplit=1)[0])
    for version in "12":
        build(settings, mart_response=f"select 'sev1' as severity, {version} as n_incidents")
        publishing.publish(settings, version=version)
    leaders = settings.published / "audiences" / "leaders"
    assert len(list(leaders.iterdir())) == 2
    settings = declare(settings, RESTRICTED)
    publishing.publish(settings, version="3")
    assert [path.name for path in leaders.iterdir()] == ["aftercast-3.duckdb"]
    assert len(list((settings.published / "audiences" / "board").iterdir())) == 3
    assert publishing.publish(settings, version="3").unchanged


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("payroll-api", "payrol-api"), "'payrol-api' is not declared; did you mean 'payroll-api'"),
        (("withheld_from: [leaders]", "withheld_from: [leader]"), "is no audience; did you mean 'leaders'"),
        (("services: [payroll-api], ", ""), "restricts nothing"),
        (("services: [payroll-api]", "services: ['-']"), "would withhold nothing"),
        (("services:", "servces:"), "servces"),
        ((", withheld_from: [leaders]", ""), "withheld_from"),
    ],
)
def test_what_cannot_be_withheld_for_certain_stops_the_publish(settings: Settings, change: tuple[str, str], message: str):
    build(settings)
    with pytest.raises(ConfigError, match=message):
        publishing.publish(declare(settings, RESTRICTED.replace(*change)), version="1")
    assert not settings.mart.exists()
    assert not audience(settings).exists()


def test_rules_that_cannot_be_read_stop_it_too(settings: Settings, tmp_path: Path):
    path = tmp_path / "rules.yml"
    for text, message in (
        ("rowz: {a: [b]}", "did you mean 'rows'"),
        ("rows: {a: []}\nsums: [a]", "two things of a"),
        ("rows: [a]", "cannot be read"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            narrowing.read(path)
    with pytest.raises(ConfigError, match="nothing can be withheld"):
        narrowing.read(tmp_path / "none.yml")


def test_every_published_mart_has_a_rule():
    published = {path.stem.removeprefix("published__") for path in (PROJECT / "expectations").glob("published__*.json")}
    assert narrowing.read().known() == published
