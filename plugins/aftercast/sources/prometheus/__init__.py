"""The `prometheus` kind: series of a server that speaks PromQL (Prometheus, Thanos, Mimir, VictoriaMetrics), and the alerts it fired.

A row of `queries` is a counter (its increase per step lands), the buckets of a histogram (its quantiles land) or a whole query. What looks
back over `$step` stands for the interval before it: it lands under the interval's start, in the window in which the interval ends. Values
that are no finite number are missing, not zero: they are dropped and counted.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import polars as pl
from pydantic import Field, field_validator, model_validator

from aftercast.connections import Endpoint, resolve
from aftercast.declarations import Row, SourceRow
from aftercast.settings import Settings, check_options, raw_folder
from aftercast.sources import Batch
from aftercast.sources.labels import Labels
from aftercast.sources.prometheus.fired import AlertOptions, episodes
from aftercast.sources.prometheus.points import points
from aftercast.sources.prometheus.queries import Query, Question, questions
from aftercast.sources.prometheus.ranges import PATIENCE, ask, steps
from aftercast.sources.web import Web, signed_in
from aftercast.window import Window

log = logging.getLogger(__name__)


class Options(Row):
    """Options of a `prometheus` source."""

    queries: tuple[Query, ...] = ()
    labels: Labels = Labels()
    step_seconds: int = Field(default=60, ge=1)
    alerts: AlertOptions | None = None

    @field_validator("alerts", mode="before")
    @classmethod
    def _plain_yes(cls, given: Any) -> Any:
        return {} if given is True else None if given is False else given

    @model_validator(mode="after")
    def _something_to_ask(self) -> Self:
        if not self.queries and self.alerts is None:
            raise ValueError("nothing to extract: add queries, or alerts: true")
        return self


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A server, what it is asked for, and where its pages are kept."""

    row: SourceRow
    settings: Settings
    endpoint: Endpoint
    options: Options

    def extract(self, window: Window) -> Iterator[Batch]:
        """Yield the points of every query part by part, and then the alerts that fired in the window."""
        keep = raw_folder(self.settings, self.row, window)
        with signed_in(self.row.name, self.endpoint, keep=keep, timeout=PATIENCE + 10) as web:
            for question in questions(self.options.queries, step=self.options.step_seconds, labels=self.options.labels):
                yield from self._points(web, question, window)
            if self.options.alerts is not None:
                yield from episodes(web, self.row.name, self.options.alerts, self.options.labels, window)

    def _points(self, web: Web, question: Question, window: Window) -> Iterator[Batch]:
        asked, rows, notes = steps(window, question.step, closing=question.closing), 0, Counter[str]()
        for answer in ask(web, self.row.name, f"metric {question.metric!r}", question.promql, asked):
            batch = points(answer, question, self.row.name)
            rows += batch.frame.height
            notes.update(batch.notes)
            yield batch
        if not rows:
            nothing = {f"metric {question.metric}: nothing found": 1}
            yield Batch("metric_points", pl.DataFrame(), origin=f"metric {question.metric!r}: {self.endpoint.base_url}", notes=nothing)
        log.info("source %s: %s: %d points; %s", self.row.name, question.metric, rows, dict(notes) or "nothing to note")


def open(row: SourceRow, settings: Settings) -> Prometheus:
    """Return the server a row of sources.yml declares.

    Raises:
        ConfigError: an option or the connection does not fit.
    """
    options = check_options(row, Options)
    return Prometheus(row, settings, resolve(row.name, row.connection), options)
