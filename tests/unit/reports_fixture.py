"""A deployment that declares reports, with the mart of `weekly_fixture` published. Invented numbers."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from aftercast.reporting.rows import LONGER, with_schema
from aftercast.settings import Settings
from tests.unit import weekly_fixture as mart

NOW = datetime(2026, 11, 9, 6, tzinfo=UTC)
POST = {"name": "leads", "kind": "email", "connection": "post", "to": "leads@acme.example", "live": True}
CHAT = {"name": "chat", "kind": "slack", "connection": "chat", "to": "#reliability", "live": True}


def longer_frames() -> mart.Frames:
    """The marts that only a month or a quarter reads."""
    october = datetime(2026, 10, 1, tzinfo=UTC)
    pattern = {"period": "month", "period_start_at": october, "currency": "EUR", "n_known": 14, "basis": "exposure"}
    patterns = [
        pattern
        | {"dimension": "change_type", "value": "deploy", "title": "deploy", "status": "below_expected", "n_incidents": 4}
        | {"expected": 10.3, "rate_ratio": 0.15, "ratio_low": 0.03, "ratio_high": 0.5, "q_value": 0.02, "lost_revenue": 18_885.0},
        pattern
        | {"dimension": "change_type", "value": "migration", "title": "migration", "status": "above_expected", "n_incidents": 3}
        | {"expected": 0.2, "rate_ratio": 20.0, "ratio_low": 2.1, "ratio_high": 190.0, "q_value": 0.04, "lost_revenue": 28_664.0},
        pattern | {"dimension": "hour", "value": "22", "title": "22", "status": "as_expected", "n_incidents": 2, "expected": 1.2},
        pattern | {"dimension": "region", "value": "eu", "title": "<b>eu</b>", "status": "as_expected", "n_incidents": 4, "expected": 6.2},
        pattern | {"dimension": "team", "value": "x", "title": "x", "status": "not_enough_data", "n_incidents": 1},
        pattern
        | {"dimension": "region", "value": "us", "title": "of September", "status": "above_expected", "n_incidents": 4}
        | {"period_start_at": datetime(2026, 9, 1, tzinfo=UTC)},
    ]
    kind = {"cut": "type", "intervention_type": "prevent", "outcome": "recurrence", "currency": "EUR", "subject": "all", "n_too_early": 1}
    share = {"n_judged": 2, "n_effective": 1, "effective_share": 0.5, "effective_share_low": 0.09, "effective_share_high": 0.91}
    gain = {"promised_reduction": 1.0, "reduction": 0.59, "reduction_low": 0.31, "reduction_high": 0.81}
    money = {"revenue_avoided": 105_924.0, "revenue_avoided_low": 22_724.0, "revenue_avoided_high": 214_227.0}
    portfolio = [
        kind | share | gain | money | {"n_planned": 3, "n_shipped": 3},
        kind | {"outcome": "none", "n_planned": 1, "n_shipped": 3, "reason": "promises nothing that is counted"},
        kind | {"outcome": "time_to_recover", "n_planned": 3, "n_shipped": 0, "reason": "none has shipped"},
        kind | {"cut": "family", "subject": "f", "subject_title": "Pool", "n_planned": 0, "n_shipped": 1, "reason": "too few"},
    ]
    indicator = {"kind": "change", "signal": "flag", "family_title": "Bad deploy", "base_rate": 0.19}
    record = {"judged_n": 11, "judged_true_n": 2, "judged_precision": 0.18, "judged_precision_low": 0.02, "judged_precision_high": 0.52}
    indicators = [
        indicator | record | {"indicator_id": "i1", "subject": "checkout", "status": "rejected"},
        indicator | record | {"indicator_id": "i2", "subject": "wallet", "status": "trusted", "judged_lead_minutes_median": 40.0},
        indicator | {"indicator_id": "i3", "subject": "x", "status": "on_trial", "judged_n": 0},
    ]
    rows: dict[str, list[dict[str, Any]]] = {
        "mart_incident_patterns": patterns,
        "mart_fix_portfolio": portfolio,
        "mart_leading_indicators": indicators,
    }
    return {name: with_schema(pl.DataFrame(rows[name], infer_schema_length=None), schema) for name, schema in LONGER.items()}


def publish(settings: Settings, frames: mart.Frames, version: str = "aftercast-1") -> None:
    """Publish frames under a version, as publishing does: a link to a file of that name."""
    settings.published.mkdir(parents=True, exist_ok=True)
    file = settings.published / f"{version}.duckdb"
    mart.write(file, frames)
    settings.mart.unlink(missing_ok=True)
    settings.mart.symlink_to(file)


def deployment(
    folder: Path, monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]], channels: list[dict[str, Any]], **more: Any
) -> Settings:
    """A deployment with reports, its mart published, and the environment pointing at it."""
    config = folder / "config"
    config.mkdir()
    (config / "sources.yml").write_text(
        "history: {start: '2026-09-07', end: '2026-11-09'}\nsources:\n  - {name: orders, kind: files}\n", encoding="utf-8"
    )
    (config / "reports.yml").write_text(yaml.safe_dump({"reports": rows, "channels": channels} | more), encoding="utf-8")
    settings = Settings(home=folder / "home", config=config)
    publish(settings, mart.frames() | longer_frames())
    monkeypatch.setenv("AFTERCAST_HOME", str(settings.home))
    monkeypatch.setenv("AFTERCAST_CONFIG", str(config))
    return settings
