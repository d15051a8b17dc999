"""CSV, JSON lines and Parquet files read in blocks: the rows that can be read, numbered, and the lines that cannot, with the reason.

Nothing is typed here. CSV values stay text and JSON values keep their JSON types, because what a column must be is for landing to say.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

import polars as pl

from aftercast.entities import ORIGIN_ROW

LINES_PER_BLOCK = 200_000
UNREADABLE_SCHEMA = pl.Schema({"reason": pl.String(), "raw": pl.String(), "row": pl.Int64()})


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows of a file with their line numbers in `ORIGIN_ROW`, and lines that are no rows: reason, raw, row."""

    frame: pl.DataFrame
    unreadable: pl.DataFrame


def _unreadable(rows: Sequence[tuple[str, str, int | None]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=UNREADABLE_SCHEMA, orient="row")


def _nothing_but(reason: str) -> Block:
    """A file of which no row can be read."""
    return Block(pl.DataFrame(), _unreadable([(reason, "", None)]))


def _open(path: Path) -> TextIO:
    """The text of a file, gzipped or not. A byte that is not UTF-8 becomes U+FFFD; a byte order mark is dropped."""
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.open(path, "rb"), encoding="utf-8-sig", errors="replace")
    return path.open(encoding="utf-8-sig", errors="replace")


def _lines(lines: list[str], first: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Numbered lines that are not blank, and those that are not UTF-8."""
    texts = pl.DataFrame({"text": pl.Series([line.rstrip("\n") for line in lines], dtype=pl.String)})
    numbered = texts.with_columns(pl.int_range(first, first + len(lines), dtype=pl.Int64).alias("row"))
    numbered = numbered.filter(pl.col("text").str.strip_chars() != "")
    damaged = pl.col("text").str.contains("\ufffd", literal=True)
    bad = numbered.filter(damaged).select(pl.lit("not UTF-8 text").alias("reason"), pl.col("text").alias("raw"), "row")
    return numbered.filter(~damaged), bad.cast(UNREADABLE_SCHEMA)


def _wrong_width(found: pl.Expr, wanted: int) -> pl.Expr:
    return pl.format("{} values where the header has {} columns", found, pl.lit(wanted))


def _csv_block(lines: list[str], first: int, header: list[str], separator: str) -> Block | None:
    """Rows of lines that each hold one record; None when a record spans lines and they must be read one by one."""
    numbered, damaged = _lines(lines, first)
    if numbered.filter(pl.col("text").str.count_matches('"', literal=True) % 2 == 1).height:
        return None
    unquoted = pl.col("text").str.replace_all(r'"[^"]*"', "")
    counted = numbered.with_columns((unquoted.str.count_matches(separator, literal=True) + 1).alias("width"))
    good = counted.filter(pl.col("width") == len(header))
    bad = counted.filter(pl.col("width") != len(header)).select(
        _wrong_width(pl.col("width"), len(header)).alias("reason"), pl.col("text").alias("raw"), "row"
    )
    frame = pl.DataFrame()
    if good.height:
        text = "\n".join(good["text"]).encode()
        try:
            frame = pl.read_csv(text, has_header=False, new_columns=header, separator=separator, infer_schema=False)
        except pl.exceptions.PolarsError:
            return None
        if frame.height != good.height:
            return None
        frame = frame.with_columns(good["row"].alias(ORIGIN_ROW))
    return Block(frame, pl.concat([damaged, bad.cast(UNREADABLE_SCHEMA)]).sort("row"))


def _csv_records(lines: Iterator[str], first: int, header: list[str], separator: str) -> Iterator[Block]:
    """The rest of a file in which quoted values span lines."""
    reader = csv.reader(lines, delimiter=separator)
    while True:
        rows: list[tuple[Any, ...]] = []
        bad: list[tuple[str, str, int | None]] = []
        before = reader.line_num
        more = False
        while len(rows) + len(bad) < LINES_PER_BLOCK // 4:
            number = first + reader.line_num
            try:
                record = next(reader, None)
            except csv.Error as error:
                bad.append((f"not CSV: {error}", "", number))
                continue
            if record is None:
                break
            more = True
            if len(record) == len(header) and not any("\ufffd" in value for value in record):
                rows.append((*(value or None for value in record), number))
            elif len(record) == len(header):
                bad.append(("not UTF-8 text", separator.join(record), number))
            elif record:
                bad.append((f"{len(record)} values where the header has {len(header)} columns", separator.join(record), number))
        if rows or bad:
            schema = {**dict.fromkeys(header, pl.String), ORIGIN_ROW: pl.Int64}
            yield Block(pl.DataFrame(rows, schema=schema, orient="row"), _unreadable(bad))
        if not more or reader.line_num == before:
            return


def read_csv(path: Path, separator: str = ",") -> Iterator[Block]:
    """Yield the rows of a CSV file with a header line; values are text, empty values null."""
    with _open(path) as file:
        first_line = next(file, "")
        header = [name.strip() for name in next(csv.reader([first_line], delimiter=separator), [])]
        if not header:
            return
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice or "" in header:
            yield _nothing_but(
                f"the header names {', '.join(map(repr, twice))} twice" if twice else "the header has a column without a name"
            )
            return
        first = 2
        while lines := list(islice(file, LINES_PER_BLOCK)):
            block = _csv_block(lines, first, header, separator)
            if block is None:
                yield from _csv_records(chain(lines, file), first, header, separator)
                return
            yield block
            first += len(lines)


def _scalar(value: Any) -> str | None:
    """A JSON value as text."""
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _json_one_by_one(numbered: pl.DataFrame) -> Block:
    """The slow way, for blocks with lines that are no JSON objects or whose values have no common type."""
    rows, bad = [], []
    for text, number in numbered.select("text", "row").iter_rows():
        try:
            value = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            bad.append((f"not JSON: {error}", text, number))
            continue
        if isinstance(value, dict):
            rows.append({**{name: _scalar(item) for name, item in value.items()}, ORIGIN_ROW: number})
        else:
            bad.append((f"not a JSON object but {type(value).__name__}", text, number))
    frame = pl.DataFrame(rows, infer_schema_length=None) if rows else pl.DataFrame()
    return Block(frame, _unreadable(bad))


def read_json_lines(path: Path) -> Iterator[Block]:
    """Yield the rows of a file with one JSON object a line."""
    first = 1
    with _open(path) as file:
        while lines := list(islice(file, LINES_PER_BLOCK)):
            numbered, damaged = _lines(lines, first)
            block = Block(pl.DataFrame(), _unreadable([]))
            if numbered.height:
                try:
                    frame = pl.read_ndjson("\n".join(numbered["text"]).encode(), infer_schema_length=None)
                    block = Block(frame.with_columns(numbered["row"].alias(ORIGIN_ROW)), block.unreadable)
                except pl.exceptions.PolarsError:
                    block = _json_one_by_one(numbered)
            yield Block(block.frame, pl.concat([damaged, block.unreadable]).sort("row"))
            first += len(lines)


def read_parquet(path: Path) -> Iterator[Block]:
    """Yield the rows of a Parquet file, numbered from 1."""
    scan = pl.scan_parquet(path, hive_partitioning=False, glob=False)
    total = scan.select(pl.len()).collect().item()
    for start in range(0, total, LINES_PER_BLOCK):
        frame = scan.slice(start, LINES_PER_BLOCK).collect()
        numbered = frame.with_columns(pl.int_range(start + 1, start + 1 + frame.height, dtype=pl.Int64).alias(ORIGIN_ROW))
        yield Block(numbered, _unreadable([]))


def read(path: Path, form: str, separator: str = ",") -> Iterator[Block]:
    """Yield the rows of a file in blocks; a file that cannot be read at all yields one unreadable entry saying why.

    Args:
        path: the file; `.gz` is unpacked, except for Parquet.
        form: csv, jsonl or parquet.
        separator: between the values of a CSV line.
    """
    readers: dict[str, Callable[[], Iterator[Block]]] = {
        "csv": lambda: read_csv(path, separator),
        "jsonl": lambda: read_json_lines(path),
        "parquet": lambda: read_parquet(path),
    }
    try:
        yield from readers[form]()
    except (OSError, EOFError, csv.Error, pl.exceptions.PolarsError) as error:
        yield _nothing_but(f"not a readable {form} file: {str(error).splitlines()[0]}")
