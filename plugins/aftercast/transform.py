"""Run dbt in this process: one named selector, one summary or one failure.

The only module that imports dbt. It tells the project where files lie through environment variables, keeps everything dbt writes below
`AFTERCAST_HOME/dbt`, and puts the environment back as it was. Nothing is decided here: what a selector builds is written in
`dbt_project/selectors.yml`.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aftercast.errors import TransformError
from aftercast.settings import PROJECT, Settings

log = logging.getLogger(__name__)

DBT_PROJECT = PROJECT / "dbt_project"
MESSAGES_SHOWN = 10
LOGGING = ("--log-level", "none", "--log-level-file", "info", "--log-file-max-bytes", str(5 * 2**20))
NEVER = datetime(1970, 1, 1, tzinfo=UTC)  # dbt reports an absent time as the year 1


@dataclass(frozen=True, slots=True)
class BuiltModel:
    """A table, view or seed that was built; `rows` is None where dbt does not say."""

    schema: str
    name: str
    rows: int | None
    seconds: float


@dataclass(frozen=True, slots=True)
class BuildSummary:
    """What one build did.

    Attributes:
        nodes: models, seeds and tests that ran.
        passed: nodes that succeeded.
        failed: nodes that failed or were skipped because another failed; always 0 in a summary that is returned.
        warned: tests that warn.
        seconds: wall time of the whole call.
        models: what was built, in the order finished.
        warnings: one sentence per warning test.
    """

    nodes: int
    passed: int
    failed: int
    warned: int
    seconds: float
    models: tuple[BuiltModel, ...] = ()
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{len(self.models)} tables and views, {self.nodes - len(self.models)} tests in {self.seconds:.1f} s"
        return f"{text}; warnings: {'; '.join(self.warnings)}" if self.warnings else text


@dataclass(frozen=True, slots=True)
class Freshness:
    """How far the data of a landed entity lags behind the as-of time of the refresh.

    Attributes:
        entity: landing entity.
        status: pass, warn, error, or `unknown` when nothing was extracted for it yet.
        hours_behind: hours between the end of the last window a source covered and the as-of time; None when unknown.
    """

    entity: str
    status: str
    hours_behind: float | None


@contextmanager
def environment(settings: Settings) -> Iterator[None]:
    """Tell the dbt project where files lie while the block runs."""
    wanted = {
        "AFTERCAST_WAREHOUSE": str(settings.warehouse),
        "AFTERCAST_LANDING": str(settings.landing),
        "AFTERCAST_DERIVED": str(settings.derived),
        "AFTERCAST_DECLARED": str(settings.home / "declared"),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "False",
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _invoke(settings: Settings, arguments: Sequence[str], log_dir: Path | None) -> Any:
    """Run one dbt command and return its result; raise when dbt itself could not run."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.cli.main import dbtRunner

    logs = log_dir or settings.home / "dbt" / "logs"
    target = settings.home / "dbt" / "target"
    for folder in (logs, target, settings.warehouse.parent):
        folder.mkdir(parents=True, exist_ok=True)
    options = [
        *("--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT)),
        *("--target-path", str(target), "--log-path", str(logs)),
    ]
    with environment(settings):
        outcome = dbtRunner().invoke(["--quiet", "--no-use-colors", "--no-version-check", "--no-print", *LOGGING, *arguments, *options])
    # The adapter keeps the warehouse open, and DuckDB lets nobody else in, not even this process to read.
    DuckDBConnectionManager.close_all_connections()
    if outcome.exception is not None:
        raise TransformError(f"dbt {' '.join(arguments)} could not run: {outcome.exception}; see {logs / 'dbt.log'}") from outcome.exception
    if outcome.result is None:
        raise TransformError(f"dbt {' '.join(arguments)} gave no result; see {logs / 'dbt.log'}")
    return outcome


def _status(result: Any) -> str:
    return str(getattr(result.status, "value", result.status))


def _sentence(result: Any) -> str:
    message = " ".join(str(result.message or "no message").split())
    return f"{result.node.name}: {message}"


def _rows(result: Any) -> int | None:
    affected = (result.adapter_response or {}).get("rows_affected")
    return affected if isinstance(affected, int) and affected >= 0 else None


def _summary(results: Sequence[Any], seconds: float) -> BuildSummary:
    statuses = [_status(result) for result in results]
    return BuildSummary(
        nodes=len(results),
        passed=sum(status in ("success", "pass") for status in statuses),
        failed=sum(status in ("error", "fail", "skipped", "runtime error", "partial success") for status in statuses),
        warned=statuses.count("warn"),
        seconds=seconds,
        models=tuple(
            BuiltModel(result.node.schema, result.node.name, _rows(result), round(result.execution_time, 3))
            for result in results
            if str(result.node.resource_type) in ("model", "seed") and _status(result) == "success"
        ),
        warnings=tuple(_sentence(result) for result in results if _status(result) == "warn"),
    )


def _run(settings: Settings, arguments: Sequence[str], log_dir: Path | None) -> BuildSummary:
    began = time.perf_counter()
    outcome = _invoke(settings, arguments, log_dir)
    results = list(outcome.result.results)
    broken = [result for result in results if _status(result) in ("error", "fail", "runtime error", "partial success")]
    if broken or not outcome.success:
        skipped = sum(_status(result) == "skipped" for result in results)
        lines = "\n".join(f"  {_sentence(result)}" for result in broken[:MESSAGES_SHOWN])
        more = f"\n  and {len(broken) - MESSAGES_SHOWN} more" if len(broken) > MESSAGES_SHOWN else ""
        raise TransformError(
            f"dbt {' '.join(arguments[:3])}: {len(broken)} of {len(results)} nodes failed, {skipped} were skipped; "
            f"the SQL as run lies below {settings.home / 'dbt' / 'target'}\n{lines}{more}"
        )
    return _summary(results, time.perf_counter() - began)


def build(settings: Settings, selector: str, *, log_dir: Path | None = None) -> BuildSummary:
    """Build the nodes of a selector (`stage`, `star` or `marts`) into `settings.warehouse` and run their data tests.

    Args:
        settings: where files and the warehouse lie.
        selector: a name of `dbt_project/selectors.yml`.
        log_dir: where dbt.log goes; default `AFTERCAST_HOME/dbt/logs`.

    Raises:
        TransformError: dbt could not run, selected nothing, or nodes failed; names them with dbt's message.
    """
    summary = _run(settings, ["build", "--selector", selector, "--exclude-resource-type", "unit_test"], log_dir)
    if not summary.models:
        raise TransformError(f"selector {selector!r} built nothing; see {DBT_PROJECT / 'selectors.yml'}")
    for warning in summary.warnings:
        log.warning("%s", warning)
    return summary


def models() -> list[str]:
    """Return the names of the models of the project."""
    return sorted(path.stem for path in (DBT_PROJECT / "models").rglob("*.sql"))


def build_models(settings: Settings, names: Sequence[str], *, log_dir: Path | None = None) -> BuildSummary:
    """Build models by name, and run their data tests and unit tests, from what the warehouse holds.

    Raises:
        TransformError: dbt could not run, or nodes failed; a model needs that what it reads was built before.
    """
    return _run(settings, ["build", "--select", *names], log_dir)


def unit_test(settings: Settings, *, log_dir: Path | None = None) -> BuildSummary:
    """Run dbt's unit tests; they need no rows, but the tables of all three selectors must exist.

    Raises:
        TransformError: a unit test failed; the message holds dbt's table of differences.
    """
    return _run(settings, ["test", "--select", "test_type:unit"], log_dir)


def catalogue(settings: Settings, *, log_dir: Path | None = None) -> Path:
    """Write `catalogue/index.html`: every table and column with its description and lineage, one page that needs nothing else.

    Raises:
        TransformError: dbt could not run, or the warehouse has no tables yet.
    """
    if not settings.warehouse.exists():
        raise TransformError(f"there is no warehouse at {settings.warehouse} yet; run a refresh first (`aftercast run`)")
    outcome = _invoke(settings, ["docs", "generate", "--static"], log_dir)
    made = settings.home / "dbt" / "target" / "static_index.html"
    if not outcome.success or not made.exists():
        raise TransformError(f"dbt wrote no catalogue; see {(log_dir or settings.home / 'dbt' / 'logs') / 'dbt.log'}")
    page = settings.home / "catalogue" / "index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    fresh = page.with_name(".index.html.new")
    shutil.copyfile(made, fresh)
    fresh.replace(page)
    return page


def freshness(settings: Settings, *, log_dir: Path | None = None) -> tuple[Freshness, ...]:
    """Return how far each landed entity lags behind the as-of time of the refresh, by entity name. Lag is an answer, not an error.

    Raises:
        TransformError: dbt could not run.
    """
    outcome = _invoke(settings, ["source", "freshness"], log_dir)
    found = []
    for result in outcome.result.results:
        loaded_at = getattr(result, "max_loaded_at", None)
        age = result.age if loaded_at is not None and loaded_at.year > NEVER.year else None
        status = _status(result)
        found.append(
            Freshness(
                entity=result.node.name,
                status="unknown" if age is None else status,
                hours_behind=None if age is None else round(age / 3600, 2),
            )
        )
    return tuple(sorted(found, key=lambda row: row.entity))
