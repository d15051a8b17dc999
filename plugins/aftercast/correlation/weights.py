"""How much each kind of candidate and each check counts, and how scores become probabilities.

The prior counts every check once and every kind as the taxonomy says (docs/decisions/004-ranking.md). Other weights are learned from
people's verdicts (learned.py) and pulled towards these. The order of candidates is the order of their scores, whatever the weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from aftercast.correlation.findings import Candidate, Finding

PRIOR_KINDS = {"change": 0.70, "service": 0.13, "provider": 0.06, "none": 0.11}
"""How often each kind triggers an incident, before looking. From the trigger taxonomy of the SRE workbook: binary push 37, config push 31
and part of pipeline 6 are changes; performance decay 5, capacity 5, hardware 2 are the service itself; provider 5; user behaviour 9 and
what nobody finds are none of these."""
SHARPNESS, SLIP, DULLNESS = 2.5, 0.05, 0.5
"""Strengths are capped on the safe side, so their sum is too modest: it counts `SHARPNESS` times. But evidence misleads at times (a
change that happens to come just before): with the chance `SLIP` it counts only `DULLNESS` times. Taken from data, and all that is
(docs/decisions/012-learned-weights.md)."""
DIGITS = 6


@dataclass(frozen=True, slots=True)
class Weights:
    """What is added to the log prior of each kind, and what the strength of each check is multiplied by (`usual` when not named)."""

    version: str = "prior"
    kinds: Mapping[str, float] = field(default_factory=dict)
    checks: Mapping[str, float] = field(default_factory=dict)
    usual: float = 1.0
    learned_from_n: int = 0

    def score(self, candidate: Candidate, findings: Iterable[Finding]) -> float:
        """Weighted log-odds, rounded so that equal evidence ties exactly."""
        evidence = math.fsum(self.checks.get(finding.check, self.usual) * finding.strength for finding in findings)
        return round(candidate.prior + self.kinds.get(candidate.kind, 0.0) + evidence, 9)


PRIOR = Weights()


def softmax(scores: Sequence[float]) -> list[float]:
    """Probabilities of log-odds given in falling order, to six decimals; what rounding leaves goes to the first ones: they sum to one."""
    shares = [
        (1 - SLIP) * trusted + SLIP * doubted
        for trusted, doubted in zip(_shares(scores, SHARPNESS), _shares(scores, DULLNESS), strict=True)
    ]
    parts = [int(share * 10**DIGITS) for share in shares]
    left = 10**DIGITS - sum(parts)
    return [(part + (place < left)) / 10**DIGITS for place, part in enumerate(parts)]


def _shares(scores: Sequence[float], sharpness: float) -> list[float]:
    weights = [math.exp(sharpness * (score - scores[0])) for score in scores]
    total = math.fsum(weights)
    return [weight / total for weight in weights]
