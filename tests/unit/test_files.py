"""The inbox: mapping, formats, and everything that can be wrong with a dropped file."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from aftercast import landing
from aftercast.declarations import SourceRow
from aftercast.errors import ConfigError, SourceUnavailable
from aftercast.settings import Settings
from aftercast.sources import files, formats, open_source
from aftercast.window import Window

WEEK = Window.parse("2026-09-01", "2026-09-08")
NOW = datetime(2026, 10, 1, tzinfo=UTC)
ORDERS = {
    "match": "orders*.csv",
    "entity": "journey_kpis",
    "columns": {
        "journey": {"const": "checkout"},
        "step": {"const": "pay"},
        "ts": "When",
        "attempts": "Tried",
        "successes": "Paid",
        "revenue_minor": "Pence",
        "currency": "Money",
        "region": "Place",
    },
    "values": {"region": {"UK": "eu"}},
}
HEADER = "When,Tried,Paid,Pence,Money,Place\n"


@pytest.fixture
def place(tmp_path) -> Settings:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "sources.yml").write_text('history: {start: "2026-09-01", end: "2026-09-08"}\nsources: []\n')
    (tmp_path / "config" / "journeys.yml").write_text(
        "journeys: [{journey: checkout, title: Checkout, owner_team: pay, currency: GBP, steps: [{step: pay, earns: true}]}]\n"
    )
    (tmp_path / "home" / "inbox").mkdir(parents=True)
    return Settings(home=tmp_path / "home", config=tmp_path / "config")


def source(*rules: dict, inbox: str = "inbox", entities: tuple[str, ...] = ()) -> SourceRow:
    return SourceRow(name="drops", kind="files", entities=entities, options={"inbox": inbox, "files": list(rules)})


def drop(place: Settings, name: str, content: str | bytes) -> Path:
    path = place.inbox / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def extract(place: Settings, row: SourceRow) -> dict[str, landing.Landed]:
    results = landing.land(place, row, WEEK, open_source(row, place).extract(WEEK), ingested_at=NOW)
    return {result.entity: result for result in results}


def landed(place: Settings, entity: str = "journey_kpis") -> pl.DataFrame:
    paths = sorted(place.landing.glob(f"{entity}/source=drops/**/*.parquet"))
    return pl.concat(pl.read_parquet(path, hive_partitioning=False) for path in paths).sort("source_id")


def quarantined(place: Settings) -> list[tuple[str, str, int]]:
    lines = [line for path in sorted(place.quarantine.glob("**/*.jsonl")) for line in path.read_text().splitlines()]
    return [(row["reason"], row["origin"], row["row"]) for row in map(json.loads, lines)]


def test_a_mapped_csv_lands_under_our_names(place):
    drop(place, "orders_1.csv", b"\xef\xbb\xbf" + (HEADER + "2026-09-01T10:00:00Z,10,9,1200,GBP,UK\r\n").encode())
    result = extract(place, source(ORDERS))["journey_kpis"]
    assert (result.received, result.landed) == (1, 1)
    row = landed(place).row(0, named=True)
    assert (row["journey"], row["attempts"], row["revenue_minor"], row["region"]) == ("checkout", 10, 1200, "eu")
    assert (row["source"], row["source_id"]) == ("drops", "orders_1.csv:2")


def test_everything_wrong_with_a_csv_is_named_with_its_line(place):
    good = "2026-09-01T{}:00:00Z,10,9,1200,GBP,UK\n"
    lines = [
        good.format("10"),
        "2026-09-01 11:00:00,10,9,1200,GBP,UK\n",
        "2026-09-01T12:00:00Z,ten,9,1200,GBP,UK\n",
        "\n",
        "2026-09-01T13:00:00Z,10,9\n",
        "2026-09-01T14:00:00Z,10,9,1200,EUR,UK\n",
        '"2026-09-01T15:00:00Z","10","9","1200","GBP","U,K"\n',
        "2026-09-01T16:00:00Z,10,9,12,00,GBP,UK\n",
        good.format("10").replace(",9,", ",8,"),
        "2026-09-01T17:00:00Z,10,-1,1200,GBP,UK\n",
    ]
    drop(place, "orders.csv", HEADER + "".join(lines) + "2026-09-01T18:00:00Z,10,9,1200,GBP,")
    with (place.inbox / "orders.csv").open("ab") as file:
        file.write(b"\xff\xfe\n")
    result = extract(place, source(ORDERS))["journey_kpis"]
    assert quarantined(place) == [
        ("3 values where the header has 6 columns", "orders.csv", 6),
        ("7 values where the header has 6 columns", "orders.csv", 9),
        ("not UTF-8 text", "orders.csv", 12),
        ("ts: time without zone", "orders.csv", 3),
        ("attempts: not a number", "orders.csv", 4),
        ("currency mix: not the currency the journey declares in journeys.yml", "orders.csv", 7),
        ("successes: negative", "orders.csv", 11),
    ]
    assert (result.received, result.landed, result.rejected, result.duplicate) == (10, 2, 7, 1)
    assert landed(place)["successes"].to_list() == [8, 9], "of two rows with one key the last wins"


def test_values_that_span_lines_are_read_and_lines_still_counted(place):
    rule = {"match": "*.csv", "entity": "incidents"}
    drop(place, "i.csv", 'incident_id,title,started_at\ni1,"two\nlines",2026-09-01T10:00:00Z\ni2,"a ""quoted"" one",2026-09-01\ni3,x\n')
    result = extract(place, source(rule))["incidents"]
    assert landed(place, "incidents").select("title", "source_id").rows() == [("two\nlines", "i.csv:2"), ('a "quoted" one', "i.csv:4")]
    assert quarantined(place) == [("2 values where the header has 3 columns", "i.csv", 5)]
    assert result.received == 3


def test_the_slow_csv_reader_reads_what_the_fast_one_reads(place):
    body = "".join(f'{number},"v, {number}",\n' for number in range(50)) + "short\n"
    path = drop(place, "a.csv", "n,v,e\n" + body)
    fast = list(formats.read_csv(path))
    slow = list(formats._csv_records(iter(body.splitlines(keepends=True)), 2, ["n", "v", "e"], ","))
    assert pl.concat(block.frame for block in fast).equals(pl.concat(block.frame for block in slow))
    assert [block.unreadable["row"].to_list() for block in fast] == [block.unreadable["row"].to_list() for block in slow] == [[52]]


def test_json_lines_land_and_torn_lines_are_named(place):
    good = {"incident_id": "i1", "title": "Down", "started_at": "2026-09-01T10:00:00Z", "services": ["cart", "pay"]}
    drop(
        place,
        "i.jsonl",
        json.dumps(good) + '\n{"incident_id": "i2", \n[1]\n' + json.dumps({**good, "incident_id": 3, "services": "cart;pay"}) + "\n",
    )
    result = extract(place, source({"match": "*.jsonl", "entity": "incidents"}))["incidents"]
    assert (result.received, result.landed, result.rejected) == (4, 2, 2)
    assert landed(place, "incidents").select("incident_id", "services").rows() == [("i1", ["cart", "pay"]), ("3", ["cart", "pay"])]
    assert [row for _, _, row in quarantined(place)] == [2, 3]


def test_the_slow_json_reader_lands_what_the_fast_one_lands(place):
    rows = [
        {**{"change_id": f"c{n}", "kind": "deploy", "service": "cart", "started_at": "2026-09-01"}, "planned": n % 2 == 0} for n in range(4)
    ]
    text = "".join(json.dumps({**row, "attributes": {"n": 1}}) + "\n" for row in rows)
    rule = {"match": "*.jsonl", "entity": "changes"}
    drop(place, "c.jsonl", text)
    extract(place, source(rule))
    fast = landed(place, "changes")
    drop(place, "c.jsonl", text + "torn\n")
    extract(place, source(rule))
    assert landed(place, "changes").drop("attributes").equals(fast.drop("attributes"))


def test_parquet_and_gzip_land_in_the_landing_shape(place):
    frame = pl.DataFrame({"service": ["cart"], "metric": ["m"], "ts": [datetime(2026, 9, 1, tzinfo=UTC)], "value": [1.0]})
    frame.write_parquet(place.inbox / "p.parquet")
    drop(place, "q.csv.gz", gzip.compress(b"service,metric,ts,value\npay,m,2026-09-01T00:00:00Z,2\n"))
    result = extract(place, source({"match": "*", "entity": "metric_points"}))["metric_points"]
    assert result.landed == 2
    assert landed(place, "metric_points")["value"].to_list() == [1.0, 2.0]


@pytest.mark.parametrize("name", ["broken.parquet", "broken.csv.gz"])
def test_an_unreadable_file_is_quarantined_and_others_land(place, name):
    drop(place, name, b"this is neither")
    drop(place, "fine.csv", "service,metric,ts,value\npay,m,2026-09-01T00:00:00Z,2\n")
    result = extract(place, source({"match": "*", "entity": "metric_points"}))["metric_points"]
    assert (result.landed, result.rejected) == (1, 1)
    ((reason, origin, _),) = quarantined(place)
    assert reason.startswith("not a readable")
    assert origin == name


def test_a_missing_column_is_named_with_the_nearest_one(place):
    drop(place, "orders.csv", HEADER.replace("Tried", "Tryed") + "2026-09-01T10:00:00Z,10,9,1200,GBP,UK\n")
    result = extract(place, source(ORDERS))["journey_kpis"]
    assert result.reasons == {"missing column attempts": 1, "orders.csv has no column 'Tried', did you mean 'Tryed'?": 1}


@pytest.mark.parametrize(
    ("rule", "given", "hour"),
    [
        ({"timezone": "Europe/London"}, "2026-07-01 10:00", 9),
        ({"timezone": "Europe/London"}, "2026-07-01T10:00:00Z", 10),
        ({"timezone": "UTC"}, "2026-07-01T10:00:30.5", 10),
        ({"timezone": "Asia/Kolkata", "time_format": "%d/%m/%Y %H:%M"}, "01/07/2026 10:00", 4),
        ({"timezone": "America/New_York", "time_format": "%d.%m.%y"}, "01.07.26", 4),
        ({"time_format": "%Y%m%d %H%M%z"}, "20260701 1000+0200", 8),
        ({"time_format": "epoch_s"}, "1782900000", 10),
        ({"time_format": "epoch_ms"}, 1782900000000, 10),
    ],
)
def test_times_are_read_as_the_rule_says(rule, given, hour):
    frame = pl.DataFrame({"ts": [given], "service": ["a"], "origin_row": [1]})
    mapped = files.map_columns(files.FileRule(match="*.csv", entity="metric_points", **rule), frame, "f")
    moment = datetime.fromisoformat(mapped["ts"][0]).astimezone(UTC)
    assert (moment.month, moment.day, moment.hour) == (7, 1, hour)


def test_an_hour_that_does_not_exist_is_left_to_landing_to_reject(place):
    rule = {"match": "*.csv", "entity": "metric_points", "timezone": "Europe/London"}
    drop(place, "m.csv", "service,metric,ts,value\npay,m,2025-03-30 01:30,2\npay,m,2025-10-26 01:30,2\n")
    extract(place, source(rule))
    assert quarantined(place) == [("ts: time without zone", "m.csv", 2)]
    assert landed(place, "metric_points")["ts"].dt.hour().to_list() == [0]


def test_a_row_dated_after_the_extract_is_quarantined_until_its_time_has_come(place):
    drop(place, "m.csv", "service,metric,ts,value\npay,m,2026-09-30T23:00Z,1\npay,m,2028-12-23T03:51:19Z,2\n")
    extract(place, source({"match": "*.csv", "entity": "metric_points"}))
    assert quarantined(place) == [("ts: in the future of the extract", "m.csv", 3)]
    assert landed(place, "metric_points").height == 1


def test_a_pattern_keeps_what_names_a_service_of_the_name_of_its_pod(place):
    rule = {
        "match": "*.csv",
        "entity": "metric_points",
        "patterns": {"service": "^(.+)-[^-]+-[^-]+$"},
        "values": {"service": {"cart-api": "cart"}},
    }
    drop(place, "m.csv", "service,metric,ts,value\ncart-api-5f6585d649-fnmft,m,2026-09-01T01:00Z,1\npay,m,2026-09-01T01:00Z,1\n")
    extract(place, source(rule))
    assert sorted(landed(place, "metric_points")["service"]) == ["cart", "pay"]


@pytest.mark.parametrize("pattern", ["^.+$", "^(.+$"])
def test_a_pattern_that_keeps_nothing_is_refused(place, pattern: str):
    with pytest.raises(ConfigError, match="is no regular expression with a group"):
        open_source(source({"match": "*.csv", "entity": "metric_points", "patterns": {"service": pattern}}), place)


def test_a_file_no_rule_matches_is_reported(place):
    drop(place, "notes.txt", "hello")
    drop(place, ".orders.csv.part", "half")
    results = extract(place, source(ORDERS, {"match": "i.csv", "entity": "incidents"}))
    assert [result.reasons for result in results.values()] == [{"file notes.txt matches no rule": 1}, {}]


def test_an_empty_inbox_is_covered_with_zero_rows(place):
    result = extract(place, source(ORDERS))["journey_kpis"]
    assert (result.received, result.landed) == (0, 0)
    row = pl.read_parquet(next(place.landing.glob("coverage/source=drops/*.parquet")), hive_partitioning=False).row(0, named=True)
    assert (row["expected"], row["received"], row["watermark"]) == (0, 0, None)


def test_a_missing_inbox_is_named(place):
    with pytest.raises(SourceUnavailable, match=r"inbox folder .*/home/nowhere does not exist"):
        extract(place, source(ORDERS, inbox="nowhere"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colums": {}}, r"files.row 1.colums: unknown key; did you mean 'columns'"),
        ({"columns": {"tss": "When"}}, r"journey_kpis has no column 'tss'; did you mean 'ts'"),
        ({"entity": "journey_kpi"}, r"unknown entity 'journey_kpi'; did you mean 'journey_kpis'"),
        ({"timezone": "Europe/Lodnon"}, r"unknown timezone 'Europe/Lodnon'"),
        ({"time_format": "%d/%m/%Y"}, r"reads no zone"),
        ({"time_format": "iso"}, r"neither a pattern"),
        ({"match": "orders.xlsx"}, r"does not tell the format"),
        ({"format": "xlsx"}, r"Input should be 'csv', 'jsonl' or 'parquet'"),
    ],
)
def test_a_wrong_option_is_named_with_its_source_and_the_nearest_key(place, change, message):
    with pytest.raises(ConfigError, match=message) as caught:
        open_source(source({**ORDERS, **change}), place)
    assert "source 'drops'" in str(caught.value)


def test_reading_the_inbox_twice_changes_nothing_and_a_shrunken_file_takes_its_rows_along(place):
    path = drop(place, "orders.csv", HEADER + "2026-09-01T10:00:00Z,1,1,1,GBP,UK\n2026-09-03T10:00:00Z,1,1,1,GBP,UK\n")
    extract(place, source(ORDERS))
    fingerprint = landing.landing_fingerprint(place)
    assert extract(place, source(ORDERS))["journey_kpis"].changed_files == 0
    assert landing.landing_fingerprint(place) == fingerprint
    path.write_text(HEADER + "2026-09-03T10:00:00Z,1,1,1,GBP,UK\n")
    extract(place, source(ORDERS))
    assert landed(place)["ts"].dt.day().to_list() == [3]
    path.write_text("")
    extract(place, source(ORDERS))
    assert not list(place.landing.glob("journey_kpis/source=drops/**/*.parquet"))


def test_a_file_that_is_gone_leaves_what_it_landed(place):
    drop(place, "orders.csv", HEADER + "2026-09-01T10:00:00Z,1,1,1,GBP,UK\n")
    extract(place, source(ORDERS))
    (place.inbox / "orders.csv").unlink()
    extract(place, source(ORDERS))
    assert landed(place).height == 1


def test_one_file_may_feed_several_series_by_several_rules(place):
    def rule(column: str) -> dict:
        columns = {"service": "svc", "metric": {"const": column}, "ts": "at", "value": column}
        return {"match": "wide.csv", "entity": "metric_points", "columns": columns}

    drop(place, "wide.csv", "svc,at,cpu,mem\ncart,2026-09-01T00:00:00Z,1,2\n")
    assert extract(place, source(rule("cpu"), rule("mem")))["metric_points"].landed == 2
    assert landed(place, "metric_points").select("metric", "value").sort("metric").rows() == [("cpu", 1.0), ("mem", 2.0)]


def test_unknown_texts_are_null_where_the_rule_says_so(place):
    drop(place, "orders.csv", HEADER + "2026-09-01T10:00:00Z,10,9,?,GBP,UK\n")
    extract(place, source({**ORDERS, "nulls": ["?"]}))
    assert landed(place)["revenue_minor"].to_list() == [None]


def test_the_example_in_the_documentation_does_what_it_says(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "adding_a_source.md").read_text()
    blocks = {kind: page.split(f"```{kind}\n")[1].split("```")[0] for kind in ("csv", "yaml")}
    place = Settings(home=tmp_path / "home", config=tmp_path)
    (tmp_path / "sources.yml").write_text(blocks["yaml"])
    (place.inbox / "orders").mkdir(parents=True)
    (place.inbox / "orders" / "orders_1.csv").write_text(blocks["csv"])
    (row,) = place.deployment.sources
    (result,) = landing.land(place, row, WEEK, open_source(row, place).extract(WEEK), ingested_at=NOW)
    assert (result.landed, result.rejected, result.reasons) == (2, 1, {"missing successes": 1})
    rows = pl.read_parquet(next(place.landing.glob("journey_kpis/source=orders/**/*.parquet")), hive_partitioning=False)
    assert rows["ts"].to_list() == [datetime(2026, 9, 21, 4, minute, tzinfo=UTC) for minute in (0, 5)]
