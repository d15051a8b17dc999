"""Answers of range queries as metric points: labels become columns, values that are no finite number are dropped and counted."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import polars as pl

from aftercast.entities import TIME
from aftercast.errors import SourceRejected
from aftercast.sources import Batch
from aftercast.sources.prometheus.queries import Question
from aftercast.sources.prometheus.ranges import Answer

IDENTITY = ("service", "environment", "region", "attributes")
REJECTED = {"reason": pl.String, "raw": pl.String}


def points(answer: Answer, question: Question, source: str) -> Batch:
    """Return an answer as metric points.

    Raises:
        SourceRejected: a value is no pair of time and text, or two series are one under the labels that are kept.
    """
    usable: list[tuple[dict[str, str], dict[str, str | None], list[Any]]] = []
    rejected, notes = [], Counter(answer.warnings)
    for one in answer.series:
        identity = {**question.labels.read(one["metric"], *IDENTITY[:3]), "attributes": question.labels.attributes_of(one["metric"])}
        reason = None
        if not identity["service"]:
            reason = f"metric {question.metric}: series without label {question.labels.service}"
        elif "histograms" in one:
            reason = f"metric {question.metric}: native histogram, ask for its quantiles or its count"
        if reason:
            rejected.append((reason, json.dumps(one["metric"], ensure_ascii=False)))
        else:
            usable.append((one["metric"], identity, one["values"]))
    try:
        pairs = [pair for *_, values in usable for pair in values]
        times = pl.Series("ts", [time for time, _ in pairs], dtype=pl.Float64)
        values = pl.Series("value", [value for _, value in pairs], dtype=pl.String).cast(pl.Float64, strict=False)
    except (TypeError, ValueError) as error:
        raise SourceRejected(f"source {source!r}: {answer.origin}: a value is no pair of a time and a text ({error})") from error
    schema = dict.fromkeys(IDENTITY, pl.String)
    series = pl.DataFrame([identity for _, identity, _ in usable], schema=schema).with_row_index("series")
    owner = pl.Series("series", np.repeat(np.arange(len(usable), dtype=np.uint32), [len(values) for *_, values in usable]))
    found = pl.DataFrame([owner, times, values])
    inside = found.filter(pl.col("ts").is_between(answer.steps[0], answer.steps[-1]))
    numbers = inside.filter(pl.col("value").is_finite())
    notes[f"metric {question.metric}: outside of the time asked for"] = found.height - inside.height
    notes[f"metric {question.metric}: not a finite number"] = inside.height - numbers.height
    frame = numbers.join(series, on="series", how="left", maintain_order="left")
    if series.select(IDENTITY).is_duplicated().any():
        _refuse_ambiguous(frame, [labels for labels, *_ in usable], answer.origin, question, source)
    shift = question.step if question.closing else 0
    return Batch(
        "metric_points",
        frame.select(
            *IDENTITY,
            ((pl.col("ts") - shift) * 1_000_000).round().cast(pl.Int64).cast(TIME).alias("ts"),
            (pl.col("value") * question.scale).alias("value"),
            **{name: pl.lit(getattr(question, name)) for name in ("metric", "unit", "kind")},
        ),
        origin=answer.origin,
        rejected=pl.DataFrame(rejected, schema=REJECTED, orient="row") if rejected else None,
        notes={reason: count for reason, count in notes.items() if count},
    )


def _refuse_ambiguous(frame: pl.DataFrame, labels: list[dict[str, str]], origin: str, question: Question, source: str) -> None:
    """Two series that are one for us at one time: whichever landed last would be taken for the truth. One series told twice is harmless."""
    twice = frame.filter(frame.select(*IDENTITY, "ts").is_duplicated())
    different = {json.dumps(labels[one], sort_keys=True) for one in twice["series"].unique()}
    if len(different) < 2:
        return
    where = {name: twice[name][0] for name in IDENTITY if twice[name][0]}
    others = sorted({name for one in labels for name in one} - {*question.labels.kept, "__name__"})
    raise SourceRejected(
        f"source {source!r}: {origin}: {len(different)} series become one, for example at {where}; their other labels are "
        f"{', '.join(others) or 'none'}: add up in PromQL, e.g. sum by ({', '.join(question.labels.kept)}) (...), "
        "or keep a label under labels.attributes"
    )
