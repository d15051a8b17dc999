"""A check of the ranking has a version, and says of the same situations what it said when the version was given."""

from __future__ import annotations

import ast
import hashlib
from collections import defaultdict
from datetime import timedelta

import polars as pl
import pytest

from aftercast.correlation import correlate
from aftercast.features import CHECKS, RULES, digest
from aftercast.settings import PROJECT
from tests.unit.correlate_fixture import AS_OF, END, ONSET, change, incident, inputs

SAID = {
    "alerted": (1, "fa52e76a"),
    "base_rate_of_changes": (1, "de80db9f"),
    "change_before_onset": (1, "199bafc8"),
    "change_failed": (1, "d5f312b0"),
    "changes_near": (1, "e07cf1ee"),
    "graph_distance": (1, "bd9f99ae"),
    "moves_together": (1, "a862881c"),
    "nothing_deviates": (1, "1d7202a7"),
    "novel_log_pattern": (1, "f6323252"),
    "origin_or_victim": (1, "0cf702d8"),
    "provider_reported": (1, "3e55b560"),
    "service_deviates": (1, "919cfba2"),
    "timing_of_deviation": (1, "61a63ba9"),
    "undone_after_onset": (1, "b06dfa5c"),
}
"""Version of each check, and what stands for its strengths in the situations below. The others are held by tests of their own only."""


def strengths() -> dict[str, str]:
    """What every check says in six situations, as a digest by check; strengths to one decimal."""
    undone = {"is_rollback": True, "rolls_back_change_id": "c1", "kind": "rollback"}
    alerts = pl.DataFrame([{"alert_id": "a", "service": "api", "environment": "production", "started_at": ONSET + timedelta(minutes=2)}])
    patterns = pl.DataFrame(
        [
            {"service": "api", "environment": "production", "bucket": ONSET, "pattern": "refused <n>", "severity": "error", "count": 90},
            {
                "service": "api",
                "environment": "production",
                "bucket": ONSET - timedelta(days=1),
                "pattern": "ok",
                "severity": "info",
                "count": 9,
            },
        ]
    )
    failing = {"api": 0.3, "web": 0.25}
    situations = [
        inputs(
            failing=failing, changes=[change("c1", "api"), change("c2", "api", before=-20, **undone)], alerts=alerts, log_patterns=patterns
        ),
        inputs(failing=failing, changes=[change("c1", "mail", before=60, result="failure", kind="config", region="us")]),
        inputs(failing={"card": 0.5, "api": 0.2, "web": 0.2}, changes=[change("p1", "card", kind="provider", before=2)]),
        inputs(failing={"store": 0.4, "api": 0.3, "web": 0.2}, incidents=[incident(service="web", region="eu")]),
        inputs(failing=failing, changes=[change("c1", "api", before=-5), change("c3", "api", before=300)]),
        inputs(),
    ]
    said: dict[str, list[str]] = defaultdict(list)
    for number, situation in enumerate(situations):
        for row in correlate(situation, max(AS_OF, END)).evidence.sort("evidence_id").iter_rows(named=True):
            said[row["check_name"]].append(f"{number} {row['kind']} {row['candidate_id']} {round(row['strength'], 1) + 0.0:.1f}")
    return {check: digest({"said": sorted(rows)}) for check, rows in said.items()}


@pytest.fixture(scope="module")
def heard() -> dict[str, str]:
    return strengths()


def test_what_a_check_says_changes_only_with_its_version(heard: dict[str, str]):
    now = {check: (CHECKS[check], one) for check, one in sorted(heard.items())}
    changed = sorted(check for check in now.keys() | SAID.keys() if now.get(check) != SAID.get(check))
    assert not changed, f"{changed} say something else than when their version was given: raise it in features.py, and pin here {now}"
    assert len(SAID) >= 14


def test_every_check_that_is_written_has_a_version_and_every_version_a_check():
    written = {
        call.args[0].value
        for path in (PROJECT / "plugins" / "aftercast" / "correlation").glob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Finding" and isinstance(call.args[0], ast.Constant)
    }
    assert written == set(CHECKS)
    assert RULES not in CHECKS


def test_a_digest_does_not_depend_on_the_order_of_names():
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})
    assert len(digest({})) == len(hashlib.sha256().hexdigest()) // 8
