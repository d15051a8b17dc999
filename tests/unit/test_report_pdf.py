"""The page as PDF: made from the same HTML where the machine can, else everything but it is written and the log says what to install."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import zlib
from pathlib import Path

import pytest

from aftercast import reporting
from aftercast.reporting import page, printing
from aftercast.settings import Settings
from tests.unit.reports_fixture import deployment
from tests.unit.test_longer_reports import figures
from tests.unit.test_weekly_page import hostile, html_of
from tests.unit.weekly_fixture import frames

WEEKLY = {"name": "weekly", "pdf": True}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    return deployment(tmp_path, monkeypatch, [WEEKLY], [])


def without_pango(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without Pango: importing WeasyPrint fails when it loads the library."""

    class Refuses:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "weasyprint":
                raise OSError("cannot load library 'libpango-1.0-0'\nand more")

    for name in [name for name in sys.modules if name.split(".")[0] == "weasyprint"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Refuses(), *sys.meta_path])


def test_without_pango_the_rest_is_written_and_the_log_says_what_to_install(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    without_pango(monkeypatch)
    folder = settings.reports / "2026-W45"
    folder.mkdir(parents=True)
    (folder / "weekly.pdf").write_bytes(b"of other figures")
    written = reporting.write(settings, pdf=True)
    assert written.pdf is None
    assert sorted(path.name for path in folder.iterdir()) == ["weekly.csv", "weekly.html", "weekly.md"]
    (said,) = [record.getMessage() for record in caplog.records if "PDF" in record.getMessage()]
    assert "cannot load library 'libpango-1.0-0'" in said
    assert "apt-get install libpango-1.0-0" in said
    assert "and more" not in said


def can_print() -> bool:
    try:
        import weasyprint
    except (ImportError, OSError):
        return False
    return bool(weasyprint.VERSION)


needs_pango = pytest.mark.skipif(not can_print(), reason="WeasyPrint needs Pango, which this machine has not")


@needs_pango
def test_a_page_becomes_a_few_sheets_with_its_drawings(settings: Settings) -> None:
    written = reporting.write(settings, pdf=True)
    document = written.page.with_suffix(".pdf").read_bytes()
    assert document == written.pdf
    assert document.startswith(b"%PDF-")
    assert 2 <= pages(document) <= 9
    assert len(document) < 400_000


def pages(document: bytes) -> int:
    return len(re.findall(rb"/Type /Page\b", unpacked(document)))


def unpacked(document: bytes) -> bytes:
    """A document with its streams as they were before they were packed."""
    found = [document]
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", document, re.S):
        with contextlib.suppress(zlib.error):
            found.append(zlib.decompress(stream))
    return b"\n".join(found)


@needs_pango
@pytest.mark.parametrize("kind", ["hostile", "monthly", "empty"])
def test_any_page_can_be_printed_and_fetches_nothing(kind: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("printing opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    caplog.set_level(logging.ERROR)
    text = {"hostile": lambda: html_of(hostile()), "monthly": lambda: page.html(figures()), "empty": lambda: html_of(frames([]))}[kind]()
    text = text.replace("</main>", '<img src="https://evil.test/x.png"><img src="file:///etc/hostname"></main>')
    document = printing.pdf(text)
    assert document is not None
    assert document.startswith(b"%PDF-")
    assert b"/Subtype /Image" not in unpacked(document)


def test_the_marks_of_a_printed_page_carry_their_colours() -> None:
    drawn = set(re.findall(r'class="([a-z]+)"', "".join(re.findall(r'<svg class="mark .*?</svg>', html_of(frames(episodes=True)), re.S))))
    assert drawn
    assert {name for name in drawn if f".{name}" not in printing.MARKS} == set()


def test_only_long_runs_of_text_get_places_to_break_at_and_styles_stay_whole() -> None:
    made = printing.for_print(html_of(hostile()))
    assert "x" * 21 not in re.sub(r'title="[^"]*"', "", made)
    assert "x" * 20 + "&#8203;x" in made
    assert made.count(printing.MARKS) > 5
    assert "&#8203;" not in "".join(re.findall(r"<style>.*?</style>", made, re.S))
    assert re.findall(r"&[a-z0-9#]*&#8203;", made) == [], "an entity is one character"
