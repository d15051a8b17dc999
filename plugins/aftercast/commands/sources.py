"""`aftercast source list | add | check`: see what is declared, start a source, try one without landing anything."""

from __future__ import annotations

import difflib
from datetime import UTC, datetime
from typing import Annotated

import polars as pl
import typer

from aftercast import extraction, landing, scaffolding
from aftercast.errors import ConfigError
from aftercast.settings import PROJECT, Settings
from aftercast.sources import KINDS, open_source
from aftercast.terminal import out, show
from aftercast.window import DAY, Window

app = typer.Typer(no_args_is_help=True, help="See, start and try sources.")

ENOUGH_ROWS = 10_000  # of a check
SAMPLE = 2


@app.command("list")
def list_sources() -> None:
    """Show every declared source: how far it is covered, what is missing between, and what was refused."""
    settings = Settings.from_environment()
    rows = []
    for source in settings.deployment.sources:
        gaps = landing.gaps(settings, source.name)
        rows.append(
            {
                "source": source.name,
                "kind": source.kind,
                "owner": source.owner,
                "schedule": source.schedule,
                "connection": source.connection,
                "covered_until": landing.covered_until(settings, source.name),
                "gaps": "; ".join(map(str, gaps)) or None,
                "quarantined": landing.quarantined(settings, source.name),
            }
        )
    show(pl.DataFrame(rows))
    out.print(f"[dim]kinds: {', '.join(sorted(KINDS))}[/]", soft_wrap=True)


@app.command()
def add(
    kind: Annotated[str, typer.Argument(help="What kind of source; an unknown one is started from a template.")],
    name: Annotated[str | None, typer.Argument(help="Its name. Default: that of the kind.")] = None,
    new: Annotated[bool, typer.Option("--new", help="It is a new kind, though its name is close to a known one.")] = False,
) -> None:
    """Write the row of a source into sources.yml; for a new kind also a module and a test, both ready to run."""
    settings = Settings.from_environment()
    name = name or kind
    is_new = kind not in KINDS
    if is_new:
        close = difflib.get_close_matches(kind, KINDS, n=1, cutoff=0.75)
        if close and not new:
            raise ConfigError(f"no kind {kind!r}; did you mean {close[0]!r}? To start a new kind: aftercast source add {kind} --new")
        module, test, listed = scaffolding.add_kind(kind)
        KINDS[kind] = f"aftercast.sources.{kind}"
        for path in (module, test, listed):
            out.print(f"[green]written[/] {path.relative_to(PROJECT)}", soft_wrap=True)
    row = scaffolding.add_row(settings.config, kind, name)
    out.print(f"[green]written[/] {settings.config / 'sources.yml'}", soft_wrap=True)
    out.print(row, markup=False, soft_wrap=True)
    page = PROJECT / "docs" / "sources" / f"{kind}.md"
    steps = [f"fill in the row, see {page.relative_to(PROJECT) if page.exists() else 'docs/adding_a_source.md'}"]
    if is_new:
        steps.insert(0, f"make plugins/aftercast/sources/{kind}.py ask your system, and tests/unit/test_source_{kind}.py expect it")
    steps += [f"try it: aftercast source check {name}", "land it: aftercast run, or wait for its schedule"]
    out.print("next:")
    for number, step in enumerate(steps, start=1):
        out.print(f"  {number}. {step}", markup=False, soft_wrap=True)


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="A source of sources.yml.")],
    since: Annotated[str | None, typer.Option("--from", help="Start of the window to try. Default: the last 24 hours.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="End of the window.")] = None,
) -> None:
    """Ask a source for a small window and show what would land and what would be refused. Lands nothing."""
    settings = Settings.from_environment()
    source = settings.deployment.source(name).model_copy(update={"keep_raw": False})
    if (since is None) != (until is None):
        raise ConfigError("give both --from and --to, or neither")
    now = datetime.now(UTC)
    hour = now.replace(minute=0, second=0, microsecond=0)
    window = Window.parse(since, until) if since and until else Window(hour - DAY, hour)
    out.print(f"[bold]{name}[/] ({source.kind}), {window}")
    batches = extraction.told(source, open_source(source, settings).extract(window))
    previews, whole = landing.preview(settings, source, window, batches, now=now, most_rows=ENOUGH_ROWS, shown=SAMPLE)
    if not previews:
        out.print("it answered, and found nothing in this window; try a wider one with --from and --to")
    for one in previews:
        spans = f", {one.earliest:%Y-%m-%d %H:%M} to {one.latest:%Y-%m-%d %H:%M} UTC" if one.earliest and one.latest else ""
        expected = f" of {one.expected:,} expected" if one.expected else ""
        refused = one.reasons.total()
        out.print(f"\n[bold]{one.entity}[/]: {one.received:,} received{expected}, {one.accepted:,} fit, {refused:,} refused{spans}")
        for reason, count in one.reasons.most_common():
            out.print(f"  [red]refused[/] {count:,} x {reason}", soft_wrap=True)
        for note, count in one.notes.most_common():
            out.print(f"  [yellow]noticed[/] {count:,} x {note}", soft_wrap=True)
        if one.sample.height:
            show(one.sample.select(column.name for column in one.sample if any(value not in (None, "", []) for value in column)))
        if one.rejected.height:
            show(one.rejected)
    out.print("\nnothing was landed" + ("" if whole else f"; there is more than the {ENOUGH_ROWS:,} rows looked at"))
