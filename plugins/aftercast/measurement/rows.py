"""Measured outcomes as rows: status, reasons, what came back, and the incident's total with its joint interval."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from aftercast.measurement.currencies import Rates
from aftercast.measurement.factors import RARE, groups_of, odds_of_nothing, seed_of, weigh
from aftercast.measurement.flows import Array, Flow
from aftercast.measurement.outcomes import Outcome, interval, joined, tempered
from aftercast.measurement.scope import Group, Scope
from aftercast.measurement.windows import Ledger, Span, measured_alone

LEAST_COVERAGE = 0.5
ROUND = 2
REPORTED = {"reported_loss": "", "reported_loss_low": "_low", "reported_loss_high": "_high"}

Row = dict[str, object]
Parts = list[tuple[npt.NDArray[np.int64], Array]]
"""Draws of journeys with the quiet windows they come from."""


@dataclass(frozen=True, slots=True)
class At:
    """The rates that hold at the moment an incident began."""

    rates: Rates
    moment: datetime

    def worth(self, codes: tuple[str, ...], currencies: set[str]) -> float:
        """What to multiply an amount by before it is added to amounts in `currencies`: 1 while there is only one, 0 without a rate."""
        if len(currencies) < 2 or len(codes) != 1:
            return 1.0
        rate = self.rates.at(codes[0], self.moment)
        return rate.value if rate else 0.0

    def reported(self, row: Row) -> Row:
        """The loss of a row or total in the currency reported in, and the rate that led there; all null without one."""
        rate = self.rates.at(str(row["currency"]), self.moment) if row.get("currency") else None
        if rate is None or row["status"] == "unknown":
            return {}
        amounts = {name: round(float(str(row[f"lost_revenue{end}"])) * rate.value, ROUND) for name, end in REPORTED.items()}
        return {"report_currency": self.rates.report_in, **amounts, "exchange_rate": rate.value, "rate_since": rate.since}


def report(
    name: str,
    groups: frozenset[Group],
    spans: dict[tuple[str, str], Span | str],
    outcomes: dict[tuple[str, str], Outcome | str],
    ledger: Ledger,
    scope: Scope,
    at: At,
) -> tuple[list[Row], Row]:
    """Return the rows of an incident by journey and segment, and its total."""
    counted: dict[str, list[int]] = {}
    seen: dict[str, Outcome] = {}
    measured: dict[str, Outcome] = {}
    for journey in sorted({group[0] for group in groups}):
        flow, span = ledger.flows[journey], spans[name, journey]
        outcome = span if isinstance(span, str) else outcomes[name, journey]
        if isinstance(outcome, Outcome):
            columns = [number for region, members in groups_of(flow).items() if (journey, region) in groups for number in members]
            counted[journey] = [number for number in columns if _unknown(flow, number, outcome) is None]
            seen[journey], measured[journey] = outcome, tempered(outcome, counted[journey])
    back = _came_back(name, measured, counted)
    rows: list[Row] = []
    parts: Parts = []
    evidence: Parts = []
    for journey in sorted({group[0] for group in groups}):
        flow, span = ledger.flows[journey], spans[name, journey]
        found: Outcome | str = measured.get(journey) or str(span if isinstance(span, str) else outcomes[name, journey])
        for number, segment in enumerate(flow.segments):
            if (journey, segment["region"]) in groups:
                odds = odds_of_nothing(_net(seen[journey], back.get(journey))[:, number]) if journey in seen else 1.0
                row = _row(name, flow, number, segment, span, found, back.get(journey), odds)
                rows.append(row | at.reported(row))
    currencies = {code for journey, columns in counted.items() for number in columns for code in ledger.flows[journey].currencies[number]}
    for journey, columns in counted.items():
        worth = [at.worth(ledger.flows[journey].currencies[number], currencies) for number in columns]
        if columns:
            for kind, outcome in ((parts, measured[journey]), (evidence, seen[journey])):
                kind.append((outcome.times, _net(outcome, back.get(journey))[:, columns] @ worth))
    hidden = _hidden(ledger, scope, name, spans, groups, currencies)
    return rows, _total(name, rows, parts, evidence, currencies, hidden, scope, spans, ledger, at)


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
        outcome = span if isinstance(span, str) else measured_alone(ledger, journey, span)
        columns = groups_of(flow)[region]
        if (
            isinstance(outcome, str)
            or not flow.earns
            or len(currencies) > 1
            or {code for number in columns for code in flow.currencies[number]} - currencies
        ):
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


def _stated(lost: float, low: float, high: float, odds: float) -> Row:
    """Loss, interval and status. A loss is quantified when quiet windows alone look as bad at most one time in twenty; then it is one."""
    quantified = lost > 0 and odds <= RARE
    return {
        "lost_revenue": round(lost, ROUND),
        "lost_revenue_low": round(max(min(low, lost), 0.0) if quantified else min(low, lost), ROUND),
        "lost_revenue_high": round(max(high, lost), ROUND),
        "status": "quantified" if quantified else "below_noise",
    }


def _unknown(flow: Flow, number: int, outcome: Outcome) -> str | None:
    """Why money cannot be told for a segment; None when it can."""
    if outcome.coverage[number] < LEAST_COVERAGE:
        return "no journey data in window"
    if not flow.earns:
        return "no step of the journey earns"
    if len(flow.currencies[number]) > 1:
        return f"currency mix: {', '.join(flow.currencies[number])}"
    return None


def _row(
    name: str,
    flow: Flow,
    number: int,
    segment: dict[str, str],
    span: Span | str,
    outcome: Outcome | str,
    back: Array | None,
    odds: float,
) -> Row:
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
        "refunds": round(float(outcome.refunds[number]), ROUND) if flow.earns else None,
        "trained_until": datetime.fromtimestamp(outcome.trained_until, UTC),
    }
    unknown = _unknown(flow, number, outcome)
    if unknown is not None:
        return row | {"reason": unknown}
    low, high = interval(_net(outcome, back)[:, number])
    gross, recovered = float(outcome.gross[number]), float(back[:, number].mean()) if back is not None else 0.0
    missing = 1 - outcome.coverage[number]
    remarks = [f"{missing:.0%} of the window has no data and is not counted"] if missing > 0.01 else []
    remarks += [outcome.note] if outcome.note else []
    return row | {
        "expected_revenue": round(float(outcome.actual[number]) + gross, ROUND),
        "actual_revenue": round(float(outcome.actual[number]), ROUND),
        **_stated(gross - recovered, low, high, odds),
        "recovered_later": round(recovered, ROUND),
        "reason": "; ".join(remarks) or None,
    }


def _total(
    name: str,
    rows: list[Row],
    parts: Parts,
    evidence: Parts,
    currencies: set[str],
    hidden: list[Array],
    scope: Scope,
    spans: dict[tuple[str, str], Span | str],
    ledger: Ledger,
    at: At,
) -> Row:
    total: Row = {"incident_id": name, "status": "unknown", "journeys": [], "segments": []}
    if not rows:
        total |= _nothing_found(name, scope, spans, ledger, at)
        return total | at.reported(total)
    total["journeys"] = sorted({str(row["journey"]) for row in rows})
    total["segments"] = sorted({str(row["segment"]) for row in rows})
    unknown = [row for row in rows if row["status"] == "unknown"]
    if len(unknown) == len(rows):
        return total | {"reason": "; ".join(sorted({str(row["reason"]) for row in unknown}))}
    total["lost_successes"] = round(sum(float(str(row["lost_successes"])) for row in rows if row["status"] != "unknown"), 3)
    if len(currencies) > 1 and (why := at.rates.missing(currencies, at.moment)):
        return total | {"reason": why}
    draws = joined(parts, name)
    low, _ = interval(draws)
    chance = np.random.default_rng(seed_of(name, "hidden"))
    high = interval(np.sum([draws, *(chance.choice(part, size=len(draws)) for part in hidden)], axis=0))[1]
    stated = "reported_loss" if len(currencies) > 1 else "lost_revenue"
    lost = sum(float(str(row[stated])) for row in rows if row["status"] != "unknown")
    reasons = sorted({str(row["reason"]) for row in unknown})
    told = [f"added up from {at.rates.told(currencies, at.moment)}"] if len(currencies) > 1 else []
    if unknown:
        told.append(f"{len(unknown)} of {len(rows)} rows are unknown: {'; '.join(reasons)}")
    total |= {
        **_stated(lost, low, high, odds_of_nothing(joined(evidence, name))),
        "currency": at.rates.report_in if len(currencies) > 1 else next(iter(currencies), None),
        "reason": "; ".join(told) or None,
    }
    return total | at.reported(total)


def _nothing_found(name: str, scope: Scope, spans: dict[tuple[str, str], Span | str], ledger: Ledger, at: At) -> Row:
    """An incident without a linked journey and without a deviation: nothing was lost, within what all journeys together could hide."""
    found: list[tuple[Flow, Outcome]] = []
    why: set[str] = set()
    for journey in sorted({group[0] for group in scope.possible}):
        span, flow = spans[name, journey], ledger.flows[journey]
        outcome = span if isinstance(span, str) else measured_alone(ledger, journey, span)
        if isinstance(outcome, str):
            why.add(outcome)
        elif flow.earns:
            found.append((flow, outcome))
    if not found:
        return {"reason": "; ".join(sorted(why)) or "no journey data in window"}
    currencies = {code for flow, _ in found for codes in flow.currencies for code in codes}
    if len(currencies) > 1 and (lacking := at.rates.missing(currencies, at.moment)):
        return {"reason": lacking}
    parts = [(outcome.times, outcome.draws @ [at.worth(codes, currencies) for codes in flow.currencies]) for flow, outcome in found]
    low, high = interval(joined(parts, name))
    return {
        "lost_successes": 0.0,
        "lost_revenue": 0.0,
        "lost_revenue_low": round(min(low, 0.0), ROUND),
        "lost_revenue_high": round(max(high, 0.0), ROUND),
        "currency": at.rates.report_in if len(currencies) > 1 else next(iter(currencies), None),
        "status": "below_noise",
        "reason": f"{scope.rule} and no journey deviates beyond noise; the interval is that of all journeys together",
    }
