"""Range queries in PromQL: which steps belong to a window, in which parts they are asked for, and what an answer or a refusal says.

Steps are multiples of the step length since 1970, so that a replay asks for the same moments, and every step belongs to exactly one of the
windows that tile time. Parts are as long as memory, the server and its limit of 11,000 points a series allow: they grow while answers are
small and are halved when the server says that a query is too heavy.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from aftercast.errors import SourceRejected, SourceUnavailable
from aftercast.privacy import redact
from aftercast.sources.web import Page, Parameters, Request, Web
from aftercast.window import Window

log = logging.getLogger(__name__)

PATH = "/api/v1/query_range"
MOST_STEPS = 11_000  # of one series in one answer; servers refuse more
FIRST_STEPS = 60  # before it is known how many series answer
GROWTH = 8
ROOM = 200_000  # points of one answer; about 40 MB while it is read
LONGEST_GET = 1_500  # characters of a query in a URL; longer ones are posted
PATIENCE = 110  # seconds a query may take before the server gives up
EXPLAINED = (400, 422, 500, 503)
TOO_SLOW = ("timeout:", "canceled:")
TOO_HEAVY = (*TOO_SLOW, "too many samples", "maximum resolution", "exceeded the limit", "query too large")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def steps(window: Window, step: int, *, closing: bool) -> range:
    """Return the steps of a window, in seconds since 1970.

    Args:
        window: the window.
        step: seconds from one step to the next.
        closing: steps stand for the interval that ends with them: those after the start, the end included. Otherwise steps stand for a
            moment: the start included, those before the end.
    """
    start, end = (window.start - EPOCH) / SECOND, (window.end - EPOCH) / SECOND
    first, last = (start // step + 1, end // step + 1) if closing else (-(-start // step), -(-end // step))
    return range(int(first) * step, int(last) * step, step)


def next_length(length: int, points: int, *, room: int = ROOM) -> int:
    """Return how many steps to ask for, when the last answer had `points` of all series in `length` steps."""
    fitting = room * length // points if points else MOST_STEPS
    return max(1, min(fitting, length * GROWTH, MOST_STEPS))


@dataclass(frozen=True, slots=True)
class Answer:
    """What one part of a range query brought: series with `metric` (labels) and `values` (pairs of seconds and text)."""

    steps: range
    series: list[dict[str, Any]]
    origin: str
    warnings: tuple[str, ...]


def ask(web: Web, source: str, what: str, query: str, wanted: range, *, room: int = ROOM, path: str = PATH) -> Iterator[Answer]:
    """Yield the answers to a range query, part by part in order of time; no answer holds many more than `room` points.

    Raises:
        SourceRejected: the server refuses the query or answers something else than series, naming what was asked for.
        SourceUnavailable: the server does not answer in time, however little is asked for.
    """
    length, most, at, number = FIRST_STEPS, MOST_STEPS, 0, 0
    while at < len(wanted):
        part, number = wanted[at : at + min(length, most)], number + 1
        page = web.ask(_request(query, part, path), number=number)
        refusal = _refusal(page)
        if refusal and len(part) > 1 and any(word in refusal for word in TOO_HEAVY):
            most = len(part) // 2
            log.info("source %s: %s: %s; asking for %d steps at a time", source, what, refusal, most)
            continue
        if refusal:
            wrong = SourceUnavailable if refusal.startswith(TOO_SLOW) else SourceRejected
            raise wrong(f"source {source!r}: {what}: {page.origin} answered {refusal}; the query was: {query}")
        series = _series(page, source, what)
        yield Answer(part, series, f"{what}: {page.origin}", _warnings(page))
        length = next_length(len(part), sum(len(one["values"]) for one in series), room=room)
        at += len(part)


def _request(query: str, part: range, path: str) -> Request:
    params: Parameters = {"query": query, "start": part[0], "end": part[-1], "step": part.step, "timeout": f"{PATIENCE}s"}
    if len(query) > LONGEST_GET:
        return Request(path, form=params, method="POST", accepted=EXPLAINED)
    return Request(path, params, accepted=EXPLAINED)


def _refusal(page: Page) -> str:
    """What the server says is wrong with a query; '' when nothing is."""
    found = page.data if isinstance(page.data, dict) else {}
    return redact(f"{found.get('errorType', 'error')}: {found.get('error', 'no reason given')}") if found.get("status") != "success" else ""


def _warnings(page: Page) -> tuple[str, ...]:
    return tuple(f"{kind[:-1]}: {redact(str(text))}" for kind in ("warnings", "infos") for text in page.data.get(kind) or ())


def _series(page: Page, source: str, what: str) -> list[dict[str, Any]]:
    data = page.data.get("data")
    kind = data.get("resultType") if isinstance(data, dict) else None
    if kind != "matrix":
        found = f"a {kind}" if kind else "no result"
        raise SourceRejected(f"source {source!r}: {what}: {page.origin}: expected a matrix (series over time), found {found}")
    series = data.get("result")
    if not isinstance(series, list) or not all(map(_is_series, series)):
        raise SourceRejected(f"source {source!r}: {what}: {page.origin}: the result is no list of series with labels and values")
    return series


def _is_series(one: Any) -> bool:
    """Whether this is a series; a native histogram has `histograms` and no values."""
    return isinstance(one, dict) and isinstance(one.get("metric"), dict) and isinstance(one.setdefault("values", []), list)


def numbers(series: Mapping[str, Any], source: str, origin: str) -> list[tuple[float, float]]:
    """Return the times and values of a short series, without values that are no finite number.

    Raises:
        SourceRejected: a value is no pair of a time and a text.
    """
    try:
        pairs = [(float(time), float(value)) for time, value in series["values"]]
    except (TypeError, ValueError) as error:
        raise SourceRejected(f"source {source!r}: {origin}: a value is no pair of a time and a text ({error})") from error
    return [(time, value) for time, value in pairs if math.isfinite(value)]
