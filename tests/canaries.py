"""A made-up person with secrets, to plant where words come from; and everything a deployment has written, to look for her in."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from aftercast import warehouse
from aftercast.settings import Settings

PROSE = (
    "ann.canary@shop.example +44 20 7946 0958 203.0.113.77 Bearer canarycanary1 ghp_canarycanarycanarycanary "
    "password=canarypassword2 postgres://root:canarypassword3@db/x"
)
PERSON = "Ann Canary"
SIGNS = re.compile(rb"ann\.canary|7946 0958|203\.0\.113\.77|canarycanary|canarypassword|Ann Canary")


def words(place: Settings) -> Iterator[tuple[str, bytes]]:
    """Everything below the home but what a team dropped there itself: bytes, unpacked, and the cells of tables."""
    for path in sorted(place.home.rglob("*")):
        if not path.is_file() or place.home / "inbox" in path.parents:
            continue
        content = path.read_bytes()
        name = str(path.relative_to(place.home))
        yield name, name.encode() + content
        if path.suffix == ".gz":
            yield name, gzip.decompress(content)
        if path.suffix == ".parquet":
            yield name, repr(pl.read_parquet(path, hive_partitioning=False).rows()).encode()
        if path.suffix == ".duckdb" and not path.is_symlink():
            yield from ((f"{name} {table}", text) for table, text in _tables(path))


def _tables(path: Path) -> Iterator[tuple[str, bytes]]:
    with warehouse.connect(path) as connection:
        listed = warehouse.frame(connection, "select schema_name, table_name from duckdb_tables() where database_name = current_database()")
        for schema, table in listed.rows():
            yield f"{schema}.{table}", repr(warehouse.frame(connection, f'from "{schema}"."{table}"').rows()).encode()
