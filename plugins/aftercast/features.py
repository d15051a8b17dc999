"""The features that models of ours weigh, each with a version, so that two rankings or two alarms can be told to rest on the same evidence.

A check of the ranking has a number, raised when what it says of the same situation changes (tests/unit/test_features.py holds what each
says). A watched signal is as its row defines it, an insight as it is worded: both carry a digest of that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

RULES = "insight_rule"
"""The check that says what rules of a ranker version say; its version is that of the rules."""

CHECKS: dict[str, int] = {
    "alerted": 1,
    "base_rate_of_changes": 1,
    "broken_operation": 1,
    "callers_hurt": 1,
    "candidates_left_out": 1,
    "change_before_onset": 1,
    "change_failed": 1,
    "changes_near": 1,
    "demand_moved": 1,
    "exclusive_time": 1,
    "graph_distance": 1,
    "hurt_before_change": 1,
    "moves_together": 1,
    "named_origin": 1,
    "nothing_deviates": 1,
    "novel_log_pattern": 1,
    "origin_or_victim": 1,
    "provider_reported": 1,
    "region_of_change": 1,
    "saturation": 1,
    "service_deviates": 1,
    "timing_of_deviation": 1,
    "undone_after_onset": 1,
    "undone_before_onset": 1,
}
"""Checks of the ranking of causes, by the name of their evidence."""


def digest(content: Mapping[str, Any]) -> str:
    """Return eight hexadecimal digits that stand for a content, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:8]
