"""The `files` kind: CSV, JSON lines and Parquet files that anyone drops into an inbox folder.

A rule says which files hold which entity and how their columns map to ours; without a mapping a file must be in the entity's own shape. The
whole inbox is read on every extract, whatever the window: a file holds what it holds, and landing leaves alone what did not change. Files
stay where they are; a file that is gone leaves what it landed.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self
from zoneinfo import available_timezones

import polars as pl
from pydantic import Field, model_validator

from aftercast.entities import ENTITIES, ORIGIN_ROW, TIME, Entity
from aftercast.errors import SourceUnavailable
from aftercast.settings import Row, Settings, SourceRow, check_options
from aftercast.sources import Batch
from aftercast.sources.formats import read
from aftercast.window import Window

SUFFIXES = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
EPOCHS: dict[str, int] = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
_ZONELESS = r"^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?$"
_CLOCK = ("%H", "%I", "%T", "%R", "%X", "%c", "%s")


def _hint(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(sorted(known))}"


class Constant(Row):
    """A value every row gets."""

    const: str | int | float | bool


class FileRule(Row):
    """Which files hold which entity, and how to read them.

    `columns` maps a landing column to a column of the file, or to `{const: value}`. `time_format` is a strptime pattern or epoch_s,
    epoch_ms, epoch_us. `timezone` is attached to times that name no zone; of an hour that occurs twice the first is taken, an hour that
    does not occur is rejected. `values` maps their values to ours, `nulls` are texts that mean nothing is known.
    """

    match: str
    entity: str
    format: Literal["csv", "jsonl", "parquet"] | None = None
    columns: dict[str, str | Constant] | None = None
    time_format: str | None = None
    timezone: str | None = None
    values: dict[str, dict[str, str]] = Field(default_factory=dict)
    nulls: tuple[str, ...] = ()
    separator: str = Field(default=",", min_length=1, max_length=1)

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        if self.entity not in ENTITIES:
            raise ValueError(f"unknown entity {self.entity!r}; {_hint(self.entity, ENTITIES)}")
        known = [*ENTITIES[self.entity].columns, "source_id"]
        for column in (*(self.columns or ()), *self.values):
            if column not in known:
                raise ValueError(f"{self.entity} has no column {column!r}; {_hint(column, known)}")
        return self

    @model_validator(mode="after")
    def _format_is_known(self) -> Self:
        if self.format is None and "." in Path(self.match).name and self.form(Path(self.match)) is None and not self.match.endswith("*"):
            raise ValueError(f"match {self.match!r} does not tell the format; add format: csv, jsonl or parquet")
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

    def form(self, path: Path) -> str | None:
        """The format of a file: as declared, else by its suffix."""
        name = path.with_suffix("") if path.suffix == ".gz" else path
        return self.format or SUFFIXES.get(name.suffix.lower())


class FilesOptions(Row):
    """Options of a `files` source."""

    inbox: str
    files: tuple[FileRule, ...] = Field(min_length=1)


def _iso(moment: pl.Expr) -> pl.Expr:
    return moment.dt.convert_time_zone("UTC").dt.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00")


def _in_zone(moment: pl.Expr, zone: str) -> pl.Expr:
    return moment.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")


def _time(given: pl.Expr, dtype: pl.DataType, rule: FileRule) -> pl.Expr:
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


def _mapping(rule: FileRule, frame: pl.DataFrame) -> dict[str, str | Constant]:
    """Where each landing column comes from; in the entity's own shape, from itself."""
    if rule.columns is None:
        return {name: name for name in frame.columns if name != ORIGIN_ROW}
    return {name: theirs for name, theirs in rule.columns.items() if isinstance(theirs, Constant) or theirs in frame.columns}


def map_columns(rule: FileRule, frame: pl.DataFrame, file: str) -> pl.DataFrame:
    """Return the rows of a file under landing names, with `source_id` (`file:row` when not mapped) and their row numbers."""
    wanted = []
    for name, theirs in _mapping(rule, frame).items():
        if isinstance(theirs, Constant):
            wanted.append(pl.lit(theirs.const).alias(name))
            continue
        dtype = frame.schema[theirs]
        column = pl.col(theirs)
        if rule.nulls and dtype == pl.String:
            column = pl.when(~column.str.strip_chars().is_in(list(rule.nulls))).then(column)
        if name in rule.values:
            column = column.cast(pl.String).str.strip_chars().replace(rule.values[name])
            dtype = pl.String()
        if rule.shape.columns.get(name) == TIME:
            column = _time(column, dtype, rule)
        wanted.append(column.alias(name))
    if not any(expression.meta.output_name() == "source_id" for expression in wanted):
        wanted.append((pl.lit(f"{file}:") + pl.col(ORIGIN_ROW).cast(pl.String)).alias("source_id"))
    return frame.select(*wanted, ORIGIN_ROW)


def _absent(rule: FileRule, frame: pl.DataFrame) -> list[str]:
    """Mapped columns a file does not have, as sentences."""
    theirs = [column for column in (rule.columns or {}).values() if isinstance(column, str)]
    there = [name for name in frame.columns if name != ORIGIN_ROW]
    return [f"{column!r}, {_hint(column, there)}" for column in theirs if column not in there]


@dataclass(frozen=True, slots=True)
class FilesSource:
    """An inbox folder and its rules."""

    name: str
    inbox: Path
    rules: tuple[FileRule, ...]

    def _present(self) -> list[tuple[str, Path]]:
        """Files of the inbox by their name inside it, sorted; hidden files are somebody's work in progress.

        Raises:
            SourceUnavailable: the inbox folder does not exist.
        """
        if not self.inbox.is_dir():
            raise SourceUnavailable(
                f"source {self.name!r}: inbox folder {self.inbox} does not exist; create it, or correct `inbox` in sources.yml"
            )
        found = ((path.relative_to(self.inbox).as_posix(), path) for path in self.inbox.rglob("*") if path.is_file())
        return sorted((name, path) for name, path in found if not any(part.startswith(".") for part in name.split("/")))

    def extract(self, window: Window) -> Iterator[Batch]:
        """Yield every row of every file that a rule matches, in order of file names.

        Raises:
            SourceUnavailable: the inbox folder does not exist.
        """
        del window  # a dropped file is read whole; its rows bear their own times
        files = self._present()
        notes = {f"file {name} matches no rule": 1 for name, path in files if not any(self._fits(rule, name, path) for rule in self.rules)}
        for entity in dict.fromkeys(rule.entity for rule in self.rules):
            yield Batch(entity, pl.DataFrame(), origin=str(self.inbox), expected=0, piece=f"{self.name} inbox", notes=notes)
            notes = {}
        for name, path in files:
            used: dict[str, int] = {}
            for rule in self.rules:
                if self._fits(rule, name, path):
                    used[rule.entity] = used.get(rule.entity, 0) + 1
                    yield from _batches(rule, name, path, piece=name if used[rule.entity] == 1 else f"{name} #{used[rule.entity]}")

    @staticmethod
    def _fits(rule: FileRule, name: str, path: Path) -> bool:
        return fnmatch.fnmatchcase(name, rule.match) and rule.form(path) is not None


def _batches(rule: FileRule, name: str, path: Path, *, piece: str) -> Iterator[Batch]:
    """The rows of one file. The first batch is empty, so that a file that has become empty replaces what it was."""
    yield Batch(rule.entity, pl.DataFrame(), origin=name, expected=0, piece=piece)
    said: set[str] = set()
    for block in read(path, str(rule.form(path)), rule.separator):
        absent = set(_absent(rule, block.frame)) - said if block.frame.height else set()
        said |= absent
        yield Batch(
            rule.entity,
            map_columns(rule, block.frame, name) if block.frame.height else pl.DataFrame(),
            origin=name,
            expected=block.frame.height + block.unreadable.height,
            rejected=block.unreadable,
            piece=piece,
            notes={f"{name} has no column {missing}": 1 for missing in absent},
        )


def open(row: SourceRow, settings: Settings) -> FilesSource:
    """Return the inbox a row of sources.yml declares.

    Raises:
        ConfigError: an option is unknown or does not fit, naming the source, the rule and the nearest key.
    """
    options = check_options(row, FilesOptions)
    return FilesSource(row.name, settings.home / Path(options.inbox).expanduser(), options.files)
