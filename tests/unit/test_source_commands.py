"""`aftercast source`: starting, listing and trying sources."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from aftercast import cli, scaffolding
from aftercast.errors import ConfigError
from aftercast.settings import PROJECT, Settings, load_deployment
from aftercast.sources import KINDS

HEAD = "# who we are\ncompany: Shop\nhistory: {start: '2026-09-21', end: '2026-09-28'} # the first week\n"
ROW = """\
sources:
  # dropped every night
  - name: orders
    kind: files
    options:
      inbox: inbox/orders
      files: [{match: "*.csv", entity: journey_kpis}] # one file a day
"""
AFTER = "\n# nothing after this\n"


@pytest.fixture
def place(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "sources.yml").write_text(HEAD + ROW + AFTER)
    monkeypatch.setenv("AFTERCAST_CONFIG", str(folder))
    monkeypatch.setenv("COLUMNS", "200")
    return Settings.from_environment()


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = 0
    try:
        cli.main(["source", *arguments])
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_row_names_options_as_the_configuration_takes_them():
    assert "from: deployments" in scaffolding.row_text("github", "github")
    assert "    as: " in scaffolding.row_text("jira", "jira")


@pytest.mark.parametrize("text", [HEAD + ROW + AFTER, HEAD + ROW.rstrip(), HEAD + ROW + "clock_tolerance_minutes: 5\n", ROW + HEAD])
def test_a_row_is_added_behind_the_last_one_and_nothing_else_changes(tmp_path: Path, text: str):
    (tmp_path / "sources.yml").write_text(text)
    row = scaffolding.add_row(tmp_path, "files", "refunds")
    written = (tmp_path / "sources.yml").read_text()
    assert written.replace(row, "", 1).rstrip("\n") == text.rstrip("\n")
    assert [source.name for source in load_deployment(tmp_path).sources] == ["orders", "refunds"]
    assert yaml.safe_load(written)["sources"][0] == yaml.safe_load(text)["sources"][0]


def test_the_first_row_is_added_to_an_empty_list(tmp_path: Path):
    (tmp_path / "sources.yml").write_text(HEAD + "sources: [] # none yet\n")
    scaffolding.add_row(tmp_path, "demo", "play")
    assert [source.name for source in load_deployment(tmp_path).sources] == ["play"]
    assert "# none yet" in (tmp_path / "sources.yml").read_text()


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_row_of_every_kind_is_one_the_configuration_takes(tmp_path: Path, kind: str):
    (tmp_path / "sources.yml").write_text(HEAD + "sources: []\n")
    scaffolding.add_row(tmp_path, kind, "ours")
    assert load_deployment(tmp_path).source("ours").kind == kind


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        (HEAD + ROW, "orders", "already declares a source 'orders'"),
        (HEAD + ROW, "Orders!", "small letters"),
        (HEAD + "sources: [{name: a, kind: demo}]\n", "b", "written in brackets"),
    ],
)
def test_a_row_that_cannot_be_added_changes_nothing(tmp_path: Path, text: str, name: str, message: str):
    (tmp_path / "sources.yml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        scaffolding.add_row(tmp_path, "files", name)
    assert (tmp_path / "sources.yml").read_text() == text


def test_adding_prints_the_row_and_what_to_do_next(place: Settings, capsys: pytest.CaptureFixture[str]):
    code, printed, _ = run("add", "files", "refunds", capsys=capsys)
    assert code == 0
    assert "inbox:" in printed
    assert "required" in printed
    assert "aftercast source check refunds" in printed
    assert "refunds" in {source.name for source in load_deployment(place.config).sources}


def test_a_slip_of_the_pen_starts_no_new_kind(place: Settings, capsys: pytest.CaptureFixture[str]):
    code, _, errors = run("add", "filles", capsys=capsys)
    assert code == 1
    assert "did you mean 'files'" in errors
    assert not (PROJECT / "plugins/aftercast/sources/filles.py").exists()


@pytest.mark.parametrize(("kind", "message"), [("httpx", "installed library"), ("files", "exists"), ("Big", "small letters")])
def test_a_new_kind_needs_a_name_of_its_own(kind: str, message: str):
    with pytest.raises(ConfigError, match=message):
        scaffolding.add_kind(kind)


def test_a_new_kind_passes_its_test_at_once_and_is_small(tmp_path: Path):
    shutil.copytree(PROJECT / "plugins" / "aftercast", tmp_path / "plugins" / "aftercast", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "tests" / "unit").mkdir(parents=True)
    shutil.copy(PROJECT / "tests" / "answering.py", tmp_path / "tests" / "answering.py")
    module, test, kinds = scaffolding.add_kind("pager_x", tmp_path)
    assert '"pager_x": "aftercast.sources.pager_x",' in kinds.read_text()
    assert all(len(path.read_text().splitlines()) < 120 for path in (module, test))
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'plugins'}:{tmp_path}"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(test)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "4 passed" in done.stdout, done.stdout[-2000:] + done.stderr[-2000:]
    checked = subprocess.run([sys.executable, "-m", "ruff", "check", "--config", str(PROJECT / "pyproject.toml"), str(module)], check=False)
    assert checked.returncode == 0


def drop(place: Settings, text: str) -> None:
    folder = place.home / "inbox" / "orders"
    folder.mkdir(parents=True)
    (folder / "a.csv").write_text(text)


def test_a_check_shows_what_would_land_and_lands_nothing(place: Settings, capsys: pytest.CaptureFixture[str]):
    drop(
        place,
        "journey,step,ts,attempts,successes,clerk\ncheckout,pay,2026-09-21T10:00Z,10,9,Ann\ncheckout,pay,2026-09-21T11:00Z,ten,9,Bob\n",
    )
    code, printed, _ = run("check", "orders", "--from", "2026-09-21", "--to", "2026-09-22", capsys=capsys)
    assert code == 0
    assert "journey_kpis: 2 received of 2 expected, 1 fit, 1 refused" in printed
    assert "refused 1 x attempts: not a number" in printed
    assert "noticed 2 x unknown column clerk" in printed
    assert "checkout" in printed
    assert "nothing was landed" in printed
    assert not place.landing.exists()
    assert not place.quarantine.exists()


def test_a_check_hides_people(place: Settings, capsys: pytest.CaptureFixture[str]):
    text = "change_id,kind,service,started_at,title,actor_token\nc1,deploy,cart,2026-09-21T10:00Z,for ann@shop.example,Ann Smith\n"
    (place.config / "sources.yml").write_text(HEAD + ROW.replace("journey_kpis", "changes"))
    drop(place, text + text.replace("deploy", "dance"))
    _, printed, _ = run("check", "orders", capsys=capsys)
    assert "tok_" in printed
    assert "Smith" not in printed
    assert "ann@" not in printed


def test_a_check_of_an_unreachable_source_is_one_named_error(place: Settings, capsys: pytest.CaptureFixture[str]):
    code, _, errors = run("check", "orders", capsys=capsys)
    assert code == 1
    assert "SourceUnavailable" in errors
    assert "inbox" in errors
    assert run("check", "ordres", capsys=capsys)[2].count("did you mean 'orders'") == 1


def test_the_list_shows_what_is_covered_and_what_was_refused(place: Settings, capsys: pytest.CaptureFixture[str]):
    _, before, _ = run("list", capsys=capsys)
    assert "orders" in before
    quarantine = place.quarantine / "journey_kpis" / "source=orders"
    quarantine.mkdir(parents=True)
    (quarantine / "a.jsonl").write_text("{}\n{}\n")
    assert "2" in run("list", capsys=capsys)[1].split("orders", 1)[1]
