"""What people read: the weekly reliability and revenue report, from mart rows, and pictures of single series; each file written whole.

A report reads the published mart and nothing else, so the same mart always gives the same page. It refuses to be written when its
figures do not add up.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from aftercast.errors import ConfigError
from aftercast.reporting.history import History
from aftercast.settings import Settings
from aftercast.window import Window

__all__ = ["History", "WeeklyReport", "latest_report", "render_weekly", "write_plot", "write_weekly"]


@dataclass(frozen=True, slots=True)
class WeeklyReport:
    """A rendered week.

    Attributes:
        label: ISO week, e.g. `2026-W45`.
        headline: the finding in one line, for a subject or a channel.
        figures: every number and sentence of the page, by name.
        numbers: the figures as CSV.
    """

    label: str
    headline: str
    html: str
    markdown: str
    numbers: str
    figures: dict[str, Any]


def render_weekly(mart: Path, week: Window | None = None, *, declared: Iterable[str] = (), now: datetime | None = None) -> WeeklyReport:
    """Render a week (None: the last complete one before the mart's as-of time) from a published mart.

    Args:
        mart: published file.
        week: an ISO week.
        declared: names of the sources the deployment declares; those that delivered nothing are named in the page's banner.
        now: when the page is made, to call old data stale. None: age is not judged.

    Raises:
        WarehouseError: the mart cannot be read.
        ConfigError: the week is outside the data.
        QualityError: the figures do not add up.
    """
    from aftercast.reporting import page, rows, weekly

    figures = weekly.figures(rows.read(mart), week, declared=declared, now=now)
    values = asdict(replace(figures, pictures=())) | {
        "pictures": [
            {"incident_id": one.incident_id, "series_id": one.history.series_id, "finding": one.finding} for one in figures.pictures
        ]
    }
    return WeeklyReport(figures.label, figures.headline, page.html(figures), page.markdown(figures), page.numbers(figures), values)


def write_weekly(settings: Settings, *, week: str | None = None, now: datetime | None = None) -> Path:
    """Write `reports/<week>/weekly.html`, `weekly.md` and `weekly.csv`, each whole or not at all; return the HTML's path.

    Args:
        settings: where the published mart and the reports are.
        week: ISO week such as `2026-W45`; None: the last complete one.
        now: as for `render_weekly`.
    """
    from aftercast.reporting import weeks

    declared = [source.name for source in settings.deployment.sources]
    report = render_weekly(settings.mart, weeks.parse(week) if week else None, declared=declared, now=now)
    folder = settings.reports / report.label
    folder.mkdir(parents=True, exist_ok=True)
    # The page last: who sees a new page finds its numbers beside it.
    for name, text in (("weekly.csv", report.numbers), ("weekly.md", report.markdown), ("weekly.html", report.html)):
        _write(folder / name, text)
    return folder / "weekly.html"


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
