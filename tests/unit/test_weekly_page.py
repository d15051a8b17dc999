"""The weekly page: one file that needs nothing else, safe with any text, readable when little is known, and written whole."""

from __future__ import annotations

import csv
import io
import re
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from markupsafe import escape

from aftercast import reporting
from aftercast.errors import QualityError
from aftercast.reporting import compiling, numbers, page, rows
from aftercast.settings import Settings
from tests.unit import weekly_fixture as mart
from tests.unit.weekly_fixture import WEEK, as_rows, frames, incident

MONDAY = WEEK.start
EVIL = '<script>alert(1)</script><img src="https://evil.test/x.png" onerror="alert(1)">| `x` [a](javascript:alert(1))'
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Checker(HTMLParser):
    """Collects tags, attributes and text, and fails on tags that do not close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parse(text: str) -> Checker:
    checker = Checker()
    checker.feed(text)
    checker.close()
    assert checker.open == []
    return checker


def html_of(found: mart.Frames, absent: tuple[str, ...] = ()) -> str:
    return page.html(compiling.figures(as_rows(found, absent), WEEK))


def hostile() -> mart.Frames:
    row: dict[str, Any] = incident(EVIL, MONDAY + timedelta(hours=3), 12_345.67, title=EVIL * 40, url="javascript:alert(1)")
    row |= {"family_id": "x", "family_title": EVIL, "service_origin": "checkout", "top_candidate_id": EVIL, "status": EVIL}
    return frames([row, {**row, "incident_id": "INC-2", "title": "تعذر الدفع"}, {**row, "incident_id": "INC-3", "title": "x" * 900}])


def test_nothing_is_loaded_from_anywhere() -> None:
    for found in (frames(episodes=True), hostile()):
        checker = parse(html_of(found))
        for tag, attributes in checker.tags:
            assert tag not in {"script", "img", "iframe", "object", "embed", "link", "base", "form"}
            assert not [name for name in attributes if name.startswith("on") or name in {"src", "srcset", "xlink:href"}]
            if "href" in attributes:
                assert tag == "a"
        style = "".join(re.findall(r"<style>(.*?)</style>", html_of(found), re.S))
        assert "url(" not in style
        assert "@import" not in style
    plain = re.sub(r'<a href="https://incidents\.example\.test/INC-2871"', "", html_of(frames()))
    assert "http://" not in plain
    assert "https://" not in plain


def test_hostile_titles_stay_text() -> None:
    text = html_of(hostile())
    assert "<script>alert" not in text
    assert 'javascript:alert(1)"' not in text
    checker = parse(text)
    assert "<script>alert(1)</script>" in checker.text
    assert not [attributes for tag, attributes in checker.tags if tag == "a"]


def test_hostile_titles_stay_in_their_markdown_cell() -> None:
    text = page.markdown(compiling.figures(as_rows(hostile()), WEEK))
    assert "<script>" not in text
    line = next(line for line in text.splitlines() if line.startswith("| INC-2 "))
    assert len(re.findall(r"(?<!\\)\|", line)) == 10


def test_a_cell_of_the_numbers_is_never_a_formula() -> None:
    found = frames([incident("=HYPERLINK(1)", MONDAY, 5.0)])
    lines = list(csv.DictReader(io.StringIO(numbers.to_csv(compiling.figures(as_rows(found), WEEK)))))
    assert {line["item"] for line in lines if line["section"] == "incident"} == {"'=HYPERLINK(1)"}


def test_the_numbers_are_those_of_the_page() -> None:
    lines = list(csv.DictReader(io.StringIO(numbers.to_csv(compiling.figures(as_rows(frames()), WEEK)))))
    parts = [float(line["value"]) for line in lines if line["section"] == "incident" and line["name"] == "lost_revenue" and line["value"]]
    week = next(line for line in lines if line["section"] == "week" and line["name"] == "lost_revenue")
    assert sum(parts) == pytest.approx(float(week["value"]))
    assert week["unit"] == "EUR"


@pytest.mark.parametrize("kind", ["full", "empty week", "one incident", "nothing published", "no revenue"])
def test_every_state_is_a_readable_page(kind: str) -> None:
    earlier = [row for row in mart._incidents() if row["started_at"] < MONDAY]
    absent: tuple[str, ...] = ()
    found = {
        "full": frames,
        "empty week": lambda: frames(earlier),
        "one incident": lambda: frames([incident("INC-1", MONDAY, 12.0)]),
        "nothing published": lambda: {name: frame if name == "mart_run" else frame.clear() for name, frame in frames().items()},
        "no revenue": lambda: frames([*earlier, incident("INC-1", MONDAY, None)]),
    }[kind]()
    if kind == "nothing published":
        absent = tuple(name for name in rows.MARTS if name != "mart_run")
    checker = parse(html_of(found, absent))
    expected = {
        "full": "One recurring fault cost EUR 203k",
        "empty week": "A week without incidents",
        "one incident": "One incident cost EUR 12",
        "nothing published": "The mart of incidents is not published",
        "no revenue": "One incident, cost not known",
    }[kind]
    assert expected in checker.text
    shown = re.sub(r"<style>.*?</style>", "", checker.text, flags=re.S)
    assert re.findall(r"\b(None|nan|NaN|inf|Undefined|datetime)\b|\{\{", shown) == []


def test_a_journey_of_unknown_loss_is_not_said_to_have_lost_nothing() -> None:
    earlier = [row for row in mart._incidents() if row["started_at"] < MONDAY]
    unknown = html_of(frames([*earlier, incident("INC-1", MONDAY, None)]))
    assert 'data-label="Lost" class="n">not known</td>' in unknown
    assert 'data-label="Lost" class="n">0</td>' not in unknown
    assert 'data-label="Lost" class="n">not known</td>' not in html_of(frames(earlier))


def test_tables_and_drawings_can_be_read_aloud() -> None:
    text = html_of(frames(episodes=True))
    checker = parse(text)
    drawings = [attributes for tag, attributes in checker.tags if tag == "svg"]
    assert len(drawings) > 20
    assert all(attributes.get("role") == "img" for attributes in drawings)
    assert [tag for tag, _ in checker.tags].count("svg") == text.count("<title>") - 1
    assert all(attributes.get("scope") for tag, attributes in checker.tags if tag == "th")
    assert [tag for tag, _ in checker.tags].count("table") == [tag for tag, _ in checker.tags].count("caption")
    assert [tag for tag, _ in checker.tags].count("h1") == 1


def test_the_severest_episodes_of_the_costliest_incidents_are_drawn() -> None:
    found = frames(episodes=True)
    figures = compiling.figures(as_rows(found), WEEK)
    assert [one.incident_id for one in figures.pictures] == ["INC-2871", "INC-2874", "INC-2869"]
    assert figures.pictures[0].finding == "Checkout error ratio in eu reached 12% where 0.55–0.67% was expected, Tue 3 Nov 18:15–19:15"
    text = page.html(figures)
    assert len(text) < 400_000
    assert [text.count(one.finding) >= 3 for one in figures.pictures] == [True] * 3
    assert "- INC-2874: Checkout pay conversion in eu, gold fell to 41%" in page.markdown(figures)
    (line,) = [
        line
        for line in csv.DictReader(io.StringIO(numbers.to_csv(figures)))
        if line["item"].startswith("INC-2874: ") and line["section"] == "episode"
    ]
    assert float(line["value"]) == pytest.approx(0.41, abs=0.01)
    assert figures.pictures_text == ""


@pytest.mark.parametrize("change", [{"hurts": False}, {"explained_by": "Black Friday"}])
def test_what_is_no_alarm_is_not_drawn(change: dict[str, Any]) -> None:
    found = frames(episodes=True)
    found["mart_anomalies"] = found["mart_anomalies"].with_columns(pl.lit(value).alias(name) for name, value in change.items())
    text = html_of(found)
    assert "was expected" not in text
    assert "No watched series shows an episode that hurts in these incidents" in text


def test_a_picture_is_about_its_own_incident() -> None:
    found = frames(episodes=True)
    first = found["mart_anomalies"].filter(pl.col("incident_id") == "INC-2871").head(1)
    stronger = first.with_columns(
        pl.col("started_at", "ended_at") - timedelta(hours=2), anomaly_id=pl.lit("other"), incident_id=pl.lit("INC-1"), score=pl.lit(0.99)
    )
    found["mart_anomalies"] = pl.concat([found["mart_anomalies"], stronger])
    assert "18:15–19:15" in compiling.figures(as_rows(found), WEEK).pictures[0].finding


def test_pictures_that_are_not_published_are_named_and_nothing_is_claimed() -> None:
    text = html_of(frames(), ("mart_anomaly_points",))
    assert "Not published, so not shown: mart_anomaly_points." in text
    assert "No watched series" not in text


def test_a_thousand_incidents_stay_one_page() -> None:
    many = [incident(f"INC-{n}", MONDAY + timedelta(minutes=n), float(n + 1)) for n in range(1000)]
    text = html_of(frames(many))
    assert len(text) < 600_000
    assert "985 smaller or not measured, in the appendix" in text
    assert "the first 300, all are in weekly.csv" in text


def test_the_report_is_read_from_the_published_file(tmp_path: Path) -> None:
    file = mart.write(tmp_path / "mart.duckdb", frames(episodes=True))
    report = reporting.render(file, WEEK)
    assert report.label == "2026-W45"
    assert "INC-2871" in report.html
    assert "INC-2871" in report.markdown
    assert report.figures.lost.value == pytest.approx(271_240)
    assert [one.incident_id for one in report.figures.pictures] == ["INC-2871", "INC-2874", "INC-2869"]
    assert report == reporting.render(file)


def test_columns_and_marts_that_are_not_published_are_named(tmp_path: Path) -> None:
    found = frames()
    found["mart_incidents"] = found["mart_incidents"].drop("family_title", "alerts_n")
    del found["mart_fix_impact"]
    held = rows.read(mart.write(tmp_path / "mart.duckdb", found))
    assert held.absent == ("mart_incidents.alerts_n", "mart_incidents.family_title", "mart_fix_impact")
    assert held["mart_incidents"]["alerts_n"].null_count() == held["mart_incidents"].height
    assert "Not published, so not shown: mart_fix_impact." in page.html(compiling.figures(held, WEEK))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    config = tmp_path / "config"
    config.mkdir()
    (config / "sources.yml").write_text(
        "history: {start: '2026-09-07', end: '2026-11-09'}\nsources:\n"
        "  - {name: orders, kind: files}\n  - {name: statuspage, kind: files}\n"
    )
    settings = Settings(home=tmp_path / "home", config=config)
    settings.published.mkdir(parents=True)
    mart.write(settings.mart, frames())
    return settings


def test_the_report_is_written_with_its_numbers_and_found_again(settings: Settings) -> None:
    assert reporting.latest_report(settings) is None
    path = reporting.write(settings, period="2026-W44").page
    assert path == settings.reports / "2026-W44" / "weekly.html"
    newest = reporting.write(settings).page
    assert sorted(file.name for file in newest.parent.iterdir()) == ["weekly.csv", "weekly.html", "weekly.md"]
    assert reporting.latest_report(settings) == newest
    assert "Missing: statuspage has delivered nothing yet" in newest.read_text()
    before = newest.read_bytes()
    assert reporting.write(settings).page.read_bytes() == before


def test_a_refused_report_leaves_the_last_one(settings: Settings) -> None:
    path = reporting.write(settings).page
    before = path.read_bytes()
    found = frames()
    found["mart_incident_impact"] = found["mart_incident_impact"].head(1)
    settings.mart.unlink()
    mart.write(settings.mart, found)
    with pytest.raises(QualityError, match="does not add up"):
        reporting.write(settings)
    assert path.read_bytes() == before
    assert len(list(path.parent.iterdir())) == 3


def test_every_text_stands_out_from_what_it_stands_on() -> None:
    """WCAG 2 AA asks for 4.5 to 1, in light and in dark."""

    def luminance(colour: str) -> float:
        full = colour if len(colour) == 7 else "#" + "".join(digit * 2 for digit in colour[1:])
        parts = [int(full[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    def contrast(one: str, other: str) -> float:
        light, dark = sorted((luminance(one), luminance(other)), reverse=True)
        return (light + 0.05) / (dark + 0.05)

    sheets = [dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]+)", block)) for block in re.findall(r":root \{(.*?)\}", html_of(frames()), re.S)]
    assert len(sheets) == 3, "light, dark, print"
    for colours in sheets:
        pairs = [(colours[name], colours["paper"]) for name in ("ink", "muted", "alarm", "good")]
        pairs += [(colours["ink"], colours["heat-1"]), ("#fff", colours["heat-2"]), ("#fff", colours["heat"])]
        assert [pair for pair in pairs if contrast(*pair) < 4.5] == []


def test_sections_stand_in_the_order_in_which_they_are_asked_about() -> None:
    found = compiling.figures(as_rows(frames()), WEEK)
    order = ("money", "slo", "incidents", "families", "fixes", "actions", "detection", "leading", "advice", "health")
    for text, write in ((page.html(found), str), (page.markdown(found), page.markdown_text)):
        places = [
            text.index(str(escape(write(found.titles[name])) if text.startswith("<!") else write(found.titles[name])))
            for name in order
            if name != "slo" or text.startswith("<!")
        ]
        assert places == sorted(places)


def test_names_that_nobody_declared_are_said() -> None:
    found = frames()
    found["mart_unmapped_names"] = pl.DataFrame(
        {"kind": ["service", "region"], "name": ["chekout", "<b>eu9</b>"], "nearest_name": ["checkout", None]}
    )
    text = html_of(found)
    assert "2 names that nobody declared, so not told apart from others: region &lt;b&gt;eu9&lt;/b&gt; and service chekout." in text
