"""`aftercast insights`: what people's insights prescribe, what it would have changed since, and how it gets into a shadow and goes live.

Nothing is live but by `adopt`, which a person types: it moves the states of two rows of detectors.yml or rankers.yml.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer

from aftercast import warehouse
from aftercast.declarations import DetectorRow, RankerRow, nearest
from aftercast.errors import ConfigError
from aftercast.prescriptions import Advice, detector_with, is_on, parse, ranker_with, runs_in, version_name
from aftercast.settings import Settings
from aftercast.terminal import out, show
from aftercast.versions_file import FILES, with_states, with_version, written

app = typer.Typer(help="What insights prescribe: its effect on what happened since, a shadow, and adoption.", invoke_without_command=True)
Named = Annotated[str, typer.Argument(help="Id of an insight that prescribes something.")]
Model = DetectorRow | RankerRow
EFFECTS = """
    select insight_id, kind, prescription, prescribes, confidence, state, shadow_version, verdict, reason, recorded_at, as_of,
        alarms_now, alarms_then, confirmed_now, confirmed_then, rejected_now, rejected_then, precision_now, precision_now_low,
        precision_now_high, precision_then, precision_then_low, precision_then_high, incidents_n, incidents_caught_now,
        incidents_caught_then, rankings_touched_n, causes_known_n, top1_now, top1_then, brier_difference, brier_difference_low,
        brier_difference_high
    from marts.mart_insight_effects
    order by verdict = 'unusable', verdict = 'not_enough_data', verdict = 'keep', recorded_at, insight_id
"""


@app.callback()
def insights(context: typer.Context) -> None:
    """List what insights prescribe, with its effect on alarms or rankings since it was recorded."""
    if context.invoked_subcommand is not None:
        return
    rows = _effects(Settings.from_environment())
    if not rows:
        out.print("no insight prescribes anything a machine can read; docs/insights.md says how one is written")
        return
    show(pl.DataFrame([{"insight": row["insight_id"], "state": row["state"], "verdict": row["verdict"], **_told(row)} for row in rows]))
    for row in rows:
        out.print(f"\n{row['insight_id']}: {row['prescribes'] or 'cannot be used'}\n  {row['reason']}", markup=False, soft_wrap=True)
        if row["verdict"] in ("run_in_shadow", "not_enough_data") and row["state"] == "proposed":
            out.print(f"  beside the live version: aftercast insights try {row['insight_id']}", markup=False, soft_wrap=True)
        if row["verdict"] == "promote":
            out.print(f"  to make it live: aftercast insights adopt {row['insight_id']}", markup=False, soft_wrap=True)


@app.command("try")
def try_(named: Named, only_print: Annotated[bool, typer.Option("--print", help="Show the row, write nothing.")] = False) -> None:
    """Declare a shadow that is the live version and what the insight prescribes; it changes nothing that is read."""
    settings = Settings.from_environment()
    row, advice = _advice(settings, named)
    kind, models = _models(settings, row)
    live = _live(models)
    follows = [one for one in models if one.state != "retired" and runs_in(advice, one)]
    if live in follows:
        raise ConfigError(f"{named} is live already, in {live.version}")
    stale = [one for one in follows if not is_on(advice, one, live)]
    if follows and not stale:
        raise ConfigError(f"{named} runs in shadow already, as {follows[0].version} since {follows[0].since:%Y-%m-%d}")
    made = _made(advice, live, row["as_of"])
    if only_print:
        out.print(written(made), markup=False, soft_wrap=True)
        return
    path = settings.config / FILES[kind]
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    _write(path, with_version(text, made, {one.version: "retired" for one in stale}))
    out.print(f"{path.name} has a shadow more:\n\n{written(made)}", markup=False, soft_wrap=True)
    for one in stale:
        out.print(f"{one.version} is retired: the live version has changed since it was declared", markup=False, soft_wrap=True)
    out.print("the next refresh judges it beside the live version; `aftercast insights` shows what it would have changed")


@app.command()
def adopt(
    named: Named, anyway: Annotated[bool, typer.Option("--anyway", help="Also when what happened since does not say so.")] = False
) -> None:
    """Make the shadow that follows an insight live, and retire the version that was."""
    settings = Settings.from_environment()
    row, advice = _advice(settings, named)
    kind, models = _models(settings, row)
    live = _live(models)
    if runs_in(advice, live):
        raise ConfigError(f"{named} is live already, in {live.version}")
    shadow = next((one for one in models if one.state == "shadow" and runs_in(advice, one)), None)
    if shadow is None:
        raise ConfigError(f"{named} runs in no shadow yet: aftercast insights try {named}")
    if not is_on(advice, shadow, live):
        raise ConfigError(
            f"{shadow.version} is not {live.version} and {named} any more: aftercast insights try {named} declares one that is"
        )
    if row["verdict"] != "promote" and not anyway:
        raise ConfigError(f"{named} is not ready ({row['verdict']}): {row['reason']}; adopt it all the same with --anyway")
    path = settings.config / FILES[kind]
    _write(path, with_states(path.read_text(encoding="utf-8"), {shadow.version: "live", live.version: "retired"}, live))
    out.print(f"{path.name}: {shadow.version} is live, {live.version} is retired; the next refresh reads it", markup=False, soft_wrap=True)


def _effects(settings: Settings) -> list[dict[str, Any]]:
    tables = warehouse.query(settings.mart, "select table_name from information_schema.tables where table_schema = 'marts'")
    if "mart_insight_effects" not in tables["table_name"]:
        raise ConfigError("the published mart was built by an earlier version: run `aftercast run` first")
    return warehouse.query(settings.mart, EFFECTS).to_dicts()


def _told(row: dict[str, Any]) -> dict[str, str]:
    """The effect of an insight in two cells: what it changes, and what people's words say of that."""
    if row["kind"] == "rule":
        difference = _interval(row, "brier_difference", "{:+.3f}")
        return {
            "changes": f"{row['rankings_touched_n']} rankings",
            "measured": f"Brier {difference}, first {row['top1_now']} -> {row['top1_then']} of {row['causes_known_n']}",
        }
    if row["kind"]:
        precision = f"{_interval(row, 'precision_now', '{:.0%}')} -> {_interval(row, 'precision_then', '{:.0%}')}"
        judged = f"n {row['confirmed_now'] + row['rejected_now']} -> {row['confirmed_then'] + row['rejected_then']}"
        caught = f"incidents {row['incidents_caught_now']} -> {row['incidents_caught_then']} of {row['incidents_n']}"
        return {"changes": f"{row['alarms_now']} -> {row['alarms_then']} alarms", "measured": f"precision {precision}, {judged}; {caught}"}
    return {"changes": "", "measured": ""}


def _interval(row: dict[str, Any], name: str, shape: str) -> str:
    if row[name] is None:
        return "not known"
    ends = [row[f"{name}_low"], row[f"{name}_high"]]
    told = "" if None in ends else f" ({shape.format(ends[0])} to {shape.format(ends[1])})"
    return shape.format(row[name]) + told


def _advice(settings: Settings, named: str) -> tuple[dict[str, Any], Advice]:
    rows = {row["insight_id"]: row for row in _effects(settings)}
    if named not in rows:
        raise ConfigError(f"no insight {named!r} prescribes anything{nearest(named, rows, most=20)}")
    row = rows[named]
    if row["verdict"] == "unusable":
        raise ConfigError(f"{named} cannot be used: {row['reason']}")
    return row, Advice(named, row["recorded_at"], parse(row["prescription"]), row["confidence"])


def _models(settings: Settings, row: dict[str, Any]) -> tuple[str, tuple[Model, ...]]:
    return ("ranker", settings.deployment.rankers) if row["kind"] == "rule" else ("detector", settings.deployment.detectors)


def _live(models: tuple[Model, ...]) -> Model:
    return next(one for one in models if one.state == "live")


def _made(advice: Advice, live: Model, as_of: datetime) -> Model:
    name = version_name(advice, live.version)
    if isinstance(live, DetectorRow):
        return detector_with(advice, live, version=name, since=as_of)
    return ranker_with(advice, live, version=name, since=as_of)


def _write(path: Path, text: str) -> None:
    """Replace a file, whole."""
    beside = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
