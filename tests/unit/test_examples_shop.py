"""The shop converter: real invoices to hourly journey revenue, and planted drops whose truth stays outside the inbox."""

from __future__ import annotations

import importlib.util
import json
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest

from aftercast.conform import conform
from aftercast.entities import ENTITIES
from aftercast.errors import SourceRejected
from aftercast.settings import PROJECT, load_deployment
from tests.unit.examples_landing import extract_and_conform

MONDAY = datetime(2011, 1, 3)
COUNTRIES = ("United Kingdom", "United Kingdom", "United Kingdom", "France", "Spain", "Italy", "Norway")


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    folder = PROJECT / "examples" / "shop"
    monkeypatch.syspath_prepend(str(folder))
    spec = importlib.util.spec_from_file_location(f"shop_{name}", folder / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def converter(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load("convert", monkeypatch)


def line(
    invoice: str, at: datetime, *, code: str = "85048", quantity: int = 2, price: float = 5.0, country: str = "United Kingdom"
) -> dict:
    return {
        "Invoice": invoice,
        "StockCode": code,
        "Description": "A THING",
        "Quantity": quantity,
        "InvoiceDate": at,
        "Price": price,
        "Customer ID": None,
        "Country": country,
    }


def year(weeks: int = 40) -> list[dict]:
    """Seven orders a trading day, one at each hour from 9 to 15, closed on Saturdays; one cancellation a Monday."""
    lines = []
    for day in (MONDAY + timedelta(days=n) for n in range(weeks * 7)):
        if day.weekday() != 5:
            orders = enumerate(COUNTRIES)
            lines += [line(f"{day:%y%m%d}{n}", day + timedelta(hours=9 + n, minutes=30), country=country) for n, country in orders]
        if day.weekday() == 0:
            lines.append(line(f"C{day:%y%m%d}", day + timedelta(hours=10), quantity=-1))
    return lines


def write(folder: Path, lines: list[dict]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(lines, schema_overrides={"Customer ID": pl.String}).write_parquet(folder / "invoices.parquet")
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write(tmp_path / "real" / "online_retail", year())


def read(home: Path) -> dict[str, pl.DataFrame]:
    parquet = {path.stem: pl.read_parquet(path) for path in (home / "inbox").rglob("*.parquet")}
    return {**parquet, **{path.stem: pl.read_ndjson(path) for path in (home / "inbox").rglob("*.jsonl")}}


def truth(home: Path) -> list[dict]:
    return json.loads((home / "truth" / "drops.json").read_text())


def orders_of(frames: dict[str, pl.DataFrame]) -> pl.DataFrame:
    return frames["journey_kpis"].filter(pl.col("journey") == "checkout")


def test_ledger_rows_fit_their_landing_entities(converter: ModuleType, data: Path, tmp_path: Path) -> None:
    converter.convert(data, tmp_path / "home", 7)
    frames = read(tmp_path / "home")
    for name in ("journey_kpis", "metric_points"):
        result = conform(ENTITIES[name], frames[name], origin=name, key=b"key", currencies={"checkout": "GBP", "refunds": "GBP"})
        assert frames[name].height > 0
        assert result.rejected.height == 0, result.rejected["reason"].to_list()
        assert not result.notes
        assert not result.accepted.select(ENTITIES[name].key).is_duplicated().any()


def test_every_file_is_read_by_a_rule_and_every_row_fits(converter: ModuleType, data: Path, tmp_path: Path) -> None:
    converter.convert(data, tmp_path / "home", 7)
    accepted = extract_and_conform(tmp_path / "home")
    assert {name for name, frame in accepted.items() if frame.height} == {"journey_kpis", "metric_points", "incidents", "incident_events"}
    incidents = accepted["incidents"]
    assert set(incidents["severity"]) == {"sev1", "sev2", "sev3", "sev4"}
    assert set(incidents["mode"]) == {"real", "maintenance"}
    assert incidents["services"].explode().unique().to_list() == ["Checkout"]
    assert accepted["incident_events"].height > incidents.height


def test_revenue_and_planted_loss_add_up_to_the_ledger_to_the_penny(converter: ModuleType, data: Path, tmp_path: Path) -> None:
    converter.convert(data, tmp_path / "home", 7)
    ledger = sum(2 * 5.0 for row in year() if not row["Invoice"].startswith("C"))
    drops = truth(tmp_path / "home")
    lost = sum(drop["lost_revenue"] for drop in drops)
    assert sum(drop["lost_orders"] for drop in drops) > 20
    assert orders_of(read(tmp_path / "home"))["revenue_minor"].sum() / 100 + lost == ledger
    assert all(drop["lost_revenue"] == sum(part["revenue"] for part in drop["by_country"].values()) for drop in drops)


def test_a_drop_takes_orders_only_inside_its_time_and_country(converter: ModuleType, data: Path, tmp_path: Path) -> None:
    given = [{"start": "2011-05-02T00:00:00", "end": "2011-05-04T00:00:00", "country": "France", "share_removed": 1.0}]
    (data / "drops.json").write_text(json.dumps(given))
    converter.convert(data, tmp_path / "home", 7)
    kpis = orders_of(read(tmp_path / "home")).filter(pl.col("ts").dt.date().is_between(datetime(2011, 5, 2), datetime(2011, 5, 4)))
    daily = {(day, country): n for day, country, n in kpis.group_by(pl.col("ts").dt.day(), "country").agg(pl.col("attempts").sum()).rows()}
    assert [daily[day, "France"] for day in (2, 3, 4)] == [0, 0, 1]
    assert [daily[day, "United Kingdom"] for day in (2, 3, 4)] == [3, 3, 3]
    assert [(drop["lost_orders"], drop["lost_revenue"]) for drop in truth(tmp_path / "home")] == [(2, 20.0)]


def test_truth_is_not_in_the_inbox(converter: ModuleType, data: Path, tmp_path: Path) -> None:
    converter.convert(data, tmp_path / "home", 7)
    for name, frame in read(tmp_path / "home").items():
        assert not {"share_removed", "lost_revenue", "lost_orders", "by_country"} & set(frame.columns), name
    assert {path.parent.name for path in (tmp_path / "home").rglob("drops.json")} == {"truth"}


def test_some_incidents_cost_nothing_and_all_are_apart(converter: ModuleType, data: Path, tmp_path: Path) -> None:
    converter.convert(data, tmp_path / "home", 7)
    feed = read(tmp_path / "home")["incidents"].sort("started_at")
    quiet = {drop["incident_id"] for drop in truth(tmp_path / "home") if drop["share_removed"] == 0}
    assert len(quiet) >= 3
    assert quiet < set(feed["id"])
    assert {"none", "minor", "maintenance"} <= set(feed.filter(pl.col("id").is_in(sorted(quiet)))["impact"])
    starts, ends = feed["started_at"].to_list(), feed["resolved_at"].to_list()
    assert all(end < start for end, start in zip(ends, starts[1:], strict=False))


def test_an_open_hour_without_orders_is_zero_and_a_closed_day_is_absent(converter: ModuleType, data: Path, tmp_path: Path) -> None:
    converter.convert(data, tmp_path / "home", 7)
    kpis = orders_of(read(tmp_path / "home"))
    assert kpis.filter(pl.col("ts").dt.weekday() == 6).height == 0
    assert kpis.filter((pl.col("ts").dt.date() == MONDAY) & (pl.col("country") == "France"))["attempts"].to_list() == [0, 0, 0, 1, 0, 0, 0]


def test_hours_are_the_shops_clock_in_utc(converter: ModuleType, data: Path, tmp_path: Path) -> None:
    converter.convert(data, tmp_path / "home", 7)
    hours = orders_of(read(tmp_path / "home"))["ts"]
    winter, summer = (hours.filter(hours.dt.month() == month).dt.hour().unique().to_list() for month in (2, 7))
    assert (min(winter), min(summer)) == (9, 8)


def test_a_cancellation_is_a_refund_and_not_less_revenue(converter: ModuleType, data: Path, tmp_path: Path) -> None:
    converter.convert(data, tmp_path / "home", 7)
    frames = read(tmp_path / "home")
    refunds = frames["journey_kpis"].filter(pl.col("journey") == "refunds")
    assert (refunds["attempts"].sum(), refunds["revenue_minor"].null_count()) == (40, refunds.height)
    assert frames["metric_points"]["value"].sum() == 40 * 5.0
    assert orders_of(frames)["revenue_minor"].min() >= 0


def test_lines_that_are_no_orders_are_dropped_and_counted(
    converter: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = MONDAY + timedelta(hours=12)
    odd = [
        line("1", at),
        line("1", at),
        line("A1", at, code="B", price=-5000.0),
        line("2", at, code="Adjust2"),
        line("3", at, price=0.0),
        line("4", at, quantity=-3),
        line("C5", at, quantity=1),
        line("6", at, country=None),
    ]
    orders, refunds = converter.clean(pl.DataFrame(odd))
    assert (orders["invoice"].to_list(), orders["pence"].to_list(), refunds.height) == (["1"], [1000], 0)
    printed = capsys.readouterr().out.splitlines()
    assert [row.split()[1] for row in printed] == ["1", "1", "2", "1", "2"]


def test_same_input_and_seed_write_the_same_files_and_another_seed_others(converter: ModuleType, data: Path, tmp_path: Path) -> None:
    for home, seed in (("one", 7), ("two", 7), ("three", 8)):
        converter.convert(data, tmp_path / home, seed)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert len(files) >= 10
    assert all((tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes() for file in files)
    assert truth(tmp_path / "one") != truth(tmp_path / "three")


def test_the_feed_borrows_titles_from_the_real_one_beside_the_data(converter: ModuleType, data: Path, tmp_path: Path) -> None:
    feed = data.parent / "github_incidents" / "incidents.jsonl"
    feed.parent.mkdir()
    feed.write_text(json.dumps({"title": "Trouble with Actions", "duration_minutes": 30, "status_sequence": ["Investigating", "Resolved"]}))
    converter.convert(data, tmp_path / "home", 7)
    titles = set(read(tmp_path / "home")["incidents"]["title"])
    assert titles == {"Trouble with Checkout", "Scheduled maintenance for Checkout"}


def test_the_configuration_loads_and_covers_every_row(converter: ModuleType, data: Path, tmp_path: Path) -> None:
    converter.convert(data, tmp_path / "home", 7)
    deployment = load_deployment(tmp_path / "home" / "config")
    assert all(deployment.history.contains(stamp) for stamp in read(tmp_path / "home")["journey_kpis"]["ts"].unique())
    mapping = deployment.source("status_page").options["files"][0]
    impacts = set(read(tmp_path / "home")["incidents"]["impact"])
    assert impacts <= set(mapping["values"]["severity"])
    assert impacts <= set(mapping["values"]["mode"])


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("no file", "invoices.parquet: not a readable Parquet file"),
        ("not parquet", "invoices.parquet: not a readable Parquet file"),
        ("no column", "columns missing: Price"),
        ("no lines", "0 lines"),
        ("only refunds", "no orders are left"),
        ("damaged feed", "incidents.jsonl: not JSON lines"),
        ("damaged drops", "drops.json: expected a list"),
    ],
)
def test_damaged_input_is_named_and_leaves_nothing_half_written(
    converter: ModuleType, data: Path, tmp_path: Path, what: str, expected: str
) -> None:
    path = data / "invoices.parquet"
    match what:
        case "no file":
            path.unlink()
        case "not parquet":
            path.write_text("Invoice,Price\n")
        case "no column":
            pl.read_parquet(path).drop("Price").write_parquet(path)
        case "no lines":
            pl.read_parquet(path).clear().write_parquet(path)
        case "only refunds":
            pl.read_parquet(path).filter(pl.col("Invoice").str.starts_with("C")).write_parquet(path)
        case "damaged feed":
            (data.parent / "github_incidents").mkdir()
            (data.parent / "github_incidents" / "incidents.jsonl").write_text("{")
        case "damaged drops":
            (data / "drops.json").write_text('[{"start": "2011-05-02"}]')
    with pytest.raises(SourceRejected) as caught:
        converter.convert(data, tmp_path / "home", 7)
    assert expected in str(caught.value)
    assert not (tmp_path / "home").exists()


def test_check_counts_what_was_said_and_refuses_a_mart_without_the_incidents(monkeypatch: pytest.MonkeyPatch) -> None:
    check = load("check", monkeypatch)
    truth = pl.DataFrame({"incident_id": ["a", "b", "c", "d"], "true": [100.0, 100.0, 100.0, 0.0]})
    columns = ["incident_id", "impact_status", "lost_revenue", "lost_revenue_low", "lost_revenue_high"]
    said = [("a", "quantified", 90.0, 50.0, 130.0), ("b", "quantified", 300.0, 200.0, 400.0), ("c", "unknown", None, None, None)]
    measured = pl.DataFrame([*said, ("d", "quantified", 9.0, 1.0, 20.0)], schema=columns, orient="row")
    text = check.summary(check.compare(truth, measured))
    assert "3 incidents lost money: an interval was stated for 2 and held the true loss for 1." in text
    assert "2 of them were quantified (median error 105.0 %)" in text
    assert "1 incidents lost nothing: a loss was claimed for 1." in text
    with pytest.raises(SourceRejected, match="1 planted incidents are not in the mart"):
        check.compare(truth, measured.head(3))
