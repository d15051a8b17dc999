"""The audit log is only appended, tells an event once, survives torn lines, and shows when somebody changed it."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from aftercast.acting import audit


def one(name: str, **more: Any) -> dict[str, Any]:
    return {"event_id": name, "at": "2026-09-21T12:00:00+00:00", "who": "aftercast", "what": "decided", **more}


def test_an_event_told_twice_is_one_line(tmp_path: Path):
    assert audit.append(tmp_path, [one("a"), one("b")]) == 2
    assert audit.append(tmp_path, [one("b"), one("c"), one("c")]) == 1
    assert [row["event_id"] for row in audit.rows(tmp_path)] == ["a", "b", "c"]
    assert audit.problems(tmp_path) == []
    assert (tmp_path / "log.jsonl").stat().st_mode & 0o077 == 0


def _write(arguments: tuple[Path, int]) -> int:
    folder, worker = arguments
    return sum(audit.append(folder, [one(f"{worker}-{number}"), one(f"shared-{number}")]) for number in range(20))


def test_writers_at_once_lose_nothing_and_double_nothing(tmp_path: Path):
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        written = pool.map(_write, [(tmp_path, worker) for worker in range(3)])
    assert sum(written) == 3 * 20 + 20
    assert len(audit.rows(tmp_path)) == 80
    assert audit.problems(tmp_path) == []


def test_a_torn_line_is_passed_over_and_the_next_begins_anew(tmp_path: Path):
    audit.append(tmp_path, [one("a")])
    with (tmp_path / "log.jsonl").open("ab") as file:
        file.write(b'{"event_id": "b", "at"')
    audit.append(tmp_path, [one("c")])
    assert [row["event_id"] for row in audit.rows(tmp_path)] == ["a", "c"]
    assert [problem.rpartition("log.jsonl ")[2] for problem in audit.problems(tmp_path)] == ["line 2: torn; what it said was not acted on"]


@pytest.mark.parametrize("what", ["changed", "removed", "swapped"])
def test_a_line_that_was_changed_removed_or_swapped_breaks_the_chain(tmp_path: Path, what: str):
    audit.append(tmp_path, [one(name, action="rollback") for name in "abc"])
    path = tmp_path / "log.jsonl"
    lines = path.read_text().splitlines()
    if what == "changed":
        lines[1] = json.dumps({**json.loads(lines[1]), "action": "scale"})
    elif what == "removed":
        del lines[1]
    else:
        lines[0], lines[1] = lines[1], lines[0]
    path.write_text("\n".join(lines) + "\n")
    assert audit.problems(tmp_path)


def test_nobody_is_named_in_clear(tmp_path: Path):
    with pytest.raises(audit.AuditError, match="`who` is `aftercast` or a token"):
        audit.append(tmp_path, [one("a", who="bob")])
    assert audit.append(tmp_path, [one("a", who="tok_0123")]) == 1


def test_an_event_without_a_time_is_refused_and_nothing_is_written(tmp_path: Path):
    with pytest.raises(audit.AuditError, match="needs at"):
        audit.append(tmp_path, [one("a"), {**one("b"), "at": ""}])
    assert audit.rows(tmp_path) == []
