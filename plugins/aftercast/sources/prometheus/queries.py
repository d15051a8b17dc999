"""Rows of `queries` as PromQL: a counter, the buckets of a histogram, or a whole query, and what each answer lands as."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from aftercast.declarations import Row
from aftercast.sources.labels import Labels
from aftercast.sources.quoting import label_name, narrowed

Only = dict[str, Annotated[str, Field(min_length=1)]]


class Query(Row):
    """What lands under the name of a metric: exactly one of `counter`, `buckets` (selectors) and `query` (PromQL, `$step` allowed).

    A counter that is a part `of` another one is zero where that one counts and it does not: a server has no series of errors before the
    first error, and without this the share of errors would be unknown, not zero. `only` narrows selectors to labels with exactly
    these values.
    """

    metric: str = Field(min_length=1)
    counter: str | None = None
    of: str | None = None
    buckets: str | None = None
    query: str | None = None
    kind: Literal["gauge", "counter", "histogram"] = "gauge"
    unit: str = ""
    scale: float = 1.0
    only: Only = Field(default_factory=dict)
    quantiles: tuple[float, ...] = ()
    step_seconds: int | None = Field(default=None, ge=1)
    labels: Labels | None = None

    @model_validator(mode="after")
    def _one_of_three(self) -> Self:
        if sum(one is not None for one in (self.counter, self.buckets, self.query)) != 1:
            raise ValueError("give exactly one of counter, buckets and query")
        if self.of is not None and self.counter is None:
            raise ValueError("only a counter can be a part `of` another one")
        if bool(self.quantiles) != (self.buckets is not None) or not all(0 < one < 1 for one in self.quantiles):
            raise ValueError("buckets need quantiles between 0 and 1, such as [0.5, 0.95], and nothing else has quantiles")
        if self.query is not None and self.only:
            raise ValueError("`only` narrows counter and buckets; write what is wanted into the query")
        for selector in (self.counter, self.of, self.buckets):
            narrowed(selector or "", self.only)
        if self.query is not None and self.kind == "counter" and "$step" not in self.query:
            raise ValueError("a counter lands as its increase per step: write increase(...[$step]), or use `counter:`")
        return self


@dataclass(frozen=True, slots=True)
class Question:
    """One query as it is asked; `closing` ones stand for the step before a moment, others for the moment."""

    metric: str
    promql: str
    kind: str
    unit: str
    scale: float
    step: int
    closing: bool
    labels: Labels


def questions(rows: Iterable[Query], *, step: int, labels: Labels) -> list[Question]:
    """Return the queries of all rows; a histogram asks once per quantile and names it: `latency` in ms gives `latency_p95_ms`."""
    found = []
    for row in rows:
        every, mapping = row.step_seconds or step, row.labels or labels
        by = ", ".join(map(label_name, mapping.kept))
        if row.counter is not None:
            part, whole = (f"sum by ({by}) (increase({selector}[$step]))" for selector in _narrowed(row, row.counter, row.of))
            asked = [(row.metric, part if row.of is None else f"{part} or {whole} * 0", "counter")]
        elif row.buckets is not None:
            (selector,) = _narrowed(row, row.buckets)
            spread = f"sum by ({', '.join(filter(None, ('le', by)))}) (increase({selector}[$step]))"
            unit = f"_{row.unit}" if row.unit else ""
            asked = [
                (f"{row.metric}_p{f'{q * 100:g}'.replace('.', '_')}{unit}", f"histogram_quantile({q}, {spread})", "gauge")
                for q in row.quantiles
            ]
        else:
            asked = [(row.metric, str(row.query), row.kind)]
        found += [
            Question(metric, text.replace("$step", f"{every}s"), kind, row.unit, row.scale, every, "$step" in text, mapping)
            for metric, text, kind in asked
        ]
    return found


def _narrowed(row: Query, *selectors: str | None) -> list[str]:
    return [narrowed(selector or "", row.only) for selector in selectors]
