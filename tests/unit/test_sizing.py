"""The simulation of size and cost multiplies what was measured, and nothing else."""

from __future__ import annotations

import pytest

from benchmarks.sizing import Assumed, Measured, Prices, simulate

ONE = Measured(landing_bytes=4, score_bytes=30, landing_seconds=6, transform_seconds=2, scoring_seconds=8)


def test_a_million_points_kept_ninety_days_by_hand():
    found = simulate(90e6, ONE, Assumed(), Prices())
    assert found["points_a_day"] == 1e6
    assert found["stored_gb"] == pytest.approx(90e6 * (4 + 0.1 * 30) / 1e9)
    assert found["cpu_hours_a_day"] == pytest.approx((6 + 2 * 24 * 90 + 0.1 * 8 * 4) / 3600)
    assert found["first_load_cpu_hours"] == pytest.approx(90 * 8 / 3600)
    assert found["land_share"] + found["transform_share"] + found["score_share"] == pytest.approx(1)


def test_ten_times_the_points_need_ten_times_the_storage_and_work_once_distributed():
    small, large = (simulate(points, ONE, Assumed(), Prices()) for points in (1e11, 1e12))
    for name in ("stored_gb", "cpu_hours_a_day", "cores", "memory_gb", "cost_a_month"):
        assert large[name] == pytest.approx(10 * small[name])


def test_prices_and_assumptions_are_inputs():
    dear, cheap = (simulate(1e11, ONE, Assumed(), Prices(cpu_hour=price)) for price in (0.08, 0.04))
    assert dear["cost_a_month"] > cheap["cost_a_month"]
    daily = simulate(1e11, ONE, Assumed(days_transformed=1), Prices())
    assert daily["cpu_hours_a_day"] < cheap["cpu_hours_a_day"] / 20
    assert daily["machines"] < cheap["machines"]
