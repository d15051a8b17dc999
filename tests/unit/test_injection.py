"""What others wrote stays text: never SQL, a template, a path, markup, a formula, an object or a command to the terminal."""

from __future__ import annotations

import ast
import csv
import io
import time
import zipfile
from pathlib import Path

import duckdb
import polars as pl
import pytest

from aftercast import histories, landing, prescriptions, searching, terminal, warehouse, yaml_texts
from aftercast.cli import main
from aftercast.declarations import AudienceRow, SignalRow, SourceRow
from aftercast.detection.signals import signal_query
from aftercast.errors import AftercastError, ConfigError
from aftercast.landing.slices import piece_label
from aftercast.page import incident, reading
from aftercast.reporting import templating
from aftercast.reporting.periods import CADENCES
from aftercast.reviewing import folder, front_matter
from aftercast.settings import PROJECT, Settings
from aftercast.sources.postmortems import documents
from aftercast.sources.slack_channels import exported
from aftercast.sources.sql_queries import Query
from tests.unit import page_fixture

PACKAGE = PROJECT / "plugins" / "aftercast"
HOSTILE = (
    "x' or '1'='1",
    "x'; drop table marts.mart_incidents; --",
    "x\"; attach '/tmp/x' as y; --",
    "x') union all select table_name from duckdb_tables() --",
    "%' escape '",
    "{{ 7 * 7 }}{% for x in ().__class__.__base__.__subclasses__() %}{% endfor %}",
    "../../../etc/passwd",
    "a\x00b\u202e",
)
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(f'*{before}' for _ in range(9))}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
DEEP = "a: " + "[" * 20_000


@pytest.fixture(scope="module")
def mart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page_fixture.publish(tmp_path_factory.mktemp("mart"))


# SQL


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_asked_of_the_page_and_of_histories_is_a_value(mart: Path, text: str):
    with reading.opened(mart) as opened:
        before = opened.rows("select count(*) as n from mart_incidents")
        assert incident.found(opened, text) is None
        assert opened.rows("select count(*) as n from mart_incidents") == before
    with pytest.raises(AftercastError):
        landing.subject_of(mart, text)
    with pytest.raises(AftercastError):
        histories.plot(Settings(home=mart.parents[1], config=mart.parent), text, None, None, None)


@pytest.mark.parametrize("text", HOSTILE)
def test_words_and_filters_of_the_search_are_values(tmp_path: Path, text: str):
    mart = tmp_path / "mart.duckdb"
    with duckdb.connect(str(mart)) as connection:
        connection.execute("create schema marts")
        texts = [
            "document_id",
            "kind",
            "entity_id",
            "title",
            "text",
            "words",
            "url",
            "incident_id",
            "service",
            "owner_team",
            "family_id",
            "candidate_id",
            "severity",
        ]
        columns = ", ".join(f"'{ {'kind': 'incident', 'title': 'slow'}.get(name, 'd') }' as {name}" for name in texts)
        times = "1.0::double as importance, timestamptz '2026-09-01 00:00Z' as occurred_at, timestamptz '2026-09-01 00:00Z' as as_of"
        connection.execute(f"create table marts.mart_search_documents as select {columns}, {times}")
        connection.execute("create table marts.mart_search_terms as select 'slow' as stem, 'd' as document_id, 1.0::double as weight")
        connection.execute("create table marts.mart_search_words as select 'slow' as word, 'slow' as stem, 1::bigint as documents_n")
        connection.execute(searching.MACRO)
    assert searching.search(mart, "slow").total == 1
    assert searching.search(mart, f"{text} zzz", service=text, family=text, candidate=text).total == 0
    with pytest.raises(AftercastError):
        searching.search(mart, "slow", kinds=[text])


@pytest.mark.parametrize("text", HOSTILE[:5])
def test_declared_names_are_quoted_where_they_become_sql(text: str):
    with warehouse.connect(None) as connection:
        assert warehouse.frame(connection, f"select {warehouse.literal(text)} as {warehouse.identifier(text)}").to_dicts() == [{text: text}]
    for names in ({"value": text}, {"numerator": text, "denominator": text}):
        query = signal_query(SignalRow.model_validate({"name": "x", "fact": "metric", "by": ["service"], **names}))
        quoted = warehouse.literal(text)
        assert quoted in query
        assert text not in query.replace(quoted, "")
        with pytest.raises(ValueError, match="no figure of a journey"):
            SignalRow.model_validate({"name": "x", "fact": "kpi", "by": ["journey"], **names})
    with pytest.raises(ValueError, match=r"by|dimension"):
        signal_query(SignalRow.model_validate({"name": "x", "fact": "metric", "value": "x", "by": [text]}))


def test_sql_typed_by_somebody_else_reaches_nothing_but_the_mart(mart: Path, tmp_path: Path):
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    for text in (
        f"select * from read_csv('{secret}')",
        f"from '{secret}'",
        f"copy (select 1) to '{tmp_path / 'out.csv'}'",
        f"attach '{tmp_path / 'other.duckdb'}' as other",
        "set enable_external_access = true",
        "install httpfs",
        "create table marts.x as select 1",
        "drop table marts.mart_incidents",
    ):
        with pytest.raises(AftercastError):
            warehouse.query(mart, text, sealed=True)
    assert not (tmp_path / "out.csv").exists()
    assert warehouse.query(mart, "select count(*) from marts.mart_incidents", sealed=True).item() > 0


@pytest.mark.parametrize(
    "sql",
    [
        "select 1 where ts >= :start and ts < :end; drop table orders",
        "delete from orders where ts >= :start and ts < :end",
        "/* select */ update orders set x = :start where ts < :end",
        "select * from orders where ts >= :start and ts < :end and who = :who",
    ],
)
def test_a_query_of_a_source_only_asks_and_its_window_is_bound(sql: str):
    with pytest.raises(ValueError, match=r"sql must be one query|is no parameter"):
        Query.model_validate({"entity": "journey_kpis", "sql": sql})


# Templates


def test_no_template_is_ever_made_from_a_text():
    """A title with {{ }} is harmless only while templates are files of ours: nothing compiles a text, no environment is unescaped."""
    made, environments = [], []
    for path in [*PACKAGE.rglob("*.py"), *(PROJECT / "dags").rglob("*.py"), *(PROJECT / "bi").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = getattr(node, "func", None)
            name = getattr(called, "id", getattr(called, "attr", ""))
            is_python = isinstance(called, ast.Name) and name in ("eval", "exec")
            if isinstance(node, ast.Call) and (is_python or name in ("from_string", "Template", "compile_expression")):
                made.append(f"{path.name}:{node.lineno}")
            if isinstance(node, ast.Call) and name in ("Environment", "NativeEnvironment"):
                environments.append(path.name)
    assert made == []
    assert environments == ["templating.py"]
    unescaped = [path.name for path in PACKAGE.rglob("*.html.j2") if "autoescape false" in path.read_text(encoding="utf-8")]
    assert unescaped == []


def test_a_title_is_text_in_a_template_of_ours(tmp_path: Path):
    (tmp_path / "x.html.j2").write_text('<p title="{{ title }}">{{ title }}</p>')
    page = templating.environment(tmp_path).get_template("x.html.j2").render(title='{{ 7 * 7 }}"><script>alert(1)</script>')
    assert "49" not in page
    assert "<script" not in page
    assert page.count('"') == 2


def test_what_airflow_renders_is_never_what_somebody_wrote():
    """Airflow renders `{{ }}` of template fields; no DAG uses an operator that has any, so a title is never rendered there."""
    dags = [path.read_text(encoding="utf-8") for path in (PROJECT / "dags").glob("*.py")]
    assert len(dags) > 5
    assert not [text for text in dags if "BashOperator" in text or "{{" in text]


# Paths


@pytest.mark.parametrize("text", [*HOSTILE, "..", ".", "", "/", "a/b", "C:\\x", ".hidden", "~root"])
def test_ids_and_names_become_one_harmless_file_name(text: str):
    for name in (folder.file_name(text), f"{piece_label(text)}.parquet"):
        assert name == Path(name).name
        assert not name.startswith((".", "~"))
        assert "\x00" not in name


@pytest.mark.parametrize("text", ["../2026-W45", "2026-W45/../../x", "2026-W45\n", "٢٠٢٦-W45", "", "/etc"])
def test_a_period_is_a_period_or_refused(text: str):
    for cadence in CADENCES.values():
        if text.strip() == "2026-W45":
            continue
        with pytest.raises(ConfigError):
            cadence.parse(text)


@pytest.mark.parametrize("text", ["../x", "a/b", "A", "", ".x", "x;y"])
def test_names_that_become_folders_are_refused_where_they_are_declared(text: str):
    with pytest.raises(ValueError, match="pattern"):
        SourceRow.model_validate({"name": text, "kind": "files"})
    with pytest.raises(ValueError, match="pattern"):
        AudienceRow.model_validate({"name": text})


# Archives


def test_an_export_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "export.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("channels.json", "[]")
        file.writestr("incidents/2026-09-01.json", "[" + " " * 100_000 + "]")
        file.writestr("../../escape.json", "[]")
    monkeypatch.setattr(exported, "LARGEST", 50_000)
    archive = exported.opened(path)
    with pytest.raises(ValueError, match="would unpack to 100,002 bytes"):
        archive.read("incidents/2026-09-01.json")
    assert archive.read("channels.json") == b"[]"
    assert not (tmp_path.parent / "escape.json").exists()


# YAML


def quickly(started: float) -> bool:
    return time.process_time() - started < 2


@pytest.mark.parametrize("text", [BOMB, DEEP, "a: " + "x" * 1_100_000, "a: &x [*x]"])
def test_yaml_of_others_is_refused_before_it_grows(text: str):
    started = time.process_time()
    with pytest.raises(yaml_texts.NotYaml):
        yaml_texts.plain(text)
    with pytest.raises(ConfigError):
        prescriptions.parse(text)
    with pytest.raises(front_matter.Unreadable):
        front_matter.read(f"---\n{text}\n---\nwords")
    with pytest.raises(documents.Broken):
        documents.parse(f"---\n{text}\n---\nwords")
    assert quickly(started)


def test_yaml_of_others_makes_no_objects():
    assert yaml_texts.plain("a: !!python/object/apply:os.system ['true']\nb: 012\nc: 14:30\nd: [1, {e: f}]") == {
        "a": ["true"],
        "b": "012",
        "c": "14:30",
        "d": ["1", {"e": "f"}],
    }


def test_no_yaml_is_read_by_a_loader_that_makes_objects():
    for path in [*PACKAGE.rglob("*.py"), *(PROJECT / "bi").rglob("*.py"), *(PROJECT / "dags").rglob("*.py")]:
        text = path.read_text(encoding="utf-8")
        assert not [
            word for word in ("yaml.Loader", "FullLoader", "UnsafeLoader", "unsafe_load", "full_load", "pickle.load") if word in text
        ], path


# Spreadsheets and terminals

FORMULAS = ['=HYPERLINK("http://evil.test")', "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", "\uff1d1"]


def test_a_text_is_no_formula_in_a_spreadsheet(mart: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    frame = pl.DataFrame(
        {"title": [*FORMULAS, "calm", None], "loss": [-1.5] * (len(FORMULAS) + 2), "of": [["=1", "b"]] * (len(FORMULAS) + 2)}
    )
    rows = list(csv.DictReader(io.StringIO(terminal.for_spreadsheets(frame).write_csv())))
    assert [row["title"] for row in rows] == [*(f"'{text}" for text in FORMULAS), "calm", ""]
    assert {row["loss"] for row in rows} == {"-1.5"}
    assert {row["of"] for row in rows} == {"'=1, b"}
    monkeypatch.setenv("AFTERCAST_HOME", str(mart.parents[1]))
    main(["sql", "--csv", "select '=1+1' as title, -3 as n"])
    assert capsys.readouterr().out == "title,n\n'=1+1,-3\n"


def test_a_title_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]):
    evil = "\x1b]0;owned\x07\x1b[2J[red]x[/] \u202egnp.exe [link=http://evil.test]y[/link]"
    terminal.show(pl.DataFrame({"title": [evil], "all": [[evil]]}))
    terminal.out.print(evil, markup=False)
    said = capsys.readouterr().out
    assert not [sign for sign in ("\x1b", "\x07", "\u202e") if sign in said]
    assert "[red]" in said
    assert "[link=http://evil.test]" in said.replace("\n", "")


def test_an_error_that_repeats_what_was_typed_is_shown_as_it_is(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AFTERCAST_HOME", str(tmp_path / "[/x][bold"))
    with pytest.raises(SystemExit):
        main(["sql", "select 1"])
    assert "[/x]" in capsys.readouterr().err.replace("\n", "")
