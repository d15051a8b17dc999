"""The page in a real Airflow and a real browser: who may read it, how it looks and moves, and how soon it is there."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from aftercast.embedded import driver
from aftercast.embedded.components import start, stopping
from aftercast.embedded.environment import admin_password, airflow_environment, free_port
from aftercast.page import application
from aftercast.settings import Settings
from tests.browsing import Browser, browsing
from tests.integration import services
from tests.unit import landing_fixture, page_fixture

FRAME = "document.querySelector('iframe').contentDocument"
PAGES = (
    "",
    "incidents/INC-1",
    "incidents/INC-2",
    "incidents/INC-3",
    "incidents/INC%2F4%20%3F%23%25",
    "incidents/INC-5",
    "journeys",
    "health",
)
WIDTHS = ((1280, "light"), (320, "light"), (700, "dark"))

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Running:
    settings: Settings
    base: str
    admin: str
    viewer: str
    stranger: str

    def publish(self, made: Path) -> None:
        """Point the link at a mart, as publishing does."""
        link = self.settings.mart
        link.parent.mkdir(parents=True, exist_ok=True)
        fresh = link.with_name("fresh")
        fresh.symlink_to(made)
        fresh.replace(link)


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
            patch.delenv(name)
        settings = landing_fixture.deployment(tmp_path_factory.mktemp("page"))
        port = free_port()
        environment = airflow_environment(settings, port, scheduled=False)
        environment["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"] = "admin:admin,eve:viewer,mallory:"  # mallory may sign in and read nothing
        driver.prepare_metadata(environment, settings)
        passwords = {"admin": admin_password(settings), "eve": "only looking", "mallory": "let me in"}
        (settings.airflow / "passwords.json").write_text(json.dumps(passwords))
        (settings.home / "catalogue").mkdir()
        (settings.home / "catalogue" / "index.html").write_text("<p>tables and lineage</p>")
        base = f"http://127.0.0.1:{port}"
        with stopping([]) as components:
            logs = settings.airflow / "components"
            components.append(start("api-server", ["api-server", "--host", "127.0.0.1", "--port", str(port)], environment, logs))
            client = driver.Airflow(base, passwords["admin"])
            client.wait_until_up(components[0].check)
            client.close()

            def token(user: str) -> str:
                answer = httpx.post(f"{base}/auth/token", json={"username": user, "password": passwords[user]}, timeout=60)
                return str(answer.json()["access_token"])

            yield Running(settings, base, token("admin"), token("eve"), token("mallory"))


@pytest.fixture(scope="module")
def marts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("marts")
    made = {"small": page_fixture.publish(place / "small"), "thousand": page_fixture.many(place / "thousand")}
    return made | {"company": page_fixture.many(place / "company", 49)}


@pytest.fixture
def browser(airflow: Running) -> Iterator[Browser]:
    with browsing(services.require("chromium", "chromium")) as one:
        one.call("Network.setCookie", name="_token", value=airflow.viewer, url=airflow.base)
        one.look_like(1280, 900)
        yield one


def routes(settings: Settings) -> list[str]:
    app = application(lambda: settings.mart, [], lambda: page_fixture.NOW)
    return [route.path.replace("{incident_id:path}", "INC-1") for route in app.routes]  # type: ignore[attr-defined]


def test_every_route_refuses_who_is_not_signed_in_and_opens_to_a_viewer(airflow: Running, marts: dict[str, Path]):
    airflow.publish(marts["small"])
    addresses = [f"{airflow.base}/aftercast{path}" for path in routes(airflow.settings)]
    assert len(addresses) >= 7
    with httpx.Client(timeout=60) as client:
        for address in addresses:
            assert client.get(address).status_code == 401, address
            assert client.get(address, headers={"Authorization": "Bearer made.up.token"}).status_code in (401, 403), address
            assert client.get(address, cookies={"_token": airflow.viewer[:-4] + "AAAA"}).status_code in (401, 403), address
            assert "Checkout fails" not in client.get(address, headers={"accept": "text/html"}).text
        for who in (airflow.viewer, airflow.admin):
            for address in addresses:
                assert client.get(address, headers={"Authorization": f"Bearer {who}"}, follow_redirects=True).status_code == 200, address


def test_who_may_not_read_the_refresh_is_told_so_on_every_route(airflow: Running, marts: dict[str, Path]):
    airflow.publish(marts["small"])
    with httpx.Client(timeout=60, headers={"Authorization": f"Bearer {airflow.stranger}", "accept": "text/html"}) as client:
        for path in routes(airflow.settings):
            answer = client.get(f"{airflow.base}/aftercast{path}")
            assert answer.status_code == 403, path
            assert "Not for this user" in answer.text and "Checkout fails" not in answer.text
    # The same user asks Airflow itself, and is refused alike.
    asked = httpx.get(f"{airflow.base}/api/v2/dags/refresh_warehouse", headers={"Authorization": f"Bearer {airflow.stranger}"}, timeout=60)
    assert asked.status_code == 403


def test_it_stands_in_the_navigation_and_moves_with_airflow(airflow: Running, marts: dict[str, Path], browser: Browser):
    airflow.publish(marts["small"])
    browser.open(f"{airflow.base}/plugin/aftercast")
    browser.until(f"{FRAME}?.querySelector('.rows')")
    assert browser.evaluate(f"{FRAME}.querySelector('h1').textContent") == "6 incidents, EUR 37.0k lost"
    browser.evaluate(f"{FRAME}.querySelector('a[href$=\"INC-1\"]').click()")
    browser.until(f"{FRAME}?.querySelector('.timeline')")
    # Airflow keeps the address of what is shown, so it can be shared.
    browser.until("location.pathname === '/plugin/aftercast/aftercast/incidents/INC-1'")
    browser.open(f"{airflow.base}/plugin/aftercast/aftercast/incidents/INC-3")
    browser.until(f"{FRAME}?.querySelector('h1')?.textContent.startsWith('תקלה')")
    assert browser.evaluate(f"getComputedStyle({FRAME}.querySelector('h1')).direction") == "rtl"
    for theme in ("dark", "light"):
        browser.evaluate(f"document.documentElement.className = '{theme}'")
        browser.until(f"{FRAME}.documentElement.dataset.theme === '{theme}'")
    browser.evaluate(f"{FRAME}.querySelector('.reviews').click()")
    browser.until("location.pathname === '/required_actions'")
    assert browser.outside == []


def test_it_is_led_by_the_keyboard(airflow: Running, marts: dict[str, Path], browser: Browser):
    airflow.publish(marts["small"])
    browser.open(f"{airflow.base}/aftercast/")
    browser.key("Tab", 9)
    assert browser.evaluate("document.activeElement.className") == "skip"
    assert browser.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    reached = []
    for _ in range(40):
        browser.key("Tab", 9)
        reached.append(
            browser.evaluate("document.activeElement.name || document.activeElement.className || document.activeElement.textContent")
        )
        if reached[-1] == "title":
            break
    assert {"q", "week", "service", "severity", "family", "postmortem"} < set(reached)
    assert browser.evaluate("document.activeElement.href").endswith("INC-5")
    browser.key("ArrowDown", 40)
    browser.key("j", 74, "j")
    assert browser.evaluate("document.activeElement.href").endswith("INC-1")
    browser.key("k", 75, "k")
    browser.key("ArrowDown", 40)
    browser.key("Enter", 13, "\r")
    browser.until("location.pathname.endsWith('/incidents/INC-1') && document.querySelector('.suspects')")
    browser.evaluate("document.querySelectorAll('.suspect > summary')[1].focus()")
    browser.key("Enter", 13, "\r")
    browser.until("document.querySelectorAll('details.suspect')[1].open")


def test_a_draft_that_waits_leads_to_its_review(airflow: Running, marts: dict[str, Path], browser: Browser):
    airflow.publish(marts["small"])
    task = {"dag_id": "review_postmortems", "dag_run_id": "run+1", "task_id": "review.ask", "map_index": 2, "state": "awaiting_input"}
    waiting = [
        {"body": "**INC-1**, sev1, draft", "task_instance": task},
        {"body": "**INC-3**", "task_instance": task | {"state": "success"}},
        {"body": None, "task_instance": task},
    ]
    answer = json.dumps({"hitl_details": waiting})
    script = f"window.fetch = async (url) => {{ window.asked = url; return {{ ok: true, json: async () => ({answer}) }}; }};"
    mock = browser.call("Page.addScriptToEvaluateOnNewDocument", source=script)["identifier"]
    browser.open(f"{airflow.base}/aftercast/")
    browser.until("document.querySelector('[data-review=\"INC-1\"] a')")
    assert browser.evaluate("window.asked").startswith("/api/v2/dags/review_postmortems/dagRuns/~/hitlDetails?")
    link = "document.querySelector('[data-review=\"INC-1\"] a')"
    assert browser.evaluate(f"{link}.pathname") == "/dags/review_postmortems/runs/run%2B1/tasks/review.ask/mapped/2/required_actions"
    assert browser.evaluate(f"{link}.textContent") == "draft waits for review"
    assert browser.evaluate("document.querySelectorAll('td[data-review] a').length") == 1
    assert browser.evaluate("document.querySelector('.waiting').textContent") == "2"
    # Airflow's real answer, of which none waits, leaves the page as it was made.
    browser.call("Page.removeScriptToEvaluateOnNewDocument", identifier=mock)
    browser.open(f"{airflow.base}/aftercast/")
    asked = "fetch('/api/v2/dags/review_postmortems/dagRuns/~/hitlDetails?response_received=false').then((one) => one.json())"
    assert browser.evaluate(asked)["hitl_details"] == []
    assert browser.evaluate("document.querySelectorAll('td[data-review] a').length") == 0


def test_nothing_runs_over_on_any_screen_and_nothing_hostile_runs(
    airflow: Running, marts: dict[str, Path], browser: Browser, tmp_path: Path
):
    airflow.publish(marts["small"])
    pictures = Path(os.environ.get("AFTERCAST_PICTURES") or tmp_path)
    for page in PAGES:
        for width, scheme in WIDTHS:
            browser.look_like(width, 900, scheme)
            browser.open(f"{airflow.base}/aftercast/{page}")
            browser.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
            assert browser.evaluate("document.documentElement.scrollWidth") <= width, (page, width)
            assert "owned" not in browser.evaluate("document.title").split()
            dark = browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(23, 27, 33)"
            assert dark == (scheme == "dark")
            browser.picture(pictures / f"{page.split('%')[0].replace('/', '_') or 'incidents'}_{width}_{scheme}.png", whole=True)
    assert browser.errors == [] and browser.outside == []


@pytest.mark.parametrize(("name", "limit"), [("company", 1.0), ("thousand", 2.0)])
def test_it_is_soon_there(airflow: Running, marts: dict[str, Path], browser: Browser, name: str, limit: float):
    airflow.publish(marts[name])
    browser.open(f"{airflow.base}/aftercast/")  # the first request builds the page
    for page in ("", "?q=checkout&sort=lost", "incidents/INC-10020", "journeys", "health"):
        took = statistics.median(browser.open(f"{airflow.base}/aftercast/{page}") for _ in range(3))
        print(f"{name} /{page}: {took:.2f} s until loaded (wanted: under {limit:.0f} s on a quiet machine)")
        assert took < 5 * limit  # a busy machine is no counterexample
    began = time.monotonic()
    browser.open(f"{airflow.base}/plugin/aftercast")
    browser.until(f"{FRAME}?.querySelector('.rows')")
    print(f"{name} inside Airflow's own page: {time.monotonic() - began:.2f} s")
