"""Sources: one file a kind. A source turns a window into batches of landing rows and knows nothing of files, DAGs or the warehouse.

Kinds are loaded lazily, so that parsing a DAG or validating configuration imports none of them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Protocol

import polars as pl

from aftercast.declarations import SourceRow
from aftercast.errors import ConfigError
from aftercast.settings import Settings
from aftercast.window import Window

KINDS: dict[str, str] = {
    "alertmanager": "aftercast.sources.alertmanager",
    "cdevents": "aftercast.sources.cdevents_inbox",
    "demo": "aftercast.sources.demo",
    "files": "aftercast.sources.files",
    "github": "aftercast.sources.github_changes",
    "gitlab": "aftercast.sources.gitlab_changes",
    "incidentio": "aftercast.sources.incidentio",
    "jaeger": "aftercast.sources.jaeger",
    "jira": "aftercast.sources.jira_issues",
    "jsm_ops": "aftercast.sources.jsm_ops",
    "launchdarkly": "aftercast.sources.launchdarkly_flags",
    "loki": "aftercast.sources.loki",
    "otlp": "aftercast.sources.otlp",
    "pagerduty": "aftercast.sources.pagerduty_incidents",
    "postmortems": "aftercast.sources.postmortems",
    "prometheus": "aftercast.sources.prometheus",
    "slack": "aftercast.sources.slack_channels",
    "sql": "aftercast.sources.sql_queries",
    "statuspage": "aftercast.sources.statuspage",
    "tempo": "aftercast.sources.tempo",
    "stripe": "aftercast.sources.stripe_money",
    "unleash": "aftercast.sources.unleash_flags",
    "webhooks": "aftercast.sources.webhooks",
}


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one entity as a source found them.

    Attributes:
        entity: landing entity the rows are meant for.
        frame: columns of the entity without lineage, except `source_id` (optional); may hold text where types do not fit: landing casts,
            and quarantines what does not cast.
        origin: where the rows came from, for messages and quarantine (a file name, an endpoint).
        expected: rows the source says exist in the window, when it can know.
        first_row: number of the first row in `origin`, so that a rejected row can be named. When rows do not follow each other, the frame
            numbers them itself in the column `origin_row`.
        rejected: rows the source itself could not even read, one `reason` and one `raw` text each, plus `row` (its number in `origin`).
        piece: name of the dropped file the rows are the whole content of, when they belong to a file and not to the window; landing a
            piece again replaces it. Several batches may make up one piece.
        notes: things worth counting in coverage that are no rejected rows (a file that no rule matches, for example).
    """

    entity: str
    frame: pl.DataFrame
    origin: str
    expected: int | None = None
    first_row: int = 1
    rejected: pl.DataFrame | None = None
    piece: str | None = None
    notes: Mapping[str, int] = field(default_factory=dict)


class Source(Protocol):
    """What a source kind must offer. A module of a kind has `open(row, settings) -> Source`."""

    def extract(self, window: Window) -> Iterator[Batch]:
        """Yield every row whose entity time falls into the window; the same window yields the same rows."""
        ...


def check_kind(row: SourceRow) -> None:
    """Raise ConfigError when the kind of a source row is unknown."""
    if row.kind not in KINDS:
        close = difflib.get_close_matches(row.kind, KINDS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(sorted(KINDS))}"
        raise ConfigError(f"source {row.name!r}: unknown kind {row.kind!r}; {hint}")


def open_source(row: SourceRow, settings: Settings) -> Source:
    """Return the source a row of sources.yml declares.

    Raises:
        ConfigError: the kind is unknown or its options are not accepted.
    """
    check_kind(row)
    source: Source = import_module(KINDS[row.kind]).open(row, settings)
    return source
