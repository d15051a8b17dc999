"""Steps run, killed and tried again: what an Airflow worker and an operator do, without the Airflow."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from aftercast.acting.outbox import Outbox
from aftercast.settings import PROJECT, Settings
from tests.drills.world import NOW, Outside

TRIES = (timedelta(0), timedelta(minutes=15), timedelta(minutes=30))
KILLED = -signal.SIGKILL


@dataclass(frozen=True)
class Kill:
    """Where a step is killed: at its `number`-th effect (`before`, `torn`), at its `number`-th change outside (`unsent`, `unanswered`), or
    `number` thousandths of its usual time after it began (`moment`)."""

    step: str
    mode: str
    number: int

    def __str__(self) -> str:
        where = {"moment": f"at {self.number / 10:.0f}% of its time", "unsent": f"request {self.number} comes in"}
        where |= {"unanswered": f"request {self.number} was done", "torn": f"amid writing effect {self.number}"}
        return f"{self.step}: {where.get(self.mode, f'before effect {self.number}')}"


@dataclass
class Worker:
    """Runs steps, each in a fresh process."""

    process: subprocess.Popen[str]
    folder: Path
    site: Outside
    asked: str = "{}"
    seconds: dict[str, float] = field(default_factory=dict)

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line, "the process that forks has ended"
        return line

    def run(self, *names: str, kill: Kill | None = None, now: datetime = NOW) -> tuple[int, dict[str, Any]]:
        """Run steps; return the exit code, and by step its effects and what it returned (nothing where it was killed)."""
        result = self.folder / "result.json"
        result.unlink(missing_ok=True)
        fuse = {"number": kill.number, "mode": kill.mode} if kill and kill.mode in ("before", "torn") else {}
        order = {"steps": names, "now": now.isoformat(), "fuse": fuse, "result": str(result), "log": str(self.folder / "step.log")}
        assert self.process.stdin is not None
        self.site.arm()
        child = 0
        if kill and kill.mode in ("unsent", "unanswered"):
            self.site.arm(kill.number, "before" if kill.mode == "unsent" else "after", lambda: os.kill(child, signal.SIGKILL))
        self.process.stdin.write(json.dumps(order | {"environment": {"DRILL_ASKED": self.asked}}) + "\n")
        self.process.stdin.flush()
        began = time.monotonic()
        child = int(self._line())
        if kill and kill.mode == "moment":
            time.sleep(self.seconds[kill.step] * kill.number / 1000)
            with suppress(ProcessLookupError):  # it had ended
                os.kill(child, signal.SIGKILL)
        code = int(self._line())
        if kill is None and len(names) == 1:
            self.seconds.setdefault(names[0], time.monotonic() - began)
        done = json.loads(result.read_text()) if code == 0 else {}
        if "decide" in done:
            self.asked = json.dumps(done["decide"]["returned"])
        return code, done

    def said(self) -> str:
        """The end of what the last step wrote."""
        return (self.folder / "step.log").read_text(errors="replace")[-3000:]

    def waits(self) -> bool:
        """Whether the step failed as it should: something sent is unsure until a person has looked, or cannot be asked for yet.

        A ticket that may have been made is searched for once the tracker's search knows it; `recover` tries late enough.
        """
        unsure = Outbox(Settings.from_environment().outbox).rows().filter(state="unsure").height > 0
        return unsure or "aftercast.errors.SourceUnavailable: " in self.said()

    def recover(self, name: str) -> list[str]:
        """Try a step again as Airflow does, later each time; settle what only a person can. Returns what a person had to settle."""
        settled: list[str] = []
        for later in TRIES:
            if self.run(name, now=NOW + later)[0] == 0:
                return settled
            settled += self._settle(NOW + later)
        raise AssertionError(f"{name} did not recover:\n{self.said()}")

    def _settle(self, now: datetime) -> list[str]:
        """Do what the runbook asks of a person: look whether what is unsure arrived, and say so."""
        outbox, settled = Outbox(Settings.from_environment().outbox), []
        for row in outbox.rows().filter(state="unsure").iter_rows(named=True):
            text = json.dumps(json.loads(row["payload"])["text"])
            arrived = any(text in one for one in self.site.chat.written)
            outbox.settle(row["key"], "sent" if arrived else "again", now=now)
            settled.append(row["key"])
        return settled


@contextmanager
def worker(folder: Path, site: Outside) -> Iterator[Worker]:
    """A process that forks for each step, until the block ends."""
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join([str(PROJECT / "plugins"), str(PROJECT)])}
    environment |= {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    command = [sys.executable, "-m", "tests.drills.fuse"]
    errors = (folder / "forking.log").open("wb")
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment, cwd=PROJECT
    )
    try:
        found = Worker(process, folder, site)
        line = found._line()
        assert line == "READY", line
        yield found
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)
        errors.close()
