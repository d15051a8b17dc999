"""Log records as counted patterns: what varies between two records of one kind is masked.

A mask and not a miner of templates (drain3 and its like): a miner's clusters depend on the order of lines and on what it saw before, so
that two extracts of one window would differ. The pattern begins with the severity, because a warning that becomes an error is news.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from aftercast.entities import TEXTS, TIME
from aftercast.sources.otlp.decoding import Buckets, Place, clean, text

SEVERITIES = ("trace", "debug", "info", "warn", "error", "fatal")
LONGEST, SAMPLE, TRACES = 300, 500, 5
MOST = 200_000  # patterns of one extract, over all services and buckets
OTHER = "<other>"
TEMPLATES = ("{OriginalFormat}", "log.record.template", "message.template", "message_template.text")  # loggers that keep their template
WORDS = ("message", "msg", "event", "body", "log")
_VARIES = re.compile(
    r"(?P<time>\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?)"
    r"|(?P<uuid>\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b)"
    r"|(?P<email>[\w.%+-]+@[\w-]+(?:\.[\w-]+)+)"
    r"|(?P<ip>\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b)"
    r"|(?P<query>\?[\w%.~-]+=[^\s\"']*)"
    r"|(?P<id>\b0x[0-9a-fA-F]+\b|\b(?=[0-9a-fA-F]*\d)[0-9a-fA-F]{8,}\b|\b(?=\w*\d)(?=\w*[A-Za-z])\w{12,}\b)"
    r"|(?P<n>(?<![A-Za-z0-9])[+-]?\d+(?:[.,]\d+)*|\d{3,})"
)
_BLANKS = re.compile(r"\s+")
SCHEMA: dict[str, Any] = {
    **dict.fromkeys(("service", "environment", "region"), pl.String),
    "bucket": TIME,
    "pattern": pl.String,
    "severity": pl.String,
    "count": pl.Int64,
    "sample": pl.String,
    "trace_ids": TEXTS,
}


def masked(words: str) -> str:
    """Return a text without what varies: times, ids, addresses, numbers."""
    first = _BLANKS.sub(" ", words[: LONGEST * 4]).strip()
    return clean(_VARIES.sub(lambda found: f"<{found.lastgroup}>", first)[:LONGEST])


def severity_of(number: int, words: str) -> str:
    """Return one of our severities; '' when neither number nor text says."""
    if 1 <= number <= 24:
        return SEVERITIES[(number - 1) // 4]
    said = words.strip().lower()
    aliases = {"warning": "warn", "err": "error", "critical": "fatal", "crit": "fatal", "notice": "info", "information": "info"}
    return aliases.get(said, said)


def words_of(body: Any, attributes: Mapping[str, Any], event: str) -> tuple[str, str]:
    """Return what a record says: the text its pattern is made of, and the text itself."""
    if isinstance(body, Mapping):
        spoken = next((text(body[name]) for name in WORDS if body.get(name)), text(body))
    else:
        spoken = "" if body is None else text(body)
    template = next((str(attributes[name]) for name in TEMPLATES if attributes.get(name)), None)
    error = attributes.get("exception.type")
    said = spoken or str(attributes.get("exception.message") or event)
    pattern = template if template is not None else masked(spoken or event)
    return (f"{pattern} [{error}]" if error else pattern).strip() or "<empty>", said


def spoken(severity: str, pattern: str) -> str:
    """Return a pattern with its severity before it: a warning that becomes an error is another pattern."""
    return clean(f"{severity.upper()} {pattern}".strip())


@dataclass(slots=True)
class _Count:
    count: int = 0
    sample: tuple[int, str] | None = None
    traces: set[tuple[int, str]] = field(default_factory=set)


class Patterns:
    """Counts by service, bucket and pattern; the earliest record is the sample, the earliest traces are kept."""

    def __init__(self, buckets: Buckets, *, most: int = MOST) -> None:
        self._buckets, self._most = buckets, most
        self._counts: dict[tuple[Place, int, str, str], _Count] = {}
        self.folded = 0

    def add(self, place: Place, moment: int, severity: str, pattern: str, said: str, trace: str, *, count: int = 1) -> None:
        named = spoken(severity, pattern)
        key = (place, self._buckets.bucket(moment), severity, named)
        if key not in self._counts and len(self._counts) >= self._most:
            key = (place, key[1], severity, f"{severity.upper()} {OTHER}".strip())
            self.folded += count
        seen = self._counts.setdefault(key, _Count())
        seen.count += count
        seen.sample = min(seen.sample or (moment, said[:SAMPLE]), (moment, said[:SAMPLE]))
        if trace and not any(trace == other and moment >= at for at, other in seen.traces):
            seen.traces = {(at, other) for at, other in seen.traces if other != trace} | {(moment, trace)}
            if len(seen.traces) > TRACES:
                seen.traces.remove(max(seen.traces))

    def frame(self) -> pl.DataFrame:
        """Return the rows of log_patterns, sorted by key."""
        rows = [
            (
                *(place.service, place.environment, place.region, bucket // 1000, pattern, severity, seen.count),
                (seen.sample or (0, ""))[1],
                [trace for _, trace in sorted(seen.traces)],
            )
            for (place, bucket, severity, pattern), seen in self._counts.items()
        ]
        frame = pl.DataFrame(rows, schema={**SCHEMA, "bucket": pl.Int64}, orient="row")
        return frame.with_columns(pl.col("bucket").cast(TIME)).sort("service", "environment", "region", "bucket", "pattern")
