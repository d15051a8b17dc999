"""Forgetting a person: planted everywhere below the home, shown first, then found nowhere, and not brought back by the source."""

from __future__ import annotations

import gzip
import json
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import polars as pl
import pytest

from aftercast import forgetting, privacy, publishing, warehouse
from aftercast.acting import audit
from aftercast.acting.outbox import Outbox
from aftercast.cli import main
from aftercast.entities import ENTITIES
from aftercast.errors import AftercastError, ConfigError
from aftercast.landing import storage
from aftercast.settings import Settings

NOW = datetime(2026, 11, 16, 12, tzinfo=UTC)
ANN, ADDRESS, OTHER = "Ann Ó'Xu", "ann.xu@shop.example", "tok_00000000000000aa"
CONFIG = 'company: Acme\nhistory: {start: "2026-09-01", end: "2026-10-01"}\nsources: []\n'


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    home, config = tmp_path / "home", tmp_path / "config"
    config.mkdir()
    (config / "sources.yml").write_text(CONFIG)
    monkeypatch.setenv("AFTERCAST_HOME", str(home))
    monkeypatch.setenv("AFTERCAST_CONFIG", str(config))
    return Settings.from_environment()


def token_of(settings: Settings) -> str:
    return privacy.token(ADDRESS, privacy.token_key(settings.home))


def events(token: str) -> pl.DataFrame:
    rows = [
        {"event_id": "e1", "incident_id": "INC-1", "text": f"{ANN} asked @{token} to look", "author_token": token},
        {"event_id": "e2", "incident_id": "INC-1", "text": "Annual report is late", "author_token": OTHER},
        {"event_id": "e3", "incident_id": "INC-1", "text": None, "author_token": None},
    ]
    return pl.DataFrame(
        [{**dict.fromkeys(ENTITIES["incident_events"].schema), **row} for row in rows], schema=ENTITIES["incident_events"].schema
    )


def build(settings: Settings, text: str) -> None:
    settings.warehouse.unlink(missing_ok=True)
    with duckdb.connect(str(settings.warehouse)) as connection:
        connection.execute("create schema marts; create table marts.mart_run as select 'Acme' as company")
        connection.execute("create table marts.mart_incidents as select $1 as title, [$1, 'calm'] as services, 3 as n_x", [text])
        connection.execute("comment on table marts.mart_incidents is 'Incidents.'")
        connection.execute(
            "create table marts.mart_search_documents as select 'd1' as document_id, $1 as text, 1.0 as importance, "
            "timestamptz '2026-09-01 00:00Z' as occurred_at",
            [text],
        )
        connection.execute(
            "create table marts.mart_search_words as select * from (values ('xu', 'xu'), ('ann', 'ann'), ('slow', 'slow')) as w(word, stem)"
        )
        connection.execute(
            "create table marts.mart_search_terms as "
            "select * from (values ('ann', 'd1', 1.0), ('slow', 'd1', 1.0)) as t(stem, document_id, weight)"
        )


def plant(settings: Settings) -> str:
    home, token = settings.home, token_of(settings)
    storage.write(home / "landing/incident_events/source=chat/date=2026-09-01/x.parquet", events(token), ignore={"ingested_at"})
    storage.write(home / "derived/evidence/evidence.parquet", pl.DataFrame({"why": [[f"{ADDRESS} said"], [], None], "x": ["a", "b", ANN]}))
    texts = {
        "quarantine/incident_events/source=chat/x.jsonl": json.dumps({"row": {"by": token, "text": f"hello {ANN}"}}) + "\n",
        "inbox/people.csv": f"who,what\n{ADDRESS},deployed\nannual,rest\n",
        "reports/2026-W36/weekly.html": "<p>Ann &Oacute; and Ann Ó&#39;Xu called</p>",
        "reports/2026-W36/weekly.pdf": "%PDF",
        "reports/2026-W36/numbers.json": json.dumps({"by": ANN}),
        "airflow/logs/task.log": f"asked https://x.example/?who={ADDRESS.replace('@', '%40')}\n",
        "postmortems/INC-1.md": f"# INC-1\n\n{ANN} restarted the shop.\n",
        "dbt/target/run.sql": f"select '{token}'",
    }
    for name, text in texts.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    for name in ("raw/chat/1.json.gz", "unknown_columns/changes/source=x/1.jsonl.gz"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(gzip.compress(json.dumps({"by": ADDRESS.upper()}).encode()))
    (home / "airflow/airflow.db").unlink(missing_ok=True)
    with sqlite3.connect(home / "airflow/airflow.db") as database:
        database.execute("create table xcom (value text)")
        database.execute("insert into xcom values (?)", [f"by {ADDRESS}"])
    database.close()
    audit.append(
        settings.audit,
        [{"event_id": str(n), "at": NOW.isoformat(), "who": who, "what": "decided"} for n, who in enumerate(("aftercast", token, OTHER))],
    )
    Outbox(settings.outbox).deliver(
        channel="email", key=f"note:{ADDRESS}", payload={"to": ADDRESS, "text": "x"}, send=lambda *_: "ref", find=None, now=NOW
    )
    for version in ("1", "2"):
        build(settings, f"{ANN} is slow")
        publishing.publish(settings, version=version)
    return token


def everything(settings: Settings) -> dict[str, str]:
    """All text below the home, packed or not; only what people edit and what is left to a person is passed over."""
    found = {}
    for path in settings.home.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.name not in ("INC-1.md", "airflow.db"):
            content = path.read_bytes()
            text = (
                gzip.decompress(content).decode() if path.suffix == ".gz" else content.decode("latin-1") + content.decode(errors="replace")
            )
            if path.suffix == ".parquet":
                text += repr(pl.read_parquet(path).rows())
            if path.suffix == ".duckdb":
                with warehouse.connect(path) as connection:
                    names = warehouse.frame(connection, "select table_name from duckdb_tables() where schema_name = 'marts'").to_series()
                    text += "".join(repr(warehouse.frame(connection, f"from marts.{name}").rows()) for name in names)
            found[path.relative_to(settings.home).as_posix()] = text
    return found


def holding(settings: Settings, token: str) -> set[str]:
    signs = (token, ADDRESS, ADDRESS.replace("@", "%40"), "Ó'Xu", "\\u00d3'Xu", "Ó&#39;Xu")
    return {name for name, text in everything(settings).items() if any(sign.lower() in text.lower() for sign in signs)}


def test_a_planted_person_is_shown_first_then_found_nowhere(settings: Settings, capsys: pytest.CaptureFixture[str]):
    token = plant(settings)
    before = holding(settings, token)
    assert len(before) >= 14
    main(["forget", ANN, ADDRESS])
    shown = capsys.readouterr().out
    assert "nothing was changed" in shown
    assert holding(settings, token) == before
    assert not (settings.home / "secrets/forgotten.txt").exists()
    for place in before - {"published/parquet/2/mart_search_documents.parquet"}:
        assert place in shown or place.startswith(("published/parquet/1", "outbox/", "audit/")) or place == "warehouse.duckdb", place

    main(["forget", ANN, ADDRESS, "--yes"])
    told = capsys.readouterr().out
    assert holding(settings, token) == set()
    assert "postmortems/INC-1.md: found; change it by hand" in told
    assert "airflow/airflow.db: found; change it by hand" in told
    assert ANN in (settings.home / "postmortems/INC-1.md").read_text()
    assert not settings.warehouse.exists()
    assert not (settings.home / "reports/2026-W36/weekly.pdf").exists()
    assert [file.name for file in (settings.published / "versions").iterdir()] == ["aftercast-2.duckdb"]


def test_what_is_left_says_that_somebody_was_there_and_others_are_untouched(settings: Settings):
    token = plant(settings)
    forgetting.forget(settings, forgetting.person(settings.home, [ANN, ADDRESS]), now=NOW, write=True)
    path = settings.home / "landing/incident_events/source=chat/date=2026-09-01/x.parquet"
    rows = pl.read_parquet(path)
    assert rows["author_token"].to_list() == [privacy.FORGOTTEN, OTHER, None]
    assert rows["text"].to_list() == ["<forgotten> asked @tok_forgotten to look", "Annual report is late", None]
    assert storage.stored_hash(path) == storage.row_hash(rows, ignore={"ingested_at"})
    assert (settings.home / "inbox/people.csv").read_text() == "who,what\n<forgotten>,deployed\nannual,rest\n"
    assert warehouse.query(settings.mart, "from marts.mart_incidents").rows() == [
        ("<forgotten> is slow", ["<forgotten> is slow", "calm"], 3)
    ]
    assert warehouse.query(settings.mart, "from marts.mart_search_words").rows() == [("slow", "slow")]
    assert warehouse.query(settings.mart, "from marts.search('slow')").height == 1
    assert warehouse.query(settings.mart, "select comment from duckdb_tables() where table_name = 'mart_incidents'").item() == "Incidents."
    assert settings.mart.stat().st_mode & 0o777 == 0o444
    assert [row["who"] for row in audit.rows(settings.audit)] == ["aftercast", privacy.FORGOTTEN, OTHER, "aftercast"]
    assert audit.rows(settings.audit)[-1]["what"] == "forgotten"
    assert audit.problems(settings.audit) == []
    sent = Outbox(settings.outbox).rows().row(0, named=True)
    assert (sent["key"], sent["state"], json.loads(sent["payload"])["to"]) == ("note:<forgotten>", "sent", "<forgotten>")
    assert token not in repr(sent)


def test_forgetting_twice_changes_nothing_more(settings: Settings):
    plant(settings)
    whom = forgetting.person(settings.home, [ANN, ADDRESS])
    forgetting.forget(settings, whom, now=NOW, write=True)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in settings.home.rglob("*") if path.is_file()}
    again = forgetting.forget(settings, whom, now=NOW, write=True)
    assert {place.path for place in again} == {"postmortems/INC-1.md", "airflow/airflow.db"}
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in settings.home.rglob("*") if path.is_file()} == before


def test_a_source_that_tells_of_the_person_again_brings_no_token_back(settings: Settings):
    token = plant(settings)
    whom = forgetting.person(settings.home, [token])
    forgetting.forget(settings, whom, now=NOW, write=True)
    key = privacy.token_key(settings.home)
    frame = pl.DataFrame({"author_token": [ADDRESS, "bob@shop.example", token]})
    found = privacy.protect("incident_events", frame, key)["author_token"].to_list()
    assert found[0] == found[2] == privacy.FORGOTTEN
    assert found[1].startswith("tok_")
    assert found[1] != privacy.FORGOTTEN
    kept = (settings.home / "secrets/forgotten.txt").read_text()
    assert token.removeprefix("tok_") not in kept
    assert (settings.home / "secrets/forgotten.txt").stat().st_mode & 0o077 == 0
    assert privacy.protect_document({"author": ADDRESS}, key) == {"author": privacy.FORGOTTEN}


def test_a_value_that_would_be_found_in_other_words_is_refused(settings: Settings):
    for value, message in (("An", "too short"), ("tok_forgotten", "is nobody")):
        with pytest.raises(AftercastError, match=message):
            forgetting.person(settings.home, [value])


def test_where_machines_share_a_store_without_a_common_key_nothing_is_half_forgotten(settings: Settings):
    token = plant(settings)
    shared = replace(settings, store="memory://shared")
    before = holding(settings, token)
    with pytest.raises(ConfigError, match="AFTERCAST_TOKEN_KEY"):
        forgetting.forget(shared, forgetting.person(shared.home, [ADDRESS]), now=NOW, write=True)
    assert holding(settings, token) == before


def test_names_in_the_configuration_are_told_of(settings: Settings, capsys: pytest.CaptureFixture[str]):
    (settings.config / "notes.yml").write_text(f"to: {ADDRESS}\n")
    main(["forget", ADDRESS])
    assert "notes.yml" in capsys.readouterr().out


def test_a_forged_audit_log_is_not_made_good_by_redacting(settings: Settings):
    token = plant(settings)
    path = settings.audit / "log.jsonl"
    path.write_text(path.read_text().replace(OTHER, "tok_00000000000000bb"))
    assert audit.problems(settings.audit)
    with pytest.raises(AftercastError, match="nothing was redacted"):
        forgetting.forget(settings, forgetting.person(settings.home, [token]), now=NOW, write=True)
    assert audit.problems(settings.audit)
