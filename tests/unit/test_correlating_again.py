"""Correlating again, with what earlier runs found, gives what correlating from nothing gives; and costs what changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from aftercast.correlation import ROWS, Correlation, Inputs, Memory, correlate
from aftercast.correlation.inputs import READ
from aftercast.correlation.remembering import EVIDENCE
from aftercast.declarations import DEFAULT_RANKER, RankerRow
from aftercast.landing import derived_path, storage
from aftercast.settings import PROJECT, Settings
from aftercast.steps import refreshing

START = datetime(2026, 8, 3, tzinfo=UTC)
GRAIN = timedelta(minutes=15)
HOUR = timedelta(hours=1)
DAYS = 40
EDGES = [("web", "api"), ("api", "store"), ("web", "mail"), ("api", "card")]
SERVICES = ("web", "api", "store", "mail", "card")
RANKERS = (DEFAULT_RANKER, RankerRow(version="learned", state="shadow", weights="learned"))
Row = dict[str, Any]


class Shelf:
    """A shelf in memory."""

    def __init__(self) -> None:
        self.parts: dict[str, pl.DataFrame] = {}

    def notes(self, columns: Sequence[str]) -> Mapping[str, pl.DataFrame]:
        return {part: rows.select(columns) for part, rows in self.parts.items()}

    def read(self, part: str) -> pl.DataFrame | None:
        return self.parts.get(part)

    def write(self, part: str, rows: pl.DataFrame) -> None:
        self.parts[part] = rows

    def forget(self, part: str) -> None:
        del self.parts[part]


@dataclass
class World:
    """Rows as they are known by now, and what the runs so far keep."""

    as_of: datetime = START + timedelta(days=DAYS - 2)
    rows: dict[str, list[Row]] = field(default_factory=dict)
    values: dict[tuple[str, str, int], float] = field(default_factory=dict)
    shelf: Shelf = field(default_factory=Shelf)
    last: Memory | None = None
    tables: dict[str, pl.DataFrame] = field(default_factory=dict)

    def inputs(self) -> Inputs:
        frames = {name: pl.DataFrame(rows, schema=READ[name], orient="row") for name, rows in self.rows.items()}
        return Inputs.of({**frames, "metric_points": self.points()})

    def points(self) -> pl.DataFrame:
        known = int((self.as_of - START) / GRAIN)
        parts = []
        for number, service in enumerate(SERVICES[:-1]):
            chance = np.random.default_rng(number)
            hurt = np.zeros(DAYS * 96)
            for one in self.rows["incidents"]:
                if one["service_origin"] == service:
                    first = int((one["started_at"] - START) / GRAIN)
                    hurt[max(first, 0) : first + 4] = 0.3
            requests = chance.poisson(500, DAYS * 96).astype(float)
            columns = {"requests": requests, "errors": np.round(requests * (0.004 + hurt) + chance.random(DAYS * 96), 3)}
            for metric, values in columns.items():
                for (name, changed, place), value in self.values.items():
                    if (name, changed) == (service, metric):
                        values[place] = value
                times = [START + GRAIN * bucket for bucket in range(known)]
                parts.append(
                    pl.DataFrame({"bucket_at": times, "value": values[:known]}).with_columns(
                        service=pl.lit(service), metric=pl.lit(metric), kind=pl.lit("counter")
                    )
                )
        blank = {name: pl.lit("") for name in ("region", "attributes", "unit")}
        return pl.concat(parts).with_columns(environment=pl.lit("production"), **blank)

    def correlated(self, rankers: Sequence[RankerRow] = RANKERS, code: str = "this") -> tuple[Correlation, Memory]:
        """Correlate with what the runs before kept."""
        memory = Memory(self.shelf, code)
        if self.last is not None:
            memory.ranked, memory.learned, memory.tables = self.last.ranked, self.last.learned_now(), self.tables
        found = correlate(self.inputs(), self.as_of, rankers, (), memory)
        self.last, self.tables = memory, {name: getattr(found, name) for name in ROWS}
        return found, memory

    def from_nothing(self, rankers: Sequence[RankerRow] = RANKERS) -> Correlation:
        return correlate(self.inputs(), self.as_of, rankers)


def a_world() -> World:
    chance, world = Random(3), World()
    world.rows = {name: [] for name in READ if name != "metric_points"}
    world.rows["dependencies"] = [{"environment": "", "caller": one, "callee": other} for one, other in EDGES]
    world.rows["services"] = [{"service": name, "kind": "provider" if name == "card" else "service"} for name in SERVICES]
    for _ in range(12):
        an_incident(world, chance, world.as_of - timedelta(hours=chance.uniform(6, 34 * 24)))
    for _ in range(60):
        a_change(world, chance, world.as_of - timedelta(hours=chance.uniform(1, 36 * 24)))
    for incident in world.rows["incidents"]:
        a_change(world, chance, incident["started_at"] - timedelta(minutes=chance.randrange(2, 40)), incident["service_origin"])
    return world


def an_incident(world: World, chance: Random, at: datetime) -> None:
    at = at.replace(second=0, microsecond=0)
    service = chance.choice(SERVICES[:3])
    world.rows["incidents"].append(
        {
            "incident_id": f"INC-{len(world.rows['incidents'])}",
            "title": f"{service} fails",
            "environment": "production",
            "region": "",
            "service_origin": service,
            "started_at": at,
            "impact_end_at": at + timedelta(minutes=chance.randrange(20, 120)),
            "exclude_from_metrics": False,
        }
    )


def a_change(world: World, chance: Random, at: datetime, service: str | None = None) -> None:
    at = at.replace(microsecond=0)
    world.rows["changes"].append(
        {
            "change_id": f"chg-{len(world.rows['changes'])}",
            "kind": chance.choice(["deploy", "flag", "rollback"]),
            "service": service or chance.choice(SERVICES),
            "environment": "production",
            "region": "",
            "title": "Release",
            "started_at": at,
            "result": "success",
            "is_rollback": False,
        }
    )


# --- what may happen between two runs ----------------------------------------------------------------------------------------------------


def an_hour_passes(world: World, chance: Random) -> None:
    world.as_of += HOUR


def nothing_happens(world: World, chance: Random) -> None:
    """Then nothing is computed again."""


def a_late_change_arrives(world: World, chance: Random) -> None:
    a_change(world, chance, world.as_of - timedelta(hours=chance.uniform(0, 38 * 24)))


def an_old_incident_is_declared(world: World, chance: Random) -> None:
    an_incident(world, chance, world.as_of - timedelta(hours=chance.uniform(0, 37 * 24)))


def an_old_incident_is_edited(world: World, chance: Random) -> None:
    one = chance.choice(world.rows["incidents"])
    one |= {"impact_end_at": one["started_at"] + timedelta(minutes=chance.randrange(10, 200)), "title": f"Edited {chance.random()}"}


def an_incident_is_taken_back(world: World, chance: Random) -> None:
    chance.choice(world.rows["incidents"])["exclude_from_metrics"] = True


def a_late_anomaly_is_found(world: World, chance: Random) -> None:
    one = chance.choice(world.rows["incidents"])
    row = {"anomaly_id": f"an-{len(world.rows['anomalies'])}", "signal": "errors", "subject_kind": "service", "environment": "production"}
    times = {"started_at": one["started_at"] - timedelta(minutes=5), "ended_at": one["impact_end_at"], "alarmed_at": one["started_at"]}
    world.rows["anomalies"].append(
        {**row, **times, "subject": chance.choice(SERVICES), "direction": "up", "hurts": True, "score": chance.random()}
    )


def a_late_alert_arrives(world: World, chance: Random) -> None:
    at = chance.choice(world.rows["incidents"])["started_at"] + timedelta(minutes=chance.randrange(-20, 70))
    row = {"alert_id": f"al-{len(world.rows['alerts'])}", "name": "slow", "service": chance.choice(SERVICES), "environment": "production"}
    world.rows["alerts"].append({**row, "severity": "critical", "started_at": at, "ended_at": at + HOUR})


def logs_arrive(world: World, chance: Random) -> None:
    at = (chance.choice(world.rows["incidents"])["started_at"] + HOUR * chance.choice([-200, -30, -1, 0, 1])).replace(minute=0, second=0)
    row = {"service": chance.choice(SERVICES[:3]), "environment": "production", "region": "", "severity": "error"}
    world.rows["log_patterns"].append({**row, "bucket": at, "pattern": f"refused {chance.randrange(4)}", "count": chance.randrange(1, 50)})


def traces_arrive(world: World, chance: Random) -> None:
    at = chance.choice(world.rows["incidents"])["started_at"].replace(minute=0, second=0)
    for bucket in range(-60, 6):
        row = {"service": chance.choice(SERVICES[:3]), "environment": "production", "operation": "get", "peer": ""}
        times = {"p50_ms": 10.0, "own_p50_ms": 5 + chance.random() + 20 * (bucket >= 0), "own_p95_ms": 9.0}
        world.rows["trace_red"].append({**row, **times, "bucket": at + HOUR * bucket, "count": 40, "errors": chance.randrange(3)})


def a_point_is_corrected(world: World, chance: Random) -> None:
    known = int((world.as_of - START) / GRAIN)
    world.values[chance.choice(SERVICES[:4]), chance.choice(["requests", "errors"]), chance.randrange(known)] = chance.uniform(0, 900)


def a_call_becomes_known(world: World, chance: Random) -> None:
    caller, callee = chance.sample(SERVICES, 2)
    world.rows["dependencies"].append({"environment": "", "caller": caller, "callee": callee})


def somebody_judges(world: World, chance: Random) -> None:
    one = chance.choice(world.rows["incidents"])
    known = world.tables["candidates"].filter(pl.col("incident_id") == one["incident_id"]).select("kind", "candidate_id").rows()
    kind, name = chance.choice(known) if known else ("none", "none")
    world.rows["verdicts"].append(
        {
            "verdict_id": f"v-{len(world.rows['verdicts'])}",
            "version": 1,
            "incident_id": one["incident_id"],
            "subject_kind": kind,
            "subject_id": name,
            "verdict": chance.choice(["confirm", "confirm", "reject"]),
            "origin": "human",
            "confidence": 1.0,
            "decided_at": one["started_at"] + timedelta(hours=chance.uniform(1, 300)),
        }
    )


def an_action_is_done(world: World, chance: Random) -> None:
    one = chance.choice(world.rows["incidents"])
    row = {"action_item_id": f"act-{len(world.rows['action_items'])}", "incident_id": one["incident_id"], "title": "Mend it"}
    world.rows["action_items"].append({**row, "status": "done", "done_at": world.as_of})


def rows_come_in_another_order(world: World, chance: Random) -> None:
    for rows in world.rows.values():
        chance.shuffle(rows)


def a_kept_row_is_damaged(world: World, chance: Random) -> None:
    """A text that reads otherwise than it was written, and a note that does."""
    part = chance.choice(sorted(world.shelf.parts))
    column, other = chance.choice([("examined", "[]"), ("symptoms", "[]"), ("onset", "0")])
    world.shelf.parts[part] = world.shelf.parts[part].with_columns(pl.lit(other).cast(EVIDENCE[column]).alias(column))


EVENTS: tuple[Callable[[World, Random], None], ...] = (
    an_hour_passes,
    nothing_happens,
    a_late_change_arrives,
    an_old_incident_is_declared,
    an_old_incident_is_edited,
    an_incident_is_taken_back,
    a_late_anomaly_is_found,
    a_late_alert_arrives,
    logs_arrive,
    traces_arrive,
    a_point_is_corrected,
    a_call_becomes_known,
    somebody_judges,
    an_action_is_done,
    rows_come_in_another_order,
    a_kept_row_is_damaged,
)


def assert_same(again: Correlation, whole: Correlation) -> None:
    for name, rows in whole.tables().items():
        keys = [column for column, kind in rows.schema.items() if not isinstance(kind, pl.List)]
        assert_frame_equal(getattr(again, name).sort(keys), rows.sort(keys), check_exact=True)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_an_increment_is_a_rebuild(seed: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("aftercast.correlation.learned.LEAST_CASES", 3)
    chance, world = Random(seed), a_world()
    world.correlated()
    events = list(EVENTS)
    chance.shuffle(events)
    examined = total = 0
    for event in events:
        event(world, chance)
        again, memory = world.correlated()
        assert_same(again, world.from_nothing())
        examined += memory.examined_anew
        total += again.candidates["incident_id"].n_unique()
    assert 0 < examined < 0.7 * total  # neither nothing nor everything is computed again


def test_what_people_say_examines_nothing_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("aftercast.correlation.learned.LEAST_CASES", 3)
    chance, world = Random(1), a_world()
    _, first = world.correlated()
    assert first.examined_anew == first.ranked_anew == 12
    for _ in world.rows["incidents"]:
        somebody_judges(world, chance)
    for one, verdict in zip(world.rows["incidents"], world.rows["verdicts"], strict=True):
        verdict |= {"incident_id": one["incident_id"], "decided_at": one["started_at"] + HOUR, "verdict": "confirm"}
        verdict |= {"subject_kind": "service", "subject_id": one["service_origin"]}
    again, memory = world.correlated()
    assert (memory.examined_anew, memory.ranked_anew) == (0, 0)  # the live version ranks with the weights of the prior
    assert again.judged_rankings.height
    assert_same(again, world.from_nothing())
    learned = (DEFAULT_RANKER.model_copy(update={"weights": "learned"}),)
    again, memory = world.correlated(learned)
    assert memory.examined_anew == 0 < memory.ranked_anew
    assert_same(again, world.from_nothing(learned))


def test_other_code_examines_everything_again():
    world = a_world()
    world.correlated()
    again, memory = world.correlated(code="that")
    assert memory.examined_anew == 12
    assert_same(again, world.from_nothing())


def test_a_late_change_concerns_the_incidents_of_the_weeks_after_it():
    world = a_world()
    world.correlated()
    a_change(world, Random(0), START + timedelta(days=1, minutes=7), "web")  # later than the first change of all
    world.rows["changes"].append({**world.rows["changes"][-1], "change_id": "chg-first", "started_at": START - timedelta(days=60)})
    world.correlated()
    a_change(world, Random(0), START + timedelta(days=2, minutes=7), "web")
    again, memory = world.correlated()
    after = [one for one in world.rows["incidents"] if one["started_at"] < START + timedelta(days=2 + 31)]
    assert 0 < memory.examined_anew <= len(after) < 12
    assert_same(again, world.from_nothing())


def test_parts_of_days_without_incidents_go_away():
    world = a_world()
    world.correlated()
    days = [f"{one['started_at']:%Y-%m-%d}" for one in world.rows["incidents"]]
    place, day = next((place, day) for place, day in enumerate(days) if days.count(day) == 1)
    assert any(part.endswith(day) for part in world.shelf.parts)
    world.rows["incidents"].pop(place)
    world.correlated()
    assert world.shelf.parts
    assert not any(part.endswith(day) for part in world.shelf.parts)


def test_a_memory_without_the_tables_it_tells_of_ranks_everything_and_examines_nothing():
    world = a_world()
    world.correlated()
    world.tables = {}
    again, memory = world.correlated()
    assert (memory.examined_anew, memory.ranked_anew) == (0, 12)
    assert_same(again, world.from_nothing())


# --- on disk -----------------------------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process ends here."""


def a_run(world: World, settings: Settings) -> Memory:
    """What the task `correlate` does, without the warehouse."""
    shelf, memory = refreshing._memory(settings)
    found = correlate(world.inputs(), world.as_of, RANKERS, (), memory)
    refreshing._keep(settings, shelf, memory, found.tables())
    return memory


def derived(settings: Settings) -> dict[str, pl.DataFrame]:
    return {path.parent.name: pl.read_parquet(path) for path in settings.derived.glob("*/*.parquet")}


def kept(settings: Settings) -> dict[str, pl.DataFrame]:
    return {path.name: pl.read_parquet(path, hive_partitioning=False) for path in settings.derived.rglob("examined/**/*.parquet")}


def test_a_kill_at_any_write_is_mended_by_running_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    settings, whole = Settings(tmp_path / "home", PROJECT / "config"), Settings(tmp_path / "whole", PROJECT / "config")
    world, chance = a_world(), Random(5)
    assert a_run(world, settings).examined_anew == 12
    again = a_run(world, settings)
    assert (again.examined_anew, again.ranked_anew) == (0, 0)
    commit, left = storage.Staged.commit, [10**6]

    def counted(staged: storage.Staged) -> bool:
        left[0] -= staged.temporary is not None
        if not left[0]:
            raise Killed
        return commit(staged)

    monkeypatch.setattr(storage.Staged, "commit", counted)
    an_old_incident_is_declared(world, chance)
    an_old_incident_is_edited(world, chance)
    killed = 0
    for write in (1, 2, 3, 5, 8):
        left[0] = write
        try:
            a_run(world, settings)
        except Killed:
            killed += 1
        an_old_incident_is_edited(world, chance)
    assert killed >= 3
    left[0] = 10**6
    a_run(world, settings)
    a_run(world, whole)
    wanted, found = derived(whole), derived(settings)
    assert len(wanted) >= 15
    for name, rows in wanted.items():
        assert_frame_equal(found[name], rows, check_exact=True)
    assert {name for name in kept(settings) if "incidents-" in name} == {name for name in kept(whole) if "incidents-" in name}


def test_damaged_files_are_told_and_what_they_held_is_computed_again(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    settings, world = Settings(tmp_path, PROJECT / "config"), a_world()
    a_run(world, settings)
    before = derived(settings)
    part = sorted(settings.derived.rglob("incidents-*.parquet"))[0]
    n = pl.read_parquet(part, hive_partitioning=False).height
    part.write_bytes(part.read_bytes()[:-40])
    again = a_run(world, settings)
    assert (again.examined_anew, again.ranked_anew) == (n, 0)
    assert "is damaged" in caplog.text
    assert "what it held is computed again" in caplog.text
    evidence = derived_path(settings, "evidence")
    storage.write(evidence, pl.read_parquet(evidence).head(5))  # not what the last run wrote
    again = a_run(world, settings)
    assert (again.examined_anew, again.ranked_anew) == (0, 12)
    assert "do not belong together" in caplog.text
    for name, rows in before.items():
        assert_frame_equal(derived(settings)[name], rows, check_exact=True)


def test_what_other_code_kept_goes_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    settings, world = Settings(tmp_path, PROJECT / "config"), a_world()
    a_run(world, settings)
    monkeypatch.setattr(refreshing, "code_version", lambda: "other")
    assert a_run(world, settings).examined_anew == 12
    assert len(list((settings.derived / "examined").iterdir())) == 1
