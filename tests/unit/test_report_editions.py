"""A report for an audience is made of that audience's file: what it may not see is in no word and no figure, and the page says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from aftercast import publishing, reporting
from aftercast.errors import ConfigError, SourceUnavailable
from aftercast.settings import Settings, load_deployment
from aftercast.steps import reports
from tests.unit import weekly_fixture as mart
from tests.unit.reports_fixture import NOW, POST, deployment, longer_frames

ROWS = [
    {"name": "weekly", "channels": ["file", "leads"]},
    {"name": "leaders", "audience": "leaders", "channels": ["file", "leads"], "recipients": ["leaders@shop.example"]},
    {"name": "months", "audience": "leaders", "cadence": "monthly"},
]
RESTRICTED = """
audiences: [{name: leaders, hides: []}]
restricted: [{name: money, services: [payments], withheld_from: [leaders]}]
"""
CALENDAR = """
calendar:
  - {name: big_payments, kind: other, times: [{starts: 2026-12-01T10:00Z, ends: 2026-12-01T12:00Z}]}
  - name: move_of_a_store
    kind: other
    services: [payments]
    signals: [errors]
    times: [{starts: 2026-12-02T10:00Z, ends: 2026-12-02T12:00Z}]
  - {name: black_friday, kind: promotion, times: [{starts: 2026-11-27T00:00Z, ends: 2026-11-28T00:00Z}]}
"""


SIGNALS = """
signals:
  - {name: errors, fact: metric, numerator: errors, denominator: requests, by: [service], hurts: up, minimum_effect: 0.01}
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    found = deployment(tmp_path, monkeypatch, ROWS, [POST | {"live": False}], pages_at="https://reports.example.org")
    sources = found.config / "sources.yml"
    sources.write_text(sources.read_text() + "  - {name: payments_db, kind: files}\n")
    (found.config / "catalog").mkdir()
    (found.config / "catalog" / "services.csv").write_text("service\ncheckout\npayments\n")
    (found.config / "calendar.yml").write_text(CALENDAR)
    (found.config / "signals.yml").write_text(SIGNALS)
    return declare(found, RESTRICTED)


def declare(settings: Settings, text: str, version: str = "1") -> Settings:
    """Publish the mart of the fixture under these rules."""
    (settings.config / "publishing.yml").write_text(text)
    settings = Settings(home=settings.home, config=settings.config)
    settings.warehouse.unlink(missing_ok=True)
    settings.mart.unlink()
    publishing.publish(settings, version=version, source=mart.write(settings.warehouse, mart.frames(episodes=True) | longer_frames()))
    return settings


def pages(page: Path) -> str:
    return "\n".join(page.with_suffix(ending).read_text() for ending in (".html", ".md", ".csv")).lower()


@pytest.mark.parametrize(("cadence", "theirs_not"), [("weekly", "inc-2874"), ("monthly", "inc-2821")])
def test_what_an_audience_may_not_see_is_in_no_word_of_its_report(settings: Settings, cadence: str, theirs_not: str):
    whole = reporting.write(settings, cadence)
    theirs = reporting.write(settings, cadence, audience="leaders")
    assert "payments" in pages(whole.page)
    assert "payments" not in pages(theirs.page)
    assert theirs_not in pages(whole.page)  # an incident of that service
    assert theirs_not not in pages(theirs.page)
    assert theirs.page == settings.reports / "audiences" / "leaders" / whole.report.label / f"{cadence}.html"
    assert "move of a store until" in pages(whole.page)
    assert "move of a store" not in pages(theirs.page)
    assert "black friday until" in pages(theirs.page)


def test_its_figures_are_those_of_what_is_left_and_it_says_what_is_not(settings: Settings):
    whole, theirs = (reporting.write(settings, audience=audience).report.figures for audience in (None, "leaders"))
    hidden = [line for line in whole.incidents if line.incident_id not in {left.incident_id for left in theirs.incidents}]
    assert hidden
    assert theirs.lost.value == pytest.approx(whole.lost.value - sum(line.lost.value for line in hidden if line.lost.value))
    (said,) = [text for text in theirs.banners if text.startswith("Left out")]
    assert "incidents of all time" in said
    assert not [text for text in whole.banners if text.startswith("Left out")]
    assert [text for text in whole.banners if text.startswith("Missing")]
    assert not [text for text in theirs.banners if text.startswith("Missing")], "what was left out has not failed to arrive"


def test_a_sum_that_is_withheld_whole_is_not_shown_as_nothing(settings: Settings):
    theirs = reporting.write(settings, "monthly", audience="leaders").report.figures
    assert [note for note in theirs.health_notes if "Not published, so not shown" in note and "mart_incident_patterns" in note]


def test_letter_and_post_are_of_the_edition_and_link_to_it(settings: Settings):
    reports.send_report("leaders", now=NOW)
    (sent,) = settings.outbox.glob("*.json")
    said = sent.read_text().lower()
    assert "report/leaders/2026-w45/leads/leaders@shop.example" in said
    assert "https://reports.example.org/audiences/leaders/2026-w45/weekly.html" in said
    assert "payments" not in said


def test_a_notice_tells_an_audience_that_there_is_no_report_and_not_what_failed(settings: Settings):
    first, theirs, _ = reports.withhold_reports("mart_incidents: 3 rows of payments have no end", NOW)
    assert "payments" in first.read_text()
    assert "payments" not in theirs.read_text() + theirs.with_suffix(".md").read_text()
    assert "stands in the log of the pipeline only" in theirs.read_text()


def test_hidden_titles_leave_a_page_that_can_be_read(settings: Settings):
    settings = declare(settings, "audiences: [{name: leaders, hides: [title, text]}]\n", version="2")
    whole, theirs = (reporting.write(settings, audience=audience) for audience in (None, "leaders"))
    assert "loyalty launch" in pages(whole.page)
    assert "loyalty launch" not in pages(theirs.page)
    assert "none" not in {line.title.lower() for line in theirs.report.figures.incidents}
    assert theirs.report.figures.lost == whole.report.figures.lost
    assert not [text for text in theirs.report.figures.banners if text.startswith("Left out")]


def test_an_audience_that_is_not_declared_or_not_published_is_named(settings: Settings):
    (settings.published / "audiences" / "leaders.duckdb").unlink()
    with pytest.raises(SourceUnavailable, match=r"audience 'leaders' has no published file yet .* next refresh"):
        reporting.write(settings, audience="leaders")
    (settings.config / "publishing.yml").write_text("audiences: [{name: leader}]\n")
    with pytest.raises(ConfigError, match=r"reports.yml: report 'leaders' is for 'leaders', which is no audience of publishing.yml"):
        load_deployment(settings.config)
