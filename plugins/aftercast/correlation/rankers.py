"""The declared versions of the ranker: each ranks every incident, the live one for everybody, the others for the scorecard only.

A version whose weights are learned uses, for the incidents of a week, what people had said before its Monday (UTC): no verdict informs the
ranking of the incident it is about, nor of any that began before it was given. Ranking again later, with more verdicts, changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

import polars as pl

from aftercast.correlation.fingerprints import digest_of
from aftercast.correlation.inputs import MODEL_VERSION
from aftercast.correlation.judging import Hearing, Judgement, Word, case_of, judgements, words
from aftercast.correlation.learned import learn, numbers_of
from aftercast.correlation.prescribed import effect_rows
from aftercast.correlation.ranking import Ranked, order
from aftercast.correlation.remembering import Lazily, Memory
from aftercast.correlation.rules import heard_by
from aftercast.correlation.surroundings import micros
from aftercast.correlation.telemetry import DAY
from aftercast.correlation.weights import PRIOR, Weights
from aftercast.declarations import DEFAULT_RANKER, RankerRow
from aftercast.prescriptions import Advice

Row = dict[str, object]
WEEK, MONDAY = 7 * DAY, 4 * DAY  # 1970-01-05 was a Monday


@dataclass(slots=True)
class Rankings:
    """What the versions made of the incidents: the live ranking of each with its weights, and the rows of four derived tables.

    Attributes:
        prints: of each version, what its ranking of each incident is a function of.
        same: of each version in shadow, the incidents whose rows of the last run still hold; `in_shadow` has those of the others.
    """

    live: dict[str, tuple[Sequence[Ranked], Weights]] = field(default_factory=dict)
    in_shadow: list[Row] = field(default_factory=list)
    judged: list[Row] = field(default_factory=list)
    weights: list[Row] = field(default_factory=list)
    effects: list[Row] = field(default_factory=list)
    by_week: dict[int, Weights] = field(default_factory=dict)
    prints: dict[str, dict[str, str]] = field(default_factory=dict)
    same: dict[str, set[str]] = field(default_factory=dict)

    def weights_at(self, moment: int) -> Weights:
        """The live weights of the week of a time, or of the last week before it with an incident; the prior when there was none."""
        return self.by_week[max(weeks)] if (weeks := [week for week in self.by_week if week <= moment]) else PRIOR


def rank_all(
    hearings: Sequence[Hearing],
    verdicts: pl.DataFrame,
    as_of: datetime,
    rankers: Sequence[RankerRow] = (DEFAULT_RANKER,),
    advice: Sequence[Advice] = (),
    memory: Memory | None = None,
) -> Rankings:
    """Let every declared version rank every incident, and compare each with what people had said by `as_of`; and so the rules advised."""
    memory = memory or Memory()
    known = {hearing.incident.incident_id: hearing for hearing in hearings}
    said = words(verdicts)
    judged = judgements(said, known, micros(as_of))
    found = Rankings()
    for ranker in rankers:
        own = heard_by(ranker, hearings)
        weights = _weights_of(ranker, {hearing.incident.incident_id: hearing for hearing in own}, said, memory)
        ranked: dict[str, tuple[Sequence[Ranked], Weights]] = {}
        prints = found.prints[ranker.version] = {}
        for hearing in own:
            name, weighed = hearing.incident.incident_id, weights[_week(hearing.incident.started)]
            ranked[name] = Lazily(partial(order, hearing.examined, weighed)), weighed
            prints[name] = digest_of(hearing.fingerprint, ranker.rules, ranker.without, weighed).hex() if hearing.fingerprint else ""
        if ranker.state == "live":
            found.live, found.by_week = ranked, weights
        else:
            same = found.same[ranker.version] = memory.same(ranker.version, prints)
            found.in_shadow.extend(_shadow_rows(ranker, {name: row for name, row in ranked.items() if name not in same}))
        found.judged.extend(_judged_row(ranker, judgement, ranked.get(judgement.incident_id)) for judgement in judged)
        found.weights.extend(_weight_rows(ranker, weights))
    live = {incident: weights for incident, (_, weights) in found.live.items()}
    found.effects.extend(effect_rows(advice, hearings, judged, live, rankers, as_of))
    return found


def _week(started: int) -> int:
    """Start of the week (Monday, UTC) a time lies in, in microseconds."""
    return (started - MONDAY) // WEEK * WEEK + MONDAY


def _weights_of(ranker: RankerRow, known: Mapping[str, Hearing], said: Sequence[Word], memory: Memory) -> dict[int, Weights]:
    """The weights of each week with incidents; learned again only when more has been said."""
    weeks = sorted({_week(hearing.incident.started) for hearing in known.values()})
    if ranker.weights == "prior":
        return dict.fromkeys(weeks, PRIOR)
    found: dict[int, Weights] = {}
    heard, weights = 0, PRIOR
    for week in weeks:
        by_then = sum(word.decided < week for word in said)
        if by_then > heard:
            heard = by_then
            weights = _learned(ranker, [one for one in judgements(said, known, week) if one.possible], known, memory)
        found[week] = weights
    return found


def _learned(ranker: RankerRow, judged: Sequence[Judgement], known: Mapping[str, Hearing], memory: Memory) -> Weights:
    """The weights that judged incidents teach; those of an earlier run where it learned from the very same."""
    told = [(one.incident_id, known[one.incident_id].fingerprint, sorted(one.possible), one.confidence) for one in judged]
    cases = digest_of(ranker.rules, ranker.without, told).hex() if all(row[1] for row in told) else ""
    weights = memory.weights(cases)
    if weights is None:
        weights = learn([case_of(one, known[one.incident_id]) for one in judged], "learned")
        memory.keep_weights(cases, weights)
    return weights


def _shadow_rows(ranker: RankerRow, ranked: Mapping[str, tuple[Sequence[Ranked], Weights]]) -> Iterator[Row]:
    for incident_id, (rows, weights) in ranked.items():
        for row in rows:
            yield {
                "ranker_version": ranker.version,
                "incident_id": incident_id,
                "rank": row.rank,
                "kind": row.candidate.kind,
                "candidate_id": row.candidate.candidate_id,
                "probability": row.probability,
                "score": round(row.score, 6),
                "weights_version": weights.version,
                "learned_from_n": weights.learned_from_n,
                "model_version": MODEL_VERSION,
            }


def _judged_row(ranker: RankerRow, judgement: Judgement, ranking: tuple[Sequence[Ranked], Weights] | None) -> Row:
    """How one ranking did against what people said; without a known cause only why it cannot be told."""
    row: Row = {
        "ranker_version": ranker.version,
        "incident_id": judgement.incident_id,
        "status": judgement.status,
        "reason": judgement.reason,
        "n_verdicts": judgement.n_verdicts,
        "decided_at": datetime.fromtimestamp(judgement.decided / 1e6, UTC),
        "model_version": MODEL_VERSION,
    }
    if ranking is None:
        return row
    ranked, weights = ranking
    top = ranked[0]
    row |= {
        "top_kind": top.candidate.kind,
        "top_candidate_id": top.candidate.candidate_id,
        "top_probability": top.probability,
        "weights_version": weights.version,
        "learned_from_n": weights.learned_from_n,
    }
    if judgement.cause is None:
        return row
    true = next((each for each in ranked if (each.candidate.kind, each.candidate.candidate_id) == judgement.cause), None)
    probability = true.probability if true else 0.0
    return row | {
        "true_kind": judgement.cause[0],
        "true_candidate_id": judgement.cause[1],
        "true_rank": true.rank if true else None,
        "true_probability": probability,
        "brier": round(sum(each.probability**2 for each in ranked) - 2 * probability + 1, 6),
    }


def _weight_rows(ranker: RankerRow, weights: Mapping[int, Weights]) -> Iterator[Row]:
    first: dict[str, int] = {}
    for week, weighed in sorted(weights.items()):
        if weighed.learned_from_n and weighed.version not in first:
            first[weighed.version] = week
            for part, name, value, prior in numbers_of(weighed):
                yield {
                    "ranker_version": ranker.version,
                    "weights_version": weighed.version,
                    "used_from": datetime.fromtimestamp(week / 1e6, UTC),
                    "part": part,
                    "name": name,
                    "value": value,
                    "prior_value": prior,
                    "learned_from_n": weighed.learned_from_n,
                    "model_version": MODEL_VERSION,
                }
