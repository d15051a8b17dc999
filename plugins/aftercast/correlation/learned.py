"""Weights learned from what people said of earlier incidents: how often each kind is the cause, and how far each check can be trusted.

The penalised likelihood of the same mixture that ranks. Kinds have a Dirichlet prior worth `PRIOR_INCIDENTS` incidents of the taxonomy;
the multipliers of the checks are 1 + a part common to all (how sharp evidence is) + a part of their own, each pulled towards nothing, and
never negative. With few verdicts the prior stays as it is; with many it is forgotten. Deterministic, whatever the order of the cases.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from aftercast.correlation.findings import Candidate, Finding
from aftercast.correlation.weights import DULLNESS, PRIOR, PRIOR_KINDS, SHARPNESS, SLIP, Weights

LEAST_CASES = 20
"""Fewer incidents of known cause teach nothing that is worth more than the prior."""
PRIOR_INCIDENTS = 30.0
COMMON_SPREAD, OWN_SPREAD = 0.2, 0.5
MOST = 3.0
DIGITS = 4
KINDS = tuple(PRIOR_KINDS)

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Case:
    """An incident people judged: its candidates with their findings, and which of them may be the cause after what was said."""

    incident_id: str
    candidates: tuple[tuple[Candidate, tuple[Finding, ...]], ...]
    possible: frozenset[tuple[str, str]]
    weight: float = 1.0

    @property
    def is_known(self) -> bool:
        """Whether one cause is left, so that the case is worth a whole incident."""
        return len(self.possible) == 1


@dataclass(frozen=True, slots=True)
class _Table:
    """A case as numbers, candidates in the order of kind and id."""

    prior: Array
    kinds: Array
    strengths: Array
    possible: npt.NDArray[np.bool_]
    weight: float


def learn(cases: Iterable[Case], version: str) -> Weights:
    """Return the weights most probable after the cases; those of the prior while fewer than `LEAST_CASES` causes are known.

    `version` is told apart by a digest of the numbers: the same weights have the same version.
    """
    known = sorted(cases, key=lambda case: case.incident_id)
    if sum(case.is_known for case in known) < LEAST_CASES:
        return PRIOR
    checks = sorted({finding.check for case in known for _, findings in case.candidates for finding in findings})
    tables = [_table(case, checks) for case in known]
    limits = [*[(-MOST, MOST)] * len(KINDS), (-0.9, MOST), *[(-1.0, MOST)] * len(checks)]

    def loss(point: Array) -> tuple[float, Array]:
        return _loss(point, tables)

    found = minimize(loss, np.zeros(len(limits)), method="L-BFGS-B", jac=True, bounds=limits)
    kinds, common, own = _parts(np.asarray(found.x))
    numbers = {
        "kinds": {kind: round(float(value), DIGITS) for kind, value in zip(KINDS, kinds, strict=True)},
        "checks": {check: round(max(float(1 + common + value), 0.0), DIGITS) for check, value in zip(checks, own, strict=True)},
    }
    digest = hashlib.sha256(json.dumps(numbers, sort_keys=True).encode()).hexdigest()[:8]
    return Weights(f"{version}-{digest}", numbers["kinds"], numbers["checks"], round(max(1 + common, 0.0), DIGITS), len(known))


def _parts(point: Array) -> tuple[Array, float, Array]:
    return point[: len(KINDS)], float(point[len(KINDS)]), point[len(KINDS) + 1 :]


def _table(case: Case, checks: Sequence[str]) -> _Table:
    place = {check: column for column, check in enumerate(checks)}
    rows = sorted(case.candidates, key=lambda row: (row[0].kind, row[0].candidate_id))
    strengths = np.zeros((len(rows), len(checks)))
    for line, (_, findings) in enumerate(rows):
        for finding in findings:
            strengths[line, place[finding.check]] += finding.strength
    return _Table(
        np.array([candidate.prior for candidate, _ in rows]),
        np.array([[float(candidate.kind == kind) for kind in KINDS] for candidate, _ in rows]),
        strengths,
        np.array([(candidate.kind, candidate.candidate_id) in case.possible for candidate, _ in rows]),
        case.weight,
    )


def _loss(point: Array, tables: Sequence[_Table]) -> tuple[float, Array]:
    """Penalised negative log-likelihood and its gradient."""
    kinds, common, own = _parts(point)
    loss, slope = _penalty(kinds, common, own)
    for table in tables:
        scores = table.prior + table.kinds @ kinds + table.strengths @ (1 + common + own)
        features = np.hstack([table.kinds, table.strengths.sum(axis=1, keepdims=True), table.strengths])
        chance, change = 0.0, np.zeros_like(point)
        for share, sharpness in ((1 - SLIP, SHARPNESS), (SLIP, DULLNESS)):
            spread = np.exp(sharpness * (scores - scores.max()))
            spread /= spread.sum()
            part = spread * table.possible
            chance += share * part.sum()
            change += share * sharpness * (part @ features - part.sum() * (spread @ features))
        loss -= table.weight * float(np.log(max(chance, 1e-300)))
        slope -= table.weight * change / max(chance, 1e-300)
    return loss, slope


def _penalty(kinds: Array, common: float, own: Array) -> tuple[float, Array]:
    """Minus the log of the prior, up to a constant, and its gradient."""
    expected = np.array([PRIOR_KINDS[kind] for kind in KINDS])
    weighed = np.log(expected) + kinds
    shares = np.exp(weighed - weighed.max())
    shares /= shares.sum()
    loss = -PRIOR_INCIDENTS * float(expected @ np.log(shares)) + common**2 / (2 * COMMON_SPREAD**2) + float(own @ own) / (2 * OWN_SPREAD**2)
    slope = np.concatenate([PRIOR_INCIDENTS * (shares - expected), [common / COMMON_SPREAD**2], own / OWN_SPREAD**2])
    return loss, slope


def numbers_of(weights: Weights) -> list[tuple[str, str, float, float]]:
    """Part (kind or check), name, number and what it is in the prior; the name '' stands for every check that is not named."""
    kinds = [("kind", name, value, 0.0) for name, value in sorted(weights.kinds.items())]
    return [*kinds, *(("check", name, value, 1.0) for name, value in sorted({"": weights.usual, **weights.checks}.items()))]
