"""What turns landed rows into the published mart, step by step."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, wraps
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import polars as pl

from aftercast import landing, store, warehouse
from aftercast.analyses import DERIVED
from aftercast.errors import ConfigError, LandingError, QualityError, TransformError
from aftercast.landing import remembered, storage, watched, working
from aftercast.prescriptions import Advice, names_unknown, parse
from aftercast.settings import Settings
from aftercast.version import code_version, folder_fingerprint
from aftercast.window import Window, parse_utc

if TYPE_CHECKING:
    from aftercast.detection import watched_days

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


def in_turn(step: Callable[P, R]) -> Callable[P, R]:
    """A step that works on the warehouse: one at a time, whoever started it."""

    @wraps(step)
    def alone(*arguments: P.args, **named: P.kwargs) -> R:
        with warehouse.turn(Settings.from_environment().home):
            return step(*arguments, **named)

    return alone


KEPT_BY_DAY = ("metric_points",)  # what the warehouse keeps day by day; the rest is small enough to be built anew


def plan() -> bool:
    """Compile the configuration to declared tables; return whether the published mart is out of date."""
    settings = Settings.from_environment()
    store.hold(settings)
    landing.prepare(settings)
    landing.fetch_all(settings)
    for note in settings.deployment.catalog_notes:
        log.info("catalogue: %s", note)
    span = landing.covered_window(settings)
    if span is None:
        log.info("nothing has landed yet: there is nothing to refresh")
        return False
    hashed = cache(storage.stored_hash)  # two fingerprints, one look at each file
    run = pl.DataFrame(
        {
            "company": [settings.deployment.company],
            "window_start": [span.start],
            "as_of": [span.end],
            "code_version": [code_version()],
            "configuration_fingerprint": [folder_fingerprint(settings.config)],
            "landing_fingerprint": [landing.landing_fingerprint(settings, hashed)],
        }
    )
    declared = landing.declared_tables(settings.deployment)
    names = hashlib.sha256(repr(declared["aliases"].rows()).encode()).hexdigest()
    days = [landing.landed_days(settings, entity, span.end, f"{code_version()} {names}", hashed) for entity in KEPT_BY_DAY]
    landing.write_declared(settings, {**declared, "run": run, "landed_days": pl.concat(days)})
    if settings.mart.exists():
        columns = ", ".join(f"{name}::varchar as {name}" for name in sorted(run.columns))
        published = warehouse.query(settings.mart, f"select {columns} from marts.mart_run")
        with warehouse.connect(None) as connection:
            connection.register("run", run.to_arrow())
            current = warehouse.frame(connection, f"select {columns} from run")
        if published.equals(current):
            log.info("nothing changed since the published mart was built (as of %s): nothing to do", span.end)
            return False
    return True


@in_turn
def stage() -> None:
    """Stage landed, declared and derived files."""
    _build("stage")


@in_turn
def star() -> None:
    """Build dimensions and facts."""
    _build("star")


@in_turn
def marts() -> None:
    """Build the facts that analyses derived, and the marts."""
    _build("marts")


def _build(selector: str) -> None:
    from aftercast import transform

    settings = Settings.from_environment()
    try:
        summary = transform.build(settings, selector)
    except TransformError as error:
        # dbt says which model failed, and not always by which of the files it read.
        found = [f"{path} is damaged; {landing.what_to_do(path)}" for path in landing.damaged(settings)]
        if found:
            raise LandingError("\n".join([*found, str(error)])) from error
        raise
    log.info("%s", summary)


# What the analyses read: their name for a frame, and the star table it comes from.
CORRELATION_READS = {
    "incident_services": "bridge_incident_service",
    "changes": "fct_change",
    "metric_points": "fct_metric_point",
    "kpi_points": "fct_kpi_point",
    "alerts": "fct_alert",
    "services": "dim_service",
    "dependencies": "dim_service_dependency",
    "log_patterns": "fct_log_pattern",
    "trace_red": "fct_trace_red",
    "span_events": "fct_span_event",
    "action_items": "fct_action_item",
    "journeys": "bridge_journey_service",
}


MEASUREMENT_READS = {
    "incident_services": "bridge_incident_service",
    "kpi_points": "fct_kpi_point",
    "journeys": "dim_journey",
    "journey_services": "bridge_journey_service",
    "dependencies": "dim_service_dependency",
    "services": "dim_service",
    "action_items": "fct_action_item",
    "changes": "fct_change",
}


REAL_INCIDENTS = "select * from star.fct_incident where not exclude_from_metrics"


EVERY_VERDICT = "select * from staging.stg_verdicts"


PRESCRIBED = """
select insight_id, recorded_at, confidence, prescription
from star.fct_insight
where prescription is not null
order by insight_id
"""


CONCERNED = """
select incident_id, 'service' as subject_kind, service as subject from star.bridge_incident_service
union
select services.incident_id, 'journey', journeys.journey
from star.bridge_incident_service as services
inner join star.bridge_journey_service as journeys on services.service = journeys.service
order by all
"""


SERIES_PER_TASK = 256
POINTS_AT_ONCE, MEMORY = 1_000_000, "1GB"  # what bounds `watch`, whatever the history: so many points, or a day of them


@in_turn
def watch() -> list[str]:
    """Lay out the points of watched series on days that changed, each series in its chunk; return the chunks, at least one."""
    from aftercast import detection
    from aftercast.detection import watched_days

    settings = Settings.from_environment()
    signals = {signal.name: signal for signal in settings.deployment.signals}
    if not signals:
        log.info("no signal is declared in %s: nothing is watched", settings.config / "signals.yml")
    with warehouse.connect(settings.warehouse, memory=MEMORY) as connection:
        warehouse.execute(connection, "set threads = 1")  # sums then add up in one order, whatever days are read with a day
        n_series = sum(warehouse.frame(connection, detection.series_query(signal)).height for signal in signals.values())
        chunks = working.chunks_for(n_series, SERIES_PER_TASK)
        marks = {name: warehouse.frame(connection, detection.marks_query(signal)) for name, signal in signals.items()}
        wanted = watched_days.origins(list(signals.values()), marks, code_version())
        days = _stale(settings, len(chunks), wanted)
        n_points = {
            (date.fromisoformat(day), name): n for name, rows in marks.items() for day, n in rows.select("day", "n_points").iter_rows()
        }
        for batch in watched_days.batches(days, n_points, POINTS_AT_ONCE):
            first, last = (datetime.combine(day, time(), UTC) for day in (batch.days[0], batch.days[-1]))
            read = (warehouse.frame(connection, detection.signal_query(signals[name], first, last)) for name in batch.signals)
            points = pl.concat([detection.no_points(), *read])
            watched.lay_out(settings, len(chunks), points, {day: wanted[day] for day in batch.days}, batch.signals)
        gone = watched.keep_only(settings, len(chunks), wanted)
        working.write_masks(settings, warehouse.frame(connection, detection.masks_query()))
    log.info("%d series of %d signals in %d chunks", n_series, len(signals), len(chunks))
    log.info("%d of %d days laid out, %d files of other days gone", len(days), len(wanted), gone)
    return [str(chunk) for chunk in chunks]


def _stale(settings: Settings, of: int, wanted: watched_days.Origins) -> dict[date, tuple[str, ...]]:
    """Return the days to lay out, each with the signals; a day of which rows should stay but cannot be read is laid out whole."""
    from aftercast.detection import watched_days

    kept = watched.kept(settings, of, wanted)
    days = watched_days.stale(wanted, kept)
    in_part = [day for day, names in days.items() if set(names) < set(wanted[day])]
    for day in watched.forget_damaged(settings, of, in_part):
        kept.pop(day)
    return watched_days.stale(wanted, kept)


def detect(chunk: str) -> None:
    """Refit and score the series of a chunk where anything has changed, and find their episodes."""
    from aftercast import detection

    settings, part, code = Settings.from_environment(), working.Chunk.parse(chunk), _detection_code()
    masks, kept = working.read_masks(settings), working.kept_scores(settings, code, part)
    window, rules = _window(settings), settings.deployment
    found: list[detection.Detection] = []
    for signal in rules.signals:
        points = watched.read(settings, signal.name, part)
        points = detection.no_points() if points is None else points
        found.append(detection.detect(points, [signal], masks, window, detectors=rules.detectors, calendar=rules.calendar, kept=kept))
        log.info("%s: %d series, %d days scored", signal.name, found[-1].series_health.height, len(found[-1].scored_days))
    for table in detection.TABLES:
        rows = [getattr(one, table) for one in found] or [pl.DataFrame(schema=DERIVED[table])]
        working.write_found(settings, table, part, pl.concat(rows))
    if found:
        days = frozenset[datetime]().union(*(one.scored_days for one in found))
        working.keep_scores(settings, code, part, pl.concat([one.scores for one in found]), days)


@in_turn
def gather(chunks: list[str]) -> None:
    """Put together what the chunks found, propose what verdicts say of its sensitivity, and forget the scores of other code."""
    from aftercast import detection
    from aftercast.detection import scorecard

    settings, parts = Settings.from_environment(), [working.Chunk.parse(chunk) for chunk in chunks]
    tables = {table: detection.as_table(table, working.read_found(settings, table, parts)) for table in detection.TABLES}
    for table, rows in tables.items():
        landing.write_derived(settings, table, rows)
    with warehouse.connect(settings.warehouse) as connection:
        verdicts = warehouse.frame(connection, f"select {', '.join(scorecard.VERDICTS)} from intermediate.int_anomalies__verdicts")
    proposals = scorecard.propose(tables["anomalies"], verdicts, settings.deployment.detectors, _window(settings).end)
    landing.write_derived(settings, "tuning_proposals", proposals)
    working.forget_others(settings, _detection_code(), len(parts))
    log.info(
        "%d series watched, %d episodes found, %d of them judged by people, %d proposals",
        tables["series_health"].height,
        tables["anomalies"].height,
        verdicts.height,
        proposals.height,
    )


def _detection_code() -> str:
    """Return the fingerprint of the code scores depend on."""
    return folder_fingerprint(Path(__file__).parents[1] / "detection")


@in_turn
def correlate() -> None:
    """Rank the candidates of every incident, place it among earlier ones, and say what moves with what and who reaches whom.

    Evidence and rankings of earlier runs are used again where nothing they are a function of has changed.
    """
    from aftercast import correlation

    settings = Settings.from_environment()
    with warehouse.connect(settings.warehouse) as connection:
        frames = {name: _read_for_correlation(connection, name, f"star.{table}") for name, table in CORRELATION_READS.items()}
        frames["incidents"] = warehouse.frame(connection, REAL_INCIDENTS)
        frames["verdicts"] = warehouse.frame(connection, EVERY_VERDICT)
        advice = _advice(settings, warehouse.frame(connection, PRESCRIBED))
        effects = _effects_of_detectors(settings, connection, advice)
    frames["anomalies"] = _live_anomalies(settings)
    inputs, as_of = correlation.Inputs.of(frames), _window(settings).end
    inferred = correlation.infer_edges(inputs, as_of)
    inputs = correlation.beside_calls(inputs, inferred)
    shelf, memory = _memory(settings)
    found = correlation.correlate(inputs, as_of, settings.deployment.rankers, advice, memory)
    together = correlation.correlate_kpis(inputs, as_of)
    found = replace(found, insight_effects=pl.concat([found.insight_effects, effects]))
    reach = {"inferred_edges": inferred, "blast_radius": correlation.blast_radius(inputs), "kpi_correlations": together}
    _keep(settings, shelf, memory, found.tables() | reach)
    log.info("evidence on %d incidents and proposals examined anew, %d incidents ranked anew", memory.examined_anew, memory.ranked_anew)
    log.info(
        "%d edges inferred; %d service metrics and customer figures compared, %d move together",
        inferred.height,
        together.height,
        together.filter(pl.col("status") == "significant").height,
    )
    log.info(
        "%d proposals of %d alerts and episodes, %d of them about a declared incident",
        found.proposals.height,
        found.proposal_members["proposal_id"].count(),
        found.proposals["incident_id"].count(),
    )
    log.info(
        "%d incidents ranked: %d candidates, %d pieces of evidence; %d of %d incidents judged by people tell how good the ranking is",
        frames["incidents"].height,
        found.candidates.height,
        found.evidence.height,
        found.judged_rankings.filter(pl.col("status") == "judged")["incident_id"].n_unique(),
        found.judged_rankings["incident_id"].n_unique(),
    )


def _memory(settings: Settings) -> tuple[remembered.Shelf, Any]:
    """Return what earlier runs of this very code found, and where it is kept."""
    from aftercast import correlation

    code = " ".join([code_version(), *(f"{name} {metadata.version(name)}" for name in ("numpy", "polars", "scipy"))])
    shelf = remembered.Shelf(settings, code)
    memory = correlation.Memory(shelf, code)
    if (learned := shelf.learned(list(correlation.LEARNED))) is not None:
        memory.learned = learned
    if (held := shelf.ranked(settings, correlation.ROWS, list(correlation.RANKED))) is not None:
        memory.ranked, memory.tables = held
    return shelf, memory


def _keep(settings: Settings, shelf: remembered.Shelf, memory: Any, tables: dict[str, pl.DataFrame]) -> None:
    """Write what was found, and after it what it was a function of: whoever is killed between the two ranks again."""
    from aftercast import correlation

    for table, rows in tables.items():
        landing.write_derived(settings, table, rows)
    shelf.keep_learned(memory.learned_now())
    shelf.keep_ranked(settings, memory.ranked, correlation.ROWS)
    shelf.forget_others()


def _advice(settings: Settings, insights: pl.DataFrame) -> list[Advice]:
    """Return what insights prescribe; one that names what is not declared any more, or cannot be read, says so."""
    rules, found = settings.deployment, list[Advice]()
    names = [row.name for row in rules.signals], [row.service for row in rules.services], [row.journey for row in rules.journeys]
    for insight_id, recorded_at, confidence, text in insights.iter_rows():
        try:
            prescription, problem = parse(text), ""
            problem = names_unknown(prescription, *names)
        except ConfigError as error:
            prescription, problem = None, str(error)
        found.append(Advice(insight_id, recorded_at, None if problem else prescription, confidence, problem))
    return found


def _effects_of_detectors(settings: Settings, connection: Any, advice: list[Advice]) -> pl.DataFrame:
    """Return what thresholds and masks would do to alarms, and why what cannot be used cannot."""
    schema = dict(DERIVED["insight_effects"])
    unusable = [
        {"insight_id": one.insight_id, "kind": "", "state": "proposed", "verdict": "unusable", "reason": one.problem}
        for one in advice
        if one.problem
    ]
    refused = pl.DataFrame([{"model_version": "insight-effects-1", **row} for row in unusable], schema=schema, orient="row")
    if len(unusable) == len(advice):
        return refused
    from aftercast.detection import prescribed, scorecard

    verdicts = warehouse.frame(connection, f"select {', '.join(scorecard.VERDICTS)} from intermediate.int_anomalies__verdicts")
    incidents = warehouse.frame(connection, f"select {', '.join(prescribed.READ_INCIDENTS)} from ({REAL_INCIDENTS})")
    subjects = warehouse.frame(connection, CONCERNED)
    anomalies, detectors = _derived(settings, "anomalies"), settings.deployment.detectors
    told = prescribed.effects(advice, anomalies, verdicts, incidents, subjects, detectors, _window(settings).end)
    return pl.concat([refused, told])


def _read_for_correlation(connection: Any, name: str, table: str) -> pl.DataFrame:
    from aftercast import correlation

    there = warehouse.frame(connection, f"select * from {table} limit 0").columns
    return warehouse.frame(connection, correlation.query(name, table, there))


@in_turn
def measure() -> None:
    """Put a loss with an interval on every incident, a verdict on every fix, and an order on what to fix next."""
    from aftercast import learning, measurement

    settings = Settings.from_environment()
    as_of = _window(settings).end
    with warehouse.connect(settings.warehouse) as connection:
        frames = {name: warehouse.frame(connection, f"select * from star.{table}") for name, table in MEASUREMENT_READS.items()}
        frames["incidents"] = warehouse.frame(connection, REAL_INCIDENTS)
    frames |= {name: _derived(settings, name) for name in ("families", "candidates")} | {"anomalies": _live_anomalies(settings)}
    frames |= {"exchange_rates": _rates(settings), "known_times": _known_times(settings)}
    measured = measurement.measure(measurement.Inputs(**frames), as_of)
    for table in ("impact", "incident_loss", "fix_impact"):
        landing.write_derived(settings, table, getattr(measured, table))
    recommended = learning.recommend(frames, measured.incident_loss, measured.fix_impact, as_of)
    landing.write_derived(settings, "recommendations", recommended)
    landing.write_derived(settings, "fix_portfolio", learning.weigh(frames, measured.incident_loss, measured.fix_impact, as_of))
    log.info(
        "%d incidents measured, %d fixes judged, %d recommendations",
        measured.incident_loss.height,
        measured.fix_impact.height,
        recommended.height,
    )


def _rates(settings: Settings) -> pl.DataFrame:
    """Return the declared rates, with the currency reported in as the rate of itself."""
    from aftercast.measurement.inputs import READ

    declared = settings.deployment.currencies
    rows = [(row.currency, declared.report_in, row.rate, datetime.combine(row.since, time(), UTC)) for row in declared.rates]
    own = [(declared.report_in, declared.report_in, 1.0, None)] if declared.report_in else []
    return pl.DataFrame([*own, *rows], schema=READ["exchange_rates"], orient="row")


def _known_times(settings: Settings) -> pl.DataFrame:
    """Return when the calendar's promotions and holidays happen that move figures of journeys, margins included."""
    from aftercast.detection.known_times import occurrences
    from aftercast.measurement.inputs import READ

    window, kpis = _window(settings), {signal.name for signal in settings.deployment.signals if signal.fact == "kpi"}
    rows = []
    for row in settings.deployment.calendar:
        if (row.services and not row.journeys) or (row.signals and not kpis & set(row.signals)):
            continue
        before, after = timedelta(minutes=row.before_minutes), timedelta(minutes=row.after_minutes)
        scope = [list(row.journeys), list(row.regions), list(row.countries)]
        rows += [(row.name, one.start - before, one.end + after, *scope) for one in occurrences(row, window)]
    return pl.DataFrame(rows, schema=READ["known_times"], orient="row")


def _derived(settings: Settings, table: str) -> pl.DataFrame:
    return storage.read(landing.derived_path(settings, table))


def _live_anomalies(settings: Settings) -> pl.DataFrame:
    """Return the episodes of the live detector version; only the scorecard looks at the others."""
    return _derived(settings, "anomalies").filter(pl.col("mode") == "live")


def _run(settings: Settings) -> dict[str, Any]:
    return storage.read(landing.declared_path(settings, "run")).row(0, named=True)


def _window(settings: Settings) -> Window:
    run = _run(settings)
    return Window(parse_utc(run["window_start"].isoformat()), parse_utc(run["as_of"].isoformat()))


TOLD_OF_ARRIVALS = ("border", "source", "table_name", "severity", "observed", "reason")


@in_turn
def check() -> None:
    """Judge the marts before anybody can read them; a critical failure stops here and keeps the published mart."""
    from aftercast import arrivals, quality

    settings = Settings.from_environment()
    stopping = frozenset(row.name for row in settings.deployment.sources if row.unusual == "stop")
    came = arrivals.judge(landing.arrived(settings), landing.covered(settings), stopping)
    judged: list[dict[str, Any]] = []

    def keep(mart: str, rows: list[dict[str, Any]]) -> None:
        judged.extend({**dict.fromkeys(came.columns), "table_name": mart, **row} for row in rows)

    try:
        with warehouse.connect(settings.warehouse) as connection:
            findings = quality.check_marts(settings, lambda mart: warehouse.frame(connection, f"select * from marts.{mart}"), keep)
    finally:
        landing.write_derived(settings, "gate_results", pl.concat([pl.DataFrame(judged, schema=came.schema), came]))
    unusual = came.filter(pl.col("status") == "failed")
    for row in unusual.iter_rows(named=True):
        log.warning("%s of %s/%s is unusual (%s): %s. %s", *(row[name] for name in TOLD_OF_ARRIVALS))
    stopped = unusual.filter(pl.col("severity") == "critical")
    if stopped.height:
        told = [
            f"source {row['source']!r}: {row['border']} of {row['table_name']}: {row['observed']}" for row in stopped.iter_rows(named=True)
        ]
        advice = "its row in sources.yml says `unusual: stop`; see docs/quality.md"
        raise QualityError("\n".join(f"{one}; {advice}" for one in told))
    log.info("%d published suites passed, %d findings below critical", len(quality.published_marts()), len(findings))
    unjudged = came.filter(pl.col("status") == "not_judged").height
    log.info(
        "%d arrivals as usual, %d unusual, %d without enough history", came.height - unusual.height - unjudged, unusual.height, unjudged
    )


@in_turn
def publish() -> None:
    """Copy the marts to a versioned read-only file and let readers see it."""
    from aftercast import publishing, sharing

    settings = Settings.from_environment()
    run = _run(settings)
    parts = "".join(run[name] for name in ("code_version", "configuration_fingerprint", "landing_fingerprint"))
    version = f"{run['as_of']:%Y%m%dT%H%M}-{hashlib.sha256(parts.encode()).hexdigest()[:12]}"
    log.info("%s", publishing.publish(settings, version=version))
    sharing.share(settings)
