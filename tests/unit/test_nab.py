"""The NAB benchmark: its scoring rules on cases worked out by hand, its reading of odd files, its command."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from aftercast.errors import AftercastError
from benchmarks import nab
from benchmarks.nab_baselines import BASELINES
from benchmarks.nab_scoring import NEVER, Profile, Series, judge, probation, read_profiles, read_series, read_windows, sigmoid, sweep

STANDARD = Profile("standard", 1.0, 0.11, 1.0)
ROWS = 20  # three of them probationary
BEST = 2.0 / (1.0 + math.exp(-5.0)) - 1.0


def _score(alarms: list[int], windows: list[tuple[int, int]], profile: Profile = STANDARD, n_rows: int = ROWS) -> float:
    scores = np.zeros(n_rows)
    scores[alarms] = 1.0
    return sweep({"a": judge(n_rows, windows)}, {"a": scores}, profile).at(0.5)


def test_no_alarm_is_zero_and_the_left_edge_of_every_window_is_hundred() -> None:
    assert _score([], [(10, 13)]) == pytest.approx(0.0)
    assert _score([10], [(10, 13)]) == pytest.approx(100.0)
    assert _score([6, 14], [(6, 8), (14, 17)]) == pytest.approx(100.0)


def test_the_earliest_alarm_of_a_window_counts_and_later_ones_cost_nothing() -> None:
    half_way = (2.0 / (1.0 + math.exp(-2.5)) - 1.0) / BEST  # row 12 of 10 to 13 lies at -(13 - 12 + 1) / 4
    assert _score([12], [(10, 13)]) == pytest.approx(100.0 * (half_way + 1.0) / 2.0)
    assert _score([12, 13], [(10, 13)]) == _score([12], [(10, 13)])


def test_the_last_row_of_a_window_is_still_worth_something() -> None:
    last = (2.0 / (1.0 + math.exp(-1.25)) - 1.0) / BEST
    assert judge(ROWS, [(10, 13)]).credit[13] == pytest.approx(last)


def test_an_alarm_before_any_window_costs_the_full_weight() -> None:
    assert _score([5], [(10, 13)]) == pytest.approx(100.0 * -0.11 / 2.0)


def test_an_alarm_behind_a_window_costs_by_its_distance_in_widths_less_one() -> None:
    just_behind, far = 2.0 / (1.0 + math.exp(5.0 / 3.0)) - 1.0, 2.0 / (1.0 + math.exp(10.0)) - 1.0
    assert _score([14], [(10, 13)]) == pytest.approx(100.0 * 0.11 * just_behind / 2.0)
    assert _score([19], [(10, 13)]) == pytest.approx(100.0 * 0.11 * far / 2.0)
    assert judge(60, [(10, 13)]).credit[23] == -1.0  # beyond three widths


def test_alarms_in_the_probationary_period_count_for_nothing() -> None:
    assert probation(ROWS) == 3
    assert probation(4032) == 604
    assert probation(22_695) == 750
    assert _score([0, 2], [(10, 13)]) == pytest.approx(0.0)
    assert _score([3], [(10, 13)]) < 0.0


def test_profiles_weigh_false_alarms_and_misses_apart() -> None:
    one_of_two = [(6, 8), (14, 17)]
    assert _score([6], one_of_two) == pytest.approx(50.0)
    assert _score([4, 6], one_of_two, Profile("low_fp", 1.0, 0.22, 1.0)) == pytest.approx(100.0 * (2.0 - 0.22) / 4.0)
    assert _score([4, 6], one_of_two, Profile("low_fn", 1.0, 0.11, 2.0)) == pytest.approx(100.0 * (3.0 - 0.11) / 6.0)


def test_one_threshold_serves_all_files_and_ties_go_to_the_highest() -> None:
    judged = {"a": judge(ROWS, [(10, 13)]), "b": judge(ROWS, [(10, 13)]), "c": judge(ROWS, [])}
    scores = {name: np.zeros(ROWS) for name in judged}
    scores["a"][10], scores["b"][10], scores["c"][7] = 0.9, 0.5, 0.7
    swept = sweep(judged, scores, STANDARD)
    best, threshold = swept.best()
    assert threshold == 0.5
    assert best == pytest.approx(100.0 * (4.0 - 0.11) / 4.0)
    assert swept.at(0.8) == pytest.approx(50.0)
    assert swept.at(0.6) == pytest.approx(50.0 - 100.0 * 0.11 / 4.0)
    silent = sweep(judged, {name: np.zeros(ROWS) for name in judged}, STANDARD)
    assert silent.at(NEVER) == pytest.approx(0.0)


def test_the_sweep_agrees_with_scoring_each_threshold_by_itself() -> None:
    draw = np.random.default_rng(4)
    windows = [(30, 44), (70, 90), (120, 121)]
    scores = np.round(draw.random(200), 2)
    swept = sweep({"a": judge(200, windows)}, {"a": scores}, STANDARD)
    for threshold in np.unique(scores):
        assert swept.at(threshold) == pytest.approx(_score(np.flatnonzero(scores >= threshold).tolist(), windows, n_rows=200))


def test_the_credit_runs_from_one_to_minus_one() -> None:
    assert sigmoid(0.0) == 0.0
    assert sigmoid(3.0) == pytest.approx(-1.0, abs=1e-6)
    assert sigmoid(3.1) == -1.0


@pytest.mark.parametrize("bad", [np.full(ROWS, np.nan), np.full(ROWS, 1.5), np.zeros(ROWS - 1)])
def test_scores_that_are_missing_or_out_of_range_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(AftercastError, match=r"a: 20 scores in \[0, 1\]"):
        sweep({"a": judge(ROWS, [])}, {"a": bad}, STANDARD)


def _corpus(folder: Path, rows: int = 400) -> Path:
    draw = np.random.default_rng(0)
    stamps = [f"2014-04-{1 + row // 96:02d} {row // 4 % 24:02d}:{15 * (row % 4):02d}:00" for row in range(rows)]
    windows = {}
    for name in ("one/a.csv", "one/b.csv", "two/c.csv"):
        values = 10 + draw.normal(size=rows)
        values[200:210] += 40
        path = folder / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("timestamp,value\n" + "".join(f"{stamp},{value}\n" for stamp, value in zip(stamps, values, strict=True)))
        windows[name] = [[stamps[190] + ".000000", stamps[230] + ".000000"]]
    (folder / "windows.json").write_text(json.dumps(windows))
    weights = {"standard": (1, 0.11, 1), "reward_low_FP_rate": (1, 0.22, 1), "reward_low_FN_rate": (1, 0.11, 2)}
    profiles = {name: {"CostMatrix": dict(zip(("tpWeight", "fpWeight", "fnWeight"), cost, strict=True))} for name, cost in weights.items()}
    (folder / "profiles.json").write_text(json.dumps(profiles))
    return folder


def test_a_corpus_is_read_with_its_odd_rows_in_order(tmp_path: Path) -> None:
    path = _corpus(tmp_path) / "data" / "one" / "a.csv"
    path.write_text("timestamp,value\n2014-04-01 00:10:00,1\n2014-04-01 00:05:00,\n2014-04-01 00:05:00,nan\n2014-04-01 00:20:00,-2e3\n")
    read = next(one for one in read_series(tmp_path) if one.name == "one/a.csv")
    assert np.diff(read.times).tolist() == [-300.0, 0.0, 900.0]
    assert np.isnan(read.values).tolist() == [False, True, True, False]
    assert read.group == "one"


@pytest.mark.parametrize(
    ("line", "told"),
    [("2014-13-01 00:00:00,1", "line 3: cannot read the stamp"), ("2014-04-01 00:00:00,x1", "line 3: cannot read the value 'x1'")],
)
def test_what_cannot_be_read_is_named_with_its_file_and_line(tmp_path: Path, line: str, told: str) -> None:
    (_corpus(tmp_path) / "data" / "one" / "a.csv").write_text(f"timestamp,value\n2014-04-01 00:00:00,1\n{line}\n")
    with pytest.raises(AftercastError, match=f"one/a.csv, {told}"):
        read_series(tmp_path)


def test_an_empty_folder_and_other_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AftercastError, match="no files"):
        read_series(tmp_path)
    (_corpus(tmp_path) / "data" / "one" / "a.csv").write_text("time,value\n1,2\n")
    with pytest.raises(AftercastError, match=r"one/a\.csv has the columns time, value"):
        read_series(tmp_path)


def test_windows_must_cover_every_file_and_lie_on_its_rows(tmp_path: Path) -> None:
    series = read_series(_corpus(tmp_path))
    assert read_windows(tmp_path, series)["one/a.csv"] == [(190, 230)]
    assert [profile.false_positive for profile in read_profiles(tmp_path)] == [0.11, 0.22, 0.11]
    (tmp_path / "windows.json").write_text(json.dumps({"one/a.csv": [["2014-04-01 00:01:00", "2014-04-01 02:00:00"]]}))
    with pytest.raises(AftercastError, match=r"one/a\.csv has no row stamped"):
        read_windows(tmp_path, series)
    (tmp_path / "windows.json").write_text("{}")
    with pytest.raises(AftercastError, match=r"says nothing about one/a\.csv"):
        read_windows(tmp_path, series)


def test_the_command_prints_one_object_and_takes_back_the_thresholds_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, kept = _corpus(tmp_path), tmp_path / "thresholds.json"
    assert nab.main(["--data", str(folder), "--json", "--write-thresholds", str(kept)]) == 0
    fitted = json.loads(capsys.readouterr().out)
    assert {"standard", "low_fp", "low_fn", "thresholds", "n", "baselines", "seconds", "version", "heldout_standard"} <= set(fitted)
    assert fitted["n"] == fitted["n_windows"] == 3
    assert set(fitted["baselines"]) == {"null", *BASELINES}
    assert nab.main(["--data", str(folder), "--json", "--thresholds", str(kept)]) == 0
    taken = json.loads(capsys.readouterr().out)
    assert [taken[name] for name in ("standard", "low_fp", "low_fn")] == [fitted[name] for name in ("standard", "low_fp", "low_fn")]
    kept.write_text('{"standard": 0.5}')
    assert nab.main(["--data", str(folder), "--json", "--thresholds", str(kept)]) == 1
    assert "lack 'low_fp'" in capsys.readouterr().err


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_score_every_row_of_any_file(name: str) -> None:
    values = np.r_[np.full(30, 5.0), np.nan, np.arange(300.0)]
    scores = BASELINES[name](Series("a/b.csv", np.arange(len(values)) * 3600.0, values))
    assert scores.shape == values.shape
    assert ((scores >= 0) & (scores <= 1)).all()
