"""Promises of the root cause benchmarks: labels stay with the scorer, layouts are read as they are, figures come with their keys."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks import ranking_speed, root_cause, sockshop_cases


@pytest.fixture
def sockshop(tmp_path: Path) -> Path:
    """Two cases of one repetition: in each the processor of the culprit is busy in the second file, an hour after the first."""
    chance = np.random.default_rng(3)
    for culprit in ("a", "b-db"):
        folder = tmp_path / f"{culprit}-cpu" / "1"
        folder.mkdir(parents=True)
        for name, start, factor in (("normal", 0, 1.0), ("anomalous", 3600, 4.0)):
            columns: dict[str, object] = {"time": np.arange(120) + 1_652_565_600 + start}
            for service in ("a", "b-db", "c"):
                columns[f"{service}_cpu"] = (factor if service == culprit else 1.0) * np.exp(0.05 * chance.standard_normal(120))
                columns[f"{service}_lat_90"] = np.exp(0.05 * chance.standard_normal(120))
            pl.DataFrame(columns).write_parquet(folder / f"{name}.parquet")
    return tmp_path


def test_the_label_of_a_sock_shop_case_reaches_no_frame_but_as_the_name_of_its_environment(sockshop: Path) -> None:
    suite = sockshop_cases.read(sockshop)
    assert {label.candidate_id for label in suite.labels.values()} == {"a", "b-db"}
    assert suite.inputs.incident_services.is_empty()
    assert suite.inputs.incidents["title"].n_unique() == 1
    assert set(suite.inputs.metric_points["service"]) == {"a", "b-db", "c"}


def test_sock_shop_is_scored_with_its_baselines(sockshop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert root_cause.main(["--suite", "sockshop", "--data", str(sockshop), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["n"] == 2
    assert result["top1"] == result["avg5"] == 1.0
    assert result["deterministic"]
    assert set(result["baselines"]) >= {"random", "static_prior", "recency", "nsigma", "baro_style"}
    assert result["seconds_per_incident"] > 0


def test_a_folder_without_cases_and_a_column_of_unknown_kind_are_refused(sockshop: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no sockshop repetition"):
        sockshop_cases.read(tmp_path / "nowhere")
    path = sockshop / "a-cpu" / "1" / "anomalous.parquet"
    pl.read_parquet(path).with_columns(strange=1.0).write_parquet(path)
    with pytest.raises(SystemExit, match="strange"):
        sockshop_cases.read(sockshop)


def test_the_speed_of_ranking_is_measured_on_an_incident_whose_cause_is_found() -> None:
    result = ranking_speed.run(series=64, repeats=1, seed=7)
    assert result["found"]
    assert result["series"] == 64
    assert result["seconds_per_incident"] > 0
    assert result["baselines"]["nsigma_seconds"] > 0
