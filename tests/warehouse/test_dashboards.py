"""`make bi` starts: Superset shows the marts to a reader in a browser, asks nothing of the internet, and the reader changes nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from aftercast import publishing, warehouse
from aftercast.settings import PROJECT, Settings
from tests.browsing import Browser, browsing
from tests.integration import services

SETTLED = "document.querySelectorAll('.dashboard-component-chart-holder').length >= {} && !document.querySelector('.loading')"


@dataclass(frozen=True)
class Running:
    address: str
    home: Path
    browser: Browser


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status) == 200
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture(scope="module")
def superset(company: Settings) -> Iterator[Running]:
    chromium = services.require("chromium", "chromium")
    publishing.publish(company, version="dashboards")
    made = subprocess.run(["make", ".venv-bi/.ready"], cwd=PROJECT, capture_output=True, text=True, check=False, timeout=900)
    if made.returncode:
        services.unavailable(f"Superset cannot be installed: {made.stderr[-300:]}")
    port = services.free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AFTERCAST")}
    environment |= {"AFTERCAST_HOME": str(company.home), "AFTERCAST_CONFIG": str(company.config)}
    log = company.home / "superset.log"
    with log.open("w") as file:
        command = [sys.executable, "bi/start.py", "--port", str(port)]
        process = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        deadline = time.monotonic() + 420
        while not _answers(f"http://127.0.0.1:{port}/health"):
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(1)
        with browsing(chromium) as browser:
            browser.look_like(1400, 1700)
            yield Running(f"http://127.0.0.1:{port}", company.home / "bi", browser)
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(company.home / "bi")


def enter(running: Running, name: str) -> None:
    browser = running.browser
    browser.open(f"{running.address}/login/")
    browser.until("document.querySelector('#username')")
    for field, text in (("#username", name), ("#password", (running.home / f"{name}_password").read_text())):
        browser.evaluate(f"document.querySelector('{field}').focus()")
        browser.call("Input.insertText", text=text)
    browser.evaluate("[...document.querySelectorAll('button')].find(one => /sign in/i.test(one.innerText)).click()")
    browser.until("!location.pathname.startsWith('/login')")


@pytest.mark.slow
def test_a_reader_sees_the_marts_on_dashboards_and_changes_nothing(superset: Running, company: Settings, tmp_path: Path):
    browser = superset.browser
    with pytest.raises(urllib.error.HTTPError, match=r"401|403"):
        urllib.request.urlopen(f"{superset.address}/api/v1/chart/1", timeout=30)
    enter(superset, "reader")
    for slug, charts in (("reliability", 9), ("learning", 6)):
        browser.open(f"{superset.address}/superset/dashboard/{slug}/?standalone=2")
        browser.until(SETTLED.format(charts), patience=120)
        time.sleep(2)
        seen = browser.evaluate("document.body.innerText")
        assert not re.search(r"unexpected error|error:|not found|no permission", seen, re.I), seen
        picture = browser.picture(tmp_path / f"{slug}.png")
        assert picture.stat().st_size > 20_000
        if slug == "reliability":
            incidents = warehouse.query(company.mart, "select count(*) from marts.mart_incidents where not exclude_from_metrics").item()
            assert re.search(rf"Incidents\s+{incidents}\b", seen), seen[:500]
            title = warehouse.query(company.mart, "select title from marts.mart_incidents order by lost_revenue desc nulls last").item(0, 0)
            assert title in seen
    # A reader cannot change a dashboard, nor write to the mart.
    asked = "fetch('/api/v1/dashboard/1', {method: 'DELETE', headers: {'X-CSRFToken': TOKEN}}).then(answer => answer.status)"
    token = "await fetch('/api/v1/security/csrf_token/').then(one => one.json()).then(one => one.result)"
    assert browser.evaluate(f"(async () => {asked.replace('TOKEN', f'({token})')})()") in (401, 403, 404)
    # What Superset would have asked of the internet was stopped by the page's own policy.
    blocked = json.dumps(browser.errors)
    assert all(url in blocked for url in browser.outside)
