"""Start Airflow's long-running components in their own sessions, and stop every process they started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aftercast.errors import RunError

AIRFLOW = str(Path(sys.executable).with_name("airflow"))


@dataclass(frozen=True, slots=True)
class Component:
    """A running component, the leader of its own process group."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raise RunError when the component has died."""
        if self.process.poll() is not None:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
            raise RunError(f"Airflow's {self.name} stopped by itself (exit {self.process.returncode}); {self.log} ends with:\n{tail}")

    def stop(self, patience: float = 15) -> None:
        """Ask the component to stop, then make sure that its whole group is gone."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(patience)
        deadline = time.monotonic() + 3
        while _group_alive(self.process.pid) and time.monotonic() < deadline:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGTERM)
            time.sleep(0.2)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def _group_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def start(name: str, arguments: Sequence[str], environment: Mapping[str, str], logs: Path) -> Component:
    """Start `airflow <arguments>` with its output in `logs/<name>.log`."""
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / f"{name}.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [AIRFLOW, *arguments],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Component(name, process, log)


@contextlib.contextmanager
def stopping(components: list[Component]) -> Iterator[list[Component]]:
    """Stop the components on the way out, last started first."""
    try:
        yield components
    finally:
        for component in reversed(components):
            component.stop()
