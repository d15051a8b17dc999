"""The nightly drill in small, without its kills: those are drilled next door."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.drills import nightly
from tests.drills.killing import Kill
from tests.drills.nightly import Row, spoilt, table
from tests.drills.random_kills import Walk, counted
from tests.fuzzing import campaign


def test_a_night_says_of_each_source_and_file_what_held():
    rows = list(spoilt(6, 1, ["prometheus", "costs.yml"]))
    assert [(one.what, one.tried, one.held, one.wrong) for one in rows] == [
        ("spoilt: prometheus", 6, 6, []),
        ("spoilt: costs.yml", 6, 6, []),
    ]


def test_no_payload_is_tried_twice(tmp_path_factory: pytest.TempPathFactory):
    found = campaign.run("prometheus", tmp_path_factory.mktemp("fuzzed"), seed=1, payloads=60)
    assert len(found.outcomes) == 60 and found.again > 0


def test_the_table_of_a_night_counts_what_was_lost():
    walks = [
        Walk([(Kill("publish", "before", 1), []), (Kill("land ops", "torn", 2), ["readers cannot read"])]),
        Walk([(Kill("publish", "before", 3), [])], wrong=["mart_incidents: 1 rows missing"]),
    ]
    assert counted(walks) == {"landing": (1, 0), "publish": (2, 1)}
    said = table([Row("kills: publish", 2, 1, 30.4), Row("two refreshes at once", 1, True, 9.6)])
    assert said.splitlines()[2:] == ["| kills: publish | 2 | 1 | 30 |", "| two refreshes at once | 1 | 1 | 10 |", "| all | 3 | 2 | 40 |"]


def test_a_night_in_which_something_did_not_hold_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def killed(*_: object) -> Iterator[Row]:
        yield Row("kills: publish", 2, 1, 30, ["publish: before effect 3: readers cannot read"])

    monkeypatch.setattr(nightly, "killed", killed)
    monkeypatch.setattr(nightly, "spoilt", lambda *_: iter(()))
    monkeypatch.setattr("sys.argv", ["nightly", "--seed", "7"])
    assert nightly.main() == 1
    said = capsys.readouterr().out
    assert "publish: before effect 3" in said and "seed 7" in said
