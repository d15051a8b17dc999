from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aftercast.embedded.components import Component, stopping
from aftercast.embedded.driver import only_one
from aftercast.embedded.environment import admin_password, airflow_environment, free_port
from aftercast.errors import RunError
from aftercast.settings import Settings


def component(tmp_path: Path, program: str) -> Component:
    log = tmp_path / "log"
    with log.open("wb") as sink:
        process = subprocess.Popen([sys.executable, "-c", program], stdout=sink, stderr=subprocess.STDOUT, start_new_session=True)
    return Component("thing", process, log)


def is_running(pid: int) -> bool:
    """Whether a process exists and is more than an entry waiting to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_a_component_is_stopped_with_its_children_even_when_it_ignores_the_signal(tmp_path: Path):
    child = tmp_path / "child"
    stubborn = component(
        tmp_path,
        "import signal, subprocess, sys, time, pathlib\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(child)!r}).write_text(str(p.pid))\n"
        "time.sleep(60)\n",
    )
    while not child.exists() or not child.read_text():
        time.sleep(0.05)
    stubborn.stop(patience=0.2)
    pid = int(child.read_text())
    deadline = time.monotonic() + 20
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    survived = is_running(pid)
    if survived:
        os.kill(pid, 9)
    assert not survived


def test_a_component_that_died_is_named_with_the_end_of_its_log(tmp_path: Path):
    dead = component(tmp_path, "print('the reason'); raise SystemExit(3)")
    dead.process.wait()
    with pytest.raises(RunError, match=r"thing stopped by itself \(exit 3\)(.|\n)*the reason"):
        dead.check()


def test_components_are_stopped_when_the_work_fails(tmp_path: Path):
    started = component(tmp_path, "import time; time.sleep(60)")
    with pytest.raises(ValueError, match="boom"), stopping([started]):
        raise ValueError("boom")
    assert started.process.returncode is not None


def test_a_second_run_in_the_same_home_is_refused(home: Path):
    settings = Settings.from_environment()
    with only_one(settings), pytest.raises(RunError, match="another Aftercast works in"), only_one(settings):
        pass


def test_secrets_are_made_once_and_only_the_owner_may_read_them(home: Path):
    settings = Settings.from_environment()
    first = admin_password(settings)
    assert admin_password(settings) == first
    for name in ("secrets.json", "passwords.json"):
        assert (settings.airflow / name).stat().st_mode & 0o077 == 0
    environment = airflow_environment(settings, free_port(), scheduled=False)
    assert str(home) in environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    assert environment["AIRFLOW__API__HOST"] == "127.0.0.1"
