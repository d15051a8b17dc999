"""Measurements as text that Prometheus reads: gauges only, valid in its own format and in OpenMetrics. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Sample:
    """A value of a metric; labels may hold any text."""

    metric: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


# What each metric means. A page (docs/operations.md) repeats it, and a test compares the two.
MEANINGS = {
    "aftercast_build_info": "The code that measures; always 1.",
    "aftercast_measured_timestamp_seconds": "When these figures were taken.",
    "aftercast_mart_as_of_timestamp_seconds": "Until when the published mart knows; its age is time() less this.",
    "aftercast_mart_published_timestamp_seconds": "When the published mart was put in place.",
    "aftercast_mart_freshness_limit_seconds": "How old the mart may be (`within_hours` of config/pipeline.yml).",
    "aftercast_mart_freshness_objective_ratio": "Share of the time in which it should be younger than that.",
    "aftercast_mart_freshness_ratio": "Share of the known time in the window in which it was.",
    "aftercast_mart_freshness_known_seconds": "How much of the window that share is about.",
    "aftercast_mart_incidents": "Incidents in the published mart.",
    "aftercast_mart_incidents_unscored": "Incidents that count in metrics and have no ranked candidate, or no loss with a status.",
    "aftercast_source_rows": "Rows of a source's extracts in the landing zone's coverage, by outcome.",
    "aftercast_source_quarantined_rows": "Rows of a source that wait in quarantine.",
    "aftercast_source_covered_until_timestamp_seconds": "How far the extracts of a source have landed.",
    "aftercast_gate_expectations": "Expectations of a suite at its last judgement.",
    "aftercast_gate_failed": "Expectations of a suite that failed at its last judgement, of any severity.",
    "aftercast_outbox_deliveries": "Things to be sent, by state; `unsure` and `failed` need a person.",
    "aftercast_outbox_unreadable": "Whether a record of the outbox cannot be read.",
    "aftercast_task_duration_seconds": "How long the last try of a task took; of mapped tasks the longest.",
    "aftercast_task_ended_timestamp_seconds": "When the last try of a task ended; of mapped tasks the last.",
    "aftercast_task_failed": "Whether the last try of a task failed; of mapped tasks any.",
    "aftercast_deadline_missed_timestamp_seconds": "When a run of a DAG last missed its deadline.",
}


def text(samples: Iterable[Sample]) -> str:
    """Return the exposition of samples, grouped by metric in the order of `MEANINGS`.

    Raises:
        KeyError: a metric without a meaning.
    """
    grouped: dict[str, list[Sample]] = {}
    for sample in samples:
        if sample.metric not in MEANINGS:
            raise KeyError(f"metric {sample.metric!r} has no meaning in MEANINGS")
        grouped.setdefault(sample.metric, []).append(sample)
    lines = []
    for metric, meaning in MEANINGS.items():
        if metric in grouped:
            lines += [f"# HELP {metric} {_escaped(meaning)}", f"# TYPE {metric} gauge"]
            lines += sorted(_line(sample) for sample in grouped[metric])
    return "\n".join([*lines, "# EOF"]) + "\n"


def _line(sample: Sample) -> str:
    labels = ",".join(f'{name}="{_escaped(value, quoted=True)}"' for name, value in sorted(sample.labels.items()))
    return f"{sample.metric}{'{' + labels + '}' if labels else ''} {_number(sample.value)}"


def _number(value: float) -> str:
    if math.isnan(value) or math.isinf(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _escaped(value: str, *, quoted: bool = False) -> str:
    clean = value.replace("\\", "\\\\").replace("\n", "\\n")
    return clean.replace('"', '\\"') if quoted else clean
