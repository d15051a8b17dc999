"""A person is forgotten where machines share an object store: gone from the store, from every home, and not brought back by any of them.

The store is an S3 server. The command is killed at each request that changes the store, and at each effect on files; done again, it
finds what is left.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import boto3
import polars as pl
import pytest

from aftercast import cli, forgetting, landing, linking, privacy, sharing, store, warehouse
from aftercast.acting import audit
from aftercast.declarations import SourceRow
from aftercast.errors import ConfigError, StoreConflict
from aftercast.landing import shared
from aftercast.settings import PROJECT, Settings
from aftercast.sources import Batch
from aftercast.store import Store
from aftercast.window import Window
from tests.integration import object_store
from tests.unit.test_forgetting import ADDRESS, ANN, CONFIG, NOW, everything, plant

CHAT = SourceRow(name="chat", kind="demo", entities=("incident_events",))
DESK = SourceRow(name="desk", kind="demo", entities=("incident_events",))  # nothing of it is in the store yet
SIGNS = (ADDRESS, ADDRESS.replace("@", "%40"), "Ó'Xu", "\\u00d3'Xu", "Ó&#39;Xu")
BY_HAND = {"postmortems/INC-1.md", "airflow/airflow.db"}


@dataclass
class Gate:
    """An S3 server that can call somebody before, or after, the n-th request that changes something."""

    application: Any
    at: int = 0
    after: bool = False
    call: Callable[[], None] = lambda: None
    changes: list[str] = field(default_factory=list)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        changing = environ["REQUEST_METHOD"] in ("PUT", "POST", "DELETE")
        if changing:
            self.changes.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        hit = changing and len(self.changes) == self.at
        if hit and not self.after:
            self.call()
            start_response("503 Slow Down", [])
            return [b""]
        answer = self.application(environ, start_response)
        if hit:
            self.call()
        return answer

    def arm(self, at: int = 0, *, after: bool = False, call: Callable[[], None] = lambda: None) -> None:
        self.changes, self.at, self.after, self.call = [], at, after, call


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    monkeypatch.setenv("AFTERCAST_TOKEN_KEY", "the same on all machines")
    gate = Gate(object_store.s3())
    with object_store.serving(gate, monkeypatch, "data"):
        yield gate
        gate.arm()


def objects() -> dict[str, bytes]:
    client = boto3.client("s3")
    listed = client.list_objects_v2(Bucket="data").get("Contents", [])
    return {one["Key"]: client.get_object(Bucket="data", Key=one["Key"])["Body"].read() for one in listed}


def read(name: str, content: bytes) -> str:
    """Everything an object or a file says, whatever it is."""
    if name.endswith(".parquet"):
        return repr(pl.read_parquet(io.BytesIO(content)).rows())
    if name.endswith(".gz"):
        return gzip.decompress(content).decode()
    if name.endswith(".duckdb"):
        with tempfile.NamedTemporaryFile(suffix=".duckdb") as file:
            file.write(content)
            file.flush()
            with warehouse.connect(Path(file.name)) as connection:
                names = warehouse.frame(connection, "select table_name from duckdb_tables() where schema_name = 'marts'").to_series()
                rows = "".join(repr(warehouse.frame(connection, f"from marts.{one}").rows()) for one in names)
        return rows + content.decode("latin-1")
    return content.decode("latin-1") + content.decode(errors="replace")


def held(texts: dict[str, str], token: str) -> set[str]:
    return {name for name, text in texts.items() if any(sign.lower() in text.lower() for sign in (token, *SIGNS))}


def in_store(token: str) -> set[str]:
    return {name.removeprefix("store/") for name in held({name: read(name, content) for name, content in objects().items()}, token)}


def in_home(place: Settings, token: str) -> set[str]:
    """Where a home holds the person; `secrets` holds marks only and postmortems are people's."""
    return held(everything(place), token)


@dataclass
class Company:
    keeper: Settings
    workers: tuple[Settings, Settings]
    reader: Settings
    token: str


def land(
    place: Settings, day: int, who: str, *, text: str = "looks", source: SourceRow = CHAT, meanwhile: Callable[[], object] = lambda: None
) -> None:
    """Land a message of a day in the chat, as a source tells it."""
    window = Window.parse(f"2026-09-{day:02d}", f"2026-09-{day + 1:02d}")
    at = f"2026-09-{day:02d}T10:00:00Z"
    row = {"event_id": f"e{day}", "incident_id": "INC-1", "occurred_at": at, "recorded_at": at, "text": text, "author_token": who}

    def told() -> Iterator[Batch]:
        yield Batch("incident_events", pl.DataFrame([row]), origin="chat")
        if meanwhile:
            meanwhile()

    landed = landing.land(place, source, window, told(), ingested_at=NOW)
    assert landed[0].landed == 1, landed


@pytest.fixture
def company(tmp_path: Path, gate: Gate) -> Company:
    """A home that was alone becomes the keeper; two workers have fetched and landed, a reader has fetched two marts."""
    config = tmp_path / "config"
    config.mkdir()
    (config / "sources.yml").write_text(CONFIG)
    alone = Settings(home=tmp_path / "keeper", config=config)
    token = plant(alone)
    shutil.rmtree(alone.landing / "incident_events/source=chat/date=2026-09-01")
    keeper, first, second, reader = (
        Settings(home=tmp_path / name, config=config, store="s3://data/store") for name in ("keeper", "one", "two", "reader")
    )
    store.hold(keeper)
    shared.hand_over_all(keeper)
    Store("s3://data/store", keeper.home).push(store.state_area(keeper))
    for mart in ("1", "2"):
        made = keeper.published
        linking.swap({keeper.mart: made / "versions" / f"aftercast-{mart}.duckdb", made / "parquet" / "current": made / "parquet" / mart})
        sharing.share(keeper)
        sharing.fetch(reader)
    land(first, 1, ADDRESS, text=f"{ANN} looks")
    land(second, 2, ADDRESS, text=f"{ANN} looks")
    land(first, 3, "bob@shop.example")
    shared.fetch_all(keeper)
    shared.fetch_all(second)
    for worker in (first, second):
        page = worker.raw / "chat" / "w" / "1.json.gz"
        page.parent.mkdir(parents=True)
        page.write_bytes(gzip.compress(json.dumps({"by": token, "text": f"so says {ANN}"}).encode()))
    sharing.share(keeper)
    assert sharing.fetch(reader) is None
    return Company(keeper, (first, second), reader, token)


def rows(place: Settings) -> dict[str, str]:
    files = sorted(place.landing.glob("incident_events/source=chat/date=*/*.parquet"))
    return dict(
        pl.concat([pl.read_parquet(file, hive_partitioning=False) for file in files]).select("event_id", "author_token").iter_rows()
    )


def test_a_person_is_shown_then_gone_from_the_store_and_from_every_home(
    company: Company, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    keeper, (first, second), reader, token = company.keeper, company.workers, company.reader, company.token
    for name, value in (("HOME", keeper.home), ("CONFIG", keeper.config), ("STORE", keeper.store)):
        monkeypatch.setenv(f"AFTERCAST_{name}", str(value))
    before, there = objects(), in_store(token)
    assert {name.split("/")[0] for name in there} == {"sources", "state", "published"}
    cli.main(["forget", ANN, ADDRESS])
    shown = capsys.readouterr().out
    assert "nothing was changed" in shown
    for name in there - {name for name in there if name.startswith(("published/parquet/", "state/outbox", "state/audit"))}:
        assert f"s3://data/store/{name}: " in shown, name
    assert objects() == before

    cli.main(["forget", ANN, ADDRESS, "--yes"])
    assert in_store(token) == {"state/postmortems/INC-1.md"}
    assert in_home(keeper, token) == set()
    assert audit.problems(keeper.audit) == []
    assert audit.rows(keeper.audit)[-1]["what"] == "forgotten"
    assert objects()["store/state/audit/log.jsonl"] == (keeper.audit / "log.jsonl").read_bytes()

    # Doing it again changes nothing more.
    left = objects()
    again = forgetting.forget(keeper, forgetting.person(keeper.home, [ANN, ADDRESS]), now=NOW, write=True)
    assert {place.path.removeprefix("s3://data/store/state/") for place in again} == BY_HAND
    assert objects() == left

    # Workers that fetched earlier bring nobody back: neither their copies, nor what the source tells again.
    assert in_home(first, token)
    assert in_home(second, token)
    land(first, 4, ADDRESS)
    assert in_home(first, token) == set()
    assert not list(first.raw.glob("chat/*"))
    land(second, 2, ADDRESS)
    assert in_home(second, token) == set()
    assert token not in repr(rows(second))
    shared.fetch_all(keeper)
    assert rows(keeper) == {
        "e1": privacy.FORGOTTEN,
        "e2": privacy.FORGOTTEN,
        "e3": privacy.token("bob@shop.example", privacy.token_key(keeper.home)),
        "e4": privacy.FORGOTTEN,
    }

    # A reader fetches the rewritten mart under the same name, and keeps none of the older ones that held the person.
    assert in_home(reader, token)
    assert sharing.fetch(reader) == reader.mart.resolve()
    assert in_home(reader, token) == set()
    assert warehouse.query(reader.mart, "select title from marts.mart_incidents").item() == "<forgotten> is slow"
    assert sharing.fetch(reader) is None
    sharing.share(keeper)
    assert sharing.fetch(reader) is None


@pytest.mark.parametrize("source", [CHAT, DESK])
def test_an_extract_under_way_lands_nothing_of_a_person_forgotten_meanwhile(company: Company, source: SourceRow):
    keeper, (first, _) = company.keeper, company.workers
    whom = forgetting.person(keeper.home, [ADDRESS])
    with pytest.raises(StoreConflict):
        land(first, 9, ADDRESS, source=source, meanwhile=lambda: forgetting.forget(keeper, whom, now=NOW, write=True))
    assert not [name for name in objects() if "date=2026-09-09" in name]
    land(first, 9, ADDRESS, source=source)
    (file,) = first.landing.glob(f"incident_events/source={source.name}/date=2026-09-09/*.parquet")
    assert pl.read_parquet(file)["author_token"].to_list() == [privacy.FORGOTTEN]


def test_only_the_home_that_keeps_the_record_forgets_and_an_old_home_cannot_become_the_truth(company: Company):
    keeper, (first, _) = company.keeper, company.workers
    whom = forgetting.person(keeper.home, [ANN, ADDRESS])
    with pytest.raises(ConfigError, match="does not keep the warehouse"):
        forgetting.forget(first, whom, now=NOW, write=True)
    forgetting.forget(keeper, whom, now=NOW, write=True)
    with pytest.raises(ConfigError, match="may tell of"):
        shared.hand_over_all(first)
    assert in_store(company.token) == {"state/postmortems/INC-1.md"}


@dataclass
class Forgetter:
    """Runs the forgetting, each time in a fresh fork."""

    process: subprocess.Popen[str]
    company: Company
    folder: Path
    child: int = 0

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def run(self, number: int = 0, *, shop: str = "s3://data/store") -> tuple[int, list[str]]:
        result = self.folder / "result.json"
        result.unlink(missing_ok=True)
        keeper = self.company.keeper
        order = {
            "home": str(keeper.home),
            "config": str(keeper.config),
            "store": shop,
            "root": str(self.folder / "world"),
            "number": number,
        }
        more = {"values": [ANN, ADDRESS], "now": NOW.isoformat(), "result": str(result), "log": str(self.folder / "log")}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order | more) + "\n")
        self.process.stdin.flush()
        self.child = int(self._line())
        code = int(self._line())
        return code, json.loads(result.read_text()) if code == 0 else []

    def kill(self) -> None:
        os.kill(self.child, signal.SIGKILL)


@pytest.fixture
def forgetter(company: Company, tmp_path: Path) -> Iterator[Forgetter]:
    """The keeper's home moved to where it can be set back to what it was."""
    world = tmp_path / "world"
    world.mkdir()
    shutil.copytree(company.keeper.home, world / "home", symlinks=True)
    path = os.pathsep.join([str(PROJECT / "plugins"), str(PROJECT)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    command = [sys.executable, "-m", "tests.integration.forgetting_child"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=PROJECT) as process:
        moved = replace(company, keeper=replace(company.keeper, home=world / "home"))
        found = Forgetter(process, moved, tmp_path)
        assert found._line() == "READY"
        yield found
        assert process.stdin is not None
        process.stdin.close()


@dataclass
class Before:
    """The world as it was, to begin again from."""

    world: Path
    saved: Path
    bucket: dict[str, bytes]

    @classmethod
    def of(cls, world: Path) -> Before:
        saved = world.with_name("saved")
        shutil.copytree(world, saved, symlinks=True)
        return cls(world, saved, objects())

    def again(self) -> None:
        shutil.rmtree(self.world)
        shutil.copytree(self.saved, self.world, symlinks=True)
        client = boto3.client("s3")
        now = objects()
        for name in now.keys() - self.bucket.keys():
            client.delete_object(Bucket="data", Key=name)
        for name, content in self.bucket.items():
            if now.get(name) != content:
                client.put_object(Bucket="data", Key=name, Body=content)


def gone_everywhere(company: Company, where: str) -> None:
    assert in_store(company.token) == {"state/postmortems/INC-1.md"}, where
    assert in_home(company.keeper, company.token) == set(), where
    assert audit.problems(company.keeper.audit) == [], where
    assert [row["what"] for row in audit.rows(company.keeper.audit)].count("forgotten") == 1, where
    said = sharing.current(Store("s3://data/store", company.keeper.home))
    assert sharing.digest(company.keeper.mart) == said["sha256"], where
    assert not list(company.keeper.home.rglob("staging/*")), where


EVERY = pytest.mark.skipif(
    not os.environ.get("AFTERCAST_EVERY_KILL"), reason="a kill at every effect takes a quarter of an hour: set AFTERCAST_EVERY_KILL=1"
)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("step", [13, pytest.param(1, marks=EVERY)])
def test_killed_at_any_change_of_the_store_and_done_again_nobody_is_left(gate: Gate, forgetter: Forgetter, tmp_path: Path, step: int):
    """Killed when a change comes in, and when it was done: the one is refused, the other not answered."""
    before = Before.of(tmp_path / "world")
    gate.arm()
    assert forgetter.run()[0] == 0, (tmp_path / "log").read_text()[-3000:]
    changes = list(gate.changes)
    gone_everywhere(forgetter.company, "not killed")
    assert len(changes) > 10
    for number in range(1, len(changes) + 1, step):
        for after in (False, True):
            before.again()
            gate.arm(number, after=after, call=forgetter.kill)
            assert forgetter.run()[0] == -signal.SIGKILL
            gate.arm()
            where = f"{'after' if after else 'before'} {changes[number - 1]}"
            assert forgetter.run()[0] == 0, f"{where}: {(tmp_path / 'log').read_text()[-3000:]}"
            gate.arm()
            gone_everywhere(forgetter.company, where)
    print(f"\n{len(changes)} changes of the store, killed before and after every {step}. of them")


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("step", [29, pytest.param(1, marks=EVERY)])
def test_killed_at_any_effect_on_files_and_done_again_nobody_is_left(gate: Gate, forgetter: Forgetter, tmp_path: Path, step: int):
    before = Before.of(tmp_path / "world")
    code, effects = forgetter.run()
    assert code == 0, (tmp_path / "log").read_text()[-3000:]
    assert len(effects) > 40
    for number in range(1, len(effects) + 2, step):
        before.again()
        assert forgetter.run(number)[0] == -signal.SIGKILL
        where = f"before effect {number}: {effects[number - 1] if number <= len(effects) else 'return'}"
        assert forgetter.run()[0] == 0, f"{where}: {(tmp_path / 'log').read_text()[-3000:]}"
        gone_everywhere(forgetter.company, where)
    print(f"\n{len(effects)} effects on files, killed before every {step}. of them")
