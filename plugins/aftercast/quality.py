"""Quality gates: Great Expectations judges what lands and what is about to be published.

A suite is a JSON file in `expectations/`: `landed__<entity>.json` or `published__<mart>.json`. It says at which grain a table is summed up,
which measures and counts of violating rows make up the summary, and what is expected of them. Great Expectations sees only the summary, so
a gate costs the same for a thousand rows and for a million. A failed expectation of severity critical raises QualityError and nothing past
the gate changes; any other is a finding, logged and kept under `quality/` in AFTERCAST_HOME. Uniqueness, nulls and references inside the
warehouse are dbt's to test; single rows that do not fit are quarantined before they come here.
"""

from __future__ import annotations

import html
import json
import logging
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import polars as pl
import polars.selectors as cs
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aftercast.entities import ENTITIES
from aftercast.errors import ConfigError, QualityError
from aftercast.settings import PROJECT, Settings

log = logging.getLogger(__name__)

EXPECTATIONS = PROJECT / "expectations"
LEVELS = {"critical": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO}
SAMPLE = 3  # violating rows shown with a finding

Judged = list[dict[str, Any]]
Keep = Callable[[Judged], None]


class Expectation(BaseModel):
    """One expectation of Great Expectations, and what a person should conclude when it fails."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str
    kwargs: dict[str, Any]
    severity: Literal["critical", "warning", "info"]
    then: str


class Suite(BaseModel):
    """A summary of a table and what is expected of it.

    Attributes:
        about: what the suite guards against.
        grain: `day` (of the entity's time), columns, or nothing for one row over all.
        violations: name to a SQL condition that is true for a row that breaks a rule; the summary has the count under the name and the
            share under `<name>_share`.
        measures: name to a SQL aggregate. `row_count` is always there.
        enough_rows: shares of fewer rows are null, which satisfies every expectation: too few rows to judge by share.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    about: str
    grain: Literal["day"] | tuple[str, ...]
    violations: dict[str, str] = Field(default_factory=dict)
    measures: dict[str, str] = Field(default_factory=dict)
    enough_rows: int = Field(default=1, ge=1)
    expectations: tuple[Expectation, ...] = Field(min_length=1)


# Violations that find a person or an address: what is said of such a row is where it came from, or the log would hold what landing may not.
PERSONAL, WHERE = ("rows_with_an_address", "persons_without_token"), ("source", "source_id", "ingested_at")


@dataclass(frozen=True, slots=True)
class Finding:
    """A failed expectation: which, what was seen, what to do."""

    suite: str
    expectation: str
    severity: str
    observed: str
    then: str
    sample: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        rows = "".join(f"\n    e.g. {row}" for row in self.sample)
        return f"suite {self.suite}: {self.expectation} failed ({self.severity}): {self.observed}. {self.then}{rows}"


def load_suite(name: str, folder: Path = EXPECTATIONS) -> Suite:
    """Read a suite.

    Raises:
        ConfigError: there is no such suite, or it is not in the form of one.
    """
    path = folder / f"{name}.json"
    try:
        return Suite.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path} is missing: every gate needs its suite; copy a neighbour and say what the table must hold") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {error}") from error


def summarise(suite: Suite, frame: pl.LazyFrame, time: str | None = None) -> pl.DataFrame:
    """Return one row per grain: grain columns as text, `row_count`, measures, violations and their shares.

    Args:
        suite: what to compute.
        frame: the rows.
        time: the column that decides the day, for a suite by day.
    """
    counts = {name: pl.sql_expr(condition).fill_null(False).cast(pl.Int64).sum() for name, condition in suite.violations.items()}
    enough = pl.len() >= suite.enough_rows
    columns = [
        pl.len().cast(pl.Int64).alias("row_count"),
        *(pl.sql_expr(measure).alias(name) for name, measure in suite.measures.items()),
        *(count.alias(name) for name, count in counts.items()),
        *(pl.when(enough).then(count / pl.len()).alias(f"{name}_share") for name, count in counts.items()),
    ]
    frame = frame.with_columns(cs.decimal().cast(pl.Float64))  # money: pandas has no decimals
    if suite.grain == "day":
        grouped = frame.group_by(pl.col(str(time)).dt.date().cast(pl.String).alias("day")).agg(columns).sort("day")
    elif suite.grain:
        keys = list(suite.grain)
        grouped = frame.group_by([pl.col(name).cast(pl.String) for name in keys]).agg(columns).sort(keys)
    else:
        grouped = frame.select(columns)
    return grouped.collect(engine="streaming")


def _judge(name: str, suite: Suite, summary: pl.DataFrame) -> list[dict[str, Any]]:
    """Results of Great Expectations over the summary, one per expectation, in their order, as plain JSON values."""
    os.environ["GX_ANALYTICS_ENABLED"] = "False"  # before the import: it is read once
    # It tells of folders it never makes and methods it never needs: while it is imported, and from a module with a level of its own.
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    from great_expectations import ExpectationSuite
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)
    batch = _table().get_batch(batch_parameters={"dataframe": summary.to_pandas()})
    asked = [
        ExpectationConfiguration(
            type=one.type, kwargs=dict(one.kwargs), severity=one.severity, meta={"number": number, "then": one.then}
        ).to_domain_obj()
        for number, one in enumerate(suite.expectations)
    ]
    # A whole suite at once: its metrics are resolved together, which is half of the time of one expectation after the other.
    found = batch.validate(ExpectationSuite(name, expectations=asked), result_format="COMPLETE").to_json_dict()
    return sorted(found["results"], key=lambda result: int(result["expectation_config"]["meta"]["number"]))


@cache
def _table() -> Any:
    """The door of Great Expectations, made once a process: a table of which a batch is any frame."""
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    return context.data_sources.add_pandas("summaries").add_dataframe_asset("summary").add_batch_definition_whole_dataframe("whole")


def _broken(result: dict[str, Any]) -> str | None:
    """Why an expectation could not be evaluated at all; None when it could."""
    problem = result.get("exception_info") or {}
    entries = [problem] if "raised_exception" in problem else list(problem.values())
    messages = [str(entry.get("exception_message")) for entry in entries if entry.get("raised_exception")]
    return messages[0] if messages else None


def _finding(
    name: str, suite: Suite, expectation: Expectation, result: dict[str, Any], summary: pl.DataFrame, frame: pl.LazyFrame
) -> Finding:
    seen = result.get("result") or {}
    where = seen.get("unexpected_index_list") or []
    column = str(expectation.kwargs.get("column", ""))
    if where and column:
        grain = ["day"] if suite.grain == "day" else list(suite.grain)
        rows = summary[where[:SAMPLE]].select(*grain, column).to_dicts()
        observed = f"{len(where)} of {summary.height} summary rows, e.g. {rows}"
    else:
        observed = f"observed {seen.get('observed_value', seen.get('partial_unexpected_list'))}"
    condition = suite.violations.get(column.removesuffix("_share"))
    sample = frame.filter(pl.sql_expr(condition).fill_null(False)).head(SAMPLE).collect() if condition else pl.DataFrame()
    if column in PERSONAL:
        sample = sample.select([one for one in WHERE if one in sample.columns])
    limits = ", ".join(f"{key}={value}" for key, value in expectation.kwargs.items())
    return Finding(
        suite=name,
        expectation=f"{expectation.type}({limits})",
        severity=expectation.severity,
        observed=observed,
        then=expectation.then,
        sample=tuple(
            json.dumps({key: value for key, value in row.items() if value not in (None, "")}, default=str, ensure_ascii=False)[:400]
            for row in sample.to_dicts()
        ),
    )


def _judgement(position: int, expectation: Expectation, result: dict[str, Any], finding: Finding | None) -> dict[str, Any]:
    """One expectation and what came of it, as a row of `gate_results` without its table."""
    seen = (result.get("result") or {}).get("observed_value")
    counted = f"{(result.get('result') or {}).get('element_count', 0)} summary rows, all as expected"
    limits = ", ".join(f"{key}={value}" for key, value in expectation.kwargs.items())
    return {
        "border": "published",
        "source": "",
        "position": position,
        "expectation": f"{expectation.type}({limits})",
        "severity": expectation.severity,
        "status": "failed" if finding else "passed",
        "observed": finding.observed if finding else f"observed {seen}" if seen is not None else counted,
        "reason": expectation.then,
    }


def _check(
    name: str, frame: pl.LazyFrame, time: str | None, folder: Path, results_folder: Path | None, keep: Keep | None = None
) -> list[Finding]:
    suite = load_suite(name, folder)
    try:
        summary = summarise(suite, frame, time)
    except pl.exceptions.PolarsError as error:
        raise QualityError(f"suite {name}: cannot be computed: {error}; correct the suite or the table it is for") from error
    results = _judge(name, suite, summary)
    findings, judged = [], []
    for position, (expectation, result) in enumerate(zip(suite.expectations, results, strict=True), start=1):
        reason = _broken(result)
        if reason:
            raise QualityError(f"suite {name}: {expectation.type} {expectation.kwargs} cannot be evaluated: {reason}; correct the suite")
        if not result["success"]:
            findings.append(_finding(name, suite, expectation, result, summary, frame))
        judged.append(_judgement(position, expectation, result, findings[-1] if not result["success"] else None))
    if results_folder is not None:
        _record(results_folder / f"{name}.json", suite, summary, findings, results)
    if keep is not None:
        keep(judged)
    for finding in findings:
        log.log(LEVELS[finding.severity], "%s", finding)
    critical = [finding for finding in findings if finding.severity == "critical"]
    if critical:
        raise QualityError("\n".join(map(str, critical)))
    return findings


def _record(path: Path, suite: Suite, summary: pl.DataFrame, findings: list[Finding], results: list[dict[str, Any]]) -> None:
    """Keep the last judgement where people can read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "about": suite.about,
        "expectations": len(suite.expectations),
        "failed": [str(finding) for finding in findings],
        "summary": summary.head(100).to_dicts(),
        "results": results,
    }
    temporary = path.with_name(f".{path.name}.tmp-{secrets.token_hex(4)}")
    temporary.write_text(json.dumps(content, indent=1, default=str, ensure_ascii=False), encoding="utf-8")
    temporary.replace(path)


def check_landed(
    entity: str, frame: pl.DataFrame | pl.LazyFrame, expectations: Path = EXPECTATIONS, results: Path | None = None
) -> list[Finding]:
    """Judge rows of an entity that are about to land.

    Args:
        entity: name of the landing entity; its suite is `landed__<entity>`.
        frame: the rows; a lazy frame is summed up in a stream.
        expectations: folder of the suites.
        results: folder for the judgement; None keeps none.

    Raises:
        QualityError: a critical expectation failed, or the suite does not fit the table.
        ConfigError: the suite is missing or malformed.
    """
    return _check(f"landed__{entity}", frame.lazy(), ENTITIES[entity].time, expectations, results)


def check_published(
    mart: str,
    frame: pl.DataFrame | pl.LazyFrame,
    expectations: Path = EXPECTATIONS,
    results: Path | None = None,
    keep: Keep | None = None,
) -> list[Finding]:
    """Judge a mart that is about to be published, as `check_landed` judges what lands; its suite is `published__<mart>`.

    `keep` is told every judgement, passed and failed, before a failure is raised.
    """
    return _check(f"published__{mart}", frame.lazy(), None, expectations, results, keep)


def published_marts(expectations: Path = EXPECTATIONS) -> list[str]:
    """Return the marts that have a suite, sorted."""
    return sorted(path.stem.removeprefix("published__") for path in expectations.glob("published__*.json"))


def landing_gate(settings: Settings) -> Callable[[str, pl.LazyFrame], None]:
    """Return the gate that `landing.land` calls with each entity's rows."""

    def gate(entity: str, rows: pl.LazyFrame) -> None:
        check_landed(entity, rows, results=settings.home / "quality")

    return gate


def check_marts(
    settings: Settings, read: Callable[[str], pl.DataFrame], keep: Callable[[str, Judged], None] | None = None
) -> list[Finding]:
    """Judge every mart that has a suite; `read` returns a mart's rows, `keep` is told what was judged of it.

    Raises:
        QualityError: naming every critical expectation of every mart that failed.
    """
    findings, failures = [], []
    for mart in published_marts():
        try:
            told = partial(keep, mart) if keep is not None else None
            findings += check_published(mart, read(mart), results=settings.home / "quality", keep=told)
        except QualityError as error:
            failures.append(str(error))
    if failures:
        raise QualityError("\n".join(failures))
    return findings


def data_docs(settings: Settings) -> Path:
    """Write the last judgement of every suite as Great Expectations' pages, with an index; return the index.

    The pages say what was expected, what was seen, and why it matters. They rest on what the gates kept under `quality/`, so that a run
    pays nothing for them.

    Raises:
        ConfigError: no gate has judged anything yet.
    """
    folder = settings.home / "quality"
    kept = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*__*.json"))}
    told = {name: content for name, content in kept.items() if content.get("results")}
    if not told:
        raise ConfigError(f"no judgement lies in {folder}; run `aftercast run` first")
    pages = folder / "docs"
    pages.mkdir(parents=True, exist_ok=True)
    for name, content in told.items():
        _write_whole(pages / f"{name}.html", _page(name, content))
    _write_whole(pages / "index.html", _index(told))
    for path in pages.glob("*.html"):
        if path.stem not in {*told, "index"}:
            path.unlink()
    return pages / "index.html"


def _page(name: str, content: dict[str, Any]) -> str:
    """One suite as a page of Great Expectations."""
    os.environ["GX_ANALYTICS_ENABLED"] = "False"
    from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult, ExpectationValidationResult
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
    from great_expectations.render.renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    results = []
    for one in content["results"]:
        asked = one["expectation_config"]
        kwargs = {key: value for key, value in asked["kwargs"].items() if key != "batch_id"}
        results.append(
            ExpectationValidationResult(
                success=one["success"],
                expectation_config=ExpectationConfiguration(
                    type=asked["type"],
                    kwargs=kwargs,
                    severity=asked.get("severity"),
                ),
                result=one.get("result") or {},
                exception_info=one.get("exception_info") or {},
                meta={},
            )
        )
    good = sum(one.success is True for one in results)
    counts = {
        "evaluated_expectations": len(results),
        "successful_expectations": good,
        "unsuccessful_expectations": len(results) - good,
        "success_percent": 100.0 * good / max(len(results), 1),
    }
    whole = ExpectationSuiteValidationResult(
        suite_name=name, success=good == len(results), results=results, statistics=counts, suite_parameters={}, meta={}
    )
    rendered = str(DefaultJinjaPageView().render(ValidationResultsPageRenderer().render(whole)))
    return rendered.replace("</body>", f"{_reasons(content)}</body>", 1)


def _reasons(content: dict[str, Any]) -> str:
    """Why each expectation of a suite matters: Great Expectations' pages have no place for it."""
    rows = []
    for one in content["results"]:
        asked = one["expectation_config"]
        what = asked["kwargs"].get("column", asked["type"])
        why = html.escape(str((asked.get("meta") or {}).get("then", "")))
        state = "passed" if one["success"] else f"failed ({asked.get('severity')})"
        rows.append(f"<li><b>{html.escape(str(what))}</b> {html.escape(state)}: {why}</li>")
    return f'<section class="container"><h4>Why each expectation matters</h4><ul>{"".join(rows)}</ul></section>'


def _index(told: dict[str, dict[str, Any]]) -> str:
    """The suites, failed ones first, with what each guards against."""
    rows = []
    for name, content in sorted(told.items(), key=lambda item: (not item[1]["failed"], item[0])):
        failed = "".join(f"<li>{html.escape(one)}</li>" for one in content["failed"])
        state = f"{len(content['failed'])} of {content['expectations']} failed" if failed else f"{content['expectations']} passed"
        about = html.escape(str(content["about"]))
        rows.append(f'<tr><td><a href="{name}.html">{name}</a></td><td>{state}</td><td>{about}<ul>{failed}</ul></td></tr>')
    style = "body{font-family:sans-serif;margin:2rem;max-width:75rem}td,th{text-align:left;vertical-align:top;padding:.4rem 1rem .4rem 0}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Quality gates</title><style>{style}</style><h1>Quality gates</h1>'
        "<p>The last judgement of every suite. <code>landed__</code>: rows of a source before they land; <code>published__</code>: a mart "
        f"before anybody can read it.</p><table><tr><th>suite</th><th>judged</th><th>guards against</th></tr>{''.join(rows)}</table></html>"
    )


def _write_whole(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp-{secrets.token_hex(4)}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
