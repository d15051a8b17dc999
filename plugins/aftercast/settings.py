"""A deployment: where its state lives, and its configuration folder read and checked as a whole (the rows are in declarations.py).

Reads `AFTERCAST_HOME` and `AFTERCAST_CONFIG`, checks every YAML and CSV file of the configuration and refuses unknown keys with
the file, the row and the nearest known key. Holds no secrets: connections are named here and resolved by Airflow.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from aftercast import backstage, openslo, prescriptions, runbooks, yaml_texts
from aftercast.declarations import (
    DEFAULT_RANKER,
    ActionsFile,
    AliasRow,
    AutomationFile,
    CalendarFile,
    CalendarRow,
    CostsFile,
    CurrenciesFile,
    DetectorRow,
    DetectorsFile,
    EdgeRow,
    JourneyRow,
    JourneysFile,
    PipelineFile,
    PostmortemsFile,
    PublishingFile,
    RankerRow,
    RankersFile,
    ReportRow,
    ReportsFile,
    Row,
    ServiceRow,
    SignalRow,
    SignalsFile,
    SourceRow,
    SourcesFile,
    TeamRow,
    nearest,
)
from aftercast.errors import ConfigError
from aftercast.window import Window

PROJECT = Path(__file__).resolve().parents[2]


AnyRow = TypeVar("AnyRow", bound=Row)

NO_COSTS, NO_CURRENCIES, NO_ACTIONS, NO_REPORTS = CostsFile(), CurrenciesFile(), ActionsFile(), ReportsFile()
USUAL_POSTMORTEMS = PostmortemsFile()
NO_AUTOMATION = AutomationFile()
USUAL_PIPELINE = PipelineFile()
OPEN_TO_ALL = PublishingFile()


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
            message = f"unknown key{nearest(str(location[-1]), _fields_at(model, location[:-1]))}"
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
        content = yaml_texts.read(path.read_text(encoding="utf-8")) or {}
    except ValueError as error:  # no YAML, or not UTF-8
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
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.DictReader(file, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} is not readable CSV: {error}; save it as UTF-8 with commas between the values") from error
    rows = []
    for number, raw in enumerate(lines, start=2):
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
    slos: tuple[openslo.Objective, ...] = ()
    costs: CostsFile = NO_COSTS
    currencies: CurrenciesFile = NO_CURRENCIES
    actions: ActionsFile = NO_ACTIONS
    rankers: tuple[RankerRow, ...] = (DEFAULT_RANKER,)
    postmortems: PostmortemsFile = USUAL_POSTMORTEMS
    runbooks: tuple[runbooks.Runbook, ...] = ()
    automation: AutomationFile = NO_AUTOMATION
    pipeline: PipelineFile = USUAL_PIPELINE  # how fresh the mart is promised, and who hears when a run is late
    reporting: ReportsFile = NO_REPORTS  # the reports with the channels they go through
    publishing: PublishingFile = OPEN_TO_ALL  # who may read what is published
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
        raise ConfigError(f"no source {name!r} in {self.folder / 'sources.yml'}{nearest(name, [r.name for r in self.sources])}")


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
                    raise ConfigError(f"{where}: unknown {what} {name!r}{nearest(name, known)}")
        if row.services and not row.journeys and "metric" not in {facts[name] for name in row.signals}:
            raise ConfigError(f"{where}: names services but no signal of theirs, so it moves nothing; name signals")
        derived = row.services or tuple(dict.fromkeys(service for name in row.journeys for service in carried[name]))
        checked.append(row.model_copy(update={"services": derived}))
    return tuple(checked)


def _check_automation(path: Path) -> AutomationFile:
    """Return what the file says, each of whose actions and causes is one that runbooks know."""
    automation = _read_yaml(path, AutomationFile)
    for number, row in enumerate(automation.classes, start=1):
        for what, names, known in (("action", row.actions, runbooks.ACTIONS), ("cause", row.causes, runbooks.CAUSES)):
            for name in names:
                if name not in known:
                    raise ConfigError(f"{path}: row {number} ({row.name}): unknown {what} {name!r}{nearest(name, known)}")
    return automation


def _check_pipeline(path: Path, reports: Sequence[ReportRow]) -> PipelineFile:
    """Return what the file says, each of whose deadlines is of a DAG that takes one."""
    pipeline = _read_yaml(path, PipelineFile)
    known = ["refresh_warehouse", *(f"send_reports__{row.name}" for row in reports)]
    for number, row in enumerate(pipeline.deadlines, start=1):
        if row.dag not in known:
            raise ConfigError(f"{path}: row {number} of deadlines: no DAG {row.dag!r} takes a deadline{nearest(row.dag, known)}")
    return pipeline


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


def _read_publishing(path: Path) -> PublishingFile:
    publishing = _read_yaml(path, PublishingFile)
    _unique(path, "audience", (row.name for row in publishing.audiences))
    return publishing


def _check_audiences(path: Path, reports: ReportsFile, publishing: PublishingFile) -> PublishingFile:
    known = [row.name for row in publishing.audiences]
    for row in reports.reports:
        if row.audience is not None and row.audience not in known:
            raise ConfigError(
                f"{path}: report {row.name!r} is for {row.audience!r}, which is no audience of publishing.yml{nearest(row.audience, known)}"
            )
    return publishing


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
    rankers = _read_yaml(folder / "rankers.yml", RankersFile).rankers
    reports = _read_yaml(folder / "reports.yml", ReportsFile)
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
    _unique(folder / "rankers.yml", "ranker version", (row.version for row in rankers))
    _unique(folder / "detectors.yml", "detector version", (row.version for row in detectors))
    watched = {row.name for row in signals}
    for detector in detectors:
        for tuning in detector.tuning:
            if tuning.signal not in watched:
                raise ConfigError(
                    f"{folder / 'detectors.yml'}: version {detector.version!r} tunes signal {tuning.signal!r}, "
                    f"which is not in signals.yml{nearest(tuning.signal, watched)}"
                )
        for mask in detector.masks:
            unknown_name = prescriptions.names_unknown(
                prescriptions.Prescription(mask=mask), watched, known, [row.journey for row in journeys]
            )
            if unknown_name:
                raise ConfigError(f"{folder / 'detectors.yml'}: mask {mask.name!r} of version {detector.version!r}: {unknown_name}")
    for ranker in rankers:
        for rule in ranker.rules:
            unknown_name = prescriptions.names_unknown(prescriptions.Prescription(rule=rule), (), known, ())
            if unknown_name:
                raise ConfigError(f"{folder / 'rankers.yml'}: rule {rule.name!r} of version {ranker.version!r}: {unknown_name}")
    calendar = _read_yaml(folder / "calendar.yml", CalendarFile).calendar
    _unique(folder / "calendar.yml", "calendar row", (row.name for row in calendar))
    for journey in journeys:
        for step in journey.steps:
            for service in step.services:
                if services and service not in known:
                    raise ConfigError(
                        f"{folder / 'journeys.yml'}: journey {journey.journey!r} step {step.step!r} names service {service!r}, "
                        f"which is not in catalog/services.csv{nearest(service, known)}"
                    )
    return Deployment(
        folder=folder,
        company=sources.company,
        history=sources.history.window,
        sources=sources.sources,
        signals=signals,
        detectors=detectors,
        rankers=rankers,
        journeys=journeys,
        reports=reports.reports,
        reporting=reports,
        services=services,
        edges=edges + tuple(EdgeRow(caller=caller, callee=callee) for caller, callee in found.edges if (caller, callee) not in declared),
        teams=teams,
        aliases=_read_csv(catalog / "aliases.csv", AliasRow),
        calendar=_check_calendar(folder / "calendar.yml", calendar, signals, journeys, services),
        slos=openslo.objectives(folder / "slos", journeys),
        costs=_read_yaml(folder / "costs.yml", CostsFile),
        postmortems=_read_yaml(folder / "postmortems.yml", PostmortemsFile),
        currencies=_read_yaml(folder / "currencies.yml", CurrenciesFile),
        runbooks=runbooks.read(catalog / "runbooks", services=known, teams=[row.team for row in teams]),
        automation=_check_automation(folder / "automation.yml"),
        actions=_read_yaml(folder / "actions.yml", ActionsFile),
        pipeline=_check_pipeline(folder / "pipeline.yml", reports.reports),
        publishing=_check_audiences(folder / "reports.yml", reports, _read_publishing(folder / "publishing.yml")),
        clock_tolerance=timedelta(minutes=sources.clock_tolerance_minutes),
        catalog_notes=(*found.notes, *unknown, *own, *own_teams),
    )


@dataclass(frozen=True)
class Settings:
    """Where this run reads its configuration and keeps its state."""

    home: Path
    config: Path
    store: str | None = None  # an object store shared with other machines

    @classmethod
    def from_environment(cls) -> Settings:
        """Read AFTERCAST_HOME (default `var/`), AFTERCAST_CONFIG (default `config/`) and AFTERCAST_STORE (default none)."""
        home = Path(os.environ.get("AFTERCAST_HOME") or PROJECT / "var").expanduser().resolve()
        config = Path(os.environ.get("AFTERCAST_CONFIG") or PROJECT / "config").expanduser().resolve()
        return cls(home=home, config=config, store=os.environ.get("AFTERCAST_STORE") or None)

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

    @cached_property
    def publishing(self) -> PublishingFile:
        """Who may read what is published; read by itself, because publishing needs nothing else of the configuration."""
        return _read_publishing(self.config / "publishing.yml")

    @property
    def published(self) -> Path:
        return self.home / "published"

    @property
    def mart(self) -> Path:
        """The link readers open; it points at one immutable, versioned file."""
        return self.published / "aftercast.duckdb"

    @property
    def audiences(self) -> Path:
        """The folder with a link `<audience>.duckdb` for each audience, and its versions in a folder of its name."""
        return self.published / "audiences"

    @property
    def reports(self) -> Path:
        return self.home / "reports"

    @property
    def outbox(self) -> Path:
        return self.home / "outbox"

    @property
    def postmortems(self) -> Path:
        """The folder drafts are written to and people edit; state of its own, not below anything we clean up."""
        return self.home / Path(self.deployment.postmortems.folder).expanduser()

    @property
    def airflow(self) -> Path:
        return self.home / "airflow"

    @property
    def metrics(self) -> Path:
        """What the pipeline writes down about itself, and the file that Prometheus' node exporter reads."""
        return self.home / "metrics"

    @property
    def audit(self) -> Path:
        return self.home / "audit"


def raw_folder(settings: Settings, source: SourceRow, window: Window) -> Path | None:
    """Return where the pages of an extract are kept; None when the source's row does not ask for it (see `sources.web.Web`)."""
    return settings.raw / source.name / window.label() if source.keep_raw else None
