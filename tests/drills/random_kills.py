"""Kill steps at random moments, recover, and compare with an undisturbed run: `python -m tests.drills.random_kills --seed 1 --kills 60`.

A walk goes through every step of the pipeline once, from the same home, and kills some of them on the way, some again while they recover.
After each kill what readers see must be, whole, the mart before or the mart after. At the end of a walk the published mart (DuckDB and
Parquet), the files of landing, declared and derived tables, the report, and everything outside must equal those of the undisturbed run.
A kill is survived when this held for it and for the walk it belongs to; one fault fails all kills of its walk.
"""

from __future__ import annotations

import argparse
import copy
import logging
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf, sqrt
from pathlib import Path
from types import MappingProxyType
from typing import Any

from aftercast.acting import audit
from aftercast.acting.outbox import Outbox
from aftercast.settings import Settings
from tests.drills import comparing
from tests.drills.killing import KILLED, Kill, Worker, worker
from tests.drills.world import NATIVE, STEPS, Outside, outside, prepare, restore

KILLS_A_WALK = 20
AGAIN = 0.25  # of kills are followed by one of the same step while it recovers
STAGES = {"landing": STEPS[:5], "dbt": ("stage", "star", "marts"), "publish": ("check", "publish"), "report": ("report",)}
STAGES |= {"write-back": ("sync", "draft", "decide", "recommend", "act")}


@dataclass
class State:
    """What a run leaves."""

    mart: dict[str, comparing.Rows]
    parquet: dict[str, comparing.Rows]
    files: dict[str, comparing.Rows]
    report: dict[str, bytes]
    drafts: dict[str, bytes]
    sent: dict[str, str]
    decided: list[tuple[Any, ...]]
    outside: dict[str, list[str]]

    @classmethod
    def of(cls, site: Outside) -> State:
        settings = Settings.from_environment()
        outbox = Outbox(settings.outbox).rows()
        return cls(
            comparing.mart(settings.mart),
            comparing.parquet(settings.published / "parquet" / "current"),
            comparing.files(settings.home),
            _bytes(settings.reports),
            _bytes(settings.postmortems),
            dict(outbox.select("key", "state").iter_rows()),
            sorted((row["what"], row["incident_id"], row.get("key")) for row in audit.rows(settings.audit)),
            site.kept(),
        )

    def differences(self, found: State) -> list[str]:
        lines = comparing.differences(self.mart, found.mart) + comparing.differences(self.files, found.files)
        lines += [f"parquet/{line}" for line in comparing.differences(self.parquet, found.parquet)]
        for name in ("report", "drafts", "sent", "outside"):
            mine, other = getattr(self, name), getattr(found, name)
            lines += [f"{name}: {key} differs" for key in sorted(mine.keys() | other.keys()) if mine.get(key) != other.get(key)]
        # An attempt begun again is written down again; nothing may be missing and nothing else may have been decided.
        lines += [f"audit: {one}" for one in sorted(set(self.decided) ^ set(found.decided), key=str)]
        return lines

    def counts(self, found: State) -> Counter[str]:
        """How many published rows are missing or too many, and how many changes outside happened more often than they should."""
        told = Counter[str]()
        for name in self.mart.keys() | found.mart.keys():
            here, there = self.mart.get(name, Counter()), found.mart.get(name, Counter())
            told.update(lost_rows=(here - there).total(), doubled_rows=(there - here).total())
        for name in self.outside.keys() | found.outside.keys():
            told.update(doubled_effects=(Counter(found.outside.get(name, ())) - Counter(self.outside.get(name, ()))).total())
        return told


def _bytes(folder: Path) -> dict[str, bytes]:
    """Files of a folder; hidden ones are how it is kept, not what it says."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    return {
        name: path.read_bytes()
        for path in paths
        if not (name := path.relative_to(folder).as_posix()).startswith((".", "/")) and "/." not in name
    }


@dataclass
class Field:
    """A prepared home, what an undisturbed run makes of it, and what that run did."""

    folder: Path
    site: Outside
    worker: Worker
    memory: dict[str, Any]
    before: dict[str, comparing.Rows]
    undisturbed: State
    effects: dict[str, list[str]] = field(default_factory=dict)
    requests: dict[str, int] = field(default_factory=dict)
    seen: dict[tuple[Any, ...], list[str]] = field(default_factory=dict)

    def start_again(self) -> None:
        restore(self.folder / "saved", self.folder / "home")
        self.site.remember(copy.deepcopy(self.memory))

    def draw(self, chance: random.Random, step: str) -> Kill:
        """Return a random place to kill a step at."""
        effects, requests = self.effects[step], self.requests[step]
        modes = ["before"] * 2 + ["torn"] * any(one.startswith("open ") for one in effects)
        modes += ["moment"] * 6 if step in NATIVE else []
        modes += ["unsent", "unanswered"] * 2 if requests else []
        mode = chance.choice(modes)
        if mode == "moment":
            return Kill(step, mode, chance.randint(1, 999))
        if mode in ("unsent", "unanswered"):
            return Kill(step, mode, chance.randint(1, requests))
        numbers = [number for number, one in enumerate(effects, 1) if mode == "before" or one.startswith("open ")]
        return Kill(step, mode, chance.choice([*numbers, len(effects) + 1] if mode == "before" else numbers))

    def readers_see_a_whole_mart(self) -> list[str]:
        """What is wrong with what readers see now: it must be the mart before or after, in DuckDB and in Parquet."""
        settings = Settings.from_environment()
        marks = (_marks(settings.mart), *map(_marks, sorted((settings.published / "parquet" / "current").glob("*.parquet"))))
        if marks not in self.seen:  # most steps publish nothing, and reading it all is slower than most steps
            self.seen[marks] = self._wrong_for_readers(settings)
        return self.seen[marks]

    def _wrong_for_readers(self, settings: Settings) -> list[str]:
        try:
            seen = {"mart": comparing.mart(settings.mart), "parquet": comparing.parquet(settings.published / "parquet" / "current")}
        except Exception as error:  # noqa: BLE001
            return [f"readers cannot read: {error}"]
        return [
            f"readers see neither the old nor the new {name}"
            for name, one in seen.items()
            if one not in (self.before, self.undisturbed.mart)
        ]


def _marks(path: Path) -> tuple[str, int, int, int] | None:
    """What tells one file from another without reading it; None where there is none."""
    try:
        known = path.stat()
    except OSError:
        return None
    return str(path.resolve()), known.st_ino, known.st_size, known.st_mtime_ns


@contextmanager
def field_of(folder: Path) -> Iterator[Field]:
    """Prepare a home, and run every step once without disturbance."""
    with outside(folder) as site:
        prepare(folder, site)
        shutil.copytree(folder / "home", folder / "saved", symlinks=True)
        memory, before = copy.deepcopy(site.memory()), comparing.mart(Settings.from_environment().mart)
        with worker(folder, site) as hand:
            effects, requests = {}, {}
            for step in STEPS:
                code, done = hand.run(step)
                assert code == 0, f"{step} fails undisturbed:\n{hand.said()}"
                effects[step], requests[step] = done[step]["effects"], site.changes
            yield Field(folder, site, hand, memory, before, State.of(site), effects, requests)


@dataclass
class Walk:
    """The kills of one walk and what was wrong: with single kills, and at its end."""

    kills: list[tuple[Kill, list[str]]] = field(default_factory=list)
    missed: int = 0
    settled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def survived(self) -> int:
        return 0 if self.wrong else sum(not faults for _, faults in self.kills)


def walk(there: Field, kills: dict[str, list[Kill]], wrecks: Mapping[str, Callable[[Field], None]] = MappingProxyType({})) -> Walk:
    """Go through every step, killing it at the places given first. What is wrecked before a step is mended there too."""
    there.start_again()
    found = Walk()
    for step in STEPS:
        if step in wrecks:
            wrecks[step](there)
        for kill in kills.get(step, ()):
            code, _ = there.worker.run(step, kill=kill)
            if code not in (0, KILLED) and not there.worker.waits():
                found.wrong.append(f"{kill}: it failed by itself\n{there.worker.said()}")
            if code != KILLED:
                found.missed += 1  # it had ended, or had less to do than the first time
                continue
            found.kills.append((kill, there.readers_see_a_whole_mart()))
        try:
            found.settled += there.worker.recover(step)
        except AssertionError as error:
            found.wrong.append(str(error))
            return found
    left = State.of(there.site)
    found.wrong += there.undisturbed.differences(left)
    found.counts = there.undisturbed.counts(left)
    return found


def two_at_once(there: Field) -> list[str]:
    """Two refreshes over one home, begun together, step against step; return what is wrong with what they leave."""
    there.start_again()
    wrong: list[str] = []
    refreshing = STEPS[STEPS.index("plan") : STEPS.index("publish") + 1]

    def refresh(hand: Worker) -> None:
        for step in refreshing:
            if hand.run(step)[0]:
                wrong.append(f"{step}: {hand.said()}")
                return

    for step in STEPS[: STEPS.index("plan")]:
        there.worker.run(step)
    beside = there.folder / "beside"
    beside.mkdir()
    with worker(beside, there.site) as second:
        both = [threading.Thread(target=refresh, args=(hand,)) for hand in (there.worker, second)]
        for one in both:
            one.start()
        for one in both:
            one.join()
    settings = Settings.from_environment()
    wrong += comparing.differences(there.undisturbed.mart, comparing.mart(settings.mart))
    return wrong + comparing.differences(there.undisturbed.parquet, comparing.parquet(settings.published / "parquet" / "current"))


def drawn(there: Field, chance: random.Random, number: int, steps: tuple[str, ...] = STEPS) -> dict[str, list[Kill]]:
    """Return so many random kills, by step: distinct steps first, and some of them twice in a row."""
    order: list[str] = []
    while len(order) < number:
        for step in chance.sample(steps, len(steps)):
            order += [step] * (2 if chance.random() < AGAIN else 1)
    kills: dict[str, list[Kill]] = {}
    for step in order[:number]:
        kills.setdefault(step, []).append(there.draw(chance, step))
    return kills


def wilson(successes: int, tried: int, z: float = 1.96) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a share."""
    share = successes / tried
    centre, spread = share + z * z / (2 * tried), z * sqrt(share * (1 - share) / tried + z * z / (4 * tried * tried))
    return (centre - spread) / (1 + z * z / tried), (centre + spread) / (1 + z * z / tried)


def stage_of(step: str) -> str:
    return next((name for name, steps in STAGES.items() if step in steps), "derived")


def counted(walks: list[Walk]) -> dict[str, tuple[int, int]]:
    """How many kills were tried and survived, by stage."""
    tried, survived = Counter[str](), Counter[str]()
    for one in walks:
        for kill, faults in one.kills:
            tried[stage_of(kill.step)] += 1
            survived[stage_of(kill.step)] += not faults and not one.wrong
    names = ("landing", "derived", "dbt", "publish", "report", "write-back")
    return {name: (tried[name], survived[name]) for name in names if tried[name]}


def table(walks: list[Walk]) -> str:
    """Return survived and tried by stage and in all."""
    found = counted(walks)
    found["all"] = (sum(tried for tried, _ in found.values()), sum(survived for _, survived in found.values()))
    lines = ["| stage | survived | tried | 95 % interval |", "|---|---|---|---|"]
    for name, (tried, survived) in found.items():
        if tried:
            low, high = wilson(survived, tried)
            lines.append(f"| {name} | {survived} | {tried} | {low:.0%} to {high:.0%} |")
    return "\n".join(lines)


def drill(there: Field, kills: int, seed: int, each: int = KILLS_A_WALK, until: float = inf, skip: int = 0) -> Iterator[Walk]:
    """Yield walks until so many kills were tried; begin none at a time of the monotonic clock or later. The first `skip` are only drawn."""
    chance, tried = random.Random(seed), 0
    for _ in range(skip):
        drawn(there, chance, each)
    while tried < kills and time.monotonic() < until:
        one = walk(there, drawn(there, chance, min(each, kills - tried)))
        tried += len(one.kills)
        yield one


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--kills", type=int, default=40)
    asked.add_argument("--each", type=int, default=KILLS_A_WALK, help="kills a walk")
    asked.add_argument("--minutes", type=float, default=inf, help="begin no walk later than this")
    asked.add_argument("--skip", type=int, default=0, help="walks of this seed that are left out, to come to one that failed")
    asked.add_argument("--two", action="store_true", help="begin with two refreshes at once")
    given = asked.parse_args()
    logging.disable(logging.WARNING)
    walks, begun = list[Walk](), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="aftercast-drill-") as folder, field_of(Path(folder)) as there:
        done = (
            f"{len(there.effects)} steps, {sum(map(len, there.effects.values()))} effects on files, {sum(there.requests.values())} outside"
        )
        print(f"undisturbed: {done}; {time.monotonic() - begun:.0f} s", flush=True)
        slow = sorted(there.worker.seconds.items(), key=lambda item: -item[1])[:6]
        print(f"the slowest steps: {', '.join(f'{name} {seconds:.1f} s' for name, seconds in slow)}", flush=True)
        clashes = two_at_once(there) if given.two else []
        if given.two:
            print(f"two refreshes at once: {'; '.join(clashes) or 'the same mart'}; {time.monotonic() - begun:.0f} s", flush=True)
        for one in drill(there, given.kills, given.seed, given.each, begun + 60 * given.minutes, given.skip):
            walks.append(one)
            for kill, faults in one.kills:
                print(f"  {kill}{': ' if faults else ''}{'; '.join(faults)}", flush=True)
            for line in one.wrong:
                print(f"  WRONG: {line}", flush=True)
            more = f", {one.missed} missed, {len(one.settled)} settled by hand" if one.missed or one.settled else ""
            print(f"walk {len(walks)}: {one.survived} of {len(one.kills)} survived{more}; {time.monotonic() - begun:.0f} s", flush=True)
    print(table(walks))
    survived, tried = sum(one.survived for one in walks), sum(len(one.kills) for one in walks)
    print(f"survived/tried: {survived}/{tried} (seed {given.seed})")
    sys.exit(survived < tried or bool(clashes))


if __name__ == "__main__":
    main()
