"""Alerts, anomalies and KPI drops become incident candidates: *proposals*. The rules of their life, and nothing else.

Members are taken in the order in which they became known, and what is decided is never taken back: data that arrives later cannot move
the start, the founder or the id of a proposal. The rules (docs/correlation.md says why):

- *Related*: the same environment, compatible regions ('' is compatible with all), and the same series or subject, a call over one or two
  hops, a journey and a service that carries it, or a provider or store both call. The same subject in another region is related when it
  begins within ten minutes; so is, in the same region, a subject whose calls nobody knows.
- *Opens* when evidence suffices: 1 - product of (1 - weight) over witnesses reaches 0.8. A witness is a subject seen by one kind of member;
  repeating oneself is no second witness. So one critical alert, a severe drop of a journey, a severe episode that lasts for half an hour
  (until then it weighs at most 0.75), a warning and an episode on a neighbour, or three neighbours that warn. Until then members wait
  unpublished, and are let go when nothing related follows within half an hour.
- *Absorbs* what is related and began no later than half an hour after something in it was last heard, for up to a day from its opening.
- *Re-opens* for the very same series within two hours. Afterwards it is over for good.
- *An incident that was resolved* takes its proposals with it: what begins afterwards founds a new one, which says what it follows.
- Silenced, flapping and maintenance members may join an open proposal, but open none, are no evidence and keep none alive.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

from aftercast.correlation.kinship import ELSEWHERE, NEARBY, SAME_SERIES, Kin, Kinship
from aftercast.correlation.matching import Declared, Incidents, match
from aftercast.correlation.members import ANOMALY, KPI_DROP, Apart, Member
from aftercast.correlation.proposal import LASTS, SUFFICES, Joined, Proposal, evidence_of, weight_at
from aftercast.correlation.telemetry import DAY, HOUR, MINUTE

QUIET = 30 * MINUTE
REOPEN = 2 * HOUR
LONGEST = DAY
NEAR = 10 * MINUTE
REHEARSALS = frozenset({"development", "dev", "test", "testing", "qa", "uat", "staging", "stage", "sandbox", "preview"})
"""Environments without customers: a drop of a journey is never related to them."""


def propose(
    members: Sequence[Member], kinships: Mapping[str, Kinship], declared: Mapping[str, Incidents], as_of: int
) -> tuple[list[Proposal], list[Apart]]:
    """Group members into proposals, oldest first; the second result tells of every other member why it is in none.

    Args:
        members: in the order of `Member.order`.
        kinships, declared: by environment.
        as_of: nothing after it is known.
    """
    live: list[Proposal] = []
    over: list[Proposal] = []
    apart: list[Apart] = []
    for moment, has_lasted, member in _events(members, as_of):
        over.extend(one for one in live if _is_over(one, moment))
        live = [one for one in live if not _is_over(one, moment)]
        if has_lasted:
            for one in [one for one in live if one.opened is None and any(each.member is member for each in one.joined)]:
                _try_to_open(one, member, moment, apart)
        else:
            _take(member, live, apart, kinships, declared)
    for one in live + over:
        if one.opened is None:
            apart.extend(_alone(each.member, one) for each in one.joined)
        else:
            _close(one, kinships, declared, as_of)
    opened = [one for one in live + over if one.opened is not None]
    return sorted(opened, key=lambda one: (one.opened or 0, one.proposal_id)), sorted(apart, key=lambda one: (one.kind, one.member_id))


def _events(members: Sequence[Member], as_of: int) -> list[tuple[int, bool, Member]]:
    """What happens in which order: a member becomes known; an episode has lasted for half an hour."""
    found = [(one.known, False, one) for one in members]
    for one in members:
        at = max(one.known, one.started + LASTS)
        if one.kind == ANOMALY and one.known < at <= min(one.until, as_of):
            found.append((at, True, one))
    return sorted(found, key=lambda event: (event[0], event[1], event[2].order))


def _take(
    member: Member,
    live: list[Proposal],
    apart: list[Apart],
    kinships: Mapping[str, Kinship],
    declared: Mapping[str, Incidents],
) -> None:
    """Put a member where it belongs; proposals in `live` are changed."""
    related = [(kin, one) for one in live if (kin := _relation(member, one, _kinship(member, one, kinships))) is not None]
    refused = {id(one) for _, one in related if one.opened is not None and _no_longer_absorbs(member, one, kinships, declared)}
    links = [(kin, one) for kin, one in related if id(one) not in refused]
    links.sort(key=lambda link: (link[1].opened is None, -link[0].strength, -link[1].heard(member.known), link[1].founder.order))
    if member.why_weak:
        if links and links[0][1].opened is not None:
            links[0][1].add(Joined(member, "joined", f"{links[0][0].words}; {member.why_weak}"))
        else:
            apart.append(Apart(member.kind, member.member_id, member.why_weak))
        return
    if links:
        kin, home = links[0]
        if home.opened is not None and _gap(member, home) > QUIET:
            home.reopened += 1
        _absorb_waiting(home, [one for _, one in links[1:] if one.opened is None], live, member)
    else:
        kin, home = Kin(1.0, "the first of it"), Proposal(member.environment)
        follows = sorted((one for _, one in related if id(one) in refused), key=lambda one: (-(one.opened or 0), one.proposal_id))
        home.follows = follows[0].proposal_id if follows else None
        live.append(home)
    home.add(Joined(member, "joined", kin.words))
    if home.opened is None:
        _try_to_open(home, member, member.known, apart)


def _absorb_waiting(home: Proposal, waiting: list[Proposal], live: list[Proposal], last: Member) -> None:
    """Waiting groups that a member is related to become part of its home: they have no published identity yet."""
    for one in waiting:
        for each in one.joined:
            home.add(Joined(each.member, "joined", f"waited until {last.name} on {last.subject[1] or 'no named service'} connected it"))
        if home.opened is None:
            home.follows = home.follows or one.follows
        live.remove(one)


def _try_to_open(one: Proposal, last: Member, moment: int, apart: list[Apart]) -> None:
    """Open a waiting group when those of its members that are still fresh suffice; let go of the others."""
    fresh = [each for each in one.joined if each.member.heard(moment) >= last.started - QUIET]
    apart.extend(_alone(each.member, one) for each in one.joined if each not in fresh)
    evidence = evidence_of((each.member for each in fresh), moment)
    opens = evidence >= SUFFICES
    one.joined, one.until, one.places, one.first, one.starts, one.series = [], 0, {}, {}, [], set()
    for place, each in enumerate(sorted(fresh, key=lambda each: each.member.order)):
        role = "joined" if not opens else "witness" if place else "founder"
        one.add(Joined(each.member, role, each.because if place else "the first of it"))
    if opens:
        one.opened = moment
        one.started = one.starts[0]
        one.opened_because = _why_opened(one.strong, evidence, moment)


def _why_opened(members: list[Member], evidence: float, moment: int) -> str:
    strongest = max(members, key=lambda one: weight_at(one, moment))
    if weight_at(strongest, moment) >= SUFFICES:
        noun = {"alert": "alert", "anomaly": "episode", KPI_DROP: "drop"}[strongest.kind]
        return f"one severe {noun} on {strongest.subject[1] or 'no named service'} (weight {strongest.weight:.2f})"
    subjects = {one.subject for one in members}
    places = "one subject" if len(subjects) == 1 else f"{len(subjects)} subjects"
    return f"{len(members)} members on {places} together (evidence {evidence:.2f})"


# --- when a member belongs ---------------------------------------------------------------------------------------------------------------


def _kinship(member: Member, one: Proposal, kinships: Mapping[str, Kinship]) -> Kinship | None:
    """The relations of the environment both are in; None when they are in different ones."""
    if member.environment and one.environment and member.environment != one.environment:
        return None
    environment = member.environment or one.environment
    if environment.lower() in REHEARSALS and (not member.environment or not one.environment):
        return None
    return kinships.get(environment)


def _gap(member: Member, one: Proposal) -> int:
    return max(0, member.started - one.heard(member.known))


def _relation(member: Member, one: Proposal, kinship: Kinship | None) -> Kin | None:
    """How a member belongs to a proposal at the time it becomes known; None when it does not."""
    if kinship is None:
        return None
    gap = _gap(member, one)
    if gap > (REOPEN if one.opened is not None else QUIET):
        return None
    if (member.kind, member.series) in one.series:
        return Kin(SAME_SERIES, f"{member.name} on {member.subject[1]} again" if member.subject[1] else f"{member.name} again")
    if gap > QUIET:
        return None
    found = []
    for (subject, region), until in one.places.items():
        if until < member.started - QUIET:
            continue
        if region and member.region and region != member.region:
            if subject == member.subject and subject[1] and _is_near(member, one):
                found.append(Kin(ELSEWHERE, f"also on {subject[1]}, in another region at about the same time"))
            continue
        kin = kinship.between(member.subject, subject)
        if kin is None and not (kinship.knows(member.subject) and kinship.knows(subject)) and _is_near(member, one):
            kin = Kin(NEARBY, f"began within {NEAR // MINUTE} minutes in the same environment; no call of it is known")
        if kin is not None:
            found.append(kin)
    return max(found, key=lambda kin: (kin.strength, kin.words), default=None)


def _is_near(member: Member, one: Proposal) -> bool:
    """Something in the proposal began within ten minutes of the member."""
    place = bisect_left(one.starts, member.started - NEAR)
    return place < len(one.starts) and one.starts[place] <= member.started + NEAR


# --- when it is over ---------------------------------------------------------------------------------------------------------------------


def _is_over(one: Proposal, moment: int) -> bool:
    """Nothing that becomes known from `moment` on can join."""
    if one.opened is None:
        return moment - one.heard(moment) > REOPEN
    return moment - one.heard(moment) > REOPEN or moment - one.opened > LONGEST + REOPEN


def _no_longer_absorbs(member: Member, one: Proposal, kinships: Mapping[str, Kinship], declared: Mapping[str, Incidents]) -> bool:
    """It went on for a day, or the member began after an incident of it was resolved, or became known more than two hours after."""
    if one.opened is None:
        return False
    if member.started - one.opened > LONGEST:
        return True
    done = _resolution(one, member.known, kinships, declared)
    return done is not None and (member.started >= done[0] or member.known > done[0] + REOPEN)


def _resolution(
    one: Proposal, moment: int, kinships: Mapping[str, Kinship], declared: Mapping[str, Incidents]
) -> tuple[int, Declared] | None:
    """The first time up to `moment` at which an incident of a proposal was resolved and no other one of it was going on."""
    kinship, incidents = kinships.get(one.environment), declared.get(one.environment)
    if kinship is None or incidents is None or one.opened is None:
        return None
    for row in incidents.resolved_between(one.started, moment):
        at, name = row.resolved or moment, row.incident.incident_id
        if name not in one.ends_with:
            extent = one.extent_then(max(at, one.opened))
            others = [other for other in incidents.around(one.started, at) if other.declared <= at < (other.resolved or at + 1)]
            is_about = match(extent, row.incident, kinship) is not None
            one.ends_with[name] = is_about and all(match(extent, other.incident, kinship) is None for other in others)
        if one.ends_with[name]:
            return at, row
    return None


def _close(one: Proposal, kinships: Mapping[str, Kinship], declared: Mapping[str, Incidents], as_of: int) -> None:
    """Say why and since when a proposal is closed at `as_of`, unless it is open."""
    heard, opened = one.heard(as_of), one.opened or one.started
    done = _resolution(one, min(as_of, heard + QUIET), kinships, declared)
    if done is not None:
        one.closed_because, one.ended = f"incident {done[1].incident.incident_id} was resolved", min(heard, done[0])
    elif heard - opened > LONGEST:
        one.closed_because, one.ended = "it went on for a day", opened + LONGEST
    elif as_of - heard > QUIET:
        one.closed_because, one.ended = "nothing related for half an hour", heard


def _alone(member: Member, one: Proposal) -> Apart:
    return Apart(
        member.kind, member.member_id, f"evidence {evidence_of(one.strong, one.until):.2f} of {SUFFICES} needed: nothing related followed"
    )
