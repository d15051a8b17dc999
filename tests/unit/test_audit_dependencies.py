"""The check of locked packages: asks once, works from a copy offline, says when it could not check, and accepts for a time only."""

from __future__ import annotations

import json
import zipfile
from datetime import date
from pathlib import Path

import pytest

from aftercast.settings import PROJECT
from security import audit
from tests.answering import Answer, Asked, serve

LOCK = """version = 1
[[package]]
name = "a-b"
version = "1.2"
source = { registry = "https://x" }
[[package]]
name = "us"
version = "1"
source = { editable = "." }
"""
ADVISORY = {
    "id": "PYSEC-1",
    "aliases": ["CVE-1"],
    "affected": [{"package": {"name": "A_b"}, "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.3"}]}]}],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "uv.lock").write_text(LOCK)
    (tmp_path / "bi").mkdir()
    (tmp_path / "bi" / "requirements.lock").write_text(
        "# made\nFlask.Thing==2.0 \\\n    --hash=sha256:x\nother[x]==3.1 ; python_version < '4'\n"
    )
    (tmp_path / "accepted.yml").write_text("accepted: []\n")
    return tmp_path


def run(folder: Path, *more: str) -> int:
    return audit.main(["--folder", str(folder), "--accepted", str(folder / "accepted.yml"), *more])


def test_every_locked_package_is_asked_for_and_we_are_not(folder: Path):
    assert [(one.name, one.version) for one in audit.locked(folder)] == [("a-b", "1.2"), ("flask-thing", "2.0"), ("other", "3.1")]
    ours = audit.locked(PROJECT)
    assert {"apache-airflow", "duckdb", "apache-superset"} <= {one.name for one in ours}
    assert len(ours) > 250


def test_a_known_vulnerability_fails_and_one_request_asks_for_all(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    def osv(asked: Asked) -> Answer:
        return Answer(
            {"results": [{"vulns": [{"id": "PYSEC-1"}]} if one["package"]["name"] == "a-b" else {} for one in asked.body["queries"]]}
        )

    with serve(osv) as server:
        monkeypatch.setenv("AFTERCAST_OSV", server.url)
        assert run(folder) == 1
        assert len(server.asked) == 1
    assert "known vulnerability: a-b 1.2 (uv.lock): PYSEC-1" in capsys.readouterr().out


@pytest.mark.parametrize("answer", [Answer({}), Answer({"results": []}), Answer(status=500), Answer(raw=b"<html>")])
def test_what_could_not_be_checked_is_said_and_no_pass(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys, answer: Answer):
    with serve(lambda _: answer) as server:
        monkeypatch.setenv("AFTERCAST_OSV", server.url)
        assert (run(folder), run(folder, "--required")) == (0, 2)
    said = capsys.readouterr().out
    assert said.count("NOT CHECKED for known vulnerabilities: 3 locked packages") == 2
    assert "0 known" not in said


def test_a_copy_of_the_database_answers_offline(folder: Path, capsys):
    database = folder / "all.zip"
    with zipfile.ZipFile(database, "w") as file:
        file.writestr("PYSEC-1.json", json.dumps(ADVISORY))
        file.writestr("PYSEC-2.json", json.dumps({**ADVISORY, "id": "PYSEC-2", "withdrawn": "2026-01-01"}))
        file.writestr("PYSEC-3.json", json.dumps({"id": "PYSEC-3", "affected": [{"package": {"name": "other"}, "versions": ["3.0"]}]}))
    assert run(folder, "--database", str(database)) == 1
    assert "3 locked packages checked, 1 known" in capsys.readouterr().out
    database.write_text("no zip")
    assert run(folder, "--database", str(database), "--required") == 2


def test_what_is_accepted_counts_again_after_its_day(folder: Path):
    found = [audit.Finding(audit.Package("a-b", "1.2", "uv.lock"), ("PYSEC-1", "CVE-1"))]
    row = audit.Accepted("CVE-1", "a-b", "not reached", date(2026, 11, 30))
    assert audit.judged(found, [row], date(2026, 11, 30)) == (
        ["accepted until 2026-11-30: a-b 1.2 (uv.lock): PYSEC-1, https://osv.dev/vulnerability/PYSEC-1: not reached"],
        False,
    )
    assert audit.judged(found, [row], date(2026, 12, 1))[1]
    assert audit.judged([], [row], date(2026, 11, 1))[0] == ["accepted, but no longer there; remove the row: a-b CVE-1"]
    assert audit.judged(found, [audit.Accepted("CVE-1", "other", "x", date(2027, 1, 1))], date(2026, 11, 1))[1]


def test_a_row_without_reason_or_day_is_refused(folder: Path):
    (folder / "accepted.yml").write_text("accepted: [{id: X, package: a-b, until: 2027-01-01}]\n")
    with pytest.raises(ValueError, match="row 1: give reason"):
        run(folder)
    assert audit.accepted(PROJECT / "security" / "accepted.yml") is not None
