"""Make the rows a source found fit their landing entity, or say of each row why it does not. Pure: a frame in, two frames out.

What is repaired without asking: surrounding blanks, empty text, the letter case of values that come from a fixed list, whole numbers
written as text, absent optional columns, an absent environment (`production`), an absent currency of a journey that declares one. What
is never guessed: a time zone, a count that is not whole, a value outside its list, a missing identity. Such rows are rejected with the
first reason that applies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from aftercast.entities import COUNT, FLAG, LINEAGE, NUMBER, ORIGIN_ROW, TEXT, TEXTS, TIME, Entity
from aftercast.errors import ConfigError
from aftercast.prescriptions import parse
from aftercast.privacy import protect, protect_unknown

EARLIEST_YEAR, LATEST_YEAR = 2000, 2100  # outside lie epochs in the wrong unit and empty dates
EMPTY_WHEN_ABSENT = frozenset({"region", "attributes", "tier", "plan", "country", "peer"})
DEFAULT_ENVIRONMENT = "production"
REJECTED_SCHEMA = {"reason": TEXT, "origin": TEXT, "row": COUNT, "raw": TEXT}
TRUE, FALSE = ("true", "t", "yes", "y", "1"), ("false", "f", "no", "n", "0")

_DATE = r"^\d{4}-\d{2}-\d{2}$"
_ZONELESS = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?$"
_ZONED = r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}(?::?\d{2})?)"
_MOMENT = rf"^{_ZONED}(?:/{_ZONED})?$"
_JSON_TEXTS = r'^\[\s*(?:"(?:[^"\\]|\\.)*"\s*(?:,\s*"(?:[^"\\]|\\.)*"\s*)*)?\]$'


@dataclass(frozen=True, slots=True)
class Conformed:
    """What became of the rows of one batch.

    Attributes:
        accepted: rows in the entity's schema without `source` and `ingested_at`, in the order received.
        rejected: rows that do not fit: reason, origin, row (its number in the origin) and raw (JSON, personal data removed).
        notes: how many rows something was noticed about that did not stop them (an unknown column, for example).
        unknown: of accepted rows, what the entity has no column for: its key, and `columns` (JSON of texts, personal data removed).
            Without columns when there was nothing unknown.
    """

    accepted: pl.DataFrame
    rejected: pl.DataFrame
    notes: dict[str, int] = field(default_factory=dict)
    unknown: pl.DataFrame = field(default_factory=pl.DataFrame)


@dataclass(frozen=True, slots=True)
class _Column:
    """A converted column and the reasons why some of its values could not be converted (first true one applies)."""

    values: pl.Expr
    problems: tuple[tuple[pl.Expr, str], ...] = ()


def _text(given: pl.Expr, dtype: pl.DataType) -> _Column:
    if isinstance(dtype, pl.Struct):
        return _Column(given.struct.json_encode())
    if isinstance(dtype, (pl.List, pl.Array)):
        return _Column(pl.lit(None, TEXT), ((given.is_not_null(), "not text"),))
    text = given.cast(TEXT).str.strip_chars()
    return _Column(pl.when(text != "").then(text))


def _time(given: pl.Expr, dtype: pl.DataType) -> _Column:
    if isinstance(dtype, pl.Datetime):
        if dtype.time_zone is None:
            return _Column(pl.lit(None, TIME), ((given.is_not_null(), "time without zone"),))
        return _Column(given.dt.convert_time_zone("UTC").cast(TIME))
    if dtype == pl.Date:
        return _Column(given.cast(pl.Datetime("us")).dt.replace_time_zone("UTC"))
    if dtype != pl.String:
        return _Column(pl.lit(None, TIME), ((given.is_not_null(), "not a time"),))
    text = pl.when(given.str.strip_chars() != "").then(given.str.strip_chars())
    midnight = pl.when(text.str.contains(_DATE)).then(text + "T00:00:00+00:00").otherwise(text)
    full = (
        midnight.str.replace(r"^(\d{4}-\d{2}-\d{2}) ", "${1}T")
        .str.replace(r"(?i)\s?z$", "+00:00")
        .str.replace(r"^(.{10}T\d{2}:\d{2})([+-])", "${1}:00${2}")
        .str.replace(",", ".", literal=True)
    )
    parsed = full.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", time_zone="UTC", strict=False).cast(TIME)
    return _Column(parsed, ((text.str.contains(_ZONELESS), "time without zone"), (text.is_not_null() & parsed.is_null(), "not a time")))


def _number(given: pl.Expr, dtype: pl.DataType) -> _Column:
    if not (dtype.is_numeric() or dtype == pl.String):
        return _Column(pl.lit(None, NUMBER), ((given.is_not_null(), "not a number"),))
    if dtype == pl.String:
        given = pl.when(given.str.strip_chars() != "").then(given.str.strip_chars())
    number = given.cast(NUMBER, strict=False)
    return _Column(number, ((given.is_not_null() & number.is_null(), "not a number"), (~number.is_finite(), "not a finite number")))


def _count(given: pl.Expr, dtype: pl.DataType) -> _Column:
    if dtype.is_integer():
        whole = given.cast(COUNT, strict=False)
        return _Column(whole, ((given.is_not_null() & whole.is_null(), "too large"),))
    number = _number(given, dtype)
    value = number.values
    text = given.str.strip_chars().cast(COUNT, strict=False) if dtype == pl.String else pl.lit(None, COUNT)
    whole = pl.coalesce(text, pl.when(value.is_finite() & (value == value.round())).then(value).cast(COUNT, strict=False))
    return _Column(whole, (*number.problems, (value.is_not_null() & whole.is_null(), "not a whole number")))


def _flag(given: pl.Expr, dtype: pl.DataType) -> _Column:
    if dtype == pl.Boolean:
        return _Column(given)
    text = _text(given, dtype).values.str.to_lowercase()
    flag = pl.when(text.is_in(TRUE)).then(True).when(text.is_in(FALSE)).then(False)
    return _Column(flag, ((text.is_not_null() & flag.is_null(), "neither true nor false"),))


def _texts(given: pl.Expr, dtype: pl.DataType) -> _Column:
    if isinstance(dtype, (pl.List, pl.Array)):
        listed = given.arr.to_list() if isinstance(dtype, pl.Array) else given
        return _Column(listed.cast(TEXTS, strict=False).list.drop_nulls())
    text = _text(given, dtype).values
    is_json = text.str.starts_with("[")
    quoted = text.str.extract_all(r'"(?:[^"\\]|\\.)*"').list.eval(
        pl.element().str.slice(1).str.strip_suffix('"').str.replace_all(r'\\(["\\/])', "${1}").str.strip_chars()
    )
    plain = text.str.split(";").list.eval(pl.element().str.strip_chars())
    values = pl.when(is_json).then(quoted).otherwise(plain)
    filled = pl.when(text.is_not_null()).then(values.list.eval(pl.element().filter(pl.element() != "")))
    return _Column(filled, ((is_json & ~text.str.contains(_JSON_TEXTS), "not a list of texts"),))


def _convert(name: str, entity: Entity, frame: pl.DataFrame) -> _Column:
    """The column of that name in its landing type, with `column: reason` for what does not fit."""
    kind = entity.columns[name]
    if name not in frame.columns or frame.schema[name] == pl.Null:
        column = _Column(pl.lit(None, kind))
    else:
        converters = {TEXT: _text, TIME: _time, COUNT: _count, NUMBER: _number, FLAG: _flag, TEXTS: _texts}
        column = next(convert for known, convert in converters.items() if known == kind)(pl.col(name), frame.schema[name])
    values = column.values
    if name in entity.choices:
        values = values.str.to_lowercase()
    if name == "currency":
        values = values.str.to_uppercase()
    if name in EMPTY_WHEN_ABSENT:
        values = values.fill_null("")
    if name == "environment":
        values = values.fill_null(DEFAULT_ENVIRONMENT)
    return _Column(values.cast(kind), tuple((mask, f"{name}: {reason}") for mask, reason in column.problems))


def _rules(
    entity: Entity, given: pl.DataFrame, currencies: Mapping[str, str], latest: datetime | None, latest_is: str
) -> Iterator[tuple[pl.Expr, str]]:
    """What a converted row must satisfy; a mask is true where the row breaks the rule."""
    for name in entity.columns:
        if name in entity.must_have:
            yield pl.col(name).is_null(), f"missing {name}" if name in given.columns else f"missing column {name}"
    year = pl.col(entity.time).dt.year()
    yield ~year.is_between(EARLIEST_YEAR, LATEST_YEAR), f"{entity.time}: before {EARLIEST_YEAR} or after {LATEST_YEAR}"
    if latest is not None:
        excused = [pl.col(name).is_in(list(values)).fill_null(False) for name, values in entity.ahead.items()]
        yield (
            (pl.col(entity.time) > latest) & ~pl.any_horizontal(pl.lit(False), *excused),
            f"{entity.time}: in the future of the {latest_is}",
        )
    for name, allowed in entity.choices.items():
        yield pl.col(name).is_not_null() & ~pl.col(name).is_in(sorted(allowed)), f"{name}: not one of {', '.join(sorted(allowed))}"
    for name in entity.non_negative:
        yield pl.col(name) < 0, f"{name}: negative"
    if entity.name == "journey_kpis" and currencies:
        mixed = pl.col("currency") != _declared_currency(currencies)
        yield mixed, "currency mix: not the currency the journey declares in journeys.yml"
    if entity.name == "journey_kpis":
        yield pl.col("currency").is_null() & (pl.col("revenue_minor") != 0), "revenue without currency"
    if entity.name == "verdicts":
        moment = pl.col("subject_id").str.extract(r"@([^@]*)$")
        yield (
            (pl.col("subject_kind") == "anomaly") & ~moment.str.contains(_MOMENT),
            "subject_id: after @ of an anomaly comes a time with a zone, or two with / between them",
        )


def _declared_currency(currencies: Mapping[str, str]) -> pl.Expr:
    """The currency that the journey of a row declares; null when it declares none."""
    return pl.col("journey").replace_strict(list(currencies), list(currencies.values()), default=None, return_dtype=TEXT)


def _unreadable(prescription: str) -> str | None:
    """Why a prescription cannot be read, with what to write instead; None when it can."""
    try:
        parse(prescription)
    except ConfigError as error:
        return f"prescription: {error}"
    return None


def _problem(mask: pl.Expr, reason: str) -> pl.Expr:
    return pl.when(mask).then(pl.lit(reason, TEXT))


def _raw(frame: pl.DataFrame) -> pl.Series:
    """Each row as JSON text."""
    if not frame.columns:
        return pl.Series("raw", ["{}"] * frame.height, TEXT)
    times = [pl.col(name).dt.to_string("iso:strict") for name, kind in frame.schema.items() if isinstance(kind, pl.Datetime)]
    return frame.with_columns(times).select(pl.struct(pl.all()).struct.json_encode().alias("raw"))["raw"]


def conform(
    entity: Entity,
    frame: pl.DataFrame,
    *,
    origin: str,
    key: bytes,
    first_row: int = 1,
    currencies: Mapping[str, str] | None = None,
    latest: datetime | None = None,
    latest_is: str = "window",
) -> Conformed:
    """Cast, fill, check and protect the rows of one batch.

    Args:
        entity: the shape to fit.
        frame: rows as found; columns may be missing, unknown, or text where the entity has another type.
        origin: where the rows came from, for messages.
        key: the deployment's token key; people become tokens.
        first_row: number of the first row in `origin`; the column `origin_row`, when there is one, numbers each row instead.
        currencies: the currency each declared journey has.
        latest: rows dated after it come from a clock that is ahead, unless the entity lets them; None: not judged.
        latest_is: what they are in the future of, for the reason.
    """
    known = [name for name in frame.columns if name in entity.columns]
    unknown = [name for name in frame.columns if name not in entity.columns and name not in LINEAGE and name != ORIGIN_ROW]
    notes = {f"unknown column {name} kept aside": frame.height for name in unknown} if frame.height else {}
    columns = {name: _convert(name, entity, frame) for name in entity.columns}
    source_id = pl.col("source_id").cast(TEXT).fill_null("") if "source_id" in frame.columns else pl.lit("", TEXT)
    cast_problems = [_problem(mask, reason) for column in columns.values() for mask, reason in column.problems]
    converted = frame.select(
        source_id.alias("source_id"),
        *(column.values.alias(name) for name, column in columns.items()),
        pl.coalesce(*cast_problems, pl.lit(None, TEXT)).alias("__problem"),
    )
    if converted.height != frame.height:  # only literals were selected: an empty frame, or one without columns
        converted = converted.head(frame.height)
    if entity.name == "journey_kpis" and currencies:
        converted = converted.with_columns(pl.coalesce("currency", _declared_currency(currencies)).alias("currency"))
    rules = [_problem(mask, reason) for mask, reason in _rules(entity, frame, currencies or {}, latest, latest_is)]
    reason = converted.select(pl.coalesce("__problem", *rules).alias("reason"))["reason"]
    if entity.name == "insights":
        unread = converted["prescription"].map_elements(_unreadable, return_dtype=TEXT, skip_nulls=True)
        reason = pl.DataFrame({"reason": reason, "unread": unread}).select(pl.coalesce("reason", "unread"))["reason"]
    converted = converted.drop("__problem")
    if reason.null_count() == len(reason):
        accepted = protect(entity.name, converted, key)
        return Conformed(accepted, _no_rejects(), notes, _aside(entity, accepted, frame, unknown, key))
    bad = reason.is_not_null()
    numbers = pl.int_range(first_row, first_row + frame.height, eager=True)
    if ORIGIN_ROW in frame.columns:
        numbers = frame[ORIGIN_ROW].cast(COUNT)
    texts = [name for name in known if entity.columns[name] in (TEXT, TEXTS) and name not in entity.key]
    raw = _raw(protect(entity.name, frame.select(known).filter(bad), key, everywhere=texts))
    rejected = pl.DataFrame(
        {
            "reason": reason.filter(bad),
            "origin": pl.Series([origin] * len(raw), dtype=TEXT),
            "row": numbers.filter(bad),
            "raw": raw,
        }
    )
    typed = rejected.select(pl.col(name).cast(kind) for name, kind in REJECTED_SCHEMA.items())
    accepted = protect(entity.name, converted.filter(~bad), key)
    return Conformed(accepted, typed, notes, _aside(entity, accepted, frame.filter(~bad), unknown, key))


def _aside(entity: Entity, accepted: pl.DataFrame, frame: pl.DataFrame, names: list[str], key: bytes) -> pl.DataFrame:
    """The values of unknown columns beside the keys of their rows, as texts without personal data."""
    if not names or frame.is_empty():
        return pl.DataFrame()
    unknown = frame.select(names)
    texts = [
        pl.struct(name).struct.json_encode().alias(name) if kind.is_nested() else pl.col(name).cast(TEXT, strict=False)
        for name, kind in unknown.schema.items()
    ]
    safe = protect_unknown(unknown.select(texts), key)
    return accepted.select(entity.key).with_columns(safe.select(pl.struct(pl.all()).struct.json_encode().alias("columns")))


def _no_rejects() -> pl.DataFrame:
    return pl.DataFrame(schema=REJECTED_SCHEMA)
