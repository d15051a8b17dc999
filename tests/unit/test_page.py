"""The page: every route behind its guard, hostile text harmless, what is missing said, and a thousand incidents soon there."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pytest
from fastapi import FastAPI, HTTPException
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from aftercast import reporting, searching
from aftercast.page import Beside, application, incidents, rendering, timeline
from aftercast.page.reading import MARTS, opened
from aftercast.page.searching import Found, search
from aftercast.settings import Settings
from tests.unit import page_fixture as fixture
from tests.unit.page_fixture import AS_OF, HOSTILE, NOW, START, after, incident

PAGES = ("/", "/incidents/INC-1", "/journeys", "/health")
VOID = {"meta", "link", "input", "path", "circle", "rect", "line", "polyline", "br", "img"}


class Page(HTMLParser):
    """The elements of a page, and whether every one is closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.isolated: list[bool] = []
        self.loose: list[str] = []
        self.wrong: list[str] = []
        self.feed(text)
        self.wrong += self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
            keeps = tag in ("bdi", "option", "title", "caption", "text") or dict(attrs).get("dir") == "auto"
            self.isolated.append(keeps or (bool(self.isolated) and self.isolated[-1]))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        self.isolated = self.isolated[:-1]
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if "\u202e" in data and not self.isolated[-1]:
            self.loose.append(f"{self.open}: {data}")

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def client(path: Path, guards: Sequence[Callable[..., Any]] = ()) -> TestClient:
    outer = FastAPI()
    outer.mount("/aftercast", application(lambda: path, guards, lambda: NOW))
    return TestClient(outer, headers={"accept": "text/html"}, raise_server_exceptions=True)


def seen(path: Path, address: str, status: int = 200) -> Page:
    answer = client(path).get(f"/aftercast{address}")
    assert answer.status_code == status, answer.text
    page = Page(answer.text)
    assert page.wrong == []
    return page


@pytest.fixture(scope="module")
def mart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fixture.publish(tmp_path_factory.mktemp("page"))


def refuse() -> None:
    raise HTTPException(401, "Not authenticated")


def test_every_route_stands_behind_the_guard(mart: Path):
    app = application(lambda: mart, [refuse], lambda: NOW)
    routes = [route for route in app.routes if isinstance(route, APIRoute)]
    assert len(routes) == len(app.routes) >= 7  # nothing mounted beside the guarded routes
    there = client(mart, [refuse])
    for route in routes:
        address = re.sub(r"\{.*\}", "INC-1", route.path)
        answer = there.get(f"/aftercast{address}", follow_redirects=False)
        assert answer.status_code == 401, address
        assert "Sign in to Airflow" in answer.text and "Checkout" not in answer.text
        assert there.get(f"/aftercast{address}", headers={"accept": "*/*"}).text == "Not authenticated"


@pytest.mark.parametrize("address", [*PAGES, "/incidents/INC-2", "/incidents/INC-3", "/incidents/INC%2F4%20%3F%23%25", "/incidents/INC-5"])
def test_hostile_text_is_text(mart: Path, address: str):
    page = seen(mart, address)
    scripts = page.all("script")
    assert [script["src"].split("?")[0] for script in scripts if script["src"]] == ["/aftercast/page.js"] and len(scripts) == 1
    assert page.all("img") == []
    assert page.loose == []  # a text that turns the direction of writing turns its own and no other
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on") or name == "style"]
    links = [link["href"] or "" for link in page.all("a")]
    assert all(link.startswith(("/", "?", "#", "https://pager.example/", "https://ci.example/")) for link in links), links
    assert "{{ 7*7 }}" in page.words or "49" not in page.words.split()
    assert "Demo & <b>Co</b>" in page.words


def test_a_page_may_load_nothing_from_elsewhere_and_be_framed_by_airflow_only(mart: Path):
    there = client(mart)
    for address in PAGES:
        policy = there.get(f"/aftercast{address}").headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'self'" in policy and "unsafe" not in policy
    for file in ("/page.css", "/page.js"):
        answer = there.get(f"/aftercast{file}")
        assert answer.status_code == 200 and not re.search(r"https?://|//[a-z]", re.sub(r"^\s*//.*$", "", answer.text, flags=re.M))


def test_the_list_sums_what_counts_and_shows_every_incident(mart: Path):
    page = seen(mart, "/")
    assert "6 incidents, EUR 37.0k lost" in page.words
    assert "3 with a loss told from noise, 1 within noise, 1 unknown, 1 not counted (tests, drills); 1 not over yet" in page.words
    rows = [link["href"] for link in page.all("a") if link.get("class") == "title"]
    assert rows == [f"/aftercast/incidents/{name}" for name in ("INC-5", "INC-6", "INC-1", "INC-3", "INC-2", "INC/4%20%3F%23%25")]
    assert "within noise, at most 900" in page.words and "71% · not reviewed" in page.words and "no candidate" in page.words


@pytest.mark.parametrize(
    ("wish", "names"),
    [
        ("week=2026-W45", ["INC-5", "INC-6", "INC-1", "INC-3"]),
        ("week=2026-W45&sort=lost", ["INC-6", "INC-1", "INC-5", "INC-3"]),
        ("week=2026-W01", []),
        ("service=cart&severity=sev3", ["INC/4 ?#%"]),
        ("family=family-%3C2%3E", ["INC-2"]),
        ("postmortem=draft", ["INC-6"]),
        ("postmortem=none&severity=sev1&sort=started&order=asc", ["INC-2", "INC-3", "INC-1"]),
        ("q=CHECKOUT+fails", ["INC-1"]),
        ("q=checkout&sort=started", ["INC-6", "INC-1", "INC-3", "INC/4 ?#%"]),
        ("sort=found", ["INC-5", "INC-6", "INC-1", "INC-3", "INC-2", "INC/4 ?#%"]),
        ("q=%25", ["INC/4 ?#%"]),
        ("q=תשלומים", ["INC-3"]),
        ("q='%3B+drop+table+marts.mart_incidents", []),
        ("sort=title;drop&order=sideways&page=99", ["INC-5", "INC-6", "INC-1", "INC-3", "INC-2", "INC/4 ?#%"]),
    ],
)
def test_filters_and_sorting(mart: Path, wish: str, names: list[str]):
    address = f"/?{wish}"
    client_ = client(mart)
    answer = client_.get(f"/aftercast{address}")
    assert answer.status_code == 200
    assert re.findall(r'data-review="([^"]*)"', answer.text) == names
    if not names:
        page = seen(mart, address)
        assert "No incident fits" in page.words and "Show all incidents" in page.words
        assert "The data covers 4 Oct 2026 to 9 Nov 2026" in page.words


def test_a_week_that_is_none_is_said_and_all_are_shown(mart: Path):
    page = seen(mart, "/?week=soon")
    assert "week 'soon' is not an ISO week" in page.words and "6 incidents" in page.words


def test_an_incident_says_what_is_known(mart: Path):
    page = seen(mart, "/incidents/INC-1")
    for words in (
        "EUR 12.3k 95% interval 9.81k to 14.7k",
        "1 h 11 min",
        "Faster cart deploy on cart",
        "▲ for deploy Faster cart began 20 min before change before onset",
        "▼ against cart is changed 1.7 times a day",
        "One check that say little",
        "rejected by people",
        "none of the known candidates",
        "One of 5 incidents of a family",
        "What usually ended it: rollback on cart , 3 of 4 times",
        "3 segments: 1 with a loss told from noise, 1 within noise, 1 unknown",
        "12.4% of the error budget of Shop",
        "aftercast verdict INC-1 confirm --cause change:deploy-77",
        "−20 min",
        "+1 h 11 min",
        "One earlier entry in the list only",
    ):
        assert words.replace("One ", "1 ") in page.words or words in page.words, words
    assert "cause of" not in page.words.lower().replace("likely cause", "")


def test_an_incident_of_which_nothing_is_known_says_so(mart: Path):
    page = seen(mart, "/incidents/INC-5")
    for words in ("(no title)", "unknown", "nothing was ranked", "not over yet", "still open", "No candidate was ranked", "No family",
                  "No journey was measured", "No timeline of this incident is published", "No action item"):  # fmt: skip
        assert words in page.words, words


def test_an_incident_nobody_knows_is_not_found(mart: Path):
    assert "Not in the published mart" in seen(mart, "/incidents/INC-999", 404).words
    assert "Not in the published mart" in seen(mart, "/nowhere", 404).words


def test_journeys_say_what_is_left_and_which_budget_is_gone(mart: Path):
    page = seen(mart, "/journeys")
    assert "Gone used up its error budget" in page.words
    assert "gone, 225% used" in page.words and "Not enough traffic to tell a budget" in page.words
    assert "page: Gone burns 16.2 times even spending over 1 h 00 min; a full budget goes in 1.7 days" in page.words
    lines = [line["points"] or "" for line in page.all("polyline")]
    assert len(lines) == 2 and all(0 <= float(y) <= 100 for line in lines for y in re.findall(r",(\S+)", line))


def test_data_health_says_what_is_not_complete(mart: Path):
    page = seen(mart, "/health")
    for words in ("2 of 3 deliveries are not complete", "3 of 4", "99.8%", "missing", "rows rejected", "drifting",
                  "1 series: not enough data, 3 days", "ledger sends no traces"):  # fmt: skip
        assert words in page.words, words
    assert "Missing: silent has delivered nothing of something declared." in seen(mart, "/").words


def test_no_mart_yet_says_what_to_run(tmp_path: Path):
    for address in PAGES:
        page = seen(tmp_path / "none.duckdb", address)
        assert "Nothing has been published yet" in page.words and "aftercast run" in page.words


def test_a_file_that_is_no_mart_is_said_to_be_unreadable_without_its_path(tmp_path: Path):
    broken = tmp_path / "aftercast.duckdb"
    broken.write_bytes(b"no database" * 1000)
    for address in PAGES:
        page = seen(broken, address, 503)
        assert "The published mart cannot be read" in page.words and str(tmp_path) not in page.words


def test_an_empty_mart_is_readable_everywhere(tmp_path: Path):
    path = fixture.publish(tmp_path, {name: [] for name in MARTS})
    assert "No incident has been landed" in seen(path, "/").words
    assert "This mart does not say until when it knows" in seen(path, "/").words
    assert "No journey is measured" in seen(path, "/journeys").words
    assert "Nobody can say what is missing" in seen(path, "/health").words
    seen(path, "/incidents/INC-1", 404)


@pytest.mark.parametrize("lost", sorted(MARTS))
def test_a_mart_that_an_older_version_did_not_publish_leaves_the_page_readable(mart: Path, tmp_path: Path, lost: str):
    path = Path(shutil.copy(mart, tmp_path))
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"drop table marts.{lost}")
    for address in PAGES:
        page = seen(path, address, 404 if lost == "mart_incidents" and "INC-1" in address else 200)
        if lost == "mart_incidents" and address == "/":
            assert "The mart of incidents is not published" in page.words
    with opened(path) as old:
        incidents.listed(old, incidents.asked({}))
        assert old.absent == ([lost] if lost in ("mart_incidents", "mart_incident_candidates") else [])


def test_a_column_that_an_older_version_did_not_publish_reads_as_unknown(tmp_path: Path):
    columns = [f"{mart}.{column}" for mart in MARTS for column in MARTS[mart]]
    keys = {"mart_incidents.incident_id", "mart_run.as_of", "mart_journey_health.is_latest", "mart_journey_health.day",
            "mart_journey_health.journey"}  # fmt: skip
    keys |= {f"{mart}.{next(iter(columns))}" for mart, columns in MARTS.items()}
    path = fixture.publish(tmp_path, without=[name for name in columns if name not in keys and not name.endswith(".incident_id")])
    for address in PAGES:
        assert "Not published, so not shown" in seen(path, address).words


def test_old_data_is_called_stale(mart: Path):
    from datetime import timedelta

    app = FastAPI()
    app.mount("/aftercast", application(lambda: mart, [], lambda: NOW + timedelta(days=4)))
    assert "Stale data: the newest is from Mon 9 Nov 00:00 UTC, 4 days ago." in Page(TestClient(app).get("/aftercast/").text).words


def test_a_newly_published_mart_shows_at_once(tmp_path: Path):
    versions = tmp_path / "versions"
    link = tmp_path / "aftercast.duckdb"
    there = client(link)
    for number in (1, 2):
        found = fixture.rows() | {"mart_incidents": [incident(f"INC-{n}") for n in range(number)]}
        file = fixture.publish(versions / str(number), found)
        fresh = tmp_path / "fresh"
        fresh.symlink_to(file)
        fresh.replace(link)
        assert f"{number} incident{'s' if number > 1 else ''}, EUR" in there.get("/aftercast/").text


def test_a_thousand_incidents_are_paged_and_soon_there(tmp_path: Path):
    path = fixture.many(tmp_path)
    there = client(path)
    there.get("/aftercast/")
    for address in ("/", "/?q=checkout&sort=lost", "/?page=20", "/incidents/INC-10500", "/journeys", "/health"):
        began = time.monotonic()
        answer = there.get(f"/aftercast{address}")
        took = time.monotonic() - began
        print(f"{address}: {took:.2f} s, {len(answer.text):,} characters")
        assert answer.status_code == 200 and Page(answer.text).wrong == []
        assert took < 5
        assert len(answer.text) < 300_000
    page = seen(path, "/?page=20")
    assert "Page 20 of 20" in page.words and len(re.findall("INC-10", page.words)) >= 50
    assert "1,000 incidents" in page.words


def test_every_control_has_a_name_and_every_table_a_caption(mart: Path):
    for address in PAGES:
        text = client(mart).get(f"/aftercast{address}").text
        assert '<html lang="en">' in text and text.count("<h1") == 1 and "<main" in text and "<nav aria-label" in text
        assert text.count("<caption") == text.count("<table")
        assert len(re.findall(r"<th (?![^>]*scope=)", text)) == 0
        for drawing in re.findall(r"<svg [^>]*>", text):
            inside_one = 'class="m ' in drawing or "preserveAspectRatio" in drawing or 'width="1' in drawing or 'width="20' in drawing
            assert "aria-hidden" in drawing or "role=" in drawing or inside_one, drawing
        for label in re.findall(r"<(?:select|input type=.search)[^>]*>", text):
            assert "<label" in text and "name=" in label


def test_colours_are_those_of_the_weekly_report_in_light_and_dark():
    style = rendering.style()
    assert style.count("--alarm: #b3261e") == 1 and style.count("--alarm: #ff8077") == 2
    assert "prefers-color-scheme: dark" in style and ":root[data-theme=dark]" in style
    assert not re.search(r"#[0-9a-f]{3,6}\b", style[style.index("* {") :])  # every colour has a name


def test_words_stand_out_from_their_ground_in_light_and_dark():
    def light(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    blocks = re.findall(r"\{ ((?:[^{}]*--paper:)[^{}]*)\}", rendering.style())
    assert len(blocks) == 3
    for block in blocks:
        colours = {name: value if len(value) == 7 else "#" + "".join(2 * digit for digit in value[1:])
                   for name, value in re.findall(r"--(\w+): (#[0-9a-f]+)", block)}  # fmt: skip
        for words in ("ink", "muted", "alarm", "line"):
            brighter, darker = sorted((light(colours[words]), light(colours["paper"])), reverse=True)
            assert (brighter + 0.05) / (darker + 0.05) >= 4.5, words


def entry(kind: str, minutes: float, text: str = "x", subject: str = "") -> dict[str, Any]:
    return {"kind": kind, "occurred_at": after(minutes), "text": text, "subject_id": subject}


def test_the_axis_holds_the_incident_and_counts_what_lies_outside():
    drawn = timeline.drawn(incident("INC-1"), [entry("change", -900), entry("started", 0), entry("event", 9_000)], [], {}, AS_OF)
    assert drawn is not None
    assert (drawn.earlier, drawn.later) == (1, 1)
    assert drawn.start < START < drawn.end
    assert 0 < drawn.hit[0] < drawn.hit[0] + drawn.hit[1] <= 100
    assert 2 <= len(drawn.ticks) <= 8 and all(0 <= x <= 100 for x, _ in drawn.ticks)
    assert drawn.ticks[0][1].startswith("3 Nov ")


def test_episodes_of_one_signal_share_a_lane_and_open_ones_reach_to_the_end():
    def episode(series: str, begin: float, until: float | None, hurts: bool = True) -> dict[str, Any]:
        row = {"series_id": series, "signal": "conversion", "subject": "shop", "region": "eu", "direction": "down", "score": 0.9}
        return row | {
            "hurts": hurts,
            "started_at": after(begin),
            "ended_at": None if until is None else after(until),
            "alarmed_at": after(7),
        }

    drawn = timeline.drawn(
        incident("INC-1"), [], [episode("a", 0, 20), episode("b", 10, 30), episode("c", 50, None), episode("d", 60, 65, False)], {}, AS_OF
    )
    assert drawn is not None
    (lane,) = [lane for lane in drawn.lanes if lane.kind == "signals"]
    assert (lane.name, lane.note) == ("conversion of shop (eu)", "down, 4 series")
    assert [bar.kind for bar in lane.bars] == ["hurts", "hurts", "harmless"]
    assert lane.bars[1].x + lane.bars[1].width == pytest.approx(100, abs=0.1)


def test_many_signals_are_counted_and_not_drawn():
    many = [
        {"series_id": str(n), "signal": f"s{n}", "subject": "", "region": "", "direction": None, "score": n, "hurts": True}
        | {"started_at": after(0), "ended_at": after(5), "alarmed_at": None}
        for n in range(30)
    ]
    drawn = timeline.drawn(incident("INC-1"), [], many, {}, AS_OF)
    assert drawn is not None
    assert drawn.lanes[-1].name == "20 more series"
    assert {lane.name for lane in drawn.lanes if lane.kind == "signals"} == {f"s{n}" for n in range(20, 30)}


def test_labels_never_cross_each_other():
    steps = [entry(kind, minutes, kind) for kind, minutes in (("started", 0), ("detected", 1), ("declared", 1.5), ("acknowledged", 2))]
    steps += [entry("event", minutes, "Somebody looked at it") for minutes in range(3, 80, 4)]
    drawn = timeline.drawn(incident("INC-1"), steps, [], {}, AS_OF)
    assert drawn is not None
    lane = drawn.lanes[0]
    labelled = [mark for mark in lane.marks if mark.label]
    assert {"started", "detected", "declared", "acknowledged"} <= {mark.label for mark in labelled}
    spans = {}
    for mark in labelled:
        wide = len(mark.label) * timeline.LETTER * 100 / timeline.PIXELS
        spans.setdefault(mark.row, []).append((mark.x - wide, mark.x) if mark.end else (mark.x, mark.x + wide))
    for row in spans.values():
        row.sort()
        assert all(left[1] <= right[0] for left, right in pairwise(row))
    assert len(lane.marks) == len(steps) and lane.rows <= timeline.ROWS


def test_an_incident_without_a_start_has_no_drawing():
    assert timeline.drawn(incident("INC-1", started_at=None), [], [], {}, AS_OF) is None


def test_a_mart_without_an_index_is_searched_by_names(mart: Path):
    with opened(mart) as there:
        assert search(there, "  ") is None
        assert search(there, "fails checkout inc-1") == Found(["INC-1"], [])
        assert search(there, "y" * 100_000) == Found([], [])


def test_the_best_match_comes_first_and_what_stands_beside_is_harmless(mart: Path, tmp_path: Path):
    path = Path(shutil.copy(mart, tmp_path))
    documents = [
        ("incident", "INC-3", "INC-3", "Payments"),
        ("postmortem", "PM-1", "INC-1", HOSTILE),
        ("runbook", "restart", None, HOSTILE),
    ]
    with duckdb.connect(str(path)) as connection:
        columns = "document_id text, kind text, entity_id text, title text, incident_id text, importance double, occurred_at timestamptz"
        connection.execute(f"create table marts.mart_search_documents ({columns})")
        connection.execute("create table marts.mart_search_terms (stem text, document_id text, weight double)")
        connection.execute("create table marts.mart_search_words (word text, stem text)")
        for n, (kind, name, incident_id, text) in enumerate(documents):
            row = [f"{kind}:{name}", kind, name, text, incident_id, 0.5, START]
            connection.execute("insert into marts.mart_search_documents values (?, ?, ?, ?, ?, ?, ?)", row)
            connection.execute("insert into marts.mart_search_terms values ('restart', ?, ?)", [row[0], n + 1.0])
        connection.execute("insert into marts.mart_search_terms values ('gateway', 'incident:INC-3', 1.0)")
        connection.execute("insert into marts.mart_search_words values ('restart', 'restart'), ('gateway', 'gateway')")
        connection.execute(searching.MACRO)
    for wish, names in (
        ("restarting", ["INC-1", "INC-3"]),
        ("restart&sort=started&order=asc", ["INC-3", "INC-1"]),
        ("restart gateway", ["INC-3"]),
    ):
        assert re.findall(r'data-review="([^"]*)"', client(path).get(f"/aftercast/?q={wish}").text) == names
    page = seen(path, "/?q=restart")
    assert "Best match first" in page.words and "Also found" in page.words
    assert page.loose == [] and len(page.all("script")) == 1 and page.all("img") == []


def test_addresses_keep_what_was_asked():
    wish = incidents.asked({"q": "a&b=c", "sort": "lost", "order": "asc", "page": "3", "week": " 2026-W45 "})
    assert wish.address() == "?week=2026-W45&q=a%26b%3Dc&sort=lost&order=asc&page=3"
    assert wish.address(page=1, q="") == "?week=2026-W45&sort=lost&order=asc"
    assert incidents.asked({"page": "-1"}).page == incidents.asked({"page": "²"}).page == incidents.asked({"page": "9" * 99}).page == 1


def test_it_begins_with_five_questions_and_their_answers(tmp_path: Path):
    made = fixture.publish(tmp_path)
    answer = client(made).get("/aftercast/start")
    page = Page(answer.text)
    assert answer.status_code == 200 and page.wrong == [] and page.loose == []
    for question in ("What did this incident cost?", "What probably caused it?", "Have we had this before?", "Did the fix work?"):
        assert question in page.words
    links = {link["href"] for link in page.all("a")}
    assert {"/aftercast/?sort=lost&order=desc", "/aftercast/journeys", "/aftercast/health"} <= links
    assert any(str(link).startswith("/aftercast/incidents/") for link in links)
    assert "demo company" not in page.words, "another company is not called simulated"
    with duckdb.connect(str(made)) as connection:
        connection.execute("update marts.mart_run set company = 'Demo company'")
    assert "This is the demo company: it is simulated" in Page(client(made).get("/aftercast/start").text).words


def test_without_incidents_every_question_says_why_it_has_no_answer(tmp_path: Path):
    made = fixture.publish(tmp_path)
    with duckdb.connect(str(made)) as connection:
        for (name,) in connection.execute("select table_name from duckdb_tables() where schema_name = 'marts'").fetchall():
            if name != "mart_run":
                connection.execute(f"delete from marts.{name}")
    words = Page(client(made).get("/aftercast/start").text).words
    assert "No incident has a loss" in words and "No candidate is ranked" in words and "No fix is judged yet" in words


def beside(path: Path, found: Beside) -> TestClient:
    outer = FastAPI()
    outer.mount("/aftercast", application(lambda: path, [], lambda: NOW, lambda: found))
    return TestClient(outer, headers={"accept": "text/html"})


def test_before_the_first_mart_the_page_says_what_was_withheld_and_why(tmp_path: Path):
    settings = Settings(home=tmp_path, config=tmp_path)
    assert reporting.withhold(settings, "weekly", AS_OF, f"extract__x failed: {HOSTILE}\nline two", judged=False) is not None
    (notice,) = reporting.notices(settings)
    assert notice[0].endswith("is withheld") and notice[1][-1] == "line two"
    page = Page(beside(tmp_path / "none", Beside(withheld=[notice])).get("/aftercast/start").text)
    assert page.wrong == [] and page.loose == []
    assert "Nothing has been published yet" in page.words and "extract__x failed" in page.words and "line two" in page.words
    assert "withheld" not in Page(beside(tmp_path / "none", Beside()).get("/aftercast/").text).words


def test_the_catalogue_is_linked_once_it_is_written_and_runs_apart(tmp_path: Path):
    made = fixture.publish(tmp_path)
    without = beside(made, Beside())
    assert without.get("/aftercast/catalogue").status_code == 404
    assert "aftercast catalogue" in without.get("/aftercast/health").text
    page = tmp_path / "index.html"
    page.write_text("<p>lineage</p>")
    written = beside(made, Beside(catalogue=page))
    assert 'href="/aftercast/catalogue"' in written.get("/aftercast/health").text
    answer = written.get("/aftercast/catalogue")
    assert answer.text == "<p>lineage</p>"
    assert "sandbox allow-scripts" in answer.headers["content-security-policy"]
    assert "default-src 'none'" in answer.headers["content-security-policy"]
