"""Act on incidents: read the published mart, plan by runbooks and guardrails, write everything down, and only then let anything out.

What leaves the house goes through the outbox, so a killed task sends nothing twice. A plan is made anew when it is carried out: what was
approved an hour ago and would not be planned now is not done. In a dry run all is decided and written down, and nothing is sent or asked.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import polars as pl

from aftercast import warehouse
from aftercast.acting import audit, writebacks
from aftercast.acting.outbox import Delivery, Outbox
from aftercast.acting.outbox import of as outbox_of
from aftercast.declarations import WriteBackRow
from aftercast.errors import AftercastError, ConfigError
from aftercast.learning import guardrails, responses
from aftercast.learning.endings import Record
from aftercast.learning.guardrails import Act, Plan
from aftercast.privacy import redact, token, token_key
from aftercast.runbooks import Runbook
from aftercast.settings import Settings

log = logging.getLogger(__name__)

RECENT = timedelta(hours=24)
VERIFY_WITHIN = timedelta(hours=1)
APPROVE, REJECT = "Approve", "Reject"
REMAIN = ("sent", "sending", "unsure")
"""States of a delivery that may have had its effect."""


@dataclass(frozen=True)
class Desk:
    """The published mart and the audit log as they are at one moment.

    Attributes:
        now: when the question is asked.
    """

    settings: Settings
    now: datetime

    @cached_property
    def past(self) -> responses.Past:
        with warehouse.connect(self.settings.mart) as connection:
            return responses.Past.of({name: warehouse.frame(connection, query) for name, query in responses.READ.items()})

    @cached_property
    def as_of(self) -> datetime:
        found = warehouse.query(self.settings.mart, "select as_of from marts.mart_run")["as_of"][0]
        assert isinstance(found, datetime)
        return found

    @cached_property
    def log(self) -> list[dict[str, Any]]:
        return audit.rows(self.settings.audit)

    @cached_property
    def acts(self) -> tuple[Act, ...]:
        """Actions begun, dry runs apart."""
        found = []
        for row in self.log:
            if row["what"] == "act_begun":
                incident = self.past.facts.get(row["incident_id"])
                over = incident is not None and not incident.row["is_open"]
                found.append(Act(audit.moment(row), row["key"], row["incident_id"], row["service"], row["action"], over))
        return tuple(found)

    @cached_property
    def rejected(self) -> frozenset[str]:
        return frozenset(row["key"] for row in self.log if row["what"] == "rejected")

    @cached_property
    def begun(self) -> frozenset[str]:
        return frozenset(act.key for act in self.acts)

    def current(self) -> list[str]:
        """Incidents that are open or began in the day before the mart's end, oldest first."""
        frame = pl.DataFrame(
            [(name, one.row["started_at"], bool(one.row["is_open"])) for name, one in self.past.facts.items()],
            schema=["incident_id", "started_at", "is_open"],
            orient="row",
        )
        if frame.is_empty():
            return []
        chosen = frame.filter(pl.col("is_open") | (pl.col("started_at") >= self.as_of - RECENT)).sort("started_at", "incident_id")
        return list(chosen["incident_id"])

    def plan(self, incident_id: str, acts: Sequence[Act]) -> Plan:
        """Plan for one incident, given the acts before it.

        Raises:
            ConfigError: the mart does not hold it, or it does not count (a test, a drill).
        """
        deployment = self.settings.deployment
        if incident_id not in self.past.facts:
            raise ConfigError(f"no incident {incident_id!r} that counts in {self.settings.mart}; `aftercast sql` lists mart_incidents")
        advice = responses.advise(incident_id, self.past, deployment.runbooks, deployment.services, deployment.teams)
        criticality = {row.service: row.criticality for row in deployment.services}.get(advice.facts.service)
        return guardrails.plan(
            advice, deployment.automation, self.past.frames, acts, criticality=criticality, as_of=self.as_of, now=self.now
        )

    def plans(self) -> list[Plan]:
        """Plan for every current incident in turn: what is planned for one counts as an act for those after it."""
        acts, found = list(self.acts), []
        for incident in self.current():
            key = self.plan(incident, ()).key
            mine = self.plan(incident, [act for act in acts if act.key != key])  # trying again is no second act
            found.append(mine)
            if mine.outcome in ("ask", "act") and mine.key not in self.begun:
                acts.append(Act(self.now, mine.key, incident, mine.advice.facts.service, mine.action, False))
        return found


def event(what: str, desk: Desk, plan: Plan, *identity: object, who: str = audit.OURSELVES, **more: Any) -> dict[str, Any]:
    """Return an event of the audit log about a plan; the same `identity` is the same event."""
    advice = plan.advice
    best = advice.best
    return {
        "event_id": audit.event_id(what, plan.incident_id, plan.key, *identity),
        "at": desk.now.isoformat(),
        "who": who,
        "what": what,
        "incident_id": plan.incident_id,
        "key": plan.key,
        "class": plan.class_name,
        "level": plan.level,
        "outcome": plan.outcome,
        "runbook": f"{best.runbook.id} v{best.runbook.version} {best.runbook.digest}" if best else None,
        "step": advice.step.number if advice.step else None,
        "action": plan.action,
        "arguments": dict(plan.arguments),
        "service": advice.facts.service,
        "recommended": advice.recommended,
        "owner_team": advice.owner.team,
        "guardrails": [{"name": one.name, "passed": one.passed, "why": one.why} for one in plan.guardrails],
        "evidence": list(advice.evidence),
        "as_of": desk.as_of.isoformat(),
        "dry_run": desk.settings.deployment.automation.dry_run,
        **more,
    }


def plan_responses(settings: Settings, now: datetime) -> list[Plan]:
    """Plan for every current incident, write each decision down once for each mart, and look whether earlier acts did what they should."""
    desk = Desk(settings, now)
    plans = desk.plans()
    dry = settings.deployment.automation.dry_run
    decided = [event("decided", desk, one, desk.as_of.isoformat(), one.outcome, dry, [rail.name for rail in one.held_by]) for one in plans]
    new = audit.append(settings.audit, [*decided, *_verified(desk)])
    told = ", ".join(f"{sum(one.outcome == outcome for one in plans)} {outcome}" for outcome in ("observe", "recommend", "ask", "act"))
    log.info("%d current incidents: %s; %d events written%s", len(plans), told, new, " (dry run)" if dry else "")
    return plans


def _verified(desk: Desk) -> list[dict[str, Any]]:
    """Whether what earlier acts were to reach has been reached, once it has or an hour has gone by."""
    books = {one.id: one for one in desk.settings.deployment.runbooks}
    judged = {row["key"] for row in desk.log if row["what"] in ("verified", "not_verified")}
    found = []
    for row in desk.log:
        facts = desk.past.facts.get(row["incident_id"])
        book = books.get(str(row["runbook"] or "").split(" ")[0])
        step = next((one for one in book.steps if one.number == row["step"]), None) if book else None
        if row["what"] != "act_sent" or row["key"] in judged or facts is None or step is None or not step.verify:
            continue
        answers = [guardrails.answer(check, desk.past.frames, facts) for check in step.verify]
        held = all(one.passed for one in answers)
        if not held and desk.as_of < audit.moment(row) + VERIFY_WITHIN:
            continue
        what = "verified" if held else "not_verified"
        again = {name: row[name] for name in ("incident_id", "key", "class", "level", "runbook", "step", "action", "arguments", "service")}
        found.append(
            {
                **again,
                "event_id": audit.event_id(what, row["key"]),
                "at": desk.now.isoformat(),
                "who": audit.OURSELVES,
                "what": what,
                "guardrails": [{"name": "verify", "passed": one.passed, "why": one.why} for one in answers],
                "as_of": desk.as_of.isoformat(),
                "rollback": row.get("rollback"),
            }
        )
        if not held:
            log.warning("%s of %s is not verified after an hour; its way back: %s", row["action"], row["incident_id"], row.get("rollback"))
    return found


def asks(plans: Sequence[Plan], desk: Desk) -> list[Plan]:
    """Plans that a person has to approve and was not yet asked about; in a dry run nobody is asked."""
    if desk.settings.deployment.automation.dry_run:
        return []
    return [one for one in plans if one.outcome == "ask" and one.key not in desk.rejected | desk.begun]


def acts(plans: Sequence[Plan]) -> list[Plan]:
    """Plans that are carried out without asking."""
    return [one for one in plans if one.outcome == "act"]


def question(plan: Plan) -> dict[str, str]:
    """Return what a person is asked, in words that hold all they need."""
    advice = plan.advice
    arguments = ", ".join(f"{name} {value}" for name, value in plan.arguments.items())
    lines = [
        f"**{plan.action}** ({arguments}) for {plan.incident_id}: {advice.facts.row.get('title') or ''}".rstrip(),
        *(f"- {why}" for why in advice.why),
        f"- how it is undone: {plan.rollback}",
        "",
        "| guardrail | holds | why |",
        "|---|---|---|",
        *(f"| {one.name} | {'yes' if one.passed else 'no'} | {one.why.replace('|', '/')} |" for one in plan.guardrails),
    ]
    return {
        "key": plan.key,
        "subject": f"{plan.action} on {advice.facts.service} for {plan.incident_id}?",
        "body": redact("\n".join(lines)),
    }


def act(settings: Settings, key: str, now: datetime, answer: Mapping[str, Any] | None = None) -> str:
    """Carry one planned action out, if it would still be planned; return what became of it.

    Args:
        key: of the plan.
        answer: what a person said (`chosen_options`, `responded_by_user`); None for what needs no approval.

    Raises:
        AftercastError: what carries actions out refused or did not answer; the outbox knows what may have happened.
    """
    desk = Desk(settings, now)
    found = next((one for one in desk.plans() if one.key == key), None)
    if found is None:
        log.warning("%s would not be planned any more: its incident, its likeliest candidate or its runbook has changed", key)
        return "gone"
    who = _who(settings, answer)
    if answer is not None:
        said = "approved" if list(answer.get("chosen_options") or []) == [APPROVE] else "rejected"
        audit.append(settings.audit, [event(said, desk, found, who=who)])
        if said == "rejected":
            return "rejected"
    if found.outcome != "act" and not (found.outcome == "ask" and answer is not None):
        held = "; ".join(one.why for one in found.held_by if answer is None or one.name not in guardrails.ONLY_ASK)
        audit.append(settings.audit, [event("held", desk, found, now.isoformat(), who=who)])
        log.warning("%s is not done: %s", key, held)
        return "held"
    return _carry_out(desk, found, who)


def _carry_out(desk: Desk, plan: Plan, who: str) -> str:
    automation = desk.settings.deployment.automation
    best, step = plan.advice.best, plan.advice.step
    assert best is not None and step is not None
    payload: dict[str, object] = {
        "action": plan.action,
        "arguments": dict(plan.arguments),
        "incident_id": plan.incident_id,
        "service": plan.advice.facts.service,
        "runbook": best.runbook.id,
        "runbook_version": best.runbook.version,
        "runbook_digest": best.runbook.digest,
        "step": step.number,
        "rollback": plan.rollback,
    }
    place = None
    if not automation.dry_run:
        assert automation.executor is not None
        place = writebacks.webhook("executor of actions", automation.executor)
        audit.append(desk.settings.audit, [event("act_begun", desk, plan, who=who, rollback=plan.rollback)])
    delivery = outbox_of(desk.settings).deliver(
        channel="executor",
        key=plan.key,
        payload=payload,
        send=place.send if place else _nothing,
        find=place.find if place else None,
        now=desk.now,
        dry_run=automation.dry_run,
    )
    told = event(f"act_{delivery.state}", desk, plan, delivery.attempts, who=who, rollback=plan.rollback, reference=delivery.reference)
    audit.append(desk.settings.audit, [told | ({"error": delivery.error} if delivery.error else {})])
    return delivery.state


def _nothing(_payload: Mapping[str, object], _mark: str) -> str:
    raise AssertionError("a dry run sends nothing")


def _who(settings: Settings, answer: Mapping[str, Any] | None) -> str:
    """The token of who answered; Aftercast itself where nobody did in time."""
    user = (answer or {}).get("responded_by_user")
    name = (user.get("id") or user.get("name")) if isinstance(user, Mapping) else user
    return token(str(name), token_key(settings.home)) if name else audit.OURSELVES


def words(plan: Plan) -> str:
    """Return a recommendation as people read it in a note or a message: hedged, with its figures, naming teams only."""
    advice = plan.advice
    owner = advice.owner
    where = " ".join(part for part in (owner.channel, f"(on call: {owner.on_call})" if owner.on_call else None) if part)
    lines = [
        f"{plan.incident_id}: recommended: {advice.recommended}.",
        f"Likely owner: {owner.team or 'nobody is named'} {where}".rstrip() + f" ({'; '.join(owner.reasons)}).",
        *(f"- {why}" for why in advice.why),
        *(
            f"- runbook {one.runbook.id} v{one.runbook.version}: {'; '.join(one.reasons)}; record {one.record}"
            for one in advice.matches[:3]
        ),
        "A candidate is a suspicion with a probability, not a proven cause.",
    ]
    return redact("\n".join(lines))


def recommend(settings: Settings, now: datetime) -> list[Delivery]:
    """Write the recommendation for each current incident of level 1 and above to the channels declared, once while it says the same.

    Another likely owner, runbook, action or candidate is another thing; a probability that moved is not.
    """
    desk, automation = Desk(settings, now), settings.deployment.automation
    outbox, found = outbox_of(settings), list[Delivery]()
    for plan in desk.plans():
        if plan.outcome == "observe":
            continue
        for row in automation.write_back:
            if writebacks.holds(row.channel, plan.incident_id):
                try:
                    delivery = _tell(desk, outbox, plan, row)
                except AftercastError as error:  # its connection or its record: the other channels are told all the same
                    log.warning("%s: %s", row.channel, error)
                    delivery = Delivery(row.channel, f"advice:{plan.incident_id}:{row.channel}", "failed", None, 0, now, now, str(error))
                found.append(delivery)
                changed = event(f"recommendation_{delivery.state}", desk, plan, delivery.key, delivery.attempts)
                told = {"channel": row.channel, "reference": delivery.reference, "error": delivery.error}
                audit.append(settings.audit, [changed | told])
    log.info("%d recommendations looked after: %s", len(found), ", ".join(sorted({one.state for one in found})) or "no channel declared")
    return found


def _tell(desk: Desk, outbox: Outbox, plan: Plan, row: WriteBackRow) -> Delivery:
    advice, dry = plan.advice, desk.settings.deployment.automation.dry_run
    says = [advice.owner.team, advice.best.runbook.id if advice.best else None, plan.action, plan.arguments]
    candidate = advice.facts.candidate["candidate_id"] if advice.facts.candidate else None
    digest = hashlib.sha256(json.dumps([*says, candidate], sort_keys=True, default=str).encode()).hexdigest()[:10]
    key = f"advice:{plan.incident_id}:{digest}:{row.channel}:{row.room or row.connection}"
    payload: Mapping[str, object] = {"incident_id": plan.incident_id, "text": words(plan)}
    known = outbox.delivery(key)
    if known is not None and known.state in REMAIN:  # what was begun is ended with the words it was begun with
        payload = json.loads(outbox.rows().filter(pl.col("key") == key)["payload"][0])
    place = None if dry else writebacks.place_of(row, plan.incident_id)
    return outbox.deliver(
        channel=row.channel,
        key=key,
        payload=payload,
        send=place.send if place else _nothing,
        find=place.find if place else None,
        now=desk.now,
        dry_run=dry,
    )


def advice_on(settings: Settings, incident_id: str, now: datetime) -> Plan:
    """Return what would happen about an incident, given what was done so far; nothing is written."""
    desk = Desk(settings, now)
    for one in desk.plans() if incident_id in desk.past.facts and incident_id in desk.current() else ():
        if one.incident_id == incident_id:
            return one
    return desk.plan(incident_id, desk.acts)


def unknown_columns(settings: Settings, now: datetime) -> list[str]:
    """Return checks of runbooks that ask columns the published mart does not have, with the place of their step."""
    desk, found = Desk(settings, now), []
    for book in settings.deployment.runbooks:
        for step in book.steps:
            for check in (*step.precondition, *step.verify):
                if check.column not in desk.past.frames[check.mart].columns:
                    found.append(f"{book.place} line {step.line}: {check.mart} has no column {check.column!r}")
    return found


def suggested(settings: Settings, now: datetime) -> tuple[responses.Suggestion, ...]:
    """Return the runbooks to write or to change."""
    return responses.suggestions(Desk(settings, now).past, settings.deployment.runbooks)


def records_of(settings: Settings, now: datetime) -> list[tuple[Runbook, Record]]:
    """Return every runbook with how often its action ended the incidents it fits."""
    past = Desk(settings, now).past
    return [(one, responses.record_of(one, past)) for one in settings.deployment.runbooks]
