"""What renders reports from the published mart."""

from __future__ import annotations

import logging
from pathlib import Path

from aftercast.errors import ConfigError
from aftercast.settings import Settings

log = logging.getLogger(__name__)


def send_report(name: str, week: str | None = None) -> Path:
    """Render a report from the published mart and hand it to its channels. Returns where it lies."""
    from aftercast import reporting

    settings = Settings.from_environment()
    names = [row.name for row in settings.deployment.reports]
    if name not in names:
        raise ConfigError(f"no report {name!r} in {settings.config / 'reports.yml'}; declared: {', '.join(names) or 'none'}")
    path = reporting.write_weekly(settings, week=week)
    log.info("report %s written to %s", name, path)
    return path
