"""The models are one text on two engines; what is not is named, and cannot grow unseen."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from aftercast import second_engine, transform, warehouse
from aftercast.errors import WarehouseError
from aftercast.settings import PROJECT, Settings

MODELS = transform.DBT_PROJECT / "models"

# What only DuckDB understands, or understands otherwise than Spark; `macros/dialect.sql` has a word for each.
DUCKDB_ONLY = re.compile(
    r"\b(unnest|generate_series|generate_subscripts|range|list|list_\w+|array_to_string|string_agg|string_split|len|quantile_\w+|epoch_\w+|"
    r"make_timestamptz|to_(?:minutes|hours|days)|strftime|format|starts_with|lgamma|jaro_winkler_similarity|map_entries|arg_m\w+|struct_pack|"
    r"strip_accents|stem_of|date_diff|mode)\(|"
    r"\bm(?:ax|in)_by\([^()]*(?:\([^()]*\))?[^()]*, \(|::|\btimestamptz\b|\bas varchar\b|\* exclude\b|\bhugeint\b|\basof\b|\"[a-z_]+\"|"
    r"\bover \(\w+\b order by|/ \d+\.\d|\bby name\b|\bpivot\b",  # a literal 7.0 is a decimal of few digits to Spark: write 7e0
    re.IGNORECASE,
)
_JINJA_OR_COMMENT = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}|--[^\n]*", re.DOTALL)


def test_a_model_that_runs_on_both_engines_says_nothing_only_one_understands():
    alone = second_engine.not_carried(MODELS)
    odd = {}
    for path in MODELS.rglob("*.sql"):
        found = DUCKDB_ONLY.search(_JINJA_OR_COMMENT.sub("", path.read_text(encoding="utf-8")))
        if found and path.stem not in alone:
            odd[path.stem] = found.group()
    assert not odd, f"say it by a macro of dbt_project/macros/dialect.sql, or tag the model duckdb_only with its reason: {odd}"


def test_every_macro_of_the_dialect_is_written_for_both_engines():
    text = (transform.DBT_PROJECT / "macros" / "dialect.sql").read_text(encoding="utf-8")
    duckdb, spark = (set(re.findall(rf"macro {engine}__(\w+)\(", text)) for engine in ("duckdb", "spark"))
    assert duckdb == spark == set(re.findall(r"adapter\.dispatch\('(\w+)', 'aftercast'\)", text))
    assert len(duckdb) > 20


def test_the_page_lists_the_models_that_do_not_run_on_spark_and_why():
    page = (PROJECT / "docs" / "scaling.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `(mart_\w+)` \| (.+?) \|$", page, re.MULTILINE))
    assert listed == second_engine.not_carried(MODELS)
    assert f"{len(transform.models()) - len(listed)} of {len(transform.models())} models" in page


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A home with one mart on both engines."""
    settings = Settings(home=tmp_path, config=tmp_path / "config")
    rows = "(select 'a' as name, 0.1 + 0.2 as share, timestamptz '2026-09-01 00:00:00+00' as as_of union all select 'b', null, null)"
    with warehouse.connect(settings.warehouse, read_only=False) as connection:
        warehouse.execute(connection, "create schema marts")
        warehouse.execute(connection, f"create table marts.mart_run as select name, cast(share as double) as share, as_of from {rows}")
    spark_builds(settings, {"as_of": [datetime(2026, 9, 1, tzinfo=UTC), None], "name": ["a", "b"], "share": [0.3, None]})
    return settings


def spark_builds(settings: Settings, columns: dict[str, list[object]]) -> None:
    folder = settings.home / "spark" / "tables" / "marts.db" / "mart_run"
    folder.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(columns).write_parquet(folder / "part-0.parquet")
    built = [{"schema": "marts", "name": "mart_run", "materialized": "table"}, {"schema": "seeds", "name": "x", "materialized": "seed"}]
    (settings.home / "spark" / "build.json").write_text(json.dumps({"built": built}), encoding="utf-8")
    types = {"name": "varchar", "share": "double", "as_of": "timestamptz"}
    node = {
        "resource_type": "model",
        "schema": "marts",
        "name": "mart_run",
        "description": "One row's worth.",
        "columns": {name: {"name": name, "data_type": kind, "description": ""} for name, kind in types.items()},
    }
    (settings.home / "spark" / "target").mkdir(exist_ok=True)
    (settings.home / "spark" / "target" / "manifest.json").write_text(json.dumps({"nodes": {"one": node}}), encoding="utf-8")


def test_the_same_rows_are_equal_but_for_the_last_digits_of_floats(settings: Settings):
    assert second_engine.compare(settings) == [second_engine.Compared("marts.mart_run", 2, 0, 0)]


@pytest.mark.parametrize(("share", "name"), [(0.3001, "a"), (0.3, "c")])
def test_a_row_that_differs_counts_on_both_sides(settings: Settings, share: float, name: str):
    spark_builds(settings, {"as_of": [datetime(2026, 9, 1, tzinfo=UTC), None], "name": [name, "b"], "share": [share, None]})
    (one,) = second_engine.compare(settings)
    assert (one.only_here, one.only_spark, one.equal) == (1, 1, False)


def test_a_column_that_spark_lacks_is_named(settings: Settings):
    spark_builds(settings, {"as_of": [None], "name": ["a"]})
    with pytest.raises(WarehouseError, match=r"marts.mart_run: .* columns share"):
        second_engine.compare(settings)


def test_a_home_that_spark_never_saw_says_what_to_run(tmp_path: Path):
    with pytest.raises(WarehouseError, match=r"spark/build.py"):
        second_engine.built(Settings(home=tmp_path, config=tmp_path))


def test_loaded_tables_have_the_types_of_their_contract(settings: Settings):
    file = settings.home / "loaded.duckdb"
    assert second_engine.load(settings, file) == 1
    shape = warehouse.query(file, "select column_name, data_type from duckdb_columns() where table_name = 'mart_run' order by column_index")
    assert shape.rows() == [("name", "VARCHAR"), ("share", "DOUBLE"), ("as_of", "TIMESTAMP WITH TIME ZONE")]
    assert warehouse.query(file, "select name from marts.mart_run order by name")["name"].to_list() == ["a", "b"]
