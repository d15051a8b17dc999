"""What an incident cost: per journey and segment, counterfactual minus actual, with an interval, a status and never twice.

Rules (docs/decisions/005-loss.md): the window opens with the bucket of the reported start, earlier where the journey already deviated;
it closes when the impact ended, later while the journey still deviates; what comes back afterwards is subtracted when it stands out;
minutes that several incidents share on one journey and segment are split equally. The sign is kept. Results do not depend on the order
of rows, nor on incidents that touch neither the journey nor its training span.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from aftercast.measurement.counterfactual import DAY, HOUR, LEAST_DAYS, LEAST_WINDOWS, WEEK, World, build_world, columns_of
from aftercast.measurement.factors import TAIL, Echo, groups_of, hear_echo, seed_of, weigh, window_loss
from aftercast.measurement.flows import Array, Flow, read_flows, seconds
from aftercast.measurement.inputs import Inputs
from aftercast.measurement.scope import Group, Scope, scopes

LOOK_BACK = 15 * 60
EARLIEST_SIGN = HOUR
LONGEST_TAIL = HOUR
REBOUND = 4 * HOUR
LEAST_COVERAGE = 0.5
LONGEST_UNRELATED = 2 * DAY
"""Longer incidents hide history only from the journeys they are linked to; else one forgotten ticket would blind all."""
ROUND = 2

Row = dict[str, object]


@dataclass(frozen=True, slots=True)
class Span:
    """Window of one incident on one journey, in buckets of the flow, end exclusive."""

    incident: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one incident did to one journey, per segment.

    Attributes:
        gross: counterfactual minus actual in the window.
        draws: the same under each quiet window's errors, [draw, segment]; times: those windows' starts.
        chance: per region, how likely quiet windows alone would look as bad.
        echo: what the span after the window says about sales that came back; None when there is none to look at.
        attempts: expected, low, high, actual, [4, segment]. successes: expected, actual, [2, segment].
    """

    gross: Array
    draws: Array
    chance: dict[str, float]
    echo: Echo | None
    times: npt.NDArray[np.int64]
    actual: Array
    attempts: Array
    successes: Array
    coverage: Array
    n_buckets: Array
    shared_minutes: Array
    trained_until: int


def interval(draws: Array) -> tuple[float, float]:
    """Nominal 90 % interval: ranks (n + 1) p of the draws."""
    low, high = np.quantile(draws, [TAIL, 1 - TAIL], method="weibull")
    return float(low), float(high)


class Ledger:
    """Worlds of a measurement, fitted once per journey and training span."""

    def __init__(self, flows: dict[str, Flow], masks: dict[str, list[tuple[float, float]]]) -> None:
        self.flows, self.masks = flows, masks
        self._worlds: dict[tuple[str, int, int], World | str] = {}
        self._outcomes: dict[str, Outcome | str] = {}

    def world(self, journey: str, start: int, end: int) -> World | str:
        flow = self.flows[journey]
        begin, finish = flow.start + start * flow.grain, flow.start + end * flow.grain
        key = (journey, (begin - 4 * DAY) // WEEK, (finish - 4 * DAY - 1) // WEEK)
        if key not in self._worlds:
            self._worlds[key] = build_world(flow, self.masks[journey], begin, finish)
        found = self._worlds[key]
        days = (finish - begin) / DAY
        if isinstance(found, World) and days * LEAST_WINDOWS > max(known := found.quiet.sum() * flow.grain / DAY, LEAST_DAYS):
            return f"not enough history: {known:.0f} days, needs {days * LEAST_WINDOWS:.0f}"
        return found

    def outcome(self, seed: str, world: World, start: int, end: int, cluster: tuple[int, int], until: int) -> Outcome | str:
        if seed not in self._outcomes:
            self._outcomes[seed] = evaluate(world, start, end, cluster, until, seed)
        return self._outcomes[seed]


def _margins(flow: Flow, start: float, end: float) -> tuple[float, float]:
    """Span an incident may have touched, masked from training."""
    if flow.grain > HOUR:
        return start, end
    return start - EARLIEST_SIGN, end + LONGEST_TAIL + REBOUND


def _extended(world: World, start: int, end: int) -> tuple[int, int]:
    """Open the window earlier, and close it later, while the whole journey is below what 95 % of quiet buckets reach."""
    flow, size = world.flow, len(world.actual)
    columns = columns_of(world.n_segments)[0 if flow.earns else 2]
    actual, due = world.actual[:, columns].sum(axis=1), world.seen[:, columns].sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(due > 0, actual / due, 1.0)
    floor = float(np.quantile(ratio[world.quiet], TAIL)) if world.quiet.any() else 0.0
    first, last = start - world.first, end - world.first
    for _ in range(LOOK_BACK // flow.grain):
        if not 0 < first <= size or ratio[first - 1] >= floor:
            break
        first -= 1
    longest = min(LONGEST_TAIL, max((end - start) * flow.grain, LOOK_BACK)) // flow.grain
    for _ in range(longest):
        if not 0 <= last < size or ratio[last] >= floor:
            break
        last += 1
    return first + world.first, last + world.first


def evaluate(world: World, start: int, end: int, cluster: tuple[int, int], rebound_until: int, seed: str) -> Outcome | str:
    """Measure one stretch of a journey, [start, end) in buckets of the flow.

    Args:
        cluster: buckets of all windows that hang together with this stretch: the level is taken around them.
        rebound_until: end of the following span in which lost sales may come back; `end` when none is to be looked for.
    """
    n, flow = world.n_segments, world.flow
    start, end, rebound_until = start - world.first, end - world.first, rebound_until - world.first
    whole = (cluster[0] - world.first, cluster[1] - world.first)
    if whole[0] < 0 or whole[1] > len(world.actual):
        return "no journey data in window"
    quiet = world.quiet_errors(start, end)
    level = quiet if whole == (start, end) else world.quiet_errors(*whole)
    if level is None or quiet is None:
        return f"not enough history: fewer than {LEAST_WINDOWS} quiet windows of {(end - start) * flow.grain / HOUR:.1f} hours"
    actual, seen = (part[0] for part in world.total(np.array([start]), np.array([end])))
    due = seen * (1 + level.correction)
    _, tries, wins, _ = columns_of(n)
    judged = columns_of(n)[0 if flow.earns else 2]
    present = world.present[start:end, judged]
    wanted = world.expected[start:end, judged].sum(axis=0)
    coverage = np.divide(seen[judged], wanted, out=present.mean(axis=0), where=wanted > 0)
    loss = window_loss(flow, quiet, due, actual, f"{seed}|loss")
    echo = None
    later = min(rebound_until, len(world.actual))
    after = world.quiet_errors(end, later) if later > end else None
    if after is not None:
        now, then = (part[0] for part in world.total(np.array([end]), np.array([later])))
        echo = hear_echo(flow, after, then * (1 + after.correction), now, loss)
    low, high = np.quantile(quiet.errors[:, tries], [TAIL, 1 - TAIL], axis=0, method="weibull")
    return Outcome(
        gross=loss.lost,
        draws=loss.draws,
        chance=loss.chance,
        echo=echo,
        times=quiet.times,
        actual=actual[judged],
        attempts=np.stack([due[tries], due[tries] * (1 + low), due[tries] * (1 + high), actual[tries]]),
        successes=np.stack([due[wins], actual[wins]]),
        coverage=coverage,
        n_buckets=present.sum(axis=0).astype(float),
        shared_minutes=np.zeros(n),
        trained_until=world.trained_until,
    )


def _sum(pieces: list[tuple[Outcome, Array]], grain: int) -> Outcome:
    """Add the pieces of one incident, each with the incident's share per segment.

    Draws of several pieces are added rank by rank, as if their errors were of one mind: neighbours nearly are.
    """
    first, share = pieces[0]
    draws = first.draws * share
    if len(pieces) > 1:
        size = min(len(piece.draws) for piece, _ in pieces)
        ranks = np.linspace(0, 1, size)
        draws = np.sum([np.quantile(piece.draws, ranks, axis=0) * part for piece, part in pieces], axis=0)
    weights = np.sum([piece.n_buckets for piece, _ in pieces], axis=0)
    return Outcome(
        gross=np.sum([piece.gross * part for piece, part in pieces], axis=0),
        draws=draws,
        chance={},
        echo=next((Echo(e.seen * part, e.noise * part, e.most * part) for piece, part in pieces if (e := piece.echo)), None),
        times=first.times if len(pieces) == 1 else np.arange(len(draws), dtype=np.int64),
        actual=np.sum([piece.actual * part for piece, part in pieces], axis=0),
        attempts=np.sum([piece.attempts * part for piece, part in pieces], axis=0),
        successes=np.sum([piece.successes * part for piece, part in pieces], axis=0),
        coverage=np.sum([piece.coverage * piece.n_buckets for piece, _ in pieces], axis=0) / np.maximum(weights, 1.0),
        n_buckets=weights,
        shared_minutes=np.sum([piece.n_buckets * (part < 1) * grain / 60.0 for piece, part in pieces], axis=0),
        trained_until=max(piece.trained_until for piece, _ in pieces),
    )


def joined(parts: Iterable[tuple[npt.NDArray[np.int64], Array]], seed: str) -> Array:
    """Sum draws of several journeys: by common quiet windows where they share enough, so that common shocks stay common."""
    listed = list(parts)
    if len(listed) == 1:
        return listed[0][1]
    common = listed[0][0]
    for times, _ in listed[1:]:
        common = np.intersect1d(common, times)
    if len(common) >= 60 or all(len(times) == len(common) for times, _ in listed):
        return np.asarray(np.sum([draws[np.isin(times, common)] for times, draws in listed], axis=0))
    chance = np.random.default_rng(seed_of(seed, "total"))
    return np.asarray(np.sum([draws[chance.integers(len(draws), size=1_000)] for _, draws in listed], axis=0))


@dataclass(frozen=True, slots=True)
class _Claim:
    """An incident's window on a journey and the segments it is measured on."""

    span: Span
    columns: tuple[int, ...]


def measure_loss(inputs: Inputs, as_of: datetime) -> tuple[list[Row], list[Row]]:
    """Return rows of `impact` and of `incident_loss`, by incident, journey and segment."""
    flows = read_flows(inputs, as_of)
    reach = scopes(inputs, flows)
    incidents = {
        str(name): (seconds(started), min(seconds(ended) if ended else seconds(as_of), seconds(as_of)))
        for name, started, ended in inputs.incidents.select("incident_id", "started_at", "impact_end_at").sort("incident_id").iter_rows()
        if started < as_of
    }
    masks: dict[str, list[tuple[float, float]]] = {journey: [] for journey in flows}
    for name, (start, end) in incidents.items():
        linked = {group[0] for group in reach[name].linked}
        for journey in flows:
            if journey in linked or end - start <= LONGEST_UNRELATED:
                masks[journey].append(_margins(flows[journey], start, end))
    ledger = Ledger(flows, masks)
    signs = _signs(inputs)

    spans: dict[tuple[str, str], Span | str] = {}
    for name, (start, end) in incidents.items():
        for journey in sorted({group[0] for group in reach[name].linked | reach[name].possible}):
            spans[name, journey] = _span(ledger, name, journey, start, end, signs)
    chosen = {name: _choose(ledger, reach[name], name, spans) for name in incidents}
    claims: dict[str, list[_Claim]] = {journey: [] for journey in flows}
    for name, groups in chosen.items():
        for journey in sorted({group[0] for group in groups}):
            span = spans[name, journey]
            columns = tuple(number for number, segment in enumerate(flows[journey].segments) if (journey, segment["region"]) in groups)
            if isinstance(span, Span):
                claims[journey].append(_Claim(span, columns))
    outcomes = {
        (claim.span.incident, journey): _settle(ledger, journey, claim, listed) for journey, listed in claims.items() for claim in listed
    }
    impact: list[Row] = []
    totals: list[Row] = []
    for name in incidents:
        found, total = _report(name, chosen[name], spans, outcomes, ledger, reach[name])
        impact += found
        totals.append(total)
    return impact, totals


def _signs(inputs: Inputs) -> list[tuple[str, float, float]]:
    rows = inputs.anomalies.select("subject_kind", "subject", "started_at", "ended_at", "hurts").iter_rows()
    return sorted((str(name), seconds(begin), seconds(end)) for kind, name, begin, end, hurts in rows if kind == "journey" and hurts)


def _span(ledger: Ledger, name: str, journey: str, start: float, end: float, signs: list[tuple[str, float, float]]) -> Span | str:
    """Window of an incident on a journey; text says why there is none."""
    flow = ledger.flows[journey]
    if end <= flow.start or start >= flow.end:
        return "no journey data in window"
    if flow.grain <= HOUR:
        early = [begin for subject, begin, stop in signs if subject == journey and begin < end and stop > start]
        start = min([start, *(begin for begin in early if begin >= start - EARLIEST_SIGN)])
    first = flow.place(start)
    last = max(flow.place_end(end), first + 1)
    if first < 0 or last > flow.n_buckets:
        if first < 0:
            return "incident began before the journey's data"
        last = flow.n_buckets
    world = ledger.world(journey, first, last)
    if isinstance(world, str):
        return world
    first, last = _extended(world, first, last)
    return Span(name, first, min(last, flow.n_buckets))


def _choose(ledger: Ledger, scope: Scope, name: str, spans: dict[tuple[str, str], Span | str]) -> frozenset[Group]:
    """Groups that become rows: linked ones, and possible ones whose loss stands out (Benjamini-Hochberg over them)."""
    odds: list[tuple[float, Group]] = []
    for journey in sorted({group[0] for group in scope.possible}):
        span = spans[name, journey]
        if isinstance(span, str):
            continue
        outcome = _alone(ledger, journey, span)
        if isinstance(outcome, str):
            continue
        for group in sorted(group for group in scope.possible if group[0] == journey):
            odds.append((outcome.chance[group[1]], group))
    odds.sort()
    kept = 0
    for place, (chance, _) in enumerate(odds, start=1):
        if chance <= TAIL * place / len(odds):
            kept = place
    return scope.linked | frozenset(group for _, group in odds[:kept])


def _alone(ledger: Ledger, journey: str, span: Span) -> Outcome | str:
    world = ledger.world(journey, span.start, span.end)
    if isinstance(world, str):
        return world
    return ledger.outcome(f"{journey}|{span.start}|{span.end}|alone", world, span.start, span.end, (span.start, span.end), span.end)


def _settle(ledger: Ledger, journey: str, claim: _Claim, listed: list[_Claim]) -> Outcome | str:
    """Measure a claim among those it overlaps: cut where any of them begins or ends, each piece measured once and split equally."""
    span, flow, cluster = claim.span, ledger.flows[journey], (claim.span.start, claim.span.end)
    while True:
        touching = [other for other in listed if other.span.start < cluster[1] and other.span.end > cluster[0]]
        wider = (min(other.span.start for other in touching), max(other.span.end for other in touching))
        if wider == cluster:
            break
        cluster = wider
    world = ledger.world(journey, *cluster)
    if isinstance(world, str):
        return world
    following = min((other.span.start for other in listed if other.span.start >= cluster[1]), default=flow.n_buckets)
    until = min(cluster[1] + REBOUND // flow.grain, following, flow.n_buckets) if flow.grain <= HOUR else cluster[1]
    cuts = sorted({edge for other in touching for edge in (other.span.start, other.span.end)})
    pieces = []
    for start, end in pairwise(cuts):
        if start < span.start or end > span.end:
            continue
        claimants = np.zeros(world.n_segments)
        for other in touching:
            if other.span.start <= start and other.span.end >= end:
                claimants[list(other.columns)] += 1
        seed = f"{journey}|{flow.start + start * flow.grain}|{flow.start + end * flow.grain}"
        outcome = ledger.outcome(seed, world, start, end, cluster, until if end == cluster[1] else end)
        if isinstance(outcome, str):
            return outcome
        pieces.append((outcome, 1.0 / np.maximum(claimants, 1.0)))
    return _sum(pieces, flow.grain)


def _report(
    name: str,
    groups: frozenset[Group],
    spans: dict[tuple[str, str], Span | str],
    outcomes: dict[tuple[str, str], Outcome | str],
    ledger: Ledger,
    scope: Scope,
) -> tuple[list[Row], Row]:
    counted: dict[str, list[int]] = {}
    measured: dict[str, Outcome] = {}
    for journey in sorted({group[0] for group in groups}):
        flow, span = ledger.flows[journey], spans[name, journey]
        outcome = span if isinstance(span, str) else outcomes[name, journey]
        if isinstance(outcome, Outcome):
            columns = [number for region, members in groups_of(flow).items() if (journey, region) in groups for number in members]
            measured[journey] = outcome
            counted[journey] = [number for number in columns if _unknown(flow, number, outcome) is None]
    back = _came_back(name, measured, counted)
    rows: list[Row] = []
    parts: list[tuple[npt.NDArray[np.int64], Array]] = []
    currencies: set[str] = set()
    for journey in sorted({group[0] for group in groups}):
        flow, span = ledger.flows[journey], spans[name, journey]
        found: Outcome | str = measured.get(journey) or str(span if isinstance(span, str) else outcomes[name, journey])
        for number, segment in enumerate(flow.segments):
            if (journey, segment["region"]) in groups:
                rows.append(_row(name, flow, number, segment, span, found, back.get(journey)))
        if counted.get(journey):
            currencies.update(code for number in counted[journey] for code in flow.currencies[number])
            parts.append((measured[journey].times, _net(measured[journey], back.get(journey))[:, counted[journey]].sum(axis=1)))
    hidden = _hidden(ledger, scope, name, spans, groups, currencies)
    return rows, _total(name, rows, parts, currencies, hidden, scope, spans, ledger)


def _hidden(
    ledger: Ledger,
    scope: Scope,
    name: str,
    spans: dict[tuple[str, str], Span | str],
    groups: frozenset[Group],
    currencies: set[str],
) -> list[Array]:
    """Draws of what groups within reach may have lost although they do not stand out: nothing, or what noise can hide."""
    found = []
    for journey, region in sorted(scope.near - groups):
        span, flow = spans[name, journey], ledger.flows[journey]
        outcome = span if isinstance(span, str) else _alone(ledger, journey, span)
        columns = groups_of(flow)[region]
        if isinstance(outcome, str) or not flow.earns or {code for number in columns for code in flow.currencies[number]} - currencies:
            continue
        draws = outcome.draws[:, columns].sum(axis=1)
        lost = float(draws.mean())
        most = float(outcome.actual[columns].sum()) + max(lost, 0.0)
        found.append(weigh(lost, draws - lost, most, np.random.default_rng(seed_of(name, journey, region))))
    return found


def _net(outcome: Outcome, back: Array | None) -> Array:
    """Draws of the loss after what came back."""
    return outcome.draws if back is None else outcome.draws - back[np.arange(len(outcome.draws)) % len(back)]


def _came_back(name: str, measured: dict[str, Outcome], counted: dict[str, list[int]]) -> dict[str, Array]:
    """Draws of the sales that came back, [draw, segment] by journey.

    One share for the whole incident: how ready customers are to return is one thing, and single journeys are too noisy to tell.
    """
    heard = {journey: outcome.echo for journey, outcome in measured.items() if outcome.echo is not None and counted[journey]}
    most = sum(float(echo.most[counted[journey]].sum()) for journey, echo in heard.items())
    if most <= 0:
        return {}
    size = min(len(echo.noise) for echo in heard.values())
    seen = sum(float(echo.seen[counted[journey]].sum()) for journey, echo in heard.items())
    noise = np.sum([echo.noise[:size, counted[journey]].sum(axis=1) for journey, echo in heard.items()], axis=0)
    share = weigh(seen, noise, most, np.random.default_rng(seed_of(name, "back"))) / most
    return {journey: share[:, None] * echo.most for journey, echo in heard.items()}


def _status(low: float) -> str:
    return "quantified" if low > 0 else "below_noise"


def _unknown(flow: Flow, number: int, outcome: Outcome) -> str | None:
    """Why money cannot be told for a segment; None when it can."""
    if outcome.coverage[number] < LEAST_COVERAGE:
        return "no journey data in window"
    if not flow.earns:
        return "no step of the journey earns"
    if len(flow.currencies[number]) > 1:
        return f"currency mix: {', '.join(flow.currencies[number])}"
    return None


def _row(name: str, flow: Flow, number: int, segment: dict[str, str], span: Span | str, outcome: Outcome | str, back: Array | None) -> Row:
    row: Row = {"incident_id": name, "journey": flow.journey, **segment, "status": "unknown"}
    currency = flow.currencies[number]
    row["currency"] = currency[0] if len(currency) == 1 else None
    if isinstance(span, Span):
        row |= {"window_start": flow.moment(span.start), "window_end": flow.moment(span.end)}
    if isinstance(outcome, str):
        return row | {"reason": outcome}
    tries, wins = outcome.attempts[:, number], outcome.successes[:, number]
    row |= {
        "expected_attempts": round(float(tries[0]), 3),
        "expected_attempts_low": round(float(tries[1]), 3),
        "expected_attempts_high": round(float(tries[2]), 3),
        "actual_attempts": round(float(tries[3]), 3),
        "expected_successes": round(float(wins[0]), 3),
        "actual_successes": round(float(wins[1]), 3),
        "lost_successes": round(float(wins[0] - wins[1]), 3),
        "n_buckets": int(outcome.n_buckets[number]),
        "shared_minutes": float(outcome.shared_minutes[number]),
        "trained_until": datetime.fromtimestamp(outcome.trained_until, UTC),
    }
    unknown = _unknown(flow, number, outcome)
    if unknown is not None:
        return row | {"reason": unknown}
    low, high = interval(_net(outcome, back)[:, number])
    gross, recovered = float(outcome.gross[number]), float(back[:, number].mean()) if back is not None else 0.0
    missing = 1 - outcome.coverage[number]
    return row | {
        "expected_revenue": round(float(outcome.actual[number]) + gross, ROUND),
        "actual_revenue": round(float(outcome.actual[number]), ROUND),
        "lost_revenue": round(gross - recovered, ROUND),
        "lost_revenue_low": round(min(low, gross - recovered), ROUND),
        "lost_revenue_high": round(max(high, gross - recovered), ROUND),
        "recovered_later": round(recovered, ROUND),
        "status": _status(low),
        "reason": f"{missing:.0%} of the window has no data and is not counted" if missing > 0.01 else None,
    }


def _total(
    name: str,
    rows: list[Row],
    parts: list[tuple[npt.NDArray[np.int64], Array]],
    currencies: set[str],
    hidden: list[Array],
    scope: Scope,
    spans: dict[tuple[str, str], Span | str],
    ledger: Ledger,
) -> Row:
    total: Row = {"incident_id": name, "status": "unknown", "journeys": [], "segments": []}
    if not rows:
        return total | _nothing_found(name, scope, spans, ledger)
    total["journeys"] = sorted({str(row["journey"]) for row in rows})
    total["segments"] = sorted({str(row["segment"]) for row in rows})
    unknown = [row for row in rows if row["status"] == "unknown"]
    if len(unknown) == len(rows):
        return total | {"reason": "; ".join(sorted({str(row["reason"]) for row in unknown}))}
    total["lost_successes"] = round(sum(float(str(row["lost_successes"])) for row in rows if row["status"] != "unknown"), 3)
    if len(currencies) > 1:
        return total | {"reason": f"currency mix: {', '.join(sorted(currencies))}"}
    draws = joined(parts, name)
    low, _ = interval(draws)
    chance = np.random.default_rng(seed_of(name, "hidden"))
    high = interval(np.sum([draws, *(chance.choice(part, size=len(draws)) for part in hidden)], axis=0))[1]
    lost = sum(float(str(row["lost_revenue"])) for row in rows if row["status"] != "unknown")
    reasons = sorted({str(row["reason"]) for row in unknown})
    return total | {
        "lost_revenue": round(lost, ROUND),
        "lost_revenue_low": round(min(low, lost), ROUND),
        "lost_revenue_high": round(max(high, lost), ROUND),
        "currency": next(iter(currencies), None),
        "status": _status(low),
        "reason": f"{len(unknown)} of {len(rows)} rows are unknown: {'; '.join(reasons)}" if unknown else None,
    }


def _nothing_found(name: str, scope: Scope, spans: dict[tuple[str, str], Span | str], ledger: Ledger) -> Row:
    """An incident without a linked journey and without a deviation: nothing was lost, within what all journeys together could hide."""
    parts: list[tuple[npt.NDArray[np.int64], Array]] = []
    currencies: set[str] = set()
    why: set[str] = set()
    for journey in sorted({group[0] for group in scope.possible}):
        span, flow = spans[name, journey], ledger.flows[journey]
        outcome = span if isinstance(span, str) else _alone(ledger, journey, span)
        if isinstance(outcome, str):
            why.add(outcome)
        elif flow.earns:
            parts.append((outcome.times, outcome.draws.sum(axis=1)))
            currencies.update(code for codes in flow.currencies for code in codes)
    if not parts:
        return {"reason": "; ".join(sorted(why)) or "no journey data in window"}
    if len(currencies) > 1:
        return {"reason": f"currency mix: {', '.join(sorted(currencies))}"}
    low, high = interval(joined(parts, name))
    return {
        "lost_successes": 0.0,
        "lost_revenue": 0.0,
        "lost_revenue_low": round(min(low, 0.0), ROUND),
        "lost_revenue_high": round(max(high, 0.0), ROUND),
        "currency": next(iter(currencies), None),
        "status": "below_noise",
        "reason": f"{scope.rule} and no journey deviates beyond noise; the interval is that of all journeys together",
    }
