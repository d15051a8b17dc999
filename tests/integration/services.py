"""Real servers for integration tests: Debian packages installed when the tests run as root, started on loopback, stopped afterwards.

Without root, or where a package cannot be had, tests that need it are skipped with the reason; with AFTERCAST_REQUIRE_SERVICES set (as in
CI) they fail instead.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

APT = {"DEBIAN_FRONTEND": "noninteractive", "PATH": os.environ.get("PATH", "")}
PATIENCE = 180.0
_refreshed = False


def require(package: str, binary: str) -> str:
    """Return the path of a server's binary, and install its Debian package first where that is allowed.

    `binary` is a name on the path or a pattern below /usr (`lib/postgresql/*/bin/postgres`); of several the last is taken.
    """
    with _one_at_a_time():
        found = _find(binary)
        if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
            _install(package)
            found = _find(binary)
    if found is None:
        unavailable(f"{binary} is not installed; as root the tests install it, or run: apt-get install {package}")
    return str(found)


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Let one of several test processes look for a package or install it: half an installation has its binary already."""
    with (Path(tempfile.gettempdir()) / f"aftercast-packages-{os.geteuid()}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def unavailable(reason: str) -> None:
    """Skip the test, or fail it where services are required."""
    if os.environ.get("AFTERCAST_REQUIRE_SERVICES"):
        pytest.fail(reason)
    pytest.skip(reason)


def _find(binary: str) -> str | None:
    if "/" in binary:
        found = sorted(Path("/usr").glob(binary))
        return str(found[-1]) if found else None
    return shutil.which(binary) or shutil.which(binary, path="/usr/sbin:/usr/bin:/usr/local/bin")


def _install(package: str) -> None:
    global _refreshed  # noqa: PLW0603
    # Services must not start by themselves: tests start them on their own ports.
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
        policy.chmod(0o755)
    try:
        if not _refreshed:
            subprocess.run(["apt-get", "update", "-qq"], check=False, capture_output=True, env=APT, timeout=300)
            _refreshed = True
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=APT, timeout=600)
        if done.returncode:
            print(done.stderr[-1000:])
    finally:
        if ours:
            policy.unlink(missing_ok=True)


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait_until(ready: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Wait until `ready` returns true; an exception counts as not yet."""
    deadline = time.monotonic() + patience
    problem: Exception | None = None
    while time.monotonic() < deadline:
        try:
            if ready():
                return
        except Exception as error:  # noqa: BLE001
            problem = error
        time.sleep(0.1)
    raise TimeoutError(f"{what} was not ready within {patience:.0f} s" + (f" ({problem})" if problem else ""))


@contextmanager
def running(
    command: Sequence[str], log: Path, *, environment: Mapping[str, str] | None = None, user: str | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends; its output goes to `log`."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(command),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(environment or {})},
            user=user,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
