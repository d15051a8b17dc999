"""What Spark built: compare it with the warehouse, and load it into a file that is published as the warehouse is.

`spark/build.py` builds the same dbt project on Spark, in an environment of its own, and leaves Parquet below `AFTERCAST_HOME/spark`. Spark
has fewer types, so types are those the models' contracts state: a value that does not fit one is an error, never a silent change.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aftercast import warehouse
from aftercast.errors import WarehouseError
from aftercast.settings import Settings

DIGITS = 9  # of a float that must agree; two engines add in different orders
COMPARED = ("star", "marts")
_FLOATS = ("DOUBLE", "FLOAT")
_TAGGED = re.compile(r"tags=\['duckdb_only'\].*?-- *(?P<reason>.+)")


@dataclass(frozen=True, slots=True)
class Compared:
    """One table on both engines: rows of the warehouse, and rows that only one of the two has."""

    table: str
    rows: int
    only_here: int
    only_spark: int

    @property
    def equal(self) -> bool:
        return not self.only_here and not self.only_spark


def not_carried(models: Path) -> dict[str, str]:
    """Return the models below a folder that do not run on Spark, with the reason that stands beside their tag."""
    found = {}
    for path in sorted(models.rglob("*.sql")):
        match = _TAGGED.search(path.read_text(encoding="utf-8"))
        if match:
            found[path.stem] = match["reason"].strip()
    return found


def built(settings: Settings) -> list[str]:
    """Return the tables Spark built, as `schema.name`.

    Raises:
        WarehouseError: Spark built nothing here yet.
    """
    path = settings.home / "spark" / "build.json"
    if not path.exists():
        raise WarehouseError(f"{path} does not exist; build first: .venv-spark/bin/python spark/build.py --home {settings.home}")
    rows = json.loads(path.read_text(encoding="utf-8"))["built"]
    return sorted(f"{row['schema']}.{row['name']}" for row in rows if row["schema"] in COMPARED and row["materialized"] == "table")


def compare(settings: Settings) -> list[Compared]:
    """Compare every table of the star and the marts, row for row and both ways; floats by their first nine digits.

    Raises:
        WarehouseError: a table is missing, or a column of it is, on one side.
    """
    result = []
    with warehouse.connect(None) as connection:
        warehouse.attach(connection, settings.warehouse, "warehouse")
        columns: dict[str, list[tuple[str, str]]] = {}
        for schema, table, column, kind in warehouse.frame(
            connection,
            "select schema_name, table_name, column_name, data_type from duckdb_columns() where database_name = 'warehouse' "
            "order by schema_name, table_name, column_index",
        ).rows():
            columns.setdefault(f"{schema}.{table}", []).append((column, kind))
        for table in built(settings):
            if table not in columns:
                raise WarehouseError(f"{table} is not in {settings.warehouse}; refresh both from the same files")
            spark = _spark_table(settings, table)
            _same_columns(connection, table, spark, [column for column, _ in columns[table]])
            shown = ", ".join(_comparable(column, kind) for column, kind in columns[table])
            here, there = f"select {shown} from warehouse.{_identifiers(table)}", f"select {shown} from {spark}"
            row = warehouse.frame(
                connection,
                f"select (select count(*) from warehouse.{_identifiers(table)}), "
                f"(select count(*) from (({here}) except all ({there}))), (select count(*) from (({there}) except all ({here})))",
            ).row(0)
            result.append(Compared(table, *row))
    return result


def load(settings: Settings, file: Path) -> int:
    """Write the star and the marts that Spark built to a new DuckDB file, with the types and comments of the models' contracts.

    Returns:
        How many tables.

    Raises:
        WarehouseError: a column is missing, or a value does not fit the type its contract states.
    """
    file.unlink(missing_ok=True)
    manifest = json.loads((settings.home / "spark" / "target" / "manifest.json").read_text(encoding="utf-8"))
    models = {f"{node['schema']}.{node['name']}": node for node in manifest["nodes"].values() if node["resource_type"] == "model"}
    tables = built(settings)
    with warehouse.connect(file, read_only=False) as connection:
        for schema in sorted({table.split(".")[0] for table in tables}):
            warehouse.execute(connection, f"create schema {warehouse.identifier(schema)}")
        for table in tables:
            columns = models[table]["columns"].values()
            spark, name = _spark_table(settings, table), _identifiers(table)
            _same_columns(connection, table, spark, [column["name"] for column in columns])
            typed = ", ".join(
                f"cast({warehouse.identifier(c['name'])} as {c['data_type']}) as {warehouse.identifier(c['name'])}" for c in columns
            )
            warehouse.execute(connection, f"create table {name} as select {typed} from {spark}")
            for target, text in _comments(name, models[table]):
                warehouse.execute(connection, f"comment on {target} is {warehouse.literal(text)}")
    return len(tables)


def _comments(name: str, model: dict[str, Any]) -> list[tuple[str, str]]:
    found = [(f"table {name}", model["description"])]
    found += [(f"column {name}.{warehouse.identifier(c['name'])}", c["description"]) for c in model["columns"].values()]
    return [(target, text) for target, text in found if text]


def _identifiers(table: str) -> str:
    return ".".join(warehouse.identifier(part) for part in table.split("."))


def _spark_table(settings: Settings, table: str) -> str:
    schema, name = table.split(".")
    folder = settings.home / "spark" / "tables" / f"{schema}.db" / name
    if not any(folder.glob("*.parquet")):
        raise WarehouseError(f"{folder} holds no Parquet file; build again: .venv-spark/bin/python spark/build.py --home {settings.home}")
    return f"read_parquet({warehouse.literal(str(folder / '*.parquet'))})"


def _same_columns(connection: Any, table: str, spark: str, wanted: Sequence[str]) -> None:
    found = warehouse.frame(connection, f"select column_name from (describe select * from {spark})")["column_name"].to_list()
    if sorted(found) != sorted(wanted):
        odd = sorted(set(found) ^ set(wanted))
        raise WarehouseError(f"{table}: Spark and the contract differ in columns {', '.join(odd)}")


def _comparable(column: str, kind: str) -> str:
    quoted = warehouse.identifier(column)
    value = f"cast({quoted} as {kind})"
    return f"printf('%.{DIGITS - 1}e', {value} + 0.0)" if kind in _FLOATS else value
