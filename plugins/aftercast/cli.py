"""The command line: `aftercast run | up | status | sql | search | demo | report | plot | verdict | tune | replay | source | inbox`, what
people write, `draft | postmortems`, what it prescribes, `insights`, what to do about incidents, `advise | runbooks`, what goes out of the
house, `actions | outbox`, whom it does not know any more, `forget`, and what machines share, `store`.

Prints for people. Errors raised on purpose are shown as one message, without a traceback, and end with exit code 1.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from aftercast.commands import (
    actions,
    catalogue,
    doctor,
    forgetting,
    gates,
    inbox,
    insights,
    postmortems,
    responses,
    retention,
    search,
    sources,
    store,
    trying,
)
from aftercast.declarations import nearest
from aftercast.errors import AftercastError, ConfigError, TaskFailed
from aftercast.settings import PROJECT, Settings
from aftercast.sources import check_kind
from aftercast.terminal import err, for_spreadsheets, out, show
from aftercast.window import Window

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="What incidents cost, what probably caused them, and whether the fixes worked."
)
app.add_typer(sources.app, name="source")
app.add_typer(inbox.app, name="inbox")
app.add_typer(actions.app, name="outbox")
app.add_typer(store.app, name="store")
app.command()(doctor.doctor)
app.command()(forgetting.forget)
app.command()(retention.prune)
app.command()(search.search)
app.command()(catalogue.catalogue)
app.command()(gates.quality)
app.command()(trying.build)
app.command()(trying.series)
app.command()(actions.actions)
app.command()(postmortems.draft)
app.add_typer(postmortems.app, name="postmortems")
app.add_typer(responses.app, name="runbooks")
app.add_typer(insights.app, name="insights")
app.command()(responses.advise)

MOST_UNMAPPED = 20  # names that `status` lists


def _use_example(example: str, data: Path | None) -> None:
    """Convert a data set into an inbox and a configuration of its own, and point this process at them."""
    folder = PROJECT / "examples" / example
    converter = folder / "convert.py"
    known = sorted(path.parent.name for path in (PROJECT / "examples").glob("*/convert.py"))
    if not converter.exists():
        raise ConfigError(f"no example {example!r}; choose from {', '.join(known)}")
    if data is None:
        raise ConfigError(f"example {example!r} needs its data: make run EXAMPLE={example} DATA=<folder>")
    if not data.is_dir():
        raise ConfigError(f"DATA={data} is not a folder; see examples/{example}/README.md for where the data comes from")
    home = Path(os.environ.get("AFTERCAST_HOME") or PROJECT / "var" / example).resolve()
    home.mkdir(parents=True, exist_ok=True)
    out.print(f"[dim]•[/] converting {data} ({example})")
    done = subprocess.run([sys.executable, str(converter), "--data", str(data.resolve()), "--home", str(home)], check=False)
    if done.returncode:
        raise ConfigError(f"examples/{example}/convert.py stopped with exit code {done.returncode}; its message is above")
    os.environ["AFTERCAST_HOME"] = str(home)
    os.environ["AFTERCAST_CONFIG"] = str(home / "config")


@app.command()
def run(
    since: Annotated[
        str | None, typer.Option("--from", help="Start of the window, e.g. 2026-09-21. Default: `history` in sources.yml.")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", help="End of the window (not included).")] = None,
    example: Annotated[str | None, typer.Option(help="Run an example on real data: petshop or shop.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the example's data set.")] = None,
) -> None:
    """Extract a window from every source through Airflow, refresh, publish, report, and say what was found."""
    from aftercast.embedded import driver

    if example:
        _use_example(example, data)
    settings = Settings.from_environment()
    deployment = settings.deployment
    if (since is None) != (until is None):
        raise ConfigError("give both --from and --to, or neither")
    window = Window.parse(since, until) if since and until else deployment.history
    for source in deployment.sources:
        check_kind(source)
    started, began = time.monotonic(), datetime.now(UTC)
    unchanged = False

    def ended(task: driver.TaskEnd) -> None:
        nonlocal unchanged
        if task.state == "skipped":
            unchanged = unchanged or task.task == "publish"
            return
        mark = "[green]✓[/]" if task.state == "success" else "[red]✗[/]"
        out.print(f"{mark} {task.dag} · {task.task} [dim]{task.seconds:.1f} s[/]")

    out.print(f"[bold]Aftercast[/] for {deployment.company}: {window}")
    try:
        driver.run(settings, window, lambda line: out.print(f"[dim]•[/] {line}"), ended)
    except TaskFailed as error:
        _say_withheld(settings, error, began)
        raise
    took = time.monotonic() - started
    if unchanged:
        out.print(f"[bold]Nothing changed[/] since the published mart was built, so nothing was rebuilt ({took:.0f} s).")
    summarise(settings, took)


def _say_withheld(settings: Settings, error: TaskFailed, began: datetime) -> None:
    """Say where the notices are. The failed task writes them, unless it was stopped with the rest before it had."""
    written = [notice for notice in settings.reports.glob("*/*.withheld.html") if notice.stat().st_mtime >= began.timestamp()]
    if not written:
        from aftercast.steps import reports

        written = reports.withhold_first_reports(str(error), datetime.now(UTC), task="the run", silently=True)
    for notice in written:
        out.print(f"  report    withheld, see {notice}", soft_wrap=True)


@app.command()
def up(
    port: Annotated[int, typer.Option(help="Port of Airflow's UI on this machine.", envvar="AFTERCAST_PORT")] = 8080,
    host: Annotated[
        str, typer.Option(help="Address to listen on; anything but loopback lets others in.", envvar="AFTERCAST_HOST")
    ] = "127.0.0.1",
) -> None:
    """Start Airflow with its UI, DAGs on their schedules; runs the first refresh when nothing is published yet."""
    from aftercast.embedded import driver
    from aftercast.embedded.environment import free_port

    settings = Settings.from_environment()
    if not settings.mart.exists():
        out.print("nothing is published yet: running the history first")
        run()
    chosen = free_port(port)
    if chosen != port:
        out.print(f"port {port} is taken, using {chosen}")
    driver.serve(settings, chosen, out.print, host=host)


@app.command()
def status() -> None:
    """Say how fresh the published mart is and what each source delivered."""
    from aftercast import warehouse

    settings = Settings.from_environment()
    show(warehouse.query(settings.mart, "select * from marts.mart_run"), vertical=True)
    show(
        warehouse.query(
            settings.mart,
            """
            select source, entity, received, rejected, duplicate, late, watermark
            from marts.mart_source_coverage order by source, entity
            """,
        )
    )
    for note in settings.deployment.catalog_notes[:MOST_UNMAPPED]:
        out.print(f"catalogue: {note}", markup=False, soft_wrap=True)
    tables = warehouse.query(settings.mart, "select table_name from information_schema.tables where table_schema = 'marts'")
    if "mart_unmapped_names" not in tables["table_name"]:
        return  # published by an earlier version
    unmapped = warehouse.query(
        settings.mart,
        "select kind, name, seen_in, nearest_name, rows_n, last_seen_at from marts.mart_unmapped_names order by kind, rows_n desc, name",
    )
    if unmapped.height:
        out.print(f"\n{unmapped.height} names landed that nobody declared or aliased; see {settings.config / 'catalog'}:", soft_wrap=True)
        show(unmapped.head(MOST_UNMAPPED))


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="SQL, or @file.sql.")],
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table.")] = False,
) -> None:
    """Query the published mart (schema `marts`, DuckDB's SQL), read-only and nothing else: no other file, no network.

    With `--csv`, texts that a spreadsheet would take for a formula begin with an apostrophe.
    """
    from aftercast import warehouse

    text = Path(query[1:]).read_text(encoding="utf-8") if query.startswith("@") else query
    frame = warehouse.query(Settings.from_environment().mart, text, sealed=True)
    if csv:
        sys.stdout.write(for_spreadsheets(frame).write_csv())
    else:
        show(frame)


@app.command()
def demo() -> None:
    """A tour: the five questions, the SQL that answers each, and the answers from the published mart."""
    from aftercast import questions, warehouse

    settings = Settings.from_environment()
    for question in questions.all_questions():
        out.rule(f"[bold]{question.title}", align="left")
        out.print(f"[dim]{question.sql.strip()}[/]\n", soft_wrap=True)
        show(warehouse.query(settings.mart, question.sql))


@app.command()
def report(
    name: Annotated[str, typer.Argument(help="Name of a row of reports.yml, or weekly, monthly, quarterly.")] = "weekly",
    period: Annotated[
        str | None, typer.Option("--period", "--week", help="E.g. 2026-W45, 2026-10, 2026-Q4. Default: the last complete one.")
    ] = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="Also as PDF.")] = False,
    open_it: Annotated[bool, typer.Option("--open", help="Open the page.")] = False,
) -> None:
    """Render a report again from the published mart and say where its page lies; nothing is sent."""
    from aftercast import reporting

    settings = Settings.from_environment()
    row = next((row for row in settings.deployment.reports if row.name == name), None)
    if row is None and name not in reporting.CADENCES:
        known = [*(row.name for row in settings.deployment.reports), *reporting.CADENCES]
        raise ConfigError(f"no report {name!r} in {settings.config / 'reports.yml'}{nearest(name, known)}")
    cadence, audience = (row.cadence, row.audience) if row else (name, None)
    written = reporting.write(settings, cadence, audience=audience, period=period, pdf=pdf or bool(row and row.pdf))
    out.print(str(written.page), soft_wrap=True)
    if written.pdf:
        out.print(str(written.page.with_suffix(".pdf")), soft_wrap=True)
    if open_it:
        typer.launch(str(written.page))


@app.command()
def plot(
    what: Annotated[
        str | None, typer.Argument(help="Id of a series, an anomaly or an incident. Without it: the most alarming series.")
    ] = None,
    since: Annotated[str | None, typer.Option("--from", help="Start of the span shown, e.g. 2026-11-02.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="End of the span shown.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A .html, .svg or .png file. Default: plots/<id>.html in AFTERCAST_HOME.")
    ] = None,
) -> None:
    """Draw a series: measured, expected with its interval, episodes, and the incidents around them."""
    from aftercast import histories

    settings = Settings.from_environment()
    if what is None:
        show(histories.most_alarming(settings))
        out.print("[dim]aftercast plot <series_id> draws one of them[/]")
        return
    out.print(str(histories.plot(settings, what, since, until, output)), soft_wrap=True)


@app.command()
def verdict(
    subjects: Annotated[
        list[str], typer.Argument(help="Ids of episodes, incidents or recommendations; `series@time` or `series@from/until` for alarms.")
    ],
    judgement: Annotated[str, typer.Argument(help="confirm, reject or other.")],
    cause: Annotated[str | None, typer.Option(help="Candidate of the incident, `kind:id`. Default: its first.")] = None,
    instead: Annotated[str | None, typer.Option(help="With other: what it was, `kind:id`. Default: no candidate.")] = None,
) -> None:
    """Say whether alarms were worth ringing, what the cause of an incident was, or whether a recommendation is accepted (confirm)."""
    from aftercast import landing, quality

    settings = Settings.from_environment()
    named = [landing.subject_of(settings.mart, subject, cause) for subject in subjects]
    if instead is not None:
        if judgement != "other":
            raise ConfigError(f"--instead says what it was when the verdict is other, not {judgement}")
        named = [one for subject in named for one in landing.instead_of(settings.mart, subject, instead)]
    landing.record_verdicts(settings, named, judgement, now=datetime.now(UTC), gate=quality.landing_gate(settings))
    for subject in named:
        out.print(f"{subject.verdict or judgement}: {subject.words}", markup=False, soft_wrap=True)
    out.print("run `aftercast run` (or wait for the schedule) to refresh the mart with it")


@app.command()
def tune() -> None:
    """Show what people's verdicts say about the detector's sensitivity, and the shadow version to try."""
    from aftercast import warehouse
    from aftercast.detection.versions import version_to_paste

    settings = Settings.from_environment()
    proposals = warehouse.query(
        settings.mart,
        """
        select signal, subject, current_sensitivity, proposed_sensitivity, verdict, reason, as_of
        from marts.mart_tuning_proposals
        order by verdict = 'not_enough_data', verdict = 'keep', signal, subject
        """,
    )
    show(proposals.drop("as_of"))
    if proposals.is_empty():
        out.print("nobody has judged an alarm yet: `aftercast verdict <anomaly_id> confirm|reject`")
        return
    if "promote" in proposals["verdict"]:
        out.print("\na shadow is ready: in detectors.yml set its state to live, and that of the live version to retired")
    row = version_to_paste(proposals, settings.deployment.detectors, proposals["as_of"][0])
    if row:
        out.print(f"\nto try it beside the live version, add to {settings.config / 'detectors.yml'}:\n", soft_wrap=True)
        out.print(row, markup=False, soft_wrap=True)


@app.command()
def replay(source: Annotated[str | None, typer.Argument(help="Only this source's quarantine.")] = None) -> None:
    """Land the quarantined rows that fit now; the others stay in quarantine."""
    from aftercast import landing, quality

    settings = Settings.from_environment()
    results = landing.replay(settings, source, gate=quality.landing_gate(settings))
    for landed in results:
        out.print(str(landed))
    if not results:
        out.print("the quarantine is empty")
    elif sum(landed.landed for landed in results):
        out.print("run `aftercast run` (or wait for the schedule) to refresh the mart with them")


def summarise(settings: Settings, seconds: float) -> None:
    """Print what the published mart found and where everything lies."""
    from aftercast import questions, reporting, warehouse

    for line in questions.summary(warehouse.query, settings.mart):
        out.print(line, soft_wrap=True, markup=False)
    out.print()
    out.print(f"  mart      {settings.mart}   [dim]aftercast sql 'from marts.mart_incidents limit 5'[/]", soft_wrap=True)
    latest = reporting.latest_report(settings)
    out.print(f"  report    {latest if latest else 'none: no report is declared in reports.yml'}")
    if outside := actions.line(settings):
        out.print(f"  actions   {outside}   [dim]aftercast actions[/]", soft_wrap=True)
    out.print("  tour      aftercast demo   [dim](five questions, answered)[/]")
    out.print(f"  took      {seconds:.0f} s")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a SIGTERM stops Airflow's components as Ctrl-C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        code = app(arguments, standalone_mode=False)
        if isinstance(code, int) and code:  # what typer makes of `raise typer.Exit(code)`
            sys.exit(code)
    except AftercastError as error:
        err.print(f"[red bold]{type(error).__name__}[/]: {escape(str(error))}", markup=True)
        sys.exit(1)
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        err.print("stopped")
        sys.exit(130)
    except Exception as error:
        if hasattr(error, "show") and hasattr(error, "exit_code"):  # a mistake in what was typed; typer brings its own click
            error.show()
            sys.exit(error.exit_code)
        raise
