"""What people read: the reliability and revenue report of a week, a month or a quarter, from mart rows, and pictures of single series;
each file written whole.

A report reads the published mart and nothing else, so the same mart always gives the same page. It refuses to be written when its
figures do not add up.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING

from aftercast.errors import ConfigError
from aftercast.reporting import editions
from aftercast.reporting.exceptions import Declared
from aftercast.reporting.figures import Report
from aftercast.reporting.history import History
from aftercast.reporting.periods import CADENCES, WEEKLY, Cadence
from aftercast.settings import Settings
from aftercast.window import Window

if TYPE_CHECKING:
    from aftercast.reporting.withholding import Notice

WITHHELD = ("html", "md")

__all__ = ["CADENCES", "History", "Rendered", "Report", "Written", "latest_report", "notices", "render", "withhold", "write", "write_plot"]


@dataclass(frozen=True, slots=True)
class Rendered:
    """A rendered report.

    Attributes:
        label: its period, e.g. `2026-W45`, `2026-10`.
        headline: the finding in one line, for a subject or a channel.
        numbers: the figures as CSV.
        figures: every number and sentence of the page; what letters and messages are made of.
    """

    label: str
    headline: str
    html: str
    markdown: str
    numbers: str
    figures: Report


@dataclass(frozen=True, slots=True)
class Written:
    """A report on disk: its page, what it is made of, and the PDF when there is one."""

    page: Path
    report: Rendered
    pdf: bytes | None


def render(
    mart: Path,
    period: Window | None = None,
    *,
    cadence: Cadence = WEEKLY,
    declared: Iterable[str] = (),
    excepted: Declared | None = None,
    reports: Path | None = None,
    now: datetime | None = None,
) -> Rendered:
    """Render a period (None: the last complete one before the mart's as-of time, see `Cadence.usual`) from a published mart.

    Args:
        mart: published file.
        period: one of the cadence.
        cadence: weekly, monthly or quarterly.
        declared: names of the sources the deployment declares; those that delivered nothing are named in the page's banner.
        excepted: rows in which masks, known times and trials stand.
        reports: folder of earlier reports, to say what is defined otherwise than in the last of them.
        now: when the page is made, to call old data stale. None: age is not judged.

    Raises:
        WarehouseError: the mart cannot be read.
        ConfigError: the period is outside the data.
        QualityError: the figures do not add up.
    """
    from aftercast.reporting import compiling, definitions, exceptions, numbers, page, rows

    held = rows.read(mart, longer=cadence is not WEEKLY)
    figures = compiling.figures(held, period, cadence=cadence, declared=declared, excepted=excepted or exceptions.NONE, now=now)
    before = _before(reports, cadence.name, figures.label) if reports else None
    earlier = definitions.stamp(before.parent.name, before.read_text(encoding="utf-8")) if before else None
    figures = replace(figures, changed=definitions.changed(earlier, numbers.stamp(figures), cadence.name))
    return Rendered(figures.label, figures.headline, page.html(figures), page.markdown(figures), numbers.to_csv(figures), figures)


def write(
    settings: Settings,
    cadence: str = "weekly",
    *,
    audience: str | None = None,
    period: str | None = None,
    pdf: bool = False,
    now: datetime | None = None,
) -> Written:
    """Write `reports/<period>/<cadence>.html`, `.md` and `.csv`, and `.pdf` when asked, each whole or not at all.

    An edition for an audience lies below `reports/audiences/<audience>/`.

    Without the libraries of the PDF the others are written, and the log says what is missing.

    Args:
        settings: where the published mart and the reports are.
        cadence: weekly, monthly or quarterly.
        audience: of `publishing.yml`, whose file it is made of; None: of the whole mart.
        period: such as `2026-W45`, `2026-10`, `2026-Q4`; None: the last complete one.
        pdf: also as PDF.
        now: as for `render`.

    Raises:
        SourceUnavailable: the audience has no published file yet.
    """
    kind, edition = CADENCES[cadence], editions.of(settings, audience)
    editions.check(edition)
    report = render(
        edition.mart,
        kind.parse(period) if period else None,
        cadence=kind,
        declared=edition.sources(settings),
        excepted=edition.excepted(settings),
        reports=edition.folder,
        now=now,
    )
    folder = edition.folder / report.label
    folder.mkdir(parents=True, exist_ok=True)
    files: list[tuple[str, str | bytes]] = [("csv", report.numbers), ("md", report.markdown)]
    document = None
    if pdf:
        from aftercast.reporting import printing

        document = printing.pdf(report.html)
    if document is not None:
        files.append(("pdf", document))
    else:  # one of other figures would be worse than none
        (folder / f"{cadence}.pdf").unlink(missing_ok=True)
    # The page last: who sees a new page finds its numbers beside it.
    for ending, content in (*files, ("html", report.html)):
        _write(folder / f"{cadence}.{ending}", content)
    for ending in WITHHELD:
        (folder / f"{cadence}.withheld.{ending}").unlink(missing_ok=True)
    return Written(folder / f"{cadence}.html", report, document)


def withhold(
    settings: Settings, cadence: str, as_of: datetime, reason: str, *, audience: str | None = None, judged: bool = True
) -> Notice | None:
    """Write `reports/<period>/<cadence>.withheld.html` and `.md` in the place of the report that is due, saying why there is none.

    Nothing is written, and None returned, when the period has a page: it was made from a mart that passed its gates.

    Args:
        settings: where the reports are.
        cadence: weekly, monthly or quarterly.
        as_of: to which the data reaches; the last complete period before it is due.
        reason: what failed, a line for each; an edition for an audience does not tell.
        audience: whose edition it is.
        judged: whether there were figures that did not pass; else what makes them failed.
    """
    from aftercast.reporting import withholding
    from aftercast.reporting.letters import Letter, Post

    kind = CADENCES[cadence]
    period = kind.last_complete(as_of)
    label = kind.label(period)
    edition = editions.of(settings, audience)
    folder = edition.folder / label
    if (folder / f"{cadence}.html").exists():
        return None
    earlier = sorted(page.parent.name for page in edition.folder.glob(f"*/{cadence}.html"))
    reason, last = reason if edition.is_whole else editions.UNTOLD, earlier[-1] if earlier else None
    said = withholding.texts(kind, period, as_of, reason, last, judged=judged, published=edition.mart.exists())
    folder.mkdir(parents=True, exist_ok=True)
    for ending in reversed(WITHHELD):
        _write(folder / f"{cadence}.withheld.{ending}", said[ending])
    letter = Letter(said["headline"], said["txt"], said["html"], ())
    return withholding.Notice(label, folder / f"{cadence}.withheld.html", letter, Post(said["txt"], ()))


def notices(settings: Settings) -> list[tuple[str, list[str]]]:
    """Return what the newest notices say that stand in the place of reports: the headline and the lines of what failed."""
    found = []
    for notice in sorted(settings.reports.glob("*/*.withheld.md"))[-3:]:
        lines = notice.read_text(encoding="utf-8").replace("\\", "").splitlines()
        found.append((unescape(lines[0].removeprefix("# ")), [unescape(line[2:]) for line in lines if line.startswith("- ")]))
    return found


def write_plot(title: str, histories: Sequence[History], path: Path) -> Path:
    """Write pictures of series to a file whose ending says what it is: `.html`, `.svg` or `.png`; return its path.

    Raises:
        ConfigError: another ending.
        AftercastError: a history lacks a column.
    """
    if path.suffix not in (".html", ".svg", ".png"):
        raise ConfigError(f"cannot write {path.name!r}: a plot is a .html, .svg or .png file")
    from aftercast.reporting import plot_file

    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        _write(path, plot_file.png(histories))
    else:
        _write(path, plot_file.html(title, histories) if path.suffix == ".html" else plot_file.svg(histories))
    return path


def latest_report(settings: Settings) -> Path | None:
    """Return the page of the newest week that was written, if any."""
    pages = sorted(settings.reports.glob("[0-9][0-9][0-9][0-9]-W[0-9][0-9]/weekly.html"))
    return pages[-1] if pages else None


def _before(reports: Path, cadence: str, label: str) -> Path | None:
    """Return the numbers of the newest earlier report, if any."""
    earlier = [file for file in reports.glob(f"*/{cadence}.csv") if file.parent.name < label]
    return max(earlier, key=lambda file: file.parent.name, default=None)


def _write(path: Path, content: str | bytes) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
