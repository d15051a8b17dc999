"""Homes that share a store: each file is copied once, what another machine did is seen, and nobody goes on by mistake."""

from __future__ import annotations

import os
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from aftercast import cli, diagnosis, landing, linking, publishing, sharing, store, warehouse
from aftercast.acting import outbox
from aftercast.assets import queue_of
from aftercast.declarations import SourceRow
from aftercast.errors import ConfigError, SourceRejected, StoreConflict, StoreUnavailable, WarehouseError
from aftercast.landing import shared
from aftercast.settings import Settings
from aftercast.store import Area, Store
from tests.unit import landing_fixture
from tests.unit.landing_fixture import NOW, SOURCE, batch, hours, in_window

AREA = Area("sources/shop", ("landing/*/source=shop",), last=("landing/coverage/source=shop/*",))


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AFTERCAST_TOKEN_KEY", "the same everywhere")
    return (tmp_path / "bucket").as_uri()


def machine(root: Path, name: str, bucket: str) -> Settings:
    place = landing_fixture.deployment(root / name)
    return Settings(home=place.home, config=place.config, store=bucket)


def put(home: Path, name: str, text: str) -> Path:
    path = home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def files(home: Path) -> dict[str, str]:
    return {path.relative_to(home).as_posix(): path.read_text() for path in sorted((home / "landing").rglob("*")) if path.is_file()}


def land(place: Settings, first: int, last: int, value: float = 1.0) -> None:
    window = hours(first, last)
    landing.land(place, SOURCE, window, [batch(in_window(window, value))], ingested_at=NOW)


def test_what_one_machine_wrote_another_has_and_nothing_is_copied_twice(tmp_path: Path, bucket: str):
    here, there = Store(bucket, tmp_path / "a"), Store(bucket, tmp_path / "b")
    here.pull(AREA)
    put(here.home, "landing/x/source=shop/1", "one")
    put(here.home, "landing/x/source=shop/.2.tmp-1", "half")
    assert here.push(AREA) == 1
    assert here.push(AREA) == 0
    there.pull(AREA)
    assert files(there.home) == {"landing/x/source=shop/1": "one"}
    before = (there.home / "landing/x/source=shop/1").stat().st_ino
    there.pull(AREA)
    assert (there.home / "landing/x/source=shop/1").stat().st_ino == before


def test_what_is_deleted_or_changed_on_one_machine_is_so_on_the_other(tmp_path: Path, bucket: str):
    here, there = Store(bucket, tmp_path / "a"), Store(bucket, tmp_path / "b")
    for store_ in (here, there):
        store_.pull(AREA)
    for name in "12":
        put(here.home, f"landing/x/source=shop/{name}", name)
    here.push(AREA)
    there.pull(AREA)
    put(there.home, "landing/x/source=shop/1", "changed")
    (there.home / "landing/x/source=shop/2").unlink()
    assert there.push(AREA) == 2
    here.pull(AREA)
    assert files(here.home) == {"landing/x/source=shop/1": "changed"}


def test_what_a_killed_extract_left_goes_when_the_machine_comes_back(tmp_path: Path, bucket: str):
    here = Store(bucket, tmp_path / "a")
    here.pull(AREA)
    put(here.home, "landing/x/source=shop/never-pushed", "half a window")
    here.pull(AREA)
    assert files(here.home) == {}


def test_a_home_from_before_the_store_is_neither_lost_nor_mixed_in(tmp_path: Path, bucket: str):
    here = Store(bucket, tmp_path / "a")
    path = put(here.home, "landing/x/source=shop/1", "precious")
    with pytest.raises(ConfigError, match="aftercast store push"):
        here.pull(AREA)
    assert path.read_text() == "precious"
    assert here.push(AREA) == 1
    here.pull(AREA)
    assert path.read_text() == "precious"


def test_two_machines_that_land_the_same_source_do_not_write_over_each_other(tmp_path: Path, bucket: str):
    one, two = machine(tmp_path, "one", bucket), machine(tmp_path, "two", bucket)
    land(one, 0, 2)
    found = shared.fetch(two, "shop")
    land(one, 2, 4)
    put(two.home, "landing/metric_points/source=shop/date=2026-09-01/late.parquet", "x")
    with pytest.raises(StoreConflict, match="another machine"):
        shared.hand_over(two, "shop", found)
    assert not [name for name in Store(bucket, two.home).listing("sources/shop") if "late" in name]


def test_windows_landed_by_turns_on_two_machines_are_what_one_machine_lands(tmp_path: Path, bucket: str):
    one, two = machine(tmp_path, "one", bucket), machine(tmp_path, "two", bucket)
    alone = landing_fixture.deployment(tmp_path / "alone")
    for number, (first, last) in enumerate(((0, 4), (4, 8), (2, 6), (0, 12), (12, 30))):
        land((one, two)[number % 2], first, last, float(number))
        land(alone, first, last, float(number))
    keeper = machine(tmp_path, "keeper", bucket)
    landing.prepare(keeper)
    landing.fetch_all(keeper)
    assert landing.landing_fingerprint(keeper) == landing.landing_fingerprint(alone)
    assert landing.covered_window(keeper) == landing.covered_window(alone)
    landing.fetch_coverage(one, "shop")
    assert landing.covered_until(one, "shop") == landing.covered_until(alone, "shop") == landing_fixture.START + timedelta(hours=30)


def test_an_extract_fetches_what_its_window_touches_and_no_more(tmp_path: Path, bucket: str):
    one, two = machine(tmp_path, "one", bucket), machine(tmp_path, "two", bucket)
    for day in range(3):
        land(one, 24 * day, 24 * day + 24)
    shared.fetch(two, "shop", hours(30, 40))
    days = {path.parent.name for path in two.home.glob("landing/metric_points/source=shop/*/*.parquet")}
    assert days == {"date=2026-09-02"}
    assert len(list(two.home.glob("landing/coverage/source=shop/*.parquet"))) == 3


def values(place: Settings) -> set[float]:
    return set(landing_fixture.landed(place)["value"])


def test_an_old_copy_of_another_window_does_not_come_back_with_the_next_extract(tmp_path: Path, bucket: str):
    one, two, keeper = (machine(tmp_path, name, bucket) for name in ("one", "two", "keeper"))
    land(one, 0, 24, 1.0)
    land(two, 0, 24, 2.0)
    land(one, 24, 48, 2.0)
    landing.prepare(keeper)
    landing.fetch_all(keeper)
    assert values(keeper) == values(one) == {2.0}


def test_files_a_home_has_lost_are_not_deleted_from_the_store(tmp_path: Path, bucket: str):
    one, keeper = machine(tmp_path, "one", bucket), machine(tmp_path, "keeper", bucket)
    land(one, 0, 24)
    shutil.rmtree(one.landing)
    land(one, 24, 48)
    landing.prepare(keeper)
    landing.fetch_all(keeper)
    assert landing_fixture.landed(keeper).height == 48


def test_machines_without_a_common_key_land_nothing(tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch):
    place = machine(tmp_path, "one", bucket)
    monkeypatch.delenv("AFTERCAST_TOKEN_KEY")
    with pytest.raises(ConfigError, match="AFTERCAST_TOKEN_KEY"):
        land(place, 0, 1)
    assert [one.verdict for one in diagnosis.diagnose(place, NOW) if one.subject == "store"] == ["bad"]


def test_a_store_that_cannot_be_opened_or_reached_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match="nosuch"):
        Store("nosuch://bucket", tmp_path)
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(StoreUnavailable, match="AFTERCAST_STORE"):
        Store((blocked / "below").as_uri(), tmp_path).write("x", b"")


def test_one_home_keeps_the_outbox_and_another_must_be_told_to(tmp_path: Path, bucket: str):
    first, second = machine(tmp_path, "one", bucket), machine(tmp_path, "two", bucket)
    store.hold(first)
    store.hold(first)
    put(first.home, "audit/log.jsonl", "decided")
    Store(bucket, first.home).push(store.state_area(first))
    with pytest.raises(ConfigError, match="aftercast store claim"):
        store.hold(second)
    assert store.claim(second) == 1
    assert (second.audit / "log.jsonl").read_text() == "decided"
    store.hold(second)
    with pytest.raises(ConfigError):
        store.hold(first)


def test_a_step_copies_what_it_wrote_even_when_it_fails(tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch):
    place = machine(tmp_path, "one", bucket)
    for name, value in (("HOME", place.home), ("CONFIG", place.config), ("STORE", bucket)):
        monkeypatch.setenv(f"AFTERCAST_{name}", str(value))

    @store.keeping
    def step(text: str) -> None:
        put(place.home, "postmortems/INC-1.md", text)
        raise SourceRejected("refused")

    with pytest.raises(SourceRejected):
        step("written")
    assert Store(bucket, place.home).read("state/postmortems/INC-1.md") == b"written"


def test_a_message_that_nobody_can_be_asked_about_is_not_sent_again_from_a_new_machine(tmp_path: Path, bucket: str):
    first, second, sent = machine(tmp_path, "one", bucket), machine(tmp_path, "two", bucket), []
    store.hold(first)

    def send(payload: Any, mark: str) -> str:
        assert Store(bucket, first.home).listing("state")  # known there before it leaves
        sent.append(mark)
        raise KeyboardInterrupt  # the machine is lost while it waits for the answer

    message: dict[str, Any] = {"channel": "slack", "key": "k", "payload": {"text": "hello"}, "find": None, "now": NOW}
    with pytest.raises(KeyboardInterrupt):
        outbox.of(first).deliver(**message, send=send)
    store.claim(second)
    assert outbox.of(second).deliver(**message, send=send).state == "unsure"
    assert len(sent) == 1


def test_nothing_is_sent_that_the_store_does_not_know(tmp_path: Path, bucket: str):
    def refuse(path: Path, content: bytes) -> None:
        raise StoreUnavailable("away")

    sent: list[str] = []
    box = outbox.Outbox(tmp_path / "outbox", refuse)
    with pytest.raises(StoreUnavailable):
        box.deliver(channel="slack", key="k", payload={}, send=lambda payload, mark: sent.append(mark) or "x", find=None, now=NOW)
    assert sent == []


def mart(place: Settings, version: str) -> None:
    with warehouse.connect(place.warehouse, read_only=False) as connection:
        warehouse.execute(connection, "create schema if not exists marts")
        warehouse.execute(connection, f"create or replace table marts.mart_run as select '{version}' as code_version")
    publishing.publish(place, version=version)
    sharing.share(place)


def test_readers_on_other_machines_see_whole_marts_only(tmp_path: Path, bucket: str):
    keeper, reader = machine(tmp_path, "keeper", bucket), machine(tmp_path, "reader", bucket)
    keeper.home.mkdir(parents=True, exist_ok=True)
    with pytest.raises(WarehouseError, match="holds none yet"):
        sharing.fetch(reader)
    for version in ("v1", "v2", "v3", "v4", "v5"):
        mart(keeper, version)
        assert sharing.fetch(reader) == reader.mart.resolve()
        assert sharing.fetch(reader) is None
        assert warehouse.query(reader.mart, "select code_version from marts.mart_run").item() == version
    shop = Store(bucket, reader.home)
    assert len(shop.listing("published/versions")) == len(list(reader.published.glob("versions/*.duckdb"))) == linking.KEEP
    assert {name.split("/")[0] for name in shop.listing("published/parquet")} == {"v3", "v4", "v5"}
    mart(keeper, "v6")
    name = next(one for one in shop.listing("published/versions") if "v6" in one)
    shop.write(f"published/versions/{name}", b"torn")
    with pytest.raises(WarehouseError, match="did not arrive whole"):
        sharing.fetch(reader)
    assert warehouse.query(reader.mart, "select code_version from marts.mart_run").item() == "v5"


def test_the_command_shows_pushes_fetches_and_claims(
    tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    place = landing_fixture.deployment(tmp_path / "one")
    land(place, 0, 2)
    mart(place, "v1")
    monkeypatch.setenv("AFTERCAST_HOME", str(place.home))
    monkeypatch.setenv("AFTERCAST_CONFIG", str(place.config))
    monkeypatch.delenv("AFTERCAST_STORE", raising=False)
    with pytest.raises(SystemExit):
        cli.main(["store", "status"])
    assert "AFTERCAST_STORE is not set" in capsys.readouterr().err
    monkeypatch.setenv("AFTERCAST_STORE", bucket)
    for command in ("push", "status", "fetch", "claim"):
        cli.main(["store", command])
    said = capsys.readouterr().out
    assert "source shop: 2 files" in said
    assert "(this home)" in said
    assert "the newest" in said


def test_what_reads_a_folder_of_one_machine_is_extracted_there():
    def row(**more: Any) -> SourceRow:
        return SourceRow(name="one", kind="files", **more)

    assert queue_of(row(options={"inbox": "inbox"})) == "warehouse"
    assert queue_of(row(options={"inbox": "s3://bucket/drop"})) == queue_of(row(connection="github")) == "default"
    assert queue_of(row(options={"inbox": "inbox"}, queue="dmz")) == "dmz"


def test_without_a_store_nothing_is_asked_or_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("AFTERCAST_TOKEN_KEY", raising=False)
    place = landing_fixture.deployment(tmp_path)
    land(place, 0, 1)
    store.hold(place)
    landing.fetch_all(place)
    sharing.share(place)
    assert not (place.home / "store").exists()
    assert not os.environ.get("AFTERCAST_STORE")
    assert pl.read_parquet(next(place.home.glob("landing/metric_points/source=shop/*/*.parquet"))).height == 1
