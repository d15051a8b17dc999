"""What weights learned from verdicts are worth: people judge the first half of the incidents, the second half is ranked with and without.

The verdicts are the truth, given `DECIDED_AFTER` after each incident began: an upper bound of what people could say. Both versions rank
the same evidence in one run of `correlate`; only incidents for which anything had been learned by then are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from aftercast.correlation import correlate
from aftercast.declarations import RankerRow
from benchmarks.cases import Label, Suite

DECIDED_AFTER = timedelta(days=3)
RANKERS = (RankerRow(version="by-prior", state="live"), RankerRow(version="by-verdicts", state="shadow", weights="learned"))
LEAST_PROBABILITY = 1e-6


def learned_against_prior(suite: Suite, labels: Mapping[str, Label]) -> dict[str, Any]:
    """Return top-1, Brier and log loss of both on the incidents ranked by learned weights, and the paired difference with its interval."""
    started = dict(suite.inputs.incidents.select("incident_id", "started_at").iter_rows())
    order = sorted((started[incident], incident) for incident in labels)
    first = [incident for _, incident in order[: len(order) // 2]]
    later = {incident for _, incident in order[len(order) // 2 :]}
    verdicts = pl.DataFrame(
        [
            {
                "verdict_id": f"V-{incident}",
                "version": 1,
                "incident_id": incident,
                "subject_kind": labels[incident].kind,
                "subject_id": labels[incident].candidate_id,
                "verdict": "confirm",
                "decided_at": started[incident] + DECIDED_AFTER,
            }
            for incident in first
        ]
    )
    found = correlate(replace(suite.inputs, verdicts=verdicts), suite.as_of, RANKERS)
    taught = set(found.ranked_in_shadow.filter(pl.col("learned_from_n") > 0)["incident_id"]) & later
    prior, learned = (_scores(rows, labels, sorted(taught)) for rows in (found.candidates, found.ranked_in_shadow))
    return {
        "n_verdicts": len(first),
        "n": len(taught),
        "learned_from_n": max(found.ranked_in_shadow["learned_from_n"].to_list(), default=0),
        "prior": _means(prior),
        "learned": _means(learned),
        "difference": {name: _paired(learned[name] - prior[name]) for name in prior},
    }


def _scores(candidates: pl.DataFrame, labels: Mapping[str, Label], incidents: list[str]) -> dict[str, np.ndarray]:
    """Of each incident: whether the cause is first, the Brier score, and minus the logarithm of the cause's probability."""
    rows: dict[str, list[float]] = {"top1": [], "brier": [], "log_loss": []}
    for incident in incidents:
        ranked = candidates.filter(pl.col("incident_id") == incident).sort("rank")
        true = ranked.filter((pl.col("kind") == labels[incident].kind) & (pl.col("candidate_id") == labels[incident].candidate_id))
        probability = float(true["probability"].sum())
        rows["top1"].append(float(true["rank"].to_list() == [1]))
        rows["brier"].append(float((ranked["probability"] ** 2).sum()) - 2 * probability + 1)
        rows["log_loss"].append(-float(np.log(max(probability, LEAST_PROBABILITY))))
    return {name: np.asarray(values) for name, values in rows.items()}


def _means(scores: Mapping[str, np.ndarray]) -> dict[str, float | None]:
    return {name: round(float(values.mean()), 4) if len(values) else None for name, values in scores.items()}


def _paired(differences: np.ndarray) -> list[float] | None:
    """Mean and 95 % interval (normal) of what learning changed."""
    if len(differences) < 2:
        return None
    error = 1.959964 * float(differences.std(ddof=1)) / len(differences) ** 0.5
    middle = float(differences.mean())
    return [round(middle, 4), round(middle - error, 4), round(middle + error, 4)]
