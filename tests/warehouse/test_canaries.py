"""Canaries in every column of text of every mart, as if nothing before had caught them: no published file holds one, for any audience."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import duckdb
import polars as pl
import pytest

from aftercast import disclosure, publishing, warehouse
from aftercast.settings import Settings

CANARY = "ann.canary@shop.example tok_c0ffee00c0ffee00 ghp_canarycanarycanarycanary Bearer canarycanary glpat-canarycanarycanary"
SIGNS = re.compile(r"canary@|c0ffee00|canarycanary")


def planted(company: Settings, home: Path) -> Settings:
    """A copy of the company's warehouse with the canaries in every text, lists included, and with a column that nobody classified."""
    settings = Settings(home=home, config=home / "config")
    settings.config.mkdir(parents=True)
    (settings.config / "publishing.yml").write_text("audiences: [{name: leaders}]\n")
    shutil.copy(company.warehouse, settings.warehouse)
    with duckdb.connect(str(settings.warehouse)) as connection:
        sql = (
            "select table_name, column_name, data_type from duckdb_columns() "
            "where schema_name = 'marts' and starts_with(table_name, 'mart_') "
            "and table_name in (select table_name from duckdb_tables() where schema_name = 'marts')"  # a view cannot be updated
        )
        for table, column, kind in connection.execute(sql).fetchall():
            if kind == "VARCHAR" and table != "mart_run":
                connection.execute(f"update marts.{table} set {column} = coalesce({column}, '') || ' {CANARY}'")
            elif kind == "VARCHAR[]":
                connection.execute(f"update marts.{table} set {column} = list_append(coalesce({column}, []), '{CANARY}')")
        connection.execute(f"alter table marts.mart_incidents add column nickname varchar default '{CANARY}'")
    return settings


@pytest.fixture(scope="module")
def settings(company: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    made = planted(company, tmp_path_factory.mktemp("canaries") / "home")
    publishing.publish(made, version="canaries")
    return made


def test_no_published_file_holds_a_canary_whatever_let_it_in(settings: Settings):
    seen = 0
    for file in settings.published.rglob("*.duckdb"):
        with warehouse.connect(file) as connection:
            for name in warehouse.frame(connection, "select table_name from duckdb_tables() where schema_name = 'marts'").to_series():
                rows = repr(warehouse.frame(connection, f"from marts.{name}").rows())
                assert not SIGNS.search(rows), f"{file.name} {name}"
                seen += rows.count("<email>")
    for path in settings.published.rglob("*.parquet"):
        assert not SIGNS.search(repr(pl.read_parquet(path).rows())), path.name
    assert seen > 1000  # the masks, where the canaries were
    assert not [path for path in settings.published.rglob("*") if path.is_file() and SIGNS.search(path.read_bytes().decode("latin-1"))]
    assert "nickname" not in warehouse.query(settings.mart, "from marts.mart_incidents limit 0").columns


def test_leaders_see_every_figure_and_none_of_the_long_words(settings: Settings):
    leaders, classes = settings.published / "audiences" / "leaders.duckdb", disclosure.read()
    columns = warehouse.query(leaders, "select table_name, column_name, data_type from duckdb_columns() where schema_name = 'marts'").rows()
    assert len(columns) > 1000
    hidden = [(table, column) for table, column, kind in columns if classes.of(table, column, kind) == "text"]
    assert len(hidden) > 20
    for table, column in hidden:
        assert warehouse.query(leaders, f"select count({column}) from marts.{table}").item() == 0, f"{table}.{column}"
    money = "select sum(lost_revenue) from marts.mart_incidents"
    assert warehouse.query(leaders, money).item() == warehouse.query(settings.mart, money).item()
    assert warehouse.query(leaders, "from marts.search('checkout payments errors')").height == 0
