"""What drafts postmortems and asks people about them."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from aftercast import warehouse
from aftercast.declarations import nearest
from aftercast.errors import ConfigError, QualityError, ReviewConflict
from aftercast.settings import Settings
from aftercast.store import keeping
from aftercast.window import parse_utc

if TYPE_CHECKING:
    from aftercast import reviewing

log = logging.getLogger(__name__)


@keeping
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
        put = reviewing.put_draft(place, incident, _narrated(settings, marts, incident), now)
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


@keeping
def put_draft(incident: str, now: datetime) -> reviewing.Put:
    """Draft the postmortem of any incident into the folder, also when people deleted an earlier draft.

    Raises:
        ConfigError: the mart does not know the incident.
        ReviewConflict: the folder cannot be written.
    """
    from aftercast import reviewing
    from aftercast.learning import drafts

    settings = Settings.from_environment()
    text = _narrated(settings, _published(settings, tuple(drafts.READ)), incident)
    return reviewing.put_draft(settings.postmortems, incident, text, now, again=True)


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


def _narrated(settings: Settings, marts: dict[str, pl.DataFrame], incident: str) -> str:
    from aftercast.acting import narrating
    from aftercast.learning import drafts

    draft = _checked_draft(marts, incident)
    text = narrating.narrated(settings, incident, draft)
    wrong = drafts.problems(text, marts) if text != draft else []
    if wrong:
        raise QualityError(f"the narrative of {incident} would claim what no row shows; nothing was written:\n" + "\n".join(wrong))
    return text


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


@keeping
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
