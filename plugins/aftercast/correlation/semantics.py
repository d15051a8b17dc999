"""What a metric measures and which direction of it hurts, read from its name and unit.

Names are split into words (`http_5xxErrors` -> http, 5xx, errors). The first list below that shares a word with the name decides; a name
no list knows is two-sided. This is deliberately generic: no list holds the name of any product, data set or service.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

ERRORS, LATENCY, AVAILABILITY, SATURATION, TRAFFIC, OTHER = "errors", "latency", "availability", "saturation", "traffic", "other"

_ERRORS = """error errors err errs failure failures failed fail fault faults exception exceptions 5xx 4xx timeout timeouts retry retries
    reject rejected rejections dropped drops crash crashes restart restarts oom throttle throttled throttles declined aborted
    unavailable unavailability"""
_LATENCY = "latency duration delay wait waiting lag response elapsed rt ttfb p50 p75 p90 p95 p99 p999"
_AVAILABILITY = "availability available success successes succeeded successful uptime healthy apdex hit up ready"
_HEADROOM = "free idle available remaining"
_SATURATION = """saturation utilization utilisation usage used cpu memory mem heap rss disk queue backlog pending depth load pool
    connections threads iowait gc leak inflight occupancy"""
_RESOURCE = "cpu memory mem heap rss disk filesystem swap inodes pool connections threads workers descriptors buffer cache pages"
_TRAFFIC = """request requests rps qps tps throughput traffic calls count counts visits hits transactions sessions orders attempts
    workload ops operations bytes packets network rx tx receive transmit received transmitted"""


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_WORDS: tuple[tuple[str, int, frozenset[str]], ...] = (
    (ERRORS, 1, _set(_ERRORS)),
    (LATENCY, 1, _set(_LATENCY)),
    (AVAILABILITY, -1, _set(_AVAILABILITY)),
    (SATURATION, 1, _set(_SATURATION)),
    (TRAFFIC, 0, _set(_TRAFFIC)),
)
_SET_RESOURCE, _SET_HEADROOM = _set(_RESOURCE), _set(_HEADROOM)
_PLENTY = _set("free idle remaining")
_COUNTED = _set("count size bytes")
_FAULTS_OF_MEMORY = (_set("page"), _set("fault faults"))
_TIME_UNITS = frozenset({"ms", "s", "us", "ns", "seconds", "milliseconds", "second", "millisecond"})
_TAIL = {"p50": 1, "median": 1, "p75": 2, "p90": 3, "p95": 4, "p99": 5, "p999": 6, "max": 7}


@dataclass(frozen=True, slots=True)
class Meaning:
    """Symptom a metric shows, and the direction that hurts: +1 up, -1 down, 0 either."""

    symptom: str
    hurts: int


def words(text: str) -> tuple[str, ...]:
    """Lower-case words of a name; camelCase and digits after letters of another word are kept together with care for p95 and 5xx."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text)
    return tuple(re.findall(r"[a-z0-9]+", spaced.lower()))


@lru_cache(maxsize=4096)
def meaning(metric: str, unit: str = "") -> Meaning:
    """Return what a metric means; unknown names hurt in either direction, unless their unit is a time.

    What is left of a resource hurts when it falls; page faults are work of the memory, no failures; how many waits there were is traffic.
    """
    named = words(metric)
    found = frozenset(named)
    if found & _PLENTY or (found & _SET_HEADROOM and found & _SET_RESOURCE):
        return Meaning(SATURATION, -1)
    if all(found & part for part in _FAULTS_OF_MEMORY):
        return Meaning(SATURATION, 1)
    if named and named[-1] in _COUNTED and not found & _set(_ERRORS) and found & _set(_LATENCY):
        return Meaning(TRAFFIC, 0)
    for symptom, hurts, vocabulary in _WORDS:
        if found & vocabulary:
            return Meaning(symptom, hurts)
    if unit.lower() in _TIME_UNITS:
        return Meaning(LATENCY, 1)
    return Meaning(OTHER, 0)


@lru_cache(maxsize=4096)
def tail_order(metric: str) -> int:
    """0 for a mean or plain value, rising with the percentile: added waiting is summed from the lowest one there is."""
    return max((_TAIL.get(word, 0) for word in words(metric)), default=0)
