"""The traps of the real data sets, one test each: what lands, and by which name everything else is caught."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest

from aftercast import landing, quality
from aftercast.declarations import SourceRow
from aftercast.settings import PROJECT, Settings
from aftercast.sources import open_source
from aftercast.window import Window
from tests.answering import serve
from tests.unit import landing_fixture
from tests.unit.test_source_statuspage import StatusPage, as_vendor
from tests.unit.tracker_fixture import Tracker

NOW = datetime(2026, 9, 1, tzinfo=UTC)
DAY = Window.parse("2026-08-31", "2026-09-01")
POD = "^(.+)-[^-]+-[^-]+$"


class Inbox:
    """Files dropped and landed by rules, and what the gates find in what landed."""

    def __init__(self, root: Path) -> None:
        self.place: Settings = landing_fixture.deployment(root)
        self.place.inbox.mkdir(parents=True)

    def drop(self, name: str, frame: pl.DataFrame) -> None:
        frame.write_csv(self.place.inbox / name)

    def land(self, **rule: Any) -> landing.Landed:
        row = SourceRow(name="real", kind="files", options={"inbox": "inbox", "files": [{"match": "*", "format": "csv", **rule}]})
        found = landing.land(self.place, row, DAY, open_source(row, self.place).extract(DAY), ingested_at=NOW)
        (only,) = found
        return only

    def rows(self, entity: str) -> pl.DataFrame:
        return landing_fixture.landed(self.place, entity)

    def findings(self, entity: str) -> set[str]:
        """The expectations that what landed does not meet."""
        return {one.expectation for one in quality.check_landed(entity, self.rows(entity))}


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return Inbox(tmp_path)


def told(findings: set[str], name: str) -> bool:
    return any(f"column={name}" in one for one in findings)


# --- Nezha ---


def pods(real_data: Path, *columns: str) -> pl.DataFrame:
    return pl.read_parquet(real_data / "nezha" / "2022-08-22_metric.parquet").select("Time", "TimeStamp", "PodName", *columns)


def points(column: str, unit: str, **rule: Any) -> dict[str, Any]:
    constants = {"metric": {"const": "usage"}, "unit": {"const": unit}, "kind": {"const": "gauge"}}
    return {"entity": "metric_points", "columns": {"service": "PodName", "value": column, **constants} | rule.pop("columns"), **rule}


def test_stamps_that_are_years_ahead_are_quarantined_as_of_the_future(inbox: Inbox, real_data: Path):
    metrics = pods(real_data, "MemoryUsageRate(%)")
    inbox.drop("metric.csv", metrics)
    result = inbox.land(**points("MemoryUsageRate(%)", "%", columns={"ts": "TimeStamp"}, time_format="epoch_s"))
    damaged = metrics.filter(pl.col("TimeStamp") > NOW.timestamp()).height
    assert dict(result.reasons) == {"ts: in the future of the extract": damaged}
    assert damaged == metrics.filter(pl.col("PodName").str.starts_with("adservice")).height > 1000
    assert not inbox.rows("metric_points")["service"].str.starts_with("adservice").any()


def test_the_right_column_lands_every_row_and_damaged_digits_are_found_where_a_share_exceeds_the_whole(inbox: Inbox, real_data: Path):
    metrics = pods(real_data, "MemoryUsageRate(%)")
    inbox.drop("metric.csv", metrics)
    rule = {"columns": {"ts": "Time"}, "timezone": "UTC", "patterns": {"service": POD}}
    result = inbox.land(**points("MemoryUsageRate(%)", "%", **rule))
    assert (result.landed, result.rejected) == (metrics.height, 0)
    rows = inbox.rows("metric_points")
    assert rows["ts"].dt.date().n_unique() <= 2
    assert told(inbox.findings("metric_points"), "shares_above_the_whole")
    assert rows.filter(pl.col("value") > 100)["service"].to_list() == ["adservice"]


def test_a_pod_is_its_service_whatever_its_suffixes_are_today(inbox: Inbox, real_data: Path):
    for day in ("2022-08-22", "2023-01-29"):
        metrics = pl.read_parquet(real_data / "nezha" / f"{day}_metric.parquet").select("Time", "PodName", "CpuUsage(m)").head(4000)
        inbox.drop(f"{day}.csv", metrics)
    inbox.land(**points("CpuUsage(m)", "mCPU", columns={"ts": "Time"}, timezone="UTC", patterns={"service": POD}))
    services = set(inbox.rows("metric_points")["service"])
    assert services >= {"adservice", "ts-admin-basic-info-service"}
    assert not [name for name in services if any(letter.isdigit() for letter in name)]


def faults(real_data: Path) -> pl.DataFrame:
    content = json.loads((real_data / "nezha" / "2023-01-29_faults.json").read_text())
    listed = [one for hour in content.values() for one in hour]
    return pl.DataFrame([{**one, "id": f"N-{number}", "epoch": int(one["inject_timestamp"])} for number, one in enumerate(listed)])


def test_a_clock_that_lost_its_zone_is_found_beside_one_that_kept_it(inbox: Inbox, real_data: Path):
    frame = faults(real_data).with_columns(pl.from_epoch("epoch").dt.strftime("%Y-%m-%d %H:%M:%S").alias("stamp"))
    inbox.drop("faults.csv", frame)
    columns = {"incident_id": "id", "title": "inject_type", "started_at": "stamp", "detected_at": "inject_time", "services": "inject_pod"}
    result = inbox.land(entity="incidents", columns=columns, timezone="UTC")
    assert result.landed == frame.height
    assert told(inbox.findings("incidents"), "detected_whole_hours_late_share")


def test_the_clock_that_kept_its_zone_raises_nothing(inbox: Inbox, real_data: Path):
    inbox.drop("faults.csv", faults(real_data))
    columns = {"incident_id": "id", "title": "inject_type", "started_at": "inject_time", "detected_at": "inject_time"}
    inbox.land(entity="incidents", columns=columns, timezone="UTC")
    assert inbox.findings("incidents") == set()


# --- PetShop ---


def wide(path: Path) -> pl.DataFrame:
    """A metrics.csv with one heading instead of three, its columns as they are."""
    table = pl.read_csv(path, has_header=False, infer_schema=False)
    heads = ["|".join(str(part) for part in head) for head in zip(*table.head(3).rows(), strict=True)]
    return table.slice(4).rename(dict(zip(table.columns, ["at", *heads[1:]], strict=True)))


def test_a_column_that_one_file_has_and_another_has_not_is_named_and_never_zero(inbox: Inbox, real_data: Path):
    scenario = real_data / "petshop" / "low_traffic"
    normal, issue = wide(scenario / "noissue" / "metrics.csv"), wide(scenario / "issue_0" / "metrics.csv")
    only = next(name for name in issue.columns if name not in normal.columns and issue[name].null_count() < issue.height)
    inbox.drop("issue.csv", issue)
    inbox.drop("normal.csv", normal)
    columns = {"service": {"const": "site"}, "metric": {"const": "latency"}, "ts": "at", "value": only}
    result = inbox.land(entity="metric_points", columns=columns, time_format="epoch_s")
    named = [reason for reason in result.reasons if reason.startswith(f"normal.csv has no column {only!r}")]
    assert len(named) == 1
    assert result.reasons["missing column value"] == normal.height
    assert inbox.rows("metric_points").height == issue[only].drop_nulls().len()


# --- NAB ---


@pytest.mark.parametrize(
    "name",
    ["realKnownCause/machine_temperature_system_failure", "realAWSCloudwatch/ec2_disk_write_bytes_1ef3de", "realTraffic/speed_t4013"],
)
def test_stamps_that_repeat_run_back_or_step_oddly_land_once_each_and_are_counted(inbox: Inbox, real_data: Path, name: str):
    series = pl.read_csv(real_data / "nab" / "data" / f"{name}.csv", infer_schema=False)
    inbox.drop("series.csv", series)
    columns = {"service": {"const": "machine"}, "metric": {"const": "m"}, "ts": "timestamp", "value": "value"}
    result = inbox.land(entity="metric_points", columns=columns, timezone="UTC")
    once = series["timestamp"].n_unique()
    assert (result.landed, result.duplicate, result.rejected) == (once, series.height - once, 0)
    assert result.duplicate > 0
    assert inbox.rows("metric_points")["ts"].is_sorted()


# --- Online Retail ---


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    folder = PROJECT / "examples" / "shop"
    monkeypatch.syspath_prepend(str(folder))
    spec = importlib.util.spec_from_file_location("shop_convert", folder / "convert.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_lines_of_a_ledger_that_are_no_sales_are_left_out_by_name(shop: ModuleType, real_data: Path, capsys: pytest.CaptureFixture[str]):
    lines = shop.read_invoices(real_data / "online_retail")
    orders, refunds = shop.clean(lines)
    said = {line.split(" lines ", 1)[1]: int(line.split()[1].replace(",", "")) for line in capsys.readouterr().out.splitlines()}
    assert said["exact duplicates"] == lines.height - lines.unique().height > 6_000
    assert said["bookkeeping (adjustments, bad debt, fees, samples, tests)"] >= lines.filter(pl.col("Price") < 0).height == 3
    assert said["without a positive price (stock corrections)"] > 3_000
    assert said["with a quantity that contradicts the invoice"] >= 0
    assert not orders["invoice"].str.starts_with("C").any() and refunds["invoice"].str.starts_with("C").all()
    assert orders["pence"].min() > 0 and refunds["pence"].min() > 0
    bought = set(lines.filter(pl.col("Customer ID").is_null() & (pl.col("Price") > 0) & (pl.col("Quantity") > 0))["Invoice"])
    assert bought & set(orders["invoice"]), "somebody bought, though nobody knows who"
    by_day = orders.group_by(pl.col("at").dt.date()).agg(pl.col("pence").sum())
    assert by_day["pence"].min() > 0


def test_a_day_of_negative_revenue_is_found_when_refunds_are_subtracted_from_sales(inbox: Inbox, real_data: Path):
    lines = pl.read_parquet(real_data / "online_retail" / "invoices.parquet")
    value = (pl.col("Quantity") * pl.col("Price") * 100).sum().round().cast(pl.Int64)
    days = lines.group_by(pl.col("InvoiceDate").dt.date().alias("day")).agg(value.alias("pence"), pl.col("Invoice").n_unique().alias("n"))
    inbox.drop("days.csv", days.sort("day"))
    columns = {"journey": {"const": "checkout"}, "step": {"const": "pay"}, "ts": "day", "attempts": "n", "successes": "n"}
    result = inbox.land(entity="journey_kpis", columns=columns | {"revenue_minor": "pence"}, timezone="Europe/London")
    assert result.landed == days.height
    assert told(inbox.findings("journey_kpis"), "revenue_below_zero")
    assert inbox.rows("journey_kpis").filter(pl.col("revenue_minor") < 0).height == days.filter(pl.col("pence") < 0).height > 0


def test_a_closed_day_is_absent_and_not_zero(shop: ModuleType, real_data: Path):
    orders, _ = shop.clean(shop.read_invoices(real_data / "online_retail"))
    hours = shop.trading_hours(orders)
    closed = hours.filter((pl.col("hour").dt.month() == 12) & pl.col("hour").dt.day().is_in([25, 26]))
    assert closed.is_empty()
    assert hours.filter(pl.col("hour").dt.weekday() == 6)["hour"].dt.date().n_unique() <= 2


# --- ServiceNow ---

TICKETS: dict[str, Any] = {
    "entity": "incidents",
    "columns": {
        "incident_id": "number",
        "title": "category",
        "severity": "priority",
        "status": "incident_state",
        "started_at": "opened_at",
        "resolved_at": "resolved_at",
        "updated_at": "sys_updated_at",
    },
    "values": {
        "severity": {"1 - Critical": "sev1", "2 - High": "sev2", "3 - Moderate": "sev3", "4 - Low": "sev4"},
        "status": {"New": "open", "Active": "open", "Resolved": "resolved", "Closed": "closed"}
        | dict.fromkeys(("Awaiting User Info", "Awaiting Problem", "Awaiting Vendor", "Awaiting Evidence"), "open"),
    },
    "time_format": "%d/%m/%Y %H:%M",
    "timezone": "UTC",
}


def tickets(real_data: Path) -> pl.DataFrame:
    theirs = list(TICKETS["columns"].values())
    return pl.read_parquet(real_data / "servicenow" / "incident_event_log.parquet").select(theirs)


def test_a_question_mark_is_nothing_known_and_a_day_comes_before_its_month(inbox: Inbox, real_data: Path):
    log = tickets(real_data)
    inbox.drop("log.csv", log)
    result = inbox.land(nulls=["?"], **TICKETS)
    untitled = log.filter(pl.col("category") == "?").height
    assert dict(result.reasons) == {"missing title": untitled}
    named = log.filter(pl.col("category") != "?")
    rows = inbox.rows("incidents")
    assert rows.height == named["number"].n_unique() > 10_000
    assert result.duplicate == named.height - rows.height, "the states an incident went through are versions of one row"
    expected = named.group_by("number", maintain_order=True).last()
    assert rows["resolved_at"].null_count() == expected.filter(pl.col("resolved_at") == "?").height > 0
    months = Counter(int(text.split("/")[1]) for text in expected["opened_at"])
    assert Counter(rows["started_at"].dt.month().to_list()) == months


def test_a_question_mark_nobody_declared_is_quarantined_and_never_a_time(inbox: Inbox, real_data: Path):
    log = tickets(real_data)
    inbox.drop("log.csv", log)
    result = inbox.land(**TICKETS)
    assert result.reasons["resolved_at: not a time"] == log.filter(pl.col("resolved_at") == "?").height
    assert inbox.rows("incidents")["resolved_at"].null_count() == 0


def test_days_before_months_are_never_guessed(inbox: Inbox, real_data: Path):
    log = tickets(real_data).head(200)
    inbox.drop("log.csv", log)
    result = inbox.land(nulls=["?"], **{name: value for name, value in TICKETS.items() if name not in ("time_format", "timezone")})
    assert result.landed == 0
    assert set(result.reasons) == {"started_at: not a time"}


# --- GitHub ---


def test_real_incidents_keep_what_is_unknown_unknown_and_maintenance_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real_data: Path
):
    real = [json.loads(line) for line in (real_data / "github_incidents" / "incidents.jsonl").read_text().splitlines()]
    tracker = Tracker(tmp_path, monkeypatch, "statuspage", ("incidents", "incident_events"), password="k3y")
    options = {"page": "k1", "seconds_between_requests": 0}
    pages = [as_vendor(one) for one in real]
    window = Window.parse("2020-01-01", "2026-08-01")
    with serve(StatusPage(pages)) as server:
        tracker.extract(server.url, window, **options)
        rows = {one["incident_id"]: one for one in tracker.landed()}
        assert len(rows) == len({one["id"] for one in real})
        none = [rows[one["id"]] for one in real if one["impact"] == "none"]
        assert none and {(one["severity"], one["mode"]) for one in none} == {("sev4", "real")}
        nowhere = [rows[one["id"]] for one in real if not one.get("components")]
        assert nowhere and all(one["services"] == [] for one in nowhere)
        planned = [rows[one["id"]] for one in real if one["impact"] == "maintenance"]
        assert planned and {one["mode"] for one in planned} == {"maintenance"}
        edited = next(one for one in pages if one["incident_updates"])
        edited["incident_updates"][0] |= {"body": "What it really was", "updated_at": "2026-08-01T06:00:00Z"}
        tracker.extract(server.url, Window.parse("2026-08-01", "2026-08-02"), reread_days=3_660, **options)
    assert "What it really was" in {one["text"] for one in tracker.landed("incident_events")}
