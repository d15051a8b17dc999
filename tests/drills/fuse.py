"""Run steps in processes of their own that count their effects on files, and are killed at one of them if they are told to.

An effect is what Python's audit events tell of files below AFTERCAST_HOME: opened for writing, renamed, removed, linked, made, changed in
its rights. `before` the n-th: SIGKILL when it is about to happen; behind the last one, when the step is about to return. What lies between
two effects is calculation, so this is also the moment after the effect before. `torn`: the n-th effect opens a file for writing; SIGKILL at
the effect after it, with the file cut to half of what was written, as a kill amid the writing leaves it.

Imports take longer than most steps, so they are done once, in a process that only forks: each step runs in a fresh fork of it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}
RANDOM = re.compile(r"(tmp-|\.|tmp)[0-9a-f]{8,}|tmp[a-z0-9_]{8}")


class Fuse:
    """Counts effects; kills this process at the one it is set to."""

    def __init__(self, home: str, number: int = 0, mode: str = "before") -> None:
        self.home, self.number, self.mode = home, number, mode
        self.effects: list[str] = []
        self.live = False
        self._torn: str | None = None

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.live:
            return
        if event == "open":
            path, _, flags = arguments
            if not isinstance(flags, int) or not flags & WRITES or not isinstance(path, (str, bytes)):
                return
            self._effect("open", os.fsdecode(path))
        elif event in CHANGES:
            self._effect(
                event.removeprefix("os."), *(os.fsdecode(one) for one in arguments[:2] if isinstance(one, (str, bytes, os.PathLike)))
            )

    def _effect(self, what: str, *paths: str) -> None:
        if any(path.startswith("/") and not path.startswith(self.home) for path in paths[-1:]):
            return
        if len(self.effects) + 1 == self.number + (self.mode == "torn"):
            self._kill()
        shown = [RANDOM.sub("~", path.removeprefix(self.home).lstrip("/")) for path in paths]
        self.effects.append(f"{what} {' -> '.join(shown)}")
        if len(self.effects) == self.number and self.mode == "torn":
            self._torn = paths[0]

    def returning(self) -> None:
        if self.number == len(self.effects) + (self.mode != "torn"):
            self._kill()
        self.live = False

    def _kill(self) -> None:
        self.live = False  # cutting a file is an effect too
        if self._torn is not None and Path(self._torn).is_file():
            os.truncate(self._torn, Path(self._torn).stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)


def _run(order: dict[str, Any]) -> None:
    """Run the steps of an order in this process, and write down what they did."""
    from tests.drills.world import steps

    os.environ.update(order["environment"])
    fuse = Fuse(os.environ["AFTERCAST_HOME"].rstrip("/") + "/", **order["fuse"])
    sys.addaudithook(fuse)
    now, known, done = datetime.fromisoformat(order["now"]), steps(), {}
    for name in order["steps"]:
        fuse.effects, fuse.live = [], True
        returned = known[name](now)
        fuse.returning()
        done[name] = {"effects": fuse.effects, "returned": returned}
    Path(order["result"]).write_text(json.dumps(done, default=str))


# Threads of libraries that lend themselves to a fork: memory is tidied, files of other queries are swept.
HARMLESS = {"jemalloc_bg_thd", "polars-ooc-clea"}


def _threads() -> set[str]:
    tasks = [path for path in Path("/proc/self/task").iterdir() if path.name != str(os.getpid())]
    return {(path / "comm").read_text().strip() for path in tasks} - HARMLESS


def fork_for_each(run: Callable[[dict[str, Any]], None]) -> None:
    """Fork for each order on standard input, one JSON line each, and run it; say the process id, and how it ended."""
    logging.disable(logging.INFO)
    assert not _threads(), f"a process with threads cannot be forked: {_threads()}"
    print("READY", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            said = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for stream in (1, 2):
                os.dup2(said, stream)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            try:
                run(order)
            except BaseException:  # noqa: BLE001
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(1)
            sys.stderr.flush()
            os._exit(0)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def main() -> None:
    """Import what steps need, then run them."""
    import dbt.adapters.duckdb
    import dbt.cli.main  # noqa: F401
    import great_expectations  # noqa: F401

    import aftercast.acting.dispatches
    import aftercast.acting.trackers
    import aftercast.correlation
    import aftercast.detection
    import aftercast.learning
    import aftercast.measurement
    import aftercast.publishing
    import aftercast.quality
    import aftercast.reporting
    import aftercast.transform  # noqa: F401
    import tests.drills.world  # noqa: F401

    fork_for_each(_run)


if __name__ == "__main__":
    main()
