from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from aftercast import cli, warehouse
from aftercast.settings import Settings
from tests.unit import reports_fixture


@pytest.fixture
def mart(home: Path) -> Path:
    """A published file with one small table."""
    path = Settings.from_environment().mart
    path.parent.mkdir(parents=True)
    with warehouse.connect(path, read_only=False) as connection:
        connection.execute("create schema marts; create table marts.mart_run as select 'x' as company")
    return path


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Run the command line in this process; return exit code, output and errors."""
    code = 0
    try:
        cli.main(arguments)
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_query_before_the_first_run_says_what_to_do(home: Path, capsys: pytest.CaptureFixture[str]):
    code, _, errors = run("sql", "select 1", capsys=capsys)
    assert code == 1
    assert "aftercast run" in errors
    assert "Traceback" not in errors


def test_a_wrong_query_shows_the_databases_message(mart: Path, capsys: pytest.CaptureFixture[str]):
    code, _, errors = run("sql", "select nothing from marts.mart_run", capsys=capsys)
    assert code == 1
    assert "nothing" in errors


def test_a_query_cannot_write(mart: Path, capsys: pytest.CaptureFixture[str]):
    code, _, errors = run("sql", "drop table marts.mart_run", capsys=capsys)
    assert code == 1
    assert "read-only" in errors


def test_the_status_lists_names_nobody_declared(mart: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("COLUMNS", "200")
    columns = "source, entity, received, rejected, duplicate, late, watermark"
    with warehouse.connect(mart, read_only=False) as connection:
        connection.execute(f"create table marts.mart_source_coverage as select {', '.join(f'1 as {name}' for name in columns.split(', '))}")
    code, before, _ = run("status", capsys=capsys)
    assert code == 0, "a mart of an earlier version has no such table"
    with warehouse.connect(mart, read_only=False) as connection:
        connection.execute(
            "create table marts.mart_unmapped_names as select 'service' as kind, 'pay-ments' as name, 'alerts' as seen_in, "
            "'payments' as nearest_name, 3 as rows_n, now() as last_seen_at"
        )
    code, printed, _ = run("status", capsys=capsys)
    assert code == 0
    assert "1 names landed that nobody declared" in printed
    assert "pay-ments" in printed
    assert "nobody declared" not in before


def test_rows_are_printed_as_csv(mart: Path, capsys: pytest.CaptureFixture[str]):
    assert run("sql", "--csv", "from marts.mart_run", capsys=capsys)[:2] == (0, "company\nx\n")


def test_an_unknown_example_names_the_known_ones(home: Path, capsys: pytest.CaptureFixture[str]):
    code, _, errors = run("run", "--example", "petshopp", "--data", ".", capsys=capsys)
    assert code == 1
    assert "petshop, shop" in errors


def test_an_example_without_data_is_refused_with_the_command_to_use(home: Path, capsys: pytest.CaptureFixture[str]):
    code, _, errors = run("run", "--example", "petshop", capsys=capsys)
    assert code == 1
    assert "DATA=" in errors


def test_an_unknown_kind_is_refused_before_anything_starts(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "sources.yml").write_text("history: {start: '2026-09-21', end: '2026-09-28'}\nsources: [{name: shop, kind: filles}]\n")
    monkeypatch.setenv("AFTERCAST_CONFIG", str(tmp_path))
    code, _, errors = run("run", capsys=capsys)
    assert code == 1
    assert "did you mean 'files'" in errors
    assert not (home / "airflow").exists()


def test_one_end_of_a_window_is_not_a_window(home: Path, capsys: pytest.CaptureFixture[str]):
    code, _, errors = run("run", "--from", "2026-09-21", capsys=capsys)
    assert code == 1
    assert "both --from and --to" in errors


def test_a_wide_row_becomes_a_block_instead_of_torn_columns(capsys: pytest.CaptureFixture[str]):
    cli.show(pl.DataFrame({f"a_rather_long_column_{n}": [Decimal("12345.60")] for n in range(12)}))
    printed = capsys.readouterr().out
    assert printed.count("12,345.60") == 12
    assert "a_rather_long_column_11" in printed


def test_no_rows_are_said_to_be_none(capsys: pytest.CaptureFixture[str]):
    cli.show(pl.DataFrame({"a": []}))
    assert "no rows" in capsys.readouterr().out


def test_the_command_line_starts_without_heavy_imports():
    heavy = {"prophet", "dbt", "great_expectations", "airflow", "pandas", "sklearn"}
    program = f"import sys, aftercast.cli; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_report_is_rendered_by_the_name_of_its_row_or_its_cadence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    settings = reports_fixture.deployment(tmp_path, monkeypatch, [{"name": "leaders", "cadence": "monthly"}], [])
    for arguments, page in (
        (["report", "leaders"], "2026-10/monthly.html"),
        (["report", "--week", "2026-W44"], "2026-W44/weekly.html"),
        (["report", "quarterly", "--period", "2026-Q3"], "2026-Q3/quarterly.html"),
    ):
        cli.main(arguments)
        assert capsys.readouterr().out.replace("\n", "") == str(settings.reports / page)
    with pytest.raises(SystemExit):
        cli.main(["report", "leader"])
    assert "did you mean 'leaders'?" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(("typed", "said"), [(("nonsense",), "No such command 'nonsense'"), (("demo", "a"), "unexpected extra argument")])
def test_a_slip_in_what_is_typed_is_answered_in_a_sentence(typed: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]):
    code, _, errors = run(*typed, capsys=capsys)
    assert code == 2
    assert said in errors
    assert "Traceback" not in errors
    assert "--help" in errors


def test_trying_a_model_or_a_signal_names_what_is_known(home: Path, capsys: pytest.CaptureFixture[str]):
    code, _, errors = run("build", "mart_incident", capsys=capsys)
    assert (code, "did you mean 'mart_incidents'?" in " ".join(errors.split())) == (1, True)
    code, _, errors = run("build", "mart_incidents", capsys=capsys)
    assert (code, "aftercast run" in errors) == (1, True)
    code, _, errors = run("series", "error_rati", capsys=capsys)
    assert (code, "error_rati" in errors) == (1, True)
