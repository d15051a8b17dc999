"""Single faults: what is wrong is named with its file and what to do, readers keep what they have, and nothing happens twice."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

import polars as pl
import pytest

from aftercast import diagnosis, landing, linking, publishing, warehouse
from aftercast.acting import audit
from aftercast.acting.outbox import Outbox, repeatable
from aftercast.errors import AftercastError, LandingError, WarehouseError
from aftercast.landing import storage, working
from aftercast.settings import PROJECT, Settings
from aftercast.steps import refreshing
from tests.drills.fuse import Fuse
from tests.integration.services import unavailable
from tests.unit.landing_fixture import NOW, batch, deployment, files, hours, in_window, land, landed
from tests.unit.test_audit import one
from tests.unit.test_publishing import build, count

TINY = 3 * 2**20
FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload(["aftercast.publishing", "aftercast.landing", "tests.drills.test_faults"])


def started(task: Callable[..., None], *arguments: object) -> BaseProcess:
    """Start a task in a fork of a process that has done nothing but import what these tests import."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(PROJECT / "plugins"), str(PROJECT)]))  # what it preloads is found by this alone
        forkserver.ensure_running()
    process = FORKING.Process(target=task, args=arguments, daemon=True)
    process.start()
    return process


def ended(task: Callable[..., None], *arguments: object) -> int:
    """Run a task in a process of its own; return its exit code."""
    process = started(task, *arguments)
    process.join(120)
    assert process.exitcode is not None
    return process.exitcode


def fused(home: Path, number: int, mode: str, work: Callable[[], object]) -> None:
    fuse = Fuse(f"{home}/", number, mode)
    sys.addaudithook(fuse)
    fuse.live = True
    work()
    fuse.returning()


def cut(path: Path) -> None:
    path.chmod(0o644)
    os.truncate(path, path.stat().st_size // 2)


# Kills


def _land(root: Path, number: int, mode: str) -> None:
    place = deployment(root)
    fused(place.home, number, mode, lambda: land(place, hours(0, 30), batch(in_window(hours(0, 30), 2.0))))


def test_landing_is_whole_after_a_kill_at_every_one_of_its_effects(tmp_path: Path):
    wanted = None
    modes = {"before": True, "torn": True}
    for number in range(1, 100):
        for mode in [name for name, going in modes.items() if going]:
            root = tmp_path / f"{mode}-{number}"
            place = deployment(root)
            land(place, hours(0, 30), batch(in_window(hours(0, 30), 1.0)))  # what is replaced
            modes[mode] = ended(_land, root, number, mode) == -signal.SIGKILL
            land(place, hours(0, 30), batch(in_window(hours(0, 30), 2.0)))
            found = landed(place), landing.landing_fingerprint(place), sorted(files(place))
            wanted = wanted or found
            assert found[0].equals(wanted[0])
            assert found[1:] == wanted[1:], (mode, number)
        if not any(modes.values()):
            break
        assert number > 8 or all(modes.values()), "it has fewer effects than a landing needs"


def _publish(home: Path, version: str, number: int, mode: str) -> None:
    settings = Settings(home=home, config=home / "config")
    fused(settings.published, number, mode, lambda: publishing.publish(settings, version=version))


def seen(settings: Settings) -> tuple[str, int, str, int]:
    """What readers of DuckDB and of Parquet see: which build, and how many incidents it has."""
    with warehouse.connect(settings.mart) as connection:
        name = warehouse.frame(connection, "select company from marts.mart_run").item()
        rows = warehouse.frame(connection, "select count(*) from marts.mart_incidents").item()
    folder = (settings.published / "parquet" / "current").resolve()
    return name, rows, pl.read_parquet(folder / "mart_run.parquet").item(), pl.read_parquet(folder / "mart_incidents.parquet").height


@pytest.mark.parametrize("version", ["2", "1"])  # another build; the same one, which has come out otherwise
def test_readers_see_a_whole_mart_after_a_kill_at_every_effect_of_a_publish(tmp_path: Path, version: str):
    before = Settings(home=tmp_path / "before", config=tmp_path / "config")
    build(before, 5)
    publishing.publish(before, version="1")
    build(before, 7)
    number, code = 0, -signal.SIGKILL
    while code:
        number += 1
        settings = Settings(home=tmp_path / str(number), config=tmp_path / "config")
        shutil.copytree(before.home, settings.home, symlinks=True)
        code = ended(_publish, settings.home, version, number, "before")
        assert code in (0, -signal.SIGKILL)
        duck, incidents, parquet, rows = seen(settings)
        assert (duck, incidents) in [("5", 5), ("7", 7)], number
        assert (parquet, rows) in [("5", 5), ("7", 7)], number
        publishing.publish(settings, version=version)
        assert seen(settings) == ("7", 7, "7", 7), number
        assert not [path for path in settings.published.rglob("*") if linking.BUILDING in path.name]
    assert number > 8


# Two at once


def _hold(home: Path, seconds: float, log: Path) -> None:
    with warehouse.turn(home):
        with log.open("a") as file:
            file.write("begin\n")
        time.sleep(seconds)
        with log.open("a") as file:
            file.write("end\n")


def test_two_steps_on_one_warehouse_take_turns_and_a_killed_one_gives_its_turn_back(tmp_path: Path):
    log = tmp_path / "log"
    both = [started(_hold, tmp_path, 0.3, log) for _ in range(2)]
    for process in both:
        process.join(60)
    assert log.read_text().split() == ["begin", "end", "begin", "end"]
    killed = started(_hold, tmp_path, 60.0, log)
    while log.read_text().count("begin") < 3:
        time.sleep(0.02)
    with pytest.raises(WarehouseError, match="another step has worked on the warehouse"), warehouse.turn(tmp_path, patience=0.1):
        pass
    assert killed.pid is not None
    os.kill(killed.pid, signal.SIGKILL)
    with warehouse.turn(tmp_path, patience=30.0):
        pass


def test_every_step_that_opens_the_warehouse_waits_for_its_turn():
    own = {name: one for name, one in vars(refreshing).items() if getattr(one, "__module__", "") == refreshing.__name__}
    waiting = {name for name, one in own.items() if hasattr(one, "__wrapped__")}
    assert waiting == {"stage", "star", "watch", "gather", "correlate", "measure", "marts", "check", "publish"}


def _publish_often(home: Path) -> None:
    settings = Settings(home=home, config=home / "config")
    for number in range(1, 7):
        with warehouse.turn(home):
            build(settings, 3 + number % 2)
            publishing.publish(settings, version=f"{os.getpid()}-{number}")


def test_readers_see_one_consistent_build_whenever_they_open_while_two_publish(tmp_path: Path):
    settings = Settings(home=tmp_path / "home", config=tmp_path / "config")
    build(settings, 3)
    publishing.publish(settings, version="first")
    publishers = [started(_publish_often, settings.home) for _ in range(2)]
    looked, builds = 0, set()
    while any(process.is_alive() for process in publishers):
        duck, incidents, parquet, rows = seen(settings)
        assert (int(duck), int(parquet)) == (incidents, rows)
        builds.add(duck)
        looked += 1
    assert [process.exitcode for process in publishers] == [0, 0]
    assert looked >= 5
    assert builds == {"3", "4"}


# Damage


def test_a_cut_landed_file_is_named_with_the_window_to_extract_again(tmp_path: Path):
    place = deployment(tmp_path)
    land(place, hours(0, 30), batch(in_window(hours(0, 30))))
    whole, print_ = landed(place), landing.landing_fingerprint(place)
    broken = next(path for path in sorted(place.landing.glob("metric_points/source=shop/**/*.parquet")))
    cut(broken)
    with pytest.raises(LandingError, match=r"is damaged.*extract source 'shop' again, 2026-09-01T00:00Z to 2026-09-02T00:00Z") as told:
        landing.landing_fingerprint(place)
    assert str(broken) in str(told.value)
    broken.unlink()
    land(place, hours(0, 30), batch(in_window(hours(0, 30))))
    assert landed(place).equals(whole)
    assert landing.landing_fingerprint(place) == print_


def test_extracting_a_window_again_mends_its_cut_files_even_where_they_were_not_deleted(tmp_path: Path):
    place = deployment(tmp_path)
    land(place, hours(0, 30), batch(in_window(hours(0, 30))))
    before = files(place)
    for path in place.landing.glob("metric_points/source=shop/**/*.parquet"):
        cut(path)
    land(place, hours(0, 30), batch(in_window(hours(0, 30))))
    assert files(place) == before


def test_rows_changed_on_disk_are_told_from_rows_that_were_written(tmp_path: Path):
    place = deployment(tmp_path)
    land(place, hours(0, 3), batch(in_window(hours(0, 3))))
    landing.prepare(place)
    assert landing.damaged(place) == []
    (path,) = place.landing.glob("metric_points/source=shop/**/*.parquet")
    carried = pl.read_parquet_metadata(path)[storage.HASH_KEY]
    rows = pl.read_parquet(path, hive_partitioning=False)
    # As a bit that flipped and still decodes.
    rows.with_columns(pl.col("value") + 1).write_parquet(path, metadata={storage.HASH_KEY: carried})
    assert landing.damaged(place) == [path]
    (told,) = [one for one in diagnosis.diagnose(place, NOW) if one.subject == "files"]
    assert (told.verdict, told.said) == ("bad", f"{path} is damaged")
    assert told.advice.startswith("delete it and extract source 'shop' again, 2026-09-01T00:00Z to 2026-09-01T03:00Z")


def test_cut_derived_files_are_made_anew_and_cut_scores_are_scored_again(tmp_path: Path):
    place = deployment(tmp_path)
    landing.prepare(place)
    path = landing.derived_path(place, "anomalies")
    cut(path)
    with pytest.raises(LandingError, match=r"anomalies.parquet is damaged.*delete it and refresh"):
        storage.read(path)
    landing.prepare(place)
    assert storage.read(path).is_empty()
    chunk = working.Chunk(0, 2)
    scores = pl.DataFrame({"day_at": [NOW, NOW + timedelta(days=1)], "signal": ["a", "a"], "series_id": ["x", "x"]})
    working.keep_scores(place, "code", chunk, scores, list(scores["day_at"]))
    cut(sorted(place.derived.rglob("2026-*.parquet"))[0])
    kept = working.kept_scores(place, "code", chunk)
    assert kept is not None
    assert kept["day_at"].to_list() == [NOW + timedelta(days=1)]
    assert len(list(place.derived.rglob("2026-*.parquet"))) == 1


def test_a_damaged_published_file_is_replaced_by_the_next_publish(tmp_path: Path):
    settings = Settings(home=tmp_path / "home", config=tmp_path / "config")
    build(settings, 5)
    cut(publishing.publish(settings, version="1").path)
    publishing.publish(settings, version="1")
    assert count(settings) == 5


# Disk full


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Callable[[], Path]]:
    """A small disk of its own, and a call that fills it up."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={TINY}", "tmpfs", str(place)], check=False, capture_output=True, text=True
    )
    if mounted.returncode:
        unavailable(f"a disk of its own cannot be mounted: {mounted.stderr.strip()}")

    def fill() -> Path:
        ballast = place / "ballast"
        with ballast.open("ab", buffering=0) as file:
            for size in (2**16, 2**12, 1):
                while True:
                    try:
                        if file.write(b"\0" * size) < size:
                            break
                    except OSError:
                        break
        return ballast

    try:
        yield fill
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_leaves_what_had_landed_and_says_so(tmp_path: Path, full: Callable[[], Path]):
    place = deployment(tmp_path / "disk")
    land(place, hours(0, 30), batch(in_window(hours(0, 30))))
    before = files(place)
    ballast = full()
    with pytest.raises((AftercastError, OSError), match="No space left on device"):
        land(place, hours(0, 30), batch(in_window(hours(0, 30), 2.0)))
    assert files(place) == before
    with pytest.raises(LandingError, match=r"points.parquet could not be written and is as it was: .*free some space"):
        storage.write(place.home / "points.parquet", in_window(hours(0, 3000)))
    assert not [path for path in place.home.rglob("*") if ".tmp-" in path.name]
    ballast.unlink()
    land(place, hours(0, 30), batch(in_window(hours(0, 30), 2.0)))
    assert landed(place)["value"].unique().to_list() == [2.0]


def test_a_publish_on_a_full_disk_keeps_the_mart_and_goes_through_afterwards(tmp_path: Path, full: Callable[[], Path]):
    settings = Settings(home=tmp_path / "home", config=tmp_path / "config")
    settings.home.mkdir()
    (tmp_path / "disk" / "published").mkdir()
    settings.published.symlink_to(tmp_path / "disk" / "published")
    build(settings, 5)
    publishing.publish(settings, version="1")
    build(settings, 7)
    ballast = full()
    with pytest.raises((WarehouseError, OSError), match=r"(?i)no space left"):
        publishing.publish(settings, version="2")
    assert seen(settings) == ("5", 5, "5", 5)
    ballast.unlink()
    publishing.publish(settings, version="2")
    assert seen(settings) == ("7", 7, "7", 7)


def test_nothing_is_sent_that_a_full_disk_cannot_write_down(tmp_path: Path, full: Callable[[], Path]):
    disk, arrived = tmp_path / "disk", list[str]()
    box = Outbox(disk / "outbox")
    audit.append(disk / "audit", [one("a")])

    def send(payload: object, mark: str) -> str:
        arrived.append(mark)
        return "T-1"

    def deliver(key: str) -> str:
        return box.deliver(channel="jira", key=key, payload={"text": "x" * 5000}, send=send, find=repeatable, now=NOW).state

    deliver("first")
    ballast = full()
    with pytest.raises(OSError, match="No space left"):
        deliver("second")
    assert len(arrived) == 1
    with pytest.raises(audit.AuditError, match=r"log.jsonl could not be written \(No space left on device\), so nothing is done"):
        audit.append(disk / "audit", [one("b", why="y" * 9000)])
    ballast.unlink()
    assert deliver("second") == "sent"
    assert len(arrived) == 2
    audit.append(disk / "audit", [one("b", why="y" * 9000)])
    assert [row["event_id"] for row in audit.rows(disk / "audit")] == ["a", "b"]


# Time


def test_what_lands_after_the_clock_went_back_is_still_the_later_version(tmp_path: Path):
    place = deployment(tmp_path)
    land(place, hours(0, 3), batch(in_window(hours(0, 3), 1.0)), at=NOW)
    wide = in_window(hours(0, 3), 2.0)
    land(place, hours(2, 4), batch(wide), at=NOW - timedelta(hours=6))  # an overlap: rows of both files have one key
    assert landed(place)["value"].to_list() == [2.0, 2.0, 2.0]
    again = deployment(tmp_path / "again")
    land(again, hours(0, 3), batch(in_window(hours(0, 3), 1.0)), at=NOW)
    land(again, hours(2, 4), batch(wide), at=NOW + timedelta(hours=6))
    assert landed(again).equals(landed(place))
