"""A real browser for tests: Debian's Chromium without a window, led by the Chrome DevTools protocol over two pipes. Nothing is fetched."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PATIENCE = 120.0
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--mute-audio"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-default-browser-check"),
    *("--disable-extensions", "--remote-debugging-pipe", "--force-color-profile=srgb"),
)


class Browser:
    """One page of one browser. Requests that leave loopback, and errors of scripts, are kept in `outside` and `errors`."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing, self._buffer, self._number = reading, writing, b"", 0
        self._events: list[dict[str, Any]] = []
        self.outside: list[str] = []
        self.errors: list[str] = []
        target = self._call("Target.createTarget", {"url": "about:blank"}, session=None)["targetId"]
        self._session = self._call("Target.attachToTarget", {"targetId": target, "flatten": True}, session=None)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol on the page."""
        return self._call(method, parameters, session=self._session)

    def open(self, url: str) -> float:
        """Open an address; return the seconds until its load event."""
        self._events.clear()
        began = time.monotonic()
        answer = self.call("Page.navigate", url=url)
        assert "errorText" not in answer, f"{url}: {answer}"
        self.wait_event("Page.loadEventFired")
        return time.monotonic() - began

    def evaluate(self, script: str) -> Any:
        """Return what a script of the page is worth, promises awaited."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, script: str, patience: float = PATIENCE) -> None:
        """Wait until a script is worth something true."""
        deadline = time.monotonic() + patience
        while True:
            with contextlib.suppress(AssertionError):
                if self.evaluate(f"Boolean({script})"):
                    return
            assert time.monotonic() < deadline, f"never came true: {script}\n{self.errors}"
            time.sleep(0.1)

    def key(self, name: str, code: int = 0, text: str = "") -> None:
        """Press and release a key."""
        for kind in ("keyDown", "keyUp"):
            given = {"text": text} if text and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=name, windowsVirtualKeyCode=code, **given)

    def look_like(self, width: int, height: int, scheme: str = "light") -> None:
        """Take a size, and the reader's wish for light or dark."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def picture(self, path: Path, *, whole: bool = False) -> Path:
        """Write what is seen, or the whole page, as PNG."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(data))
        return path

    def wait_event(self, method: str, patience: float = PATIENCE) -> dict[str, Any]:
        deadline = time.monotonic() + patience
        while not (found := next((one for one in self._events if one["method"] == method), None)):
            assert time.monotonic() < deadline, f"no {method} within {patience:.0f} s"
            self._take(self._receive(deadline))
        self._events.remove(found)
        return found

    def _call(self, method: str, parameters: dict[str, Any], session: str | None) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = self._receive(deadline)
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])
            self._take(answer)

    def _take(self, event: dict[str, Any]) -> None:
        if "method" not in event:
            return
        self._events.append(event)
        about = event.get("params", {})
        if event["method"] == "Network.requestWillBeSent":
            url = about["request"]["url"]
            if not url.startswith(("http://127.0.0.1", "data:", "about:", "blob:")):
                self.outside.append(url)
        elif event["method"] == "Runtime.exceptionThrown":
            self.errors.append(str(about["exceptionDetails"]))
        elif event["method"] == "Log.entryAdded" and about["entry"]["source"] == "security":
            self.errors.append(about["entry"]["text"])

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._reading], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "the browser does not answer"
            more = os.read(self._reading, 1 << 20)
            assert more, "the browser has gone"
            self._buffer += more
        first, self._buffer = self._buffer.split(b"\0", 1)
        return dict(json.loads(first))


@contextlib.contextmanager
def browsing(binary: str) -> Iterator[Browser]:
    """Start a browser of its own profile, and end it with every process it started."""
    profile = tempfile.mkdtemp(prefix="aftercast-browser-")
    to_read, to_write = os.pipe(), os.pipe()
    given = [fcntl.fcntl(one, fcntl.F_DUPFD, 50) for one in (to_read[0], to_write[1])]

    # The browser reads commands from 3 and writes answers to 4.
    command = f'exec "$@" 3<&{given[0]} 4>&{given[1]}'
    process = subprocess.Popen(
        ["/bin/bash", "-c", command, "bash", binary, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=given,
        start_new_session=True,
        env={**os.environ, "HOME": profile},
    )
    for one in (to_read[0], to_write[1], *given):
        os.close(one)
    try:
        yield Browser(to_write[0], to_read[1])
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for one in (to_read[1], to_write[0]):
            os.close(one)
        shutil.rmtree(profile, ignore_errors=True)
