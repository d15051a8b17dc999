"""The PetShop converter: from the set's own layout to rows that fit their landing entities, without ever seeing a label."""

from __future__ import annotations

import csv
import importlib.util
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest

from aftercast.errors import SourceRejected
from aftercast.settings import PROJECT, load_deployment
from tests.unit.examples_landing import extract_and_conform

FIRST_ISSUE = 1_681_350_000.0  # 2023-04-13 01:40 UTC
NORMAL = 1_693_922_400.0  # months later, as in the set
SITE, SEARCH, TABLE = "PetSite", "PetSearch_AWS::ECS::Fargate", "petInfo_AWS::DynamoDB::Table"


@pytest.fixture
def converter(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    folder = PROJECT / "examples" / "petshop"
    monkeypatch.syspath_prepend(str(folder))
    spec = importlib.util.spec_from_file_location("petshop_convert", folder / "convert.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_metrics(path: Path, first: float, rows: int, services: tuple[str, ...] = (SITE, SEARCH)) -> None:
    heads = [
        (service, *column) for service in services for column in (("latency", "Average"), ("requests", "Sum"), ("availability", "Average"))
    ]
    path.parent.mkdir(parents=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        for number, name in enumerate(("microservice", "metric", "statistic")):
            writer.writerow([name, *(head[number] for head in heads)])
        writer.writerow(["unix_timestamp", *("" for _ in heads)])
        for row in range(rows):
            writer.writerow([first + 300 * row, *(["0.25", "200.0", "97.5"] * len(services))])


def write_target(folder: Path, *, command: str | None, at: float = FIRST_ISSUE + 500) -> None:
    target = {"node": SITE, "metric": "latency", "agg": "Average", "timestamp": at}
    label = {"node": SEARCH, "metric": None}
    content = {"target": target, "root_cause": label, "metadata": {"reproducibility": {"command": command}}}
    (folder / "target.json").write_text(json.dumps(content))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    scenario = tmp_path / "data" / "low_traffic"
    write_metrics(scenario / "noissue" / "metrics.csv", NORMAL, 4)
    write_metrics(scenario / "issue_0" / "metrics.csv", FIRST_ISSUE, 5, (SITE, SEARCH, TABLE))
    write_target(scenario / "issue_0", command="aws ssm put-parameter --name '/petstore/searchdelay' --value '1000' --overwrite")
    (scenario / "graph.csv").write_text(f",{SITE},{SEARCH},{TABLE}\n{SITE},0.0,1.0,0.0\n{SEARCH},0.0,0.0,1.0\n{TABLE},0.0,0.0,0.0\n")
    return tmp_path / "data"


def inbox(home: Path) -> dict[str, pl.DataFrame]:
    folder = home / "inbox"
    read = {".parquet": pl.read_parquet, ".csv": lambda path: pl.read_csv(path, infer_schema=False), ".jsonl": pl.read_ndjson}
    return {path.stem: read[path.suffix](path) for path in sorted(folder.iterdir())}


def test_every_file_is_read_by_a_rule_and_every_row_fits(converter: ModuleType, data: Path, tmp_path: Path) -> None:
    converter.convert(data, tmp_path / "home")
    accepted = extract_and_conform(tmp_path / "home")
    assert {name for name, frame in accepted.items() if frame.height} == set(inbox(tmp_path / "home"))
    assert accepted["incidents"]["services"].to_list() == [[SITE]]


@pytest.mark.timeout(120)
def test_every_issue_of_the_real_set_becomes_an_incident(converter: ModuleType, real_data: Path, tmp_path: Path) -> None:
    converter.convert(real_data / "petshop", tmp_path / "home")
    accepted = extract_and_conform(tmp_path / "home")
    issues = {"-".join(path.parent.relative_to(real_data / "petshop").parts) for path in (real_data / "petshop").rglob("target.json")}
    assert len(issues) > 10
    assert set(accepted["incidents"]["incident_id"]) == issues
    assert accepted["metric_points"].height > 100_000


def test_units_are_ours_and_errors_follow_from_availability(converter: ModuleType, data: Path, tmp_path: Path) -> None:
    converter.convert(data, tmp_path / "home")
    points = inbox(tmp_path / "home")["metric_points"].filter(pl.col("service") == SITE)
    values = {metric: set(rows["value"]) for (metric,), rows in points.partition_by("metric", as_dict=True).items()}
    assert values == {"latency_avg_ms": {250.0}, "requests": {200.0}, "availability_ratio": {0.975}, "errors": {5.0}}
    kpis = inbox(tmp_path / "home")["journey_kpis"]
    assert set(kpis.select("attempts", "successes", "revenue_minor").rows()) == {(200, 195, None)}


def test_an_empty_cell_becomes_no_row_rather_than_zero(converter: ModuleType, data: Path, tmp_path: Path) -> None:
    converter.convert(data, tmp_path / "full")
    path = data / "low_traffic" / "issue_0" / "metrics.csv"
    path.write_text(path.read_text().replace("0.25,200.0,97.5", "0.25,,97.5", 1))
    converter.convert(data, tmp_path / "holed")
    full, holed = (inbox(tmp_path / home)["metric_points"] for home in ("full", "holed"))
    gone = full.join(holed, on=["service", "metric", "ts"], how="anti")
    assert sorted(gone["metric"]) == ["errors", "requests"]
    assert inbox(tmp_path / "holed")["journey_kpis"].height == inbox(tmp_path / "full")["journey_kpis"].height - 1


def test_the_label_is_never_read(converter: ModuleType, data: Path, tmp_path: Path) -> None:
    converter.convert(data, tmp_path / "with")
    path = data / "low_traffic" / "issue_0" / "target.json"
    content = json.loads(path.read_text())
    del content["root_cause"]
    path.write_text(json.dumps(content))
    converter.convert(data, tmp_path / "without")
    files = sorted(path.relative_to(tmp_path / "with") for path in (tmp_path / "with").rglob("*") if path.is_file())
    assert len(files) >= 10
    for file in files:
        assert (tmp_path / "with" / file).read_bytes() == (tmp_path / "without" / file).read_bytes(), file


def test_healthy_time_ends_before_the_first_issue_and_keeps_its_time_of_day(converter: ModuleType, data: Path, tmp_path: Path) -> None:
    converter.convert(data, tmp_path / "home")
    stamps = inbox(tmp_path / "home")["journey_kpis"]["ts"].to_list()
    first_issue = datetime.fromtimestamp(FIRST_ISSUE, UTC)
    healthy = [stamp for stamp in stamps if stamp < first_issue]
    assert len(healthy) == 4 and len(stamps) == 9
    assert (healthy[0].hour, healthy[0].minute) == (datetime.fromtimestamp(NORMAL, UTC).hour, datetime.fromtimestamp(NORMAL, UTC).minute)
    assert (first_issue - healthy[-1]).total_seconds() < 86_400 + 300


def test_the_configuration_loads_and_covers_every_point(converter: ModuleType, data: Path, tmp_path: Path) -> None:
    converter.convert(data, tmp_path / "home")
    deployment = load_deployment(tmp_path / "home" / "config")
    stamps = inbox(tmp_path / "home")["metric_points"]["ts"]
    assert all(deployment.history.contains(stamp) for stamp in stamps)
    assert {row.service: row.kind for row in deployment.services} == {SITE: "service", SEARCH: "service", TABLE: "store"}


def test_cause_comes_before_alarm_and_revert_after_it(converter: ModuleType, data: Path, tmp_path: Path) -> None:
    converter.convert(data, tmp_path / "home")
    frames = inbox(tmp_path / "home")
    started = frames["incidents"]["started_at"][0]
    changed, undone = frames["changes"].sort("started_at").rows(named=True)
    assert (changed["kind"], changed["service"], undone["kind"]) == ("config", "/petstore/searchdelay", "rollback")
    assert changed["started_at"] < started < undone["started_at"] < frames["incidents"]["resolved_at"][0]


@pytest.mark.parametrize(
    ("command", "kind", "service"),
    [
        ("aws ssm put-parameter --name=/petstore/x --value=1", "config", "/petstore/x"),
        ("npx cdk deploy Services --context delay=3", "deploy", "Services"),
        ("aws ecs update-service --service pets --desired-count 1", "deploy", "pets"),
        ("locust -u 900 it's", "infra", "locust"),
    ],
)
def test_a_command_becomes_the_kind_of_change_it_is(converter: ModuleType, command: str, kind: str, service: str) -> None:
    change, _ = converter.to_changes("s-issue_0", {"at": 1000.0, "command": command, "scenario": "s"}, 2000.0)
    assert (change["kind"], change["service"]) == (kind, service)


def test_an_issue_without_command_is_an_incident_without_change(converter: ModuleType, data: Path, tmp_path: Path) -> None:
    write_target(data / "low_traffic" / "issue_0", command=None)
    converter.convert(data, tmp_path / "home")
    frames = inbox(tmp_path / "home")
    assert (frames["incidents"].height, frames["changes"].height) == (1, 0)


def damage(data: Path, what: str) -> str:
    """Break the input in one way; return what the message must name."""
    scenario = data / "low_traffic"
    match what:
        case "no scenario":
            shutil.rmtree(scenario)
            return str(data)
        case "no metrics":
            (scenario / "issue_0" / "metrics.csv").unlink()
            return "issue_0/metrics.csv"
        case "text in a cell":
            path = scenario / "noissue" / "metrics.csv"
            path.write_text(path.read_text().replace("0.25", "slow", 2))
            return "2 of 24 cells are not numbers"
        case "other headings":
            (scenario / "noissue" / "metrics.csv").write_text("time,value\n1,2\n")
            return "noissue/metrics.csv: expected heading rows"
        case "no target":
            (scenario / "issue_0" / "target.json").write_text('{"root_cause": {}}')
            return "target.json: needs `target`"
        case "half a file":
            (scenario / "issue_0" / "target.json").write_text('{"target": ')
            return "target.json: needs `target`"
        case "graph of words":
            (scenario / "graph.csv").write_text(",a\na,yes\n")
            return "graph.csv: not a matrix"
        case "no front":
            for path in scenario.rglob("metrics.csv"):
                path.write_text(path.read_text().replace(SITE, "other"))
            return "no requests and availability of 'PetSite'"
    raise AssertionError(what)


@pytest.mark.parametrize(
    "what", ["no scenario", "no metrics", "text in a cell", "other headings", "no target", "half a file", "graph of words", "no front"]
)
def test_damaged_input_is_named_and_leaves_nothing_half_written(converter: ModuleType, data: Path, tmp_path: Path, what: str) -> None:
    expected = damage(data, what)
    with pytest.raises(SourceRejected) as caught:
        converter.convert(data, tmp_path / "home")
    assert expected in str(caught.value)
    assert not (tmp_path / "home").exists()


def test_a_scenario_without_healthy_time_is_converted_and_said(
    converter: ModuleType, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(data / "low_traffic" / "noissue")
    converter.convert(data, tmp_path / "home")
    assert "is missing: its issues have no healthy time" in capsys.readouterr().err
    assert inbox(tmp_path / "home")["journey_kpis"].height == 5
