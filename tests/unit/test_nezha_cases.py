"""Nezha's files as cases: services without the suffixes of pods, right clocks, kinds of spans from their neighbours, labels apart."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from benchmarks import nezha_cases, root_cause

DAY = datetime(2022, 8, 22, 4, tzinfo=UTC)
WEB, CART = "web-579b9bff58-t2dbm", "cart-service-5dc8d4f9fd-46997"


@pytest.fixture
def day(tmp_path: Path) -> Path:
    """Half an hour of two pods, a trace a minute; from minute 20 on the cart forgets to write and to say that it did."""
    metrics, spans, logs = [], [], []
    for minute in range(30):
        at = DAY + timedelta(minutes=minute, seconds=19)
        metrics += [
            {
                "Time": f"{at:%Y-%m-%d %H:%M:%S}.573905004 +0000 UTC m=+0.07",
                "TimeStamp": 200_000_000,
                "PodName": pod,
                "CpuUsageRate(%)": 5.0,
                "PodServerLatencyP90(s)": 0.02,
                "PodWorkload(Ops)": 4.0,
                "PodSuccessRate(%)": 0.0,
                "NodeCpuUsageRate(%)": 99.0,
            }
            for pod in (WEB, CART)
        ]
        for n in range(6):
            trace, start, broken = f"{minute * 10 + n + 1:032x}", int(at.timestamp() * 1e9) + n * 10**9, minute >= 20
            ids = [f"{(minute * 10 + n) * 10 + step + 1:016x}" for step in range(4)]
            tree = [
                ("root", WEB, "GET /", 50_000),
                (ids[0], WEB, "GET", 30_000),
                (ids[1], CART, "/cart", 20_000),
                (ids[2], CART, "write", 5_000),
            ]
            spans += [
                {
                    "TraceID": trace,
                    "SpanID": span,
                    "ParentID": parent,
                    "PodName": pod,
                    "OperationName": name,
                    "StartTimeUnixNano": start,
                    "Duration": length,
                    "_file": "x",
                }
                for span, (parent, pod, name, length) in zip(ids, tree, strict=True)
                if not (broken and name == "write")
            ]
            said = f"12:00:00.000 INFO  c.Cart#31 TraceID: {trace} SpanID: {ids[2]} {'nothing to do' if broken else 'written'} {n}\n"
            logs.append(
                {
                    "TimeUnixNano": -6795364578871345152,
                    "PodName": CART,
                    "TraceID": trace,
                    "SpanID": ids[2],
                    "Log": json.dumps({"log": said, "stream": "stdout", "time": f"{at:%Y-%m-%dT%H:%M:%S}.354552249Z"}),
                    "_file": "x",
                }
            )
    pl.DataFrame(metrics).write_parquet(tmp_path / "2022-08-22_metric.parquet")
    pl.DataFrame(spans + spans[:7]).write_parquet(tmp_path / "2022-08-22_trace.parquet")
    pl.DataFrame(logs + logs[:3]).write_parquet(tmp_path / "2022-08-22_log.parquet")
    fault = {"inject_time": "2022-08-22 04:20:00", "inject_timestamp": "0", "inject_pod": CART, "inject_type": "return"}
    (tmp_path / "2022-08-22_faults.json").write_text(json.dumps({"04": [fault]}), encoding="utf-8")
    (tmp_path / "root_cause_ts.json").write_text(json.dumps({"cart-service": {}}), encoding="utf-8")
    (tmp_path / "2022-08-22_dependency.csv").write_text("Source,Target,Weight\nweb,cart-service,1\nweb,33.33.33.1,1\n", encoding="utf-8")
    return tmp_path


def test_files_become_the_frames_correlation_reads(day):
    suite = nezha_cases.read(day)
    inputs = suite.inputs
    assert suite.nodes == {"2022-08-22": ("cart-service", "web")}
    assert inputs.incidents.select("service_origin", "started_at").rows() == [("web", DAY + timedelta(minutes=21))]
    assert inputs.dependencies.select("caller", "callee").rows() == [("web", "cart-service")]
    assert set(inputs.metric_points["metric"]) == {"cpu_usage_ratio", "latency_p90", "requests_per_second"}
    assert inputs.metric_points["bucket_at"].min() == DAY
    red = (
        inputs.trace_red.group_by("service", "operation", "peer")
        .agg(pl.col("count").sum(), pl.col("own_p50_ms").first().round(0))
        .sort(pl.all())
    )
    assert red.rows() == [
        ("cart-service", "/cart", "web", 180, 20.0),
        ("web", "GET /", "", 180, 20.0),
        ("web", "call GET", "cart-service", 180, 10.0),
    ]
    assert inputs.log_patterns.group_by("pattern").agg(pl.col("count").sum()).sort("pattern").rows() == [
        ("INFO c.Cart#<n> nothing to do <n>", 60),
        ("INFO c.Cart#<n> written <n>", 120),
    ]


def test_the_label_is_with_the_scorer_only(day):
    suite = nezha_cases.read(day)
    assert {(label.service, label.fault_type) for label in suite.labels.values()} == {("cart-service", "TrainTicket/return")}
    texts = pl.concat([suite.inputs.incidents.cast(pl.String), suite.inputs.incident_services], how="diagonal")
    assert "cart-service" not in str(texts.rows()) and "return" not in str(texts.rows())


def test_the_benchmark_finds_the_service_and_says_so_per_system(day, capsys):
    assert root_cause.main(["--suite", "nezha", "--data", str(day), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["n"] == 1 and result["top1"] == 1.0 and result["deterministic"] is True
    assert result["by_system"]["TrainTicket"]["top1"] == 1.0 and {"random", "static_prior"} <= set(result["baselines"])


def test_a_folder_without_a_day_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="no <day>_faults"):
        nezha_cases.read(tmp_path)


def test_clocks_and_layout_of_the_real_days_are_understood(real_data: Path):
    """Metrics only: the damaged stamps of one service, and faults whose stamp is hours early."""
    points = nezha_cases._points(real_data / "nezha" / "2022-08-22_metric.parquet", "2022-08-22")
    assert points["bucket_at"].dt.date().n_unique() == 1 and "adservice" in set(points["service"])
    faults = nezha_cases._faults(real_data / "nezha" / "2023-01-29_faults.json", "2023-01-29")
    assert len(faults) == 28 and all(fault.at.date().isoformat() == "2023-01-29" for fault in faults)
