"""Publishing is whole or nothing, and what was published can be read by anyone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import duckdb
import polars as pl
import pytest

from aftercast import disclosure, linking, publishing, warehouse
from aftercast.errors import ConfigError, WarehouseError
from aftercast.settings import Settings

CLASSES = "keep: [company]\ntitle: [title]\ntext: [text, texts, row_key]\nperson: [author_token]\n"


@pytest.fixture(autouse=True)
def classes(tmp_path: Path) -> Iterator[Path]:
    """A classification of its own: these marts have columns no other has."""
    path = tmp_path / "published_columns.yml"
    path.write_text(CLASSES)
    real = disclosure.read
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disclosure, "read", lambda: real(path))
        yield path


def build(settings: Settings, incidents: int, *, run_rows: int = 1) -> None:
    settings.home.mkdir(parents=True, exist_ok=True)
    settings.warehouse.unlink(missing_ok=True)
    with duckdb.connect(str(settings.warehouse)) as connection:
        connection.execute("create schema marts; create schema star; create table star.dim_service as select 1 as x")
        connection.execute("create table marts.int_scratch as select 1 as x")
        connection.execute(f"create table marts.mart_run as select '{incidents}' as company from range({run_rows})")
        connection.execute(
            "create table marts.mart_incidents as select i as incident_id, [i, i] as seen, sum(i)::hugeint as total, "
            f"uuid() as row_key, timestamptz '2026-11-02 00:00Z' as started_at from range({incidents}) r(i) group by i"
        )
        connection.execute("comment on table marts.mart_incidents is 'One row per incident; it''s public.'")
        connection.execute("comment on column marts.mart_incidents.total is 'Sum of i.'")


def count(settings: Settings) -> int:
    return int(warehouse.query(settings.mart, "select count(*) from marts.mart_incidents").item())


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", config=tmp_path / "config")


def everything_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_published_file_holds_the_marts_with_their_comments_and_nothing_else(settings: Settings) -> None:
    build(settings, 5)
    published = publishing.publish(settings, version="0.1.0+aa")
    assert (published.tables, published.rows, published.unchanged) == (2, 6, False)
    assert settings.mart.is_symlink()
    assert settings.mart.resolve() == published.path
    tables = warehouse.query(settings.mart, "select schema_name, table_name, comment from duckdb_tables() order by 2").rows()
    assert tables == [("marts", "mart_incidents", "One row per incident; it's public."), ("marts", "mart_run", None)]
    comment = warehouse.query(settings.mart, "select comment from duckdb_columns() where column_name = 'total'").item()
    assert comment == "Sum of i."


def test_published_file_can_be_read_by_the_oldest_client(settings: Settings) -> None:
    build(settings, 5)
    file = publishing.publish(settings, version="1").path
    # Bytes 12 to 20 of a DuckDB file are its storage version; 64 is the one of v0.10 to v1.1.
    assert int.from_bytes(file.read_bytes()[12:20], "little") == 64
    assert file.stat().st_mode & 0o777 == 0o444
    assert not list(file.parent.glob("*.wal"))


def test_parquet_beside_it_has_the_same_rows_in_types_every_engine_reads(settings: Settings) -> None:
    build(settings, 5)
    publishing.publish(settings, version="1")
    frame = pl.read_parquet(settings.published / "parquet" / "current" / "mart_incidents.parquet")
    assert frame.schema["total"] == pl.Int64
    assert frame.schema["row_key"] == pl.String
    assert frame["total"].sum() == 10


def test_a_reader_open_during_a_publish_keeps_its_data_and_the_next_one_sees_the_new(settings: Settings) -> None:
    build(settings, 5)
    publishing.publish(settings, version="1")
    with warehouse.connect(settings.mart) as reader:
        build(settings, 7)
        publishing.publish(settings, version="2")
        assert warehouse.frame(reader, "select count(*) from marts.mart_incidents").item() == 5
        assert count(settings) == 7
        assert warehouse.frame(reader, "select sum(total)::int from marts.mart_incidents").item() == 10


@pytest.mark.parametrize(
    ("module", "step"), [(publishing, "_build"), (publishing, "_contents"), (linking, "replace_folder"), (linking, "sync")]
)
def test_failure_at_any_step_leaves_the_last_mart_and_no_litter(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, module: ModuleType, step: str
) -> None:
    build(settings, 5)
    publishing.publish(settings, version="1")
    before = everything_below(settings.published)
    link, parquet = settings.mart.readlink(), (settings.published / "parquet/current").readlink()
    build(settings, 7)
    real = getattr(module, step)

    def half_done(*arguments: object) -> None:
        real(*arguments)
        raise OSError("no space left on device")

    monkeypatch.setattr(module, step, half_done)
    with pytest.raises(OSError, match="no space"):
        publishing.publish(settings, version="2")
    assert (settings.mart.readlink(), (settings.published / "parquet/current").readlink()) == (link, parquet)
    assert count(settings) == 5
    assert [name for name in everything_below(settings.published) if linking.BUILDING in name] == []
    assert set(before) <= set(everything_below(settings.published))
    monkeypatch.undo()
    assert publishing.publish(settings, version="2").rows == 8
    assert count(settings) == 7


def test_when_the_link_cannot_be_moved_parquet_goes_back_too(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    build(settings, 5)
    publishing.publish(settings, version="1")
    build(settings, 7)
    real = Path.replace

    def refuse(source: Path, target: Path) -> Path:
        if target == settings.mart:
            raise PermissionError("read-only file system")
        return real(source, target)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(WarehouseError, match=r"readers keep the last mart"):
        publishing.publish(settings, version="2")
    assert count(settings) == 5
    assert (settings.published / "parquet" / "current").readlink() == Path("1")


def test_a_copy_that_differs_from_the_warehouse_is_not_published(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    build(settings, 5)
    publishing.publish(settings, version="1")
    build(settings, 7)
    real = publishing._build

    def lossy(source: Path, file: Path, folder: Path, tables: list[publishing._Table]) -> None:
        real(source, file, folder, tables)
        with duckdb.connect(str(file)) as connection:
            connection.execute("update marts.mart_incidents set total = 0 where incident_id = 3")

    monkeypatch.setattr(publishing, "_build", lossy)
    with pytest.raises(WarehouseError, match="differs from the warehouse in 1 tables: mart_incidents"):
        publishing.publish(settings, version="2")
    assert count(settings) == 5


def test_publishing_the_same_build_again_writes_nothing_and_says_so(settings: Settings) -> None:
    build(settings, 5)
    first = publishing.publish(settings, version="1")
    inode = first.path.stat().st_ino
    again = publishing.publish(settings, version="1")
    assert again.unchanged
    assert "nothing to do" in str(again)
    assert again.path.stat().st_ino == inode


def test_the_same_version_with_other_rows_is_published(settings: Settings) -> None:
    build(settings, 5)
    publishing.publish(settings, version="1")
    build(settings, 7)
    assert not publishing.publish(settings, version="1").unchanged
    assert count(settings) == 7


def test_three_versions_are_kept_and_the_current_one_always(settings: Settings) -> None:
    for number in range(1, 6):
        build(settings, number)
        publishing.publish(settings, version=str(number))
    assert sorted(file.name for file in (settings.published / "versions").iterdir()) == [f"aftercast-{n}.duckdb" for n in (3, 4, 5)]
    assert sorted(folder.name for folder in (settings.published / "parquet").iterdir()) == ["3", "4", "5", "current"]
    assert count(settings) == 5


def test_litter_of_a_killed_publish_is_swept(settings: Settings) -> None:
    build(settings, 5)
    (settings.published / "versions").mkdir(parents=True)
    (settings.published / "versions" / f"{linking.BUILDING}x.duckdb").write_text("half")
    publishing.publish(settings, version="1")
    assert [name for name in everything_below(settings.published) if linking.BUILDING in name] == []


def test_nothing_to_publish_is_an_error_that_says_what_to_do(settings: Settings) -> None:
    with pytest.raises(WarehouseError, match="does not exist yet"):
        publishing.publish(settings, version="1")
    settings.home.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(settings.warehouse)) as connection:
        connection.execute("create schema marts")
    with pytest.raises(WarehouseError, match=r"no marts\.mart_run; run the marts step first"):
        publishing.publish(settings, version="1")
    build(settings, 2, run_rows=0)
    with pytest.raises(WarehouseError, match="it has 0 rows"):
        publishing.publish(settings, version="1")
    assert not settings.mart.exists()


def test_a_version_that_is_not_a_file_name_is_refused(settings: Settings) -> None:
    with pytest.raises(WarehouseError, match="cannot be a file name"):
        publishing.publish(settings, version="../1")


PERSON = "tok_0123456789abcdef"
LEAKS = f"Ann (ann.x@shop.example, {PERSON}) said Bearer abcdefgh12 of ghp_abcdefghijklmnopqrstu"


def build_words(settings: Settings, *, unclassified: str = "") -> None:
    build(settings, 2)
    with duckdb.connect(str(settings.warehouse)) as connection:
        more = f", 'x' as {unclassified}" if unclassified else ""
        connection.execute(
            "create table marts.mart_words as select 'Checkout is slow' as title, $1 as text, ['calm', $1] as texts, 3 as n, "
            f"'{PERSON}' as author_token{more}",
            [LEAKS],
        )


def words(file: Path) -> dict[str, object]:
    return warehouse.query(file, "from marts.mart_words").row(0, named=True)


def test_a_column_nobody_classified_is_not_published_and_said(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    build_words(settings, unclassified="nickname")
    publishing.publish(settings, version="1")
    assert set(words(settings.mart)) == {"title", "text", "texts", "n"}
    assert "mart_words.nickname" in caplog.text
    frame = pl.read_parquet(settings.published / "parquet" / "current" / "mart_words.parquet")
    assert set(frame.columns) == {"title", "text", "texts", "n"}


def test_addresses_secrets_and_tokens_of_persons_are_masked_whatever_let_them_in(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    build_words(settings)
    publishing.publish(settings, version="1")
    masked = "Ann (<email>, <person>) said Bearer <secret> of <secret>"
    assert words(settings.mart) == {"title": "Checkout is slow", "text": masked, "texts": ["calm", masked], "n": 3}
    assert 'marts."mart_words".text: 1 rows held' in caplog.text
    everything = b"".join(path.read_bytes() for path in settings.published.rglob("*") if path.is_file())
    assert not [word for word in (b"ann.x@shop", PERSON.encode(), b"ghp_abcdef", b"abcdefgh12") if word in everything]
    assert publishing.publish(settings, version="1").unchanged


def declare(settings: Settings, text: str) -> Settings:
    settings.config.mkdir(parents=True, exist_ok=True)
    (settings.config / "publishing.yml").write_text(text)
    return Settings(home=settings.home, config=settings.config)


def test_an_audience_gets_every_table_without_the_words_it_may_not_see(settings: Settings) -> None:
    build_words(settings)
    settings = declare(settings, "audiences: [{name: leaders}, {name: board, hides: [text, title]}]")
    publishing.publish(settings, version="1")
    leaders, board = (settings.published / "audiences" / f"{name}.duckdb" for name in ("leaders", "board"))
    assert words(leaders) == {"title": "Checkout is slow", "text": None, "texts": None, "n": 3}
    assert words(board) == {"title": None, "text": None, "texts": None, "n": 3}
    assert b"Ann" not in leaders.resolve().read_bytes()
    assert warehouse.query(leaders, "select sum(total)::int from marts.mart_incidents").item() == 1
    assert int.from_bytes(leaders.resolve().read_bytes()[12:20], "little") == 64
    assert publishing.publish(settings, version="1").unchanged
    for version in "2345":
        build_words(settings)
        publishing.publish(settings, version=version)
    assert len(list((settings.published / "audiences" / "leaders").iterdir())) == linking.KEEP
    publishing.publish(declare(settings, "audiences: [{name: board}]"), version="6")
    assert sorted(path.name for path in (settings.published / "audiences").iterdir()) == ["board", "board.duckdb"]


def test_a_group_reads_its_files_and_nobody_else_does(settings: Settings) -> None:
    import grp
    import os

    build_words(settings)
    group = grp.getgrgid(os.getgid()).gr_name
    settings = declare(settings, f"group: {group}\naudiences: [{{name: leaders, group: {group}}}]")
    publishing.publish(settings, version="1")
    leaders = (settings.published / "audiences" / "leaders.duckdb").resolve()
    parquet = (settings.published / "parquet" / "current").resolve()
    assert {path.stat().st_mode & 0o777 for path in (settings.mart.resolve(), leaders, *parquet.iterdir())} == {0o440}
    assert {path.stat().st_mode & 0o777 for path in (leaders.parent, parquet)} == {0o750}
    with pytest.raises(ConfigError, match="group 'nobody-has-it'"):
        publishing.publish(declare(settings, "group: nobody-has-it"), version="2")
    assert settings.mart.resolve().name == "aftercast-1.duckdb"


def test_classes_of_columns_are_checked(classes: Path, settings: Settings) -> None:
    build(settings, 2)
    for text, message in (
        ("kepp: [a]", "did you mean 'keep'"),
        ("keep: [a]\ndrop: [a]", "both 'keep' and 'drop'"),
        ("a: &a [1", "cannot be read"),
    ):
        classes.write_text(text)
        with pytest.raises(ConfigError, match=message):
            publishing.publish(settings, version="1")
    classes.unlink()
    with pytest.raises(ConfigError, match="nothing can be published"):
        publishing.publish(settings, version="1")
