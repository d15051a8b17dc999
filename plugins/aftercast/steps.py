"""One function per Airflow task: read what the step needs, call the room that knows how, write what came back.

No step computes anything itself. Each replaces its whole output, so any step can be run again. Rooms are imported inside the functions,
because a task should pay only for what it uses.
"""

from __future__ import annotations

import hashlib
import logging
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from aftercast import extraction, landing, warehouse
from aftercast.analyses import DERIVED
from aftercast.declarations import nearest
from aftercast.errors import ConfigError, QualityError, ReviewConflict
from aftercast.landing import working
from aftercast.settings import Settings
from aftercast.version import code_version, folder_fingerprint
from aftercast.window import Window, parse_utc

if TYPE_CHECKING:
    from aftercast import reviewing

log = logging.getLogger(__name__)


def choose_window(source: str, given_from: str | None, given_to: str | None, interval_start: Any, interval_end: Any) -> Window:
    """Return the window an extract run is for.

    A window given by hand wins. Otherwise it is the data interval, begun earlier when the source's last window ended earlier, so that
    missed and failed runs leave no gap, and by the overlap its row asks for.

    Raises:
        ConfigError: only one end was given, or neither a window nor a data interval is known.
    """
    if given_from and given_to:
        return Window.parse(given_from, given_to)
    if given_from or given_to:
        raise ConfigError(f"source {source!r}: give both `from` and `to`, or neither")
    if interval_start is None or interval_end is None:
        raise ConfigError(f'source {source!r}: a run triggered by hand needs its window, e.g. {{"from": "2026-09-21", "to": "2026-09-28"}}')
    settings = Settings.from_environment()
    start, end = parse_utc(interval_start.isoformat()), parse_utc(interval_end.isoformat())
    return extraction.scheduled_window(settings, settings.deployment.source(source), start, end)


def extract(source: str, window: Window, *, ingested_at: datetime) -> dict[str, int]:
    """Extract a window of a source, gate it, and land it. Returns row counts."""
    settings = Settings.from_environment()
    return _counts(extraction.extract(settings, settings.deployment.source(source), window, ingested_at=ingested_at))


def reconcile(source: str, *, ingested_at: datetime) -> dict[str, int]:
    """Extract the last covered days of a source again, as one window: what was deleted upstream is gone afterwards. Returns row counts."""
    settings = Settings.from_environment()
    row = settings.deployment.source(source)
    window = extraction.reconciled_window(settings, row)
    if window is None:
        log.info("source %s has not been extracted yet: there is nothing to reconcile", source)
        return _counts([])
    return _counts(extraction.extract(settings, row, window, ingested_at=ingested_at, whole=True))


def _counts(landed: list[landing.Landed]) -> dict[str, int]:
    return {name: sum(getattr(entity, name) for entity in landed) for name in ("received", "landed", "rejected", "changed_files")}


def prune(now: datetime) -> dict[str, int]:
    """Forget raw pages whose time is over, and what killed tasks left behind. Returns how many of each."""
    settings = Settings.from_environment()
    landing.prepare(settings)
    return landing.prune(settings, now)


def plan() -> bool:
    """Compile the configuration to declared tables; return whether the published mart is out of date."""
    settings = Settings.from_environment()
    landing.prepare(settings)
    for note in settings.deployment.catalog_notes:
        log.info("catalogue: %s", note)
    span = landing.covered_window(settings)
    if span is None:
        log.info("nothing has landed yet: there is nothing to refresh")
        return False
    run = pl.DataFrame(
        {
            "company": [settings.deployment.company],
            "window_start": [span.start],
            "as_of": [span.end],
            "code_version": [code_version()],
            "configuration_fingerprint": [folder_fingerprint(settings.config)],
            "landing_fingerprint": [landing.landing_fingerprint(settings)],
        }
    )
    landing.write_declared(settings, {**landing.declared_tables(settings.deployment), "run": run})
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


def stage() -> None:
    """Stage landed, declared and derived files."""
    _build("stage")


def star() -> None:
    """Build dimensions and facts."""
    _build("star")


def marts() -> None:
    """Build the facts that analyses derived, and the marts."""
    _build("marts")


def _build(selector: str) -> None:
    from aftercast import transform

    summary = transform.build(Settings.from_environment(), selector)
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
ACTION_READS = {"items": "mart_action_items", "fixes": "mart_fix_impact", "incidents": "mart_incidents"}
REAL_INCIDENTS = "select * from star.fct_incident where not exclude_from_metrics"
EVERY_VERDICT = "select * from staging.stg_verdicts"
SERIES_PER_TASK = 256


def watch() -> list[str]:
    """Read the points of every watched series from the star and deal them to chunks; returns the chunks, at least one."""
    from aftercast import detection

    settings = Settings.from_environment()
    signals = settings.deployment.signals
    if not signals:
        log.info("no signal is declared in %s: nothing is watched", settings.config / "signals.yml")
    with warehouse.connect(settings.warehouse) as connection:
        queries = {signal.name: detection.signal_query(signal) for signal in signals}
        counts = [warehouse.frame(connection, f"select count(distinct series_id) from ({sql})").item() for sql in queries.values()]
        chunks = working.chunks_for(sum(counts), SERIES_PER_TASK)
        for name, sql in queries.items():
            working.write_watched(settings, name, warehouse.frame(connection, sql), len(chunks))
        working.write_masks(settings, warehouse.frame(connection, detection.masks_query()))
    log.info("%d series of %d signals in %d chunks", sum(counts), len(signals), len(chunks))
    return [str(chunk) for chunk in chunks]


def detect(chunk: str) -> None:
    """Refit and score the series of a chunk where anything has changed, and find their episodes."""
    from aftercast import detection

    settings, part, code = Settings.from_environment(), working.Chunk.parse(chunk), _detection_code()
    masks, kept = working.read_masks(settings), working.kept_scores(settings, code, part)
    window, rules = _window(settings), settings.deployment
    found: list[detection.Detection] = []
    for signal in rules.signals:
        points = working.read_watched(settings, signal.name, part)
        found.append(detection.detect(points, [signal], masks, window, detectors=rules.detectors, calendar=rules.calendar, kept=kept))
        log.info("%s: %d series, %d days scored", signal.name, found[-1].series_health.height, len(found[-1].scored_days))
    for table in detection.TABLES:
        rows = [getattr(one, table) for one in found] or [pl.DataFrame(schema=DERIVED[table])]
        working.write_found(settings, table, part, pl.concat(rows))
    if found:
        days = frozenset[datetime]().union(*(one.scored_days for one in found))
        working.keep_scores(settings, code, part, pl.concat([one.scores for one in found]), days)


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
    return folder_fingerprint(Path(__file__).parent / "detection")


def correlate() -> None:
    """Rank the candidates of every incident, place it among earlier ones, and say what moves with what and who reaches whom."""
    from aftercast import correlation

    settings = Settings.from_environment()
    with warehouse.connect(settings.warehouse) as connection:
        frames = {name: _read_for_correlation(connection, name, f"star.{table}") for name, table in CORRELATION_READS.items()}
        frames["incidents"] = warehouse.frame(connection, REAL_INCIDENTS)
        frames["verdicts"] = warehouse.frame(connection, EVERY_VERDICT)
    frames["anomalies"] = _live_anomalies(settings)
    inputs, as_of = correlation.Inputs.of(frames), _window(settings).end
    inferred = correlation.infer_edges(inputs, as_of)
    inputs = correlation.beside_calls(inputs, inferred)
    found = correlation.correlate(inputs, as_of, settings.deployment.rankers)
    together = correlation.correlate_kpis(inputs, as_of)
    reach = {"inferred_edges": inferred, "blast_radius": correlation.blast_radius(inputs), "kpi_correlations": together}
    for table, rows in (found.tables() | reach).items():
        landing.write_derived(settings, table, rows)
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


def _read_for_correlation(connection: Any, name: str, table: str) -> pl.DataFrame:
    from aftercast import correlation

    there = warehouse.frame(connection, f"select * from {table} limit 0").columns
    return warehouse.frame(connection, correlation.query(name, table, there))


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
    return pl.read_parquet(landing.derived_path(settings, table))


def _live_anomalies(settings: Settings) -> pl.DataFrame:
    """Return the episodes of the live detector version; only the scorecard looks at the others."""
    return _derived(settings, "anomalies").filter(pl.col("mode") == "live")


def _run(settings: Settings) -> dict[str, Any]:
    return pl.read_parquet(landing.declared_path(settings, "run")).row(0, named=True)


def _window(settings: Settings) -> Window:
    run = _run(settings)
    return Window(parse_utc(run["window_start"].isoformat()), parse_utc(run["as_of"].isoformat()))


def check() -> None:
    """Judge the marts before anybody can read them; a critical failure stops here and keeps the published mart."""
    from aftercast import quality

    settings = Settings.from_environment()
    with warehouse.connect(settings.warehouse) as connection:
        findings = quality.check_marts(settings, lambda mart: warehouse.frame(connection, f"select * from marts.{mart}"))
    log.info("%d published suites passed, %d findings below critical", len(quality.published_marts()), len(findings))


def publish() -> None:
    """Copy the marts to a versioned read-only file and let readers see it."""
    from aftercast import publishing

    settings = Settings.from_environment()
    run = _run(settings)
    parts = "".join(run[name] for name in ("code_version", "configuration_fingerprint", "landing_fingerprint"))
    version = f"{run['as_of']:%Y%m%dT%H%M}-{hashlib.sha256(parts.encode()).hexdigest()[:12]}"
    log.info("%s", publishing.publish(settings, version=version))


def send_report(name: str, week: str | None = None) -> Path:
    """Render a report from the published mart and hand it to its channels. Returns where it lies."""
    from aftercast import reporting

    settings = Settings.from_environment()
    names = [row.name for row in settings.deployment.reports]
    if name not in names:
        raise ConfigError(f"no report {name!r} in {settings.config / 'reports.yml'}; declared: {', '.join(names) or 'none'}")
    path = reporting.write_weekly(settings, week=week)
    log.info("report %s written to %s", name, path)
    return path


def planned_actions() -> Any:
    """Return what action items need outside, by the published mart and the outbox, as a `learning.actions.Plan`."""
    from aftercast.learning import actions
    from aftercast.outbox import Outbox

    settings = Settings.from_environment()
    frames = {name: warehouse.query(settings.mart, f"select * from marts.{table}") for name, table in ACTION_READS.items()}
    as_of = warehouse.query(settings.mart, "select as_of from marts.mart_run").item()
    channels = {row.team: row.channel for row in settings.deployment.teams if row.channel}
    sent = Outbox(settings.outbox).rows()
    return actions.plan(**frames, sent=sent, rules=settings.deployment.actions, team_channels=channels, as_of=as_of)


def sync_actions(now: datetime) -> dict[str, int]:
    """Do what action items need outside, each thing once: tickets, comments, reminders. Returns how many are in which state."""
    from aftercast import deliveries
    from aftercast.outbox import Outbox

    settings, plan = Settings.from_environment(), planned_actions()
    outcomes = deliveries.deliver(plan.effects, settings.deployment.actions, Outbox(settings.outbox), now)
    log.info(
        "%d things done or tried, %d wait for the next run; %d open items lack something",
        len(outcomes),
        plan.waiting,
        plan.incomplete.height,
    )
    return deliveries.check(outcomes)


def draft_postmortems(now: datetime) -> dict[str, int]:
    """Draft the postmortems of incidents that are over and have none. Returns how many of each outcome.

    Raises:
        QualityError: a draft would claim what no row shows.
        ReviewConflict: the folder cannot be written.
    """
    from aftercast import reviewing
    from aftercast.learning import drafts

    settings = Settings.from_environment()
    rules, place = settings.deployment.postmortems, settings.postmortems
    marts = _published(settings, tuple(drafts.READ))
    wanted = drafts.awaiting(marts, rules.severities, timedelta(days=rules.within_days))
    outcomes = dict.fromkeys(("written", "unchanged", "beside", "left"), 0)
    for incident in wanted:
        put = reviewing.put_draft(place, incident, _checked_draft(marts, incident), now)
        outcomes[put.outcome] += 1
        log.info("postmortem of %s %s: %s", incident, put.outcome, put.path)
    for problem in reviewing.documents(place)[1]:
        log.warning("%s", problem)
    log.info("%d incidents await a postmortem: %s", len(wanted), ", ".join(f"{count} {name}" for name, count in outcomes.items()))
    return outcomes


def draft_text(incident: str) -> str:
    """Return the draft of the postmortem of any incident of the published mart.

    Raises:
        ConfigError: the mart does not know the incident.
    """
    from aftercast.learning import drafts

    return _checked_draft(_published(Settings.from_environment(), tuple(drafts.READ)), incident)


def put_draft(incident: str, now: datetime) -> reviewing.Put:
    """Draft the postmortem of any incident into the folder, also when people deleted an earlier draft.

    Raises:
        ConfigError: the mart does not know the incident.
        ReviewConflict: the folder cannot be written.
    """
    from aftercast import reviewing

    return reviewing.put_draft(Settings.from_environment().postmortems, incident, draft_text(incident), now, again=True)


def _checked_draft(marts: dict[str, pl.DataFrame], incident: str) -> str:
    from aftercast.learning import drafts

    drafted = drafts.draft(marts, incident)
    if drafted is None:
        raise ConfigError(
            f"the published mart knows no incident {incident!r}{nearest(incident, marts['mart_incidents']['incident_id'], 10)}"
        )
    wrong = drafts.problems(drafted.text, marts)
    if wrong:
        raise QualityError(f"the draft of {incident} would claim what no row shows; nothing was written:\n" + "\n".join(wrong))
    return drafted.text


def _published(settings: Settings, tables: tuple[str, ...]) -> dict[str, pl.DataFrame]:
    """Return marts as published; those an earlier version did not publish are left out."""
    with warehouse.connect(settings.mart) as connection:
        there = warehouse.frame(connection, "select table_name from information_schema.tables where table_schema = 'marts'")
        return {name: warehouse.frame(connection, f"select * from marts.{name}") for name in tables if name in set(there["table_name"])}


def postmortems_to_review(now: datetime) -> list[str]:
    """Return the files in the folder of postmortems that a person should decide about, the latest first."""
    from aftercast import reviewing

    settings = Settings.from_environment()
    finished: frozenset[str] = frozenset()
    if settings.mart.exists():
        done = "select incident_id from marts.mart_incidents where postmortem_status = 'reviewed' and actions_open = 0"
        finished = frozenset(warehouse.query(settings.mart, done)["incident_id"])
    names, broken = reviewing.to_ask(settings.postmortems, settings.deployment.postmortems.due_days, now, finished)
    for problem in broken:
        log.warning("%s", problem)
    log.info("%d postmortems wait for a person", len(names))
    return names


def review_request(name: str, now: datetime) -> dict[str, Any]:
    """Return what to ask about a postmortem: subject, body, the users it is for (None: everybody), and the digest of the file."""
    from aftercast import reviewing

    settings = Settings.from_environment()
    rules = settings.deployment.postmortems
    asked = reviewing.request(settings.postmortems, name, rules.due_days, now)
    users = rules.reviewers.get(asked.team, ())
    return {
        "subject": asked.subject,
        "body": asked.body,
        "users": [{"id": user, "name": user} for user in users] or None,
        "seen": asked.seen,
    }


def record_review(name: str, seen: str, answer: dict[str, Any], now: datetime) -> str:
    """Write what a person decided about a postmortem into its front matter, unless it has moved on since. Returns what became of it.

    The date is that of the answer; `now`, when the question was asked, stands in for one that has none.

    Raises:
        ReviewConflict: it moved on, cannot be read, or its incident has vanished; nothing was written.
    """
    from aftercast import reviewing

    settings = Settings.from_environment()
    inputs, when = answer.get("params_input") or {}, answer.get("responded_at") or now
    document = reviewing.read(settings.postmortems, name)
    sql = "select count(*) from marts.mart_incidents where incident_id = ?"
    known = settings.mart.exists() and warehouse.query(settings.mart, sql, [document.incident_id]).item() > 0
    given = reviewing.Answer(answer["chosen_options"][0], (inputs.get("cause") or "").strip(), (inputs.get("team") or "").strip())
    moment = parse_utc(when.isoformat() if isinstance(when, datetime) else str(when))
    told = reviewing.answer(settings.postmortems, name, seen, given, moment, known=known)
    log.info("%s", told)
    return told


def check_postmortems(now: datetime) -> None:
    """Say which postmortems cannot be read, with file and line.

    Raises:
        ReviewConflict: at least one; the others were asked about.
    """
    from aftercast import reviewing

    del now  # a file can be read, or not
    broken = reviewing.documents(Settings.from_environment().postmortems)[1]
    if broken:
        raise ReviewConflict(f"{len(broken)} postmortems cannot be read and wait for nobody:\n" + "\n".join(broken))


def plan_responses(now: datetime) -> dict[str, list[Any]]:
    """Plan for current incidents and write every decision down; return what to ask people about and the keys of what needs no asking."""
    from aftercast import responding

    settings = Settings.from_environment()
    plans = responding.plan_responses(settings, now)
    desk = responding.Desk(settings, now)
    return {
        "asks": [responding.question(one) for one in responding.asks(plans, desk)],
        "acts": [one.key for one in responding.acts(plans)],
    }


def recommend(now: datetime) -> dict[str, int]:
    """Write recommendations to the channels declared, each once. Returns how many are in which state.

    Raises:
        SourceUnavailable, SourceRejected: some did not go through; the others did.
    """
    from aftercast import deliveries, responding

    found = responding.recommend(Settings.from_environment(), now)
    return deliveries.check([deliveries.Outcome(one.key, one.state, one.error) for one in found])


def act(key: str, answer: dict[str, Any] | None, now: datetime) -> str:
    """Carry out a planned action, after a person's answer where one was asked for. Returns what became of it.

    Raises:
        SourceUnavailable, SourceRejected: it did not go through, or that is not known.
    """
    from aftercast import deliveries, responding
    from aftercast.outbox import Outbox

    settings = Settings.from_environment()
    became = responding.act(settings, key, now, answer)
    sent = Outbox(settings.outbox).delivery(key)
    if sent is not None and became == sent.state:
        deliveries.check([deliveries.Outcome(key, sent.state, sent.error)])
    return became
