"""What a deployment declares: where state lives and the rows of its configuration folder.

Reads `AFTERCAST_HOME` and `AFTERCAST_CONFIG`, checks every YAML and CSV file of the configuration and refuses unknown keys with
the file, the row and the nearest known key. Holds no secrets: connections are named here and resolved by Airflow.
"""

from __future__ import annotations

import csv
import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from zoneinfo import ZoneInfo, available_timezones

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from aftercast import backstage
from aftercast.entities import ENTITIES
from aftercast.errors import ConfigError
from aftercast.window import Window, parse_utc

PROJECT = Path(__file__).resolve().parents[2]


class Row(BaseModel):
    """A configuration row; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceRow(Row):
    """One source: a name, the kind that knows how to extract it, and how often.

    A scheduled window begins `overlap_minutes` early, for what arrives late. A window longer than `max_window_days` is extracted in parts,
    each landed whole; 0 leaves it whole. Maintenance extracts the last `reconcile_days` again, so that what was deleted upstream goes; 0
    is never. With `keep_raw` the pages of an HTTP source are kept, redacted, for `keep_raw_days`.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    kind: str
    schedule: str = "0 * * * *"
    owner: str = "unowned"
    connection: str | None = None
    entities: tuple[str, ...] = ()
    overlap_minutes: int = Field(default=0, ge=0, le=10_080)
    max_window_days: int = Field(default=0, ge=0, le=3_660)
    reconcile_days: int = Field(default=0, ge=0, le=3_660)
    keep_raw: bool = False
    keep_raw_days: int = Field(default=30, ge=1, le=3_660)
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _entities_exist(self) -> SourceRow:
        for entity in self.entities:
            if entity not in ENTITIES:
                raise ValueError(f"unknown entity {entity!r}{_nearest(entity, ENTITIES)}")
        return self


class SignalRow(Row):
    """One watched series per combination of `by`.

    A signal is either one column (`value`) or a ratio (`numerator` over `denominator`). For `fact: metric` these are metric names; for
    `fact: kpi` they are columns of the journey KPIs (attempts, successes, revenue_minor). A sum of a journey may be told `per: minute`,
    which makes journeys of different grain comparable; buckets of a ratio whose denominator is below `minimum_volume` are missing.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    fact: Literal["metric", "kpi"]
    value: str | None = None
    numerator: str | None = None
    denominator: str | None = None
    by: tuple[str, ...]
    grain_minutes: int = Field(default=5, ge=1, le=1440)
    aggregate: Literal["sum", "mean", "max"] = "sum"
    hurts: Literal["up", "down", "both"] = "both"
    sensitivity: float = Field(default=1.0, gt=0)
    minimum_effect: float = Field(default=0.0, ge=0)
    minimum_volume: float = Field(default=0.0, ge=0)
    per: Literal["bucket", "minute"] = "bucket"
    steps: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _value_or_ratio(self) -> SignalRow:
        if (self.value is None) == (self.numerator is None) or (self.numerator is None) != (self.denominator is None):
            raise ValueError("give either value, or numerator and denominator")
        if self.per == "minute" and (self.fact != "kpi" or self.value is None or self.aggregate != "sum"):
            raise ValueError("only sums of journeys can be counted per minute: ratios, means and maxima do not grow with the bucket")
        if self.minimum_volume and self.denominator is None:
            raise ValueError("minimum_volume is the smallest denominator that counts, so it needs numerator and denominator")
        allowed = (
            {"service", "environment", "region"} if self.fact == "metric" else {"journey", "step", "region", "tier", "plan", "country"}
        )
        for column in self.by:
            if column not in allowed:
                raise ValueError(f"cannot group {self.fact} points by {column!r}; choose from {', '.join(sorted(allowed))}")
        return self


class TuningRow(Row):
    """How much more (above 1) or less (below 1) sensitive than its row in signals.yml a signal is, for one subject or for all of them."""

    signal: str
    subject: str = ""
    sensitivity: float = Field(gt=0, allow_inf_nan=False)


class DetectorRow(Row):
    """A version of the detector: the live one decides, a shadow is only judged, a retired one is kept for comparison."""

    version: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    state: Literal["live", "shadow", "retired"]
    since: datetime | None = None
    note: str = ""
    tuning: tuple[TuningRow, ...] = ()

    @field_validator("since", mode="before")
    @classmethod
    def _since_is_utc(cls, value: Any) -> Any:
        if not isinstance(value, str | date):
            return value
        try:
            return parse_utc(value if isinstance(value, str) else value.isoformat(), what="since")
        except ConfigError as error:
            raise ValueError(str(error)) from error

    @model_validator(mode="after")
    def _makes_sense(self) -> DetectorRow:
        if self.state == "shadow" and self.since is None:
            raise ValueError(f"shadow version {self.version!r} needs `since`: how long it ran decides when it may go live")
        contexts = [(row.signal, row.subject) for row in self.tuning]
        for signal, subject in contexts:
            if contexts.count((signal, subject)) > 1:
                raise ValueError(f"version {self.version!r} tunes signal {signal!r} of {subject or 'every subject'} twice")
        return self


DEFAULT_DETECTOR = DetectorRow(version="prophet-episodes-2", state="live")


class StepRow(Row):
    """A step of a journey and the services that carry it."""

    step: str
    services: tuple[str, ...] = ()
    weight: float = Field(default=1.0, ge=0)
    earns: bool = False


class JourneyRow(Row):
    """A customer journey: its steps in order, who owns it and what it promises."""

    journey: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str
    owner_team: str
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    grain_minutes: int = Field(default=5, ge=1, le=1440)
    slo_target: float | None = Field(default=None, gt=0, lt=1)
    slo_window_days: int = Field(default=28, ge=1, le=90)
    steps: tuple[StepRow, ...]


def _text_of_time(value: Any) -> Any:
    """YAML reads an unquoted date or time as such; take it back as it would have been written."""
    return value.isoformat() if isinstance(value, date | datetime) else value


TimeText = Annotated[str, BeforeValidator(_text_of_time)]


class SpanRow(Row):
    """From a time or day on, until another; the end itself is not part of it."""

    starts: TimeText
    ends: TimeText


class CalendarRow(Row):
    """A known unusual time that may come again: what it is, when, where, and which way it moves which signals.

    When: one window (`starts`, `ends`), several (`times`), or the public holidays of a `country`. Times need a zone; a bare date is its
    midnight in `zone`, and so begins every holiday. An empty list of the scope means all. Without `signals` it moves those of journeys.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    kind: Literal["holiday", "promotion", "other"]
    starts: TimeText | None = None
    ends: TimeText | None = None
    times: tuple[SpanRow, ...] = ()
    country: str | None = None
    subdivision: str | None = None
    zone: str = "UTC"
    journeys: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    signals: tuple[str, ...] = ()
    expects: Literal["up", "down", "both"] = "both"
    before_minutes: int = Field(default=0, ge=0, le=1440)
    after_minutes: int = Field(default=0, ge=0, le=1440)

    @field_validator("country", mode="before")
    @classmethod
    def _norway(cls, country: Any) -> Any:
        return "NO" if country is False else country  # as YAML reads an unquoted NO

    @field_validator("zone")
    @classmethod
    def _zone_exists(cls, zone: str) -> str:
        if zone not in available_timezones():
            raise ValueError(f"unknown time zone {zone!r}{_nearest(zone, available_timezones(), most=0)}")
        return zone

    @model_validator(mode="after")
    def _has_times(self) -> CalendarRow:
        if (self.starts is None) != (self.ends is None):
            raise ValueError("give both starts and ends")
        if (self.starts is not None) + bool(self.times) + (self.country is not None) != 1:
            raise ValueError("say when: either starts and ends, or times, or country")
        if self.subdivision is not None and self.country is None:
            raise ValueError("a subdivision needs its country")
        if self.country is not None:
            _check_holidays_of(self.country, self.subdivision)
        try:
            windows = self.windows
        except ConfigError as error:
            raise ValueError(str(error)) from error
        for before, after in pairwise(windows):
            if after.start < before.end:
                raise ValueError(f"its times overlap: {before} and {after}")
        return self

    @property
    def windows(self) -> tuple[Window, ...]:
        """The windows written in the row, in the order of time; none where a country says when."""
        written = [(span.starts, span.ends) for span in self.times]
        if self.starts is not None and self.ends is not None:
            written = [(self.starts, self.ends)]
        return tuple(sorted(Window(*(_moment(text, self.zone) for text in pair)) for pair in written))


def _moment(text: str, zone: str) -> datetime:
    """The time a text means; a bare date is its midnight in the zone."""
    if len(text) > 10:
        return parse_utc(text)
    midnight = parse_utc(text).replace(tzinfo=ZoneInfo(zone))
    return midnight.astimezone(UTC)


def _check_holidays_of(country: str, subdivision: str | None) -> None:
    import holidays

    try:
        holidays.country_holidays(country, subdiv=subdivision)
    except NotImplementedError as error:
        known = holidays.list_supported_countries()
        if country not in known:
            raise ValueError(f"no public holidays are known of country {country!r}{_nearest(country, known, most=0)}") from error
        raise ValueError(
            f"no public holidays are known of subdivision {subdivision!r} of {country!r}{_nearest(str(subdivision), known[country])}"
        ) from error


class ReportRow(Row):
    """A report: which template, how often, and where it goes."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    schedule: str = "after_refresh"
    cadence: Literal["weekly"] = "weekly"
    channels: tuple[str, ...] = ("file",)
    recipients: tuple[str, ...] = ()


class ServiceRow(Row):
    """A service, store or external provider of the catalogue."""

    service: str
    kind: Literal["service", "store", "provider"] = "service"
    title: str | None = None
    team: str = "unowned"
    criticality: Literal["critical", "high", "medium", "low"] = "medium"
    runbook: str | None = None


class EdgeRow(Row):
    """A declared dependency."""

    caller: str
    callee: str


class TeamRow(Row):
    """A team: the smallest unit of ownership we name."""

    team: str
    title: str | None = None
    channel: str | None = None


class AliasRow(Row):
    """Another name of something; nothing is merged without such a row."""

    kind: Literal["service", "environment", "region"]
    alias: str
    name: str


class HistoryRow(Row):
    """The window that `run` extracts when none is given on the command line."""

    start: str
    end: str

    @model_validator(mode="after")
    def _parses(self) -> HistoryRow:
        try:
            Window(parse_utc(self.start), parse_utc(self.end))
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def window(self) -> Window:
        return Window.parse(self.start, self.end)


class SourcesFile(Row):
    company: str = "your company"
    history: HistoryRow
    clock_tolerance_minutes: int = Field(default=10, ge=0, le=1440)
    sources: tuple[SourceRow, ...]


class SignalsFile(Row):
    signals: tuple[SignalRow, ...] = ()


class DetectorsFile(Row):
    detectors: tuple[DetectorRow, ...] = (DEFAULT_DETECTOR,)

    @model_validator(mode="after")
    def _one_is_live(self) -> DetectorsFile:
        live = [row.version for row in self.detectors if row.state == "live"]
        if len(live) != 1:
            raise ValueError(f"exactly one detector version must be live, found {', '.join(live) or 'none'}")
        return self


class JourneysFile(Row):
    journeys: tuple[JourneyRow, ...] = ()


class CalendarFile(Row):
    calendar: tuple[CalendarRow, ...] = ()


class ReportsFile(Row):
    reports: tuple[ReportRow, ...] = ()


AnyRow = TypeVar("AnyRow", bound=Row)


def _nearest(word: str, known: Iterable[str], most: int = 100) -> str:
    """What may have been meant; the whole choice when nothing is near and there are at most `most`."""
    choice = sorted(known)
    close = difflib.get_close_matches(word, choice, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; choose from {', '.join(choice)}" if len(choice) <= most else ""


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> Iterable[str]:
    """Field names that would have been allowed where an unknown key was found."""
    here: Any = model
    for part in location:
        if isinstance(part, int):
            continue
        annotation = here.model_fields[part].annotation if part in here.model_fields else None
        inner = [a for a in getattr(annotation, "__args__", ()) if isinstance(a, type) and issubclass(a, BaseModel)]
        here = inner[0] if inner else annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else here
    return tuple(here.model_fields)


def _explain(path: Path, model: type[BaseModel], error: ValidationError) -> ConfigError:
    lines = []
    for problem in error.errors():
        location = problem["loc"]
        where = ".".join(f"row {part + 1}" if isinstance(part, int) else str(part) for part in location)
        if problem["type"] == "extra_forbidden":
            message = f"unknown key{_nearest(str(location[-1]), _fields_at(model, location[:-1]))}"
        else:
            message = str(problem["msg"])
        lines.append(f"  {where or 'top level'}: {message}")
    return ConfigError(f"{path}: {len(lines)} problem(s)\n" + "\n".join(lines))


def check_options(source: SourceRow, model: type[AnyRow]) -> AnyRow:
    """Return the options of a source, checked against the model of its kind.

    Raises:
        ConfigError: naming the source, the option and the nearest known one.
    """
    try:
        return model.model_validate(source.options)
    except ValidationError as error:
        raise _explain(Path(f"sources.yml: options of source {source.name!r}"), model, error) from error


def _read_yaml(path: Path, model: type[AnyRow], *, required: bool = False) -> AnyRow:
    if not path.exists():
        if required:
            raise ConfigError(f"{path} is missing; every deployment declares its sources there (see docs/adding_a_source.md)")
        return model()
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not readable YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a mapping at the top level, found {type(content).__name__}")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise _explain(path, model, error) from error


def _read_csv(path: Path, model: type[AnyRow]) -> tuple[AnyRow, ...]:
    if not path.exists():
        return ()
    rows = []
    with path.open(encoding="utf-8", newline="") as file:
        for number, raw in enumerate(csv.DictReader(file), start=2):
            if None in raw:
                raise ConfigError(f"{path} line {number}: more values than columns")
            filled = {key: value for key, value in raw.items() if value not in ("", None)}
            try:
                rows.append(model.model_validate(filled))
            except ValidationError as error:
                raise _explain(path.with_name(f"{path.name} line {number}"), model, error) from error
    return tuple(rows)


@dataclass(frozen=True)
class Deployment:
    """A checked configuration folder."""

    folder: Path
    company: str
    history: Window
    sources: tuple[SourceRow, ...]
    signals: tuple[SignalRow, ...]
    detectors: tuple[DetectorRow, ...]
    journeys: tuple[JourneyRow, ...]
    reports: tuple[ReportRow, ...]
    services: tuple[ServiceRow, ...]
    edges: tuple[EdgeRow, ...]
    teams: tuple[TeamRow, ...]
    aliases: tuple[AliasRow, ...]
    calendar: tuple[CalendarRow, ...] = ()
    clock_tolerance: timedelta = timedelta(minutes=10)
    catalog_notes: tuple[str, ...] = ()  # what of Backstage's files was left out, and why

    @property
    def live_detector(self) -> DetectorRow:
        """The version whose episodes everything but the scorecard reads."""
        return next(row for row in self.detectors if row.state == "live")

    def source(self, name: str) -> SourceRow:
        """Return the source row of that name.

        Raises:
            ConfigError: no such source is declared.
        """
        for row in self.sources:
            if row.name == name:
                return row
        raise ConfigError(f"no source {name!r} in {self.folder / 'sources.yml'}{_nearest(name, [r.name for r in self.sources])}")


def _unique(path: Path, what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ConfigError(f"{path}: {what} {name!r} is declared twice")
        seen.add(name)


def _check_calendar(
    path: Path,
    calendar: Sequence[CalendarRow],
    signals: Sequence[SignalRow],
    journeys: Sequence[JourneyRow],
    services: Sequence[ServiceRow],
) -> tuple[CalendarRow, ...]:
    """Return the rows, each of which names only what exists and moves something; a row of journeys also moves what carries them."""
    carried = {row.journey: [service for step in row.steps for service in step.services] for row in journeys}
    facts = {row.name: row.fact for row in signals}
    catalogued = {row.service for row in services}
    checked = []
    for number, row in enumerate(calendar, start=1):
        where = f"{path}: row {number} ({row.name})"
        for what, names, known in (
            ("journey", row.journeys, set(carried)),
            ("signal", row.signals, set(facts)),
            ("service", row.services if catalogued else (), catalogued),
        ):
            for name in names:
                if name not in known:
                    raise ConfigError(f"{where}: unknown {what} {name!r}{_nearest(name, known)}")
        if row.services and not row.journeys and "metric" not in {facts[name] for name in row.signals}:
            raise ConfigError(f"{where}: names services but no signal of theirs, so it moves nothing; name signals")
        derived = row.services or tuple(dict.fromkeys(service for name in row.journeys for service in carried[name]))
        checked.append(row.model_copy(update={"services": derived}))
    return tuple(checked)


def _with_backstage(
    rows: tuple[AnyRow, ...], found: backstage.Catalogue, given: Mapping[str, dict[str, Any]], model: type[AnyRow], file: str
) -> tuple[tuple[AnyRow, ...], list[str]]:
    """Return the rows of a CSV file and after them those of Backstage's files that it does not have, and what is said of the others."""
    name = next(iter(model.model_fields))
    own = {str(getattr(row, name)) for row in rows}
    more: list[AnyRow] = []
    for one, values in given.items():
        if one not in own:
            try:
                more.append(model.model_validate(values))
            except ValidationError as error:
                where = next(place for (_, known), place in found.where.items() if known == one)
                raise _explain(Path(f"{where} ({one})"), model, error) from error
    ours = sorted(set(given) & own)
    return (*rows, *more), [f"{name} {one} is also a row of {file}, which counts" for one in ours]


def load_deployment(folder: Path) -> Deployment:
    """Read and check every configuration file of `folder`.

    Raises:
        ConfigError: naming the file, the row and the key.
    """
    if not folder.is_dir():
        raise ConfigError(f"configuration folder {folder} does not exist; set AFTERCAST_CONFIG to a folder with sources.yml")
    sources = _read_yaml(folder / "sources.yml", SourcesFile, required=True)
    journeys = _read_yaml(folder / "journeys.yml", JourneysFile).journeys
    signals = _read_yaml(folder / "signals.yml", SignalsFile).signals
    detectors = _read_yaml(folder / "detectors.yml", DetectorsFile).detectors
    reports = _read_yaml(folder / "reports.yml", ReportsFile).reports
    catalog = folder / "catalog"
    found = backstage.read(catalog / "backstage")
    services = _read_csv(catalog / "services.csv", ServiceRow)
    _unique(catalog / "services.csv", "service", (row.service for row in services))
    services, own = _with_backstage(services, found, found.services, ServiceRow, "services.csv")
    teams = _read_csv(catalog / "teams.csv", TeamRow)
    _unique(catalog / "teams.csv", "team", (row.team for row in teams))
    teams, own_teams = _with_backstage(teams, found, found.teams, TeamRow, "teams.csv")
    edges = _read_csv(catalog / "dependencies.csv", EdgeRow)
    declared = {(row.caller, row.callee) for row in edges}
    known = {row.service for row in services}
    unknown = [f"{who}, which nobody declares" for name, who in found.unknown if name not in known]
    _unique(folder / "sources.yml", "source", (row.name for row in sources.sources))
    _unique(folder / "journeys.yml", "journey", (row.journey for row in journeys))
    _unique(folder / "signals.yml", "signal", (row.name for row in signals))
    _unique(folder / "detectors.yml", "detector version", (row.version for row in detectors))
    watched = {row.name for row in signals}
    for detector in detectors:
        for tuning in detector.tuning:
            if tuning.signal not in watched:
                raise ConfigError(
                    f"{folder / 'detectors.yml'}: version {detector.version!r} tunes signal {tuning.signal!r}, "
                    f"which is not in signals.yml{_nearest(tuning.signal, watched)}"
                )
    calendar = _read_yaml(folder / "calendar.yml", CalendarFile).calendar
    _unique(folder / "calendar.yml", "calendar row", (row.name for row in calendar))
    for journey in journeys:
        for step in journey.steps:
            for service in step.services:
                if services and service not in known:
                    raise ConfigError(
                        f"{folder / 'journeys.yml'}: journey {journey.journey!r} step {step.step!r} names service {service!r}, "
                        f"which is not in catalog/services.csv{_nearest(service, known)}"
                    )
    return Deployment(
        folder=folder,
        company=sources.company,
        history=sources.history.window,
        sources=sources.sources,
        signals=signals,
        detectors=detectors,
        journeys=journeys,
        reports=reports,
        services=services,
        edges=edges + tuple(EdgeRow(caller=caller, callee=callee) for caller, callee in found.edges if (caller, callee) not in declared),
        teams=teams,
        aliases=_read_csv(catalog / "aliases.csv", AliasRow),
        calendar=_check_calendar(folder / "calendar.yml", calendar, signals, journeys, services),
        clock_tolerance=timedelta(minutes=sources.clock_tolerance_minutes),
        catalog_notes=(*found.notes, *unknown, *own, *own_teams),
    )


@dataclass(frozen=True)
class Settings:
    """Where this run reads its configuration and keeps its state."""

    home: Path
    config: Path

    @classmethod
    def from_environment(cls) -> Settings:
        """Read AFTERCAST_HOME (default `var/`) and AFTERCAST_CONFIG (default `config/`)."""
        home = Path(os.environ.get("AFTERCAST_HOME") or PROJECT / "var").expanduser().resolve()
        config = Path(os.environ.get("AFTERCAST_CONFIG") or PROJECT / "config").expanduser().resolve()
        return cls(home=home, config=config)

    @cached_property
    def deployment(self) -> Deployment:
        return load_deployment(self.config)

    @property
    def landing(self) -> Path:
        return self.home / "landing"

    @property
    def quarantine(self) -> Path:
        return self.home / "quarantine"

    @property
    def inbox(self) -> Path:
        return self.home / "inbox"

    @property
    def raw(self) -> Path:
        return self.home / "raw"

    @property
    def derived(self) -> Path:
        return self.home / "derived"

    @property
    def warehouse(self) -> Path:
        return self.home / "warehouse.duckdb"

    @property
    def published(self) -> Path:
        return self.home / "published"

    @property
    def mart(self) -> Path:
        """The link readers open; it points at one immutable, versioned file."""
        return self.published / "aftercast.duckdb"

    @property
    def reports(self) -> Path:
        return self.home / "reports"

    @property
    def airflow(self) -> Path:
        return self.home / "airflow"


def raw_folder(settings: Settings, source: SourceRow, window: Window) -> Path | None:
    """Return where the pages of an extract are kept; None when the source's row does not ask for it (see `sources.web.Web`)."""
    return settings.raw / source.name / window.label() if source.keep_raw else None
