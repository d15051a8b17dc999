"""The growth of a refresh: exponents, and a picture in which every name can be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import growth
from benchmarks.refresh import TASKS


def sizes(power: float) -> list[dict[str, Any]]:
    """Four histories whose tasks take seconds by a power of their length; `star` takes a hundred times as long as others."""
    found = []
    for points in (1_250_000, 2_500_000, 5_000_000, 10_000_000):
        seconds = {task: (100 if task == "star" else 1) * (points / 1e6) ** power for task in TASKS}
        found.append({"points": points, "incidents": points // 1000, "peak_rss_mib": 900, "first": seconds, "new_hour": seconds})
    return found


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_the_exponent_is_the_power_by_which_seconds_grow(power: float):
    rows = growth.table(sizes(power))
    assert {(row["run"], row["task"]) for row in rows} == {(run, task) for run in growth.RUNS for task in (*TASKS, "all")}
    assert {row["exponent"] for row in rows} == {power}


def test_what_was_measured_is_drawn_again_with_the_dearest_tasks_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "figures.json").write_text(json.dumps({"sizes": sizes(1.0)}))
    growth.main(["--figures", str(tmp_path / "figures.json"), "--write", str(tmp_path / "growth.svg"), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["exponents"] == {"first": 1.0, "new_hour": 1.0}
    drawn = (tmp_path / "growth.svg").read_text()
    assert drawn.count("star 1.00") + drawn.count("star  1.00") == len(growth.RUNS)
    assert "10 million, 10,000" in drawn
    assert "First refresh: 138 CPU seconds, 1100 for a history 8 times as long" in drawn


def test_names_of_lines_that_end_together_stand_apart():
    drawn = [{"task": name, "seconds": [1.0], "exponent": 0.0} for name in "abc"]
    heights = [row["seconds"] for row in growth._labels(10.0, drawn, 0.1)]
    assert heights == pytest.approx([1.0, 10**0.1, 10**0.2])
