"""What renders reports from the published mart, sends them, and says so when there is none."""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from aftercast import landing, warehouse
from aftercast.declarations import ReportRow, nearest
from aftercast.errors import AftercastError, ConfigError, QualityError, SourceUnavailable
from aftercast.settings import Settings
from aftercast.store import keeping

if TYPE_CHECKING:
    from aftercast.reporting.letters import Letter, Post

log = logging.getLogger(__name__)


@keeping
def send_report(name: str, period: str | None = None, *, now: datetime | None = None, again: bool = False) -> Path:
    """Render a report from the published mart and hand it to its channels. Returns where its page lies.

    A period that is not over is written, and sent only when it is asked for by name. A period that was sent is not sent again unless
    `again`; then once for this state of the data.

    Args:
        name: of the report's row.
        period: such as `2026-W45`; None: the last complete one.
        now: the time; needed by rows with a schedule of their own, or with channels besides the file.
        again: send a correction.

    Raises:
        ConfigError: there is no such report, or its channels need the time.
        QualityError: the figures do not add up; a notice says so in the page's place.
        SourceUnavailable: the mart does not hold the period yet, or a channel did not take the report; trying again does nothing twice.
        SourceRejected: a channel refused it, or a person must say whether it arrived.
    """
    from aftercast import reporting

    settings = Settings.from_environment()
    row = _row(settings, name)
    outside = [channel for channel in row.channels if channel != "file"]
    if now is None and (outside or not row.follows_the_refresh):
        raise ConfigError(f"report {name!r} has channels or a schedule of its own: say what time it is")
    wanted = period or (None if row.follows_the_refresh or now is None else _due(settings, row, now))
    try:
        written = reporting.write(settings, row.cadence, audience=row.audience, period=wanted, pdf=row.pdf)
    except QualityError as error:
        _withhold(settings, row, _as_of(settings.mart), str(error), now)
        raise
    figures = written.report.figures
    log.info("report %s of %s written to %s%s", name, figures.label, written.page, " with its PDF" if written.pdf else "")
    if outside and now is not None:
        if figures.week.end > figures.as_of and period is None:
            log.info("%s is not over, so it is not sent to %s", figures.label, ", ".join(outside))
        else:
            from aftercast.reporting import letters

            link = _link(settings, written.page.relative_to(settings.reports).as_posix())
            letter, post = letters.letter(figures, link=link, pdf=written.pdf), letters.post(figures, link=link)
            _send(settings, row, figures.label, letter, post, now, again=again)
    return written.page


@keeping
def withhold_reports(reason: str, now: datetime, *, task: str = "check", silently: bool = False) -> list[Path]:
    """Say in the place of every report that is due why there is none: a task of the refresh failed, so no new mart is published.

    A report whose page was written from an earlier, good mart is left as it is; one with a schedule of its own is not due now. Returns the
    notices written.

    Args:
        reason: what failed.
        now: the time; where nothing says to which moment the data reaches, reports of the last complete period by the clock are due.
        task: that failed; before `check` no figures were judged.
        silently: write the notices and tell no channel.
    """
    settings = Settings.from_environment()
    if task != "check":
        reason = f"{task} failed: {reason}"
    as_of = _reaches(settings, now)
    due = [row for row in settings.deployment.reports if row.follows_the_refresh]
    notices = [_withhold(settings, row, as_of, reason, None if silently else now, judged=task == "check") for row in due]
    return [notice for notice in notices if notice]


def withhold_first_reports(reason: str, now: datetime, *, task: str, silently: bool = False) -> list[Path]:
    """Say why there is no report where none can be: a source failed and nothing was ever published.

    With a published mart a source that fails holds up no report: the others go on, and its page says which source is late.
    """
    if Settings.from_environment().mart.exists():
        return []
    return withhold_reports(reason, now, task=task, silently=silently)


def _reaches(settings: Settings, now: datetime) -> datetime:
    """To which moment the data reaches: that of the marts being made, else of what landed, else the time."""
    try:
        return _as_of(settings.warehouse)
    except AftercastError:  # no file yet, or one without marts
        pass
    span = landing.covered_window(settings)
    return span.end if span else now


def _row(settings: Settings, name: str) -> ReportRow:
    for row in settings.deployment.reports:
        if row.name == name:
            return row
    known = [row.name for row in settings.deployment.reports]
    raise ConfigError(f"no report {name!r} in {settings.config / 'reports.yml'}{nearest(name, known) or '; none is declared'}")


def _as_of(file: Path) -> datetime:
    moment: datetime = warehouse.query(file, "select as_of from marts.mart_run").item()
    return moment


def _due(settings: Settings, row: ReportRow, now: datetime) -> str:
    """The period a row with a schedule of its own is about: the last complete one by the clock, once the mart holds it whole."""
    from aftercast.reporting import CADENCES

    cadence = CADENCES[row.cadence]
    wanted, as_of = cadence.last_complete(now), _as_of(settings.mart)
    if as_of < wanted.end:
        raise SourceUnavailable(
            f"report {row.name!r} of {cadence.label(wanted)}: the published mart reaches only to {as_of:%Y-%m-%d %H:%M} UTC; "
            "it is made once a refresh has got to the end of the period"
        )
    return cadence.label(wanted)


def _withhold(
    settings: Settings, row: ReportRow, as_of: datetime, reason: str, now: datetime | None, *, judged: bool = True
) -> Path | None:
    from aftercast import reporting

    notice = reporting.withhold(settings, row.cadence, as_of, reason, audience=row.audience, judged=judged)
    if notice is None:
        return None
    log.warning("report %s of %s is withheld: %s", row.name, notice.label, notice.page)
    if now is not None:
        try:
            _send(settings, row, notice.label, notice.letter, notice.post, now, kind="withheld")
        except AftercastError as error:  # what failed first is what must be seen
            log.warning("that it is withheld could not be said everywhere: %s", error)
    return notice.page


def _link(settings: Settings, path: str) -> str | None:
    base = settings.deployment.reporting.pages_at
    return f"{base.rstrip('/')}/{path}" if base else None


def _send(
    settings: Settings, row: ReportRow, label: str, letter: Letter, post: Post, now: datetime, *, kind: str = "", again: bool = False
) -> None:
    from aftercast.acting import deliveries, dispatches
    from aftercast.acting.outbox import of as outbox_of

    version = settings.mart.resolve().stem
    dispatch = dispatches.Dispatch(row, label, version, letter, post, kind)
    outcomes = dispatches.send_out(dispatch, settings.deployment.reporting.channels, outbox_of(settings), now, again=again)
    counts = deliveries.check(outcomes)
    if outcomes:
        log.info("report %s of %s: %s", row.name, label, ", ".join(f"{number} {state}" for state, number in counts.items() if number))
