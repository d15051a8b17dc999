"""Their columns as ours: which column holds what, how times are written, which words mean which. Pure.

What a mapping does not fit stays as it was found, for landing to judge.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Self
from zoneinfo import available_timezones

import polars as pl
from pydantic import Field, model_validator

from aftercast.declarations import Row
from aftercast.entities import ENTITIES, ORIGIN_ROW, TIME, Entity

EPOCHS: dict[str, int] = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
_ZONELESS = r"^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?$"
_CLOCK = ("%H", "%I", "%T", "%R", "%X", "%c", "%s")


def hint(word: str, known: Iterable[str]) -> str:
    """Return what a word that is not known may have meant."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(sorted(known))}"


class Constant(Row):
    """A value every row gets."""

    const: str | int | float | bool


class Mapped(Row):
    """What rows are, and how to read them.

    `columns` maps a landing column to one of theirs, or to `{const: value}`. `time_format` is a strptime pattern or epoch_s, epoch_ms,
    epoch_us. `timezone` is attached to times that name no zone; of an hour that occurs twice the first is taken, an hour that does not
    occur is rejected. `patterns` keeps the first group of a regular expression, of texts that it fits. `values` maps their values to
    ours, `nulls` are texts that mean nothing is known.
    """

    entity: str
    columns: dict[str, str | Constant] | None = None
    time_format: str | None = None
    timezone: str | None = None
    patterns: dict[str, str] = Field(default_factory=dict)
    values: dict[str, dict[str, str]] = Field(default_factory=dict)
    nulls: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        if self.entity not in ENTITIES:
            raise ValueError(f"unknown entity {self.entity!r}; {hint(self.entity, ENTITIES)}")
        known = [*ENTITIES[self.entity].columns, "source_id"]
        for column in (*(self.columns or ()), *self.patterns, *self.values):
            if column not in known:
                raise ValueError(f"{self.entity} has no column {column!r}; {hint(column, known)}")
        return self

    @model_validator(mode="after")
    def _patterns_have_a_group(self) -> Self:
        for column, pattern in self.patterns.items():
            try:
                pl.Series([""]).str.extract(pattern)
                groups = re.compile(pattern).groups
            except (pl.exceptions.PolarsError, re.error):
                groups = 0
            if not groups:
                raise ValueError(f"pattern {pattern!r} of {column} is no regular expression with a group; write e.g. ^(.+)-[^-]+$")
        return self

    @model_validator(mode="after")
    def _times_have_a_zone(self) -> Self:
        if self.timezone and self.timezone not in available_timezones():
            raise ValueError(f"unknown timezone {self.timezone!r}; use a name such as UTC or Europe/London")
        form = self.time_format
        if form and form not in EPOCHS and "%" not in form:
            raise ValueError(f"time_format {form!r} is neither a pattern such as '%d/%m/%Y %H:%M' nor one of {', '.join(EPOCHS)}")
        if form and form not in EPOCHS and not any(zone in form for zone in ("%z", "%:z", "%#z", "%+")) and not self.timezone:
            raise ValueError(f"time_format {form!r} reads no zone; say which one the times are in, e.g. timezone: UTC")
        return self

    @property
    def shape(self) -> Entity:
        return ENTITIES[self.entity]


def _iso(moment: pl.Expr) -> pl.Expr:
    return moment.dt.convert_time_zone("UTC").dt.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00")


def _in_zone(moment: pl.Expr, zone: str) -> pl.Expr:
    return moment.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")


def _time(given: pl.Expr, dtype: pl.DataType, rule: Mapped) -> pl.Expr:
    """A time column as times or as text with a zone; what the rule does not fit stays as it is, for landing to judge."""
    zone, form = rule.timezone, rule.time_format
    if isinstance(dtype, pl.Datetime):
        return _in_zone(given, zone) if zone and dtype.time_zone is None else given
    if form in EPOCHS:
        text = given.cast(pl.String).str.strip_chars()
        whole = text.cast(pl.Int64, strict=False)
        micros = pl.coalesce(
            whole * EPOCHS[form], (text.cast(pl.Float64, strict=False) * EPOCHS[form]).round().cast(pl.Int64, strict=False)
        )
        return pl.coalesce(_iso(micros.cast(TIME)), text)
    if dtype != pl.String:
        return given
    text = given.str.strip_chars()
    if form:
        if any(part in form for part in ("%z", "%:z", "%#z", "%+")):
            return pl.coalesce(_iso(text.str.to_datetime(form, time_unit="us", time_zone="UTC", strict=False)), text)
        has_clock = any(part in form for part in _CLOCK)
        parsed = text.str.to_datetime(form, time_unit="us", strict=False) if has_clock else text.str.to_date(form, strict=False)
        return pl.coalesce(_iso(_in_zone(parsed.cast(pl.Datetime("us")), zone or "UTC")), text)
    if zone:
        bare = pl.when(text.str.contains(_ZONELESS)).then(text.str.replace(" ", "T", literal=True))
        full = (
            pl.when(bare.str.len_chars() == 10).then(bare + "T00:00:00").when(bare.str.len_chars() == 16).then(bare + ":00").otherwise(bare)
        )
        local = full.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False)
        return pl.coalesce(_iso(_in_zone(local, zone)), text)
    return text


def _mapping(rule: Mapped, frame: pl.DataFrame) -> dict[str, str | Constant]:
    """Where each landing column comes from; in the entity's own shape, from itself."""
    if rule.columns is None:
        return {name: name for name in frame.columns if name != ORIGIN_ROW}
    return {name: theirs for name, theirs in rule.columns.items() if isinstance(theirs, Constant) or theirs in frame.columns}


def map_columns(rule: Mapped, frame: pl.DataFrame, origin: str) -> pl.DataFrame:
    """Return the rows of a frame under landing names, with `source_id` (`origin:row` when not mapped) and their row numbers."""
    wanted = []
    for name, theirs in _mapping(rule, frame).items():
        if isinstance(theirs, Constant):
            wanted.append(pl.lit(theirs.const).alias(name))
            continue
        dtype = frame.schema[theirs]
        column = pl.col(theirs)
        if rule.nulls and dtype == pl.String:
            column = pl.when(~column.str.strip_chars().is_in(list(rule.nulls))).then(column)
        if name in rule.patterns:
            whole = column.cast(pl.String).str.strip_chars()
            column, dtype = pl.coalesce(whole.str.extract(rule.patterns[name]), whole), pl.String()
        if name in rule.values:
            column = column.cast(pl.String).str.strip_chars().replace(rule.values[name])
            dtype = pl.String()
        if rule.shape.columns.get(name) == TIME:
            column = _time(column, dtype, rule)
        wanted.append(column.alias(name))
    if not any(expression.meta.output_name() == "source_id" for expression in wanted):
        wanted.append((pl.lit(f"{origin}:") + pl.col(ORIGIN_ROW).cast(pl.String)).alias("source_id"))
    return frame.select(*wanted, ORIGIN_ROW)


def absent_columns(rule: Mapped, frame: pl.DataFrame) -> list[str]:
    """Return the mapped columns a frame does not have, as sentences."""
    theirs = [column for column in (rule.columns or {}).values() if isinstance(column, str)]
    there = [name for name in frame.columns if name != ORIGIN_ROW]
    return [f"{column!r}, {hint(column, there)}" for column in theirs if column not in there]
