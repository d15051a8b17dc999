"""When surprises become an episode, and where it begins and ends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftercast.detection.episodes import ENTER, Episode, find_episodes, severity_score
from aftercast.detection.evidence import rolled_sums, usual_evidence, windows

GRAIN = 5


def found(surprise: np.ndarray, sensitivity: float = 1.0) -> list[Episode]:
    surprise = np.atleast_2d(surprise).astype(float)
    short, long = (rolled_sums(np.clip(surprise, -6, 6), length) for length in windows(GRAIN))
    return find_episodes(surprise, short, long, GRAIN, sensitivity)


def quiet(n: int = 400, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=n)


def spans(episodes: list[Episode]) -> list[tuple[int, int, int]]:
    return [(one.start, one.end, one.sign) for one in episodes]


def test_quiet_noise_has_no_episode() -> None:
    assert found(np.stack([quiet(4000, seed) for seed in range(10, 18)])) == []


def test_one_odd_point_is_no_episode_however_odd() -> None:
    surprise = quiet()
    surprise[200] = 1e6
    assert found(surprise) == []


@pytest.mark.parametrize("sign", [1, -1])
def test_an_episode_is_trimmed_to_the_points_that_carry_it(sign: int) -> None:
    surprise = 0.1 * quiet()
    surprise[200:212] = sign * 7.0
    (episode,) = found(surprise)
    assert (episode.start, episode.end, episode.sign) == (200, 212, sign)
    assert severity_score(episode.severity) > 0.8


def test_a_weak_shift_is_found_when_it_lasts() -> None:
    surprise = 0.3 * quiet()
    surprise[200:224] += 2.0
    (episode,) = found(surprise)
    assert abs(episode.start - 200) <= 2
    assert abs(episode.end - 224) <= 2
    surprise[203:224] -= 2.0
    assert found(surprise) == []


def test_a_short_lull_does_not_cut_an_episode_and_a_long_one_does() -> None:
    surprise = np.zeros(400)
    surprise[100:110] = surprise[114:120] = surprise[200:210] = 8.0
    assert spans(found(surprise)) == [(100, 120, 1), (200, 210, 1)]


def test_a_rebound_is_an_episode_of_its_own() -> None:
    surprise = np.zeros(400)
    surprise[100:112], surprise[112:120] = -9.0, 8.0
    assert [sign for _, _, sign in spans(found(surprise))] == [-1, 1]


def test_missing_points_neither_open_nor_close_an_episode() -> None:
    surprise = np.zeros(400)
    surprise[100:130] = 8.0
    surprise[110:112] = np.nan
    surprise[300:] = np.nan
    assert spans(found(surprise)) == [(100, 130, 1)]


def test_sensitivity_moves_the_bar() -> None:
    surprise = 0.1 * quiet()
    surprise[200:203] += 2.5
    assert found(surprise) == []
    (episode,) = found(surprise, 1.5)
    assert ENTER / 1.5 <= episode.evidence < ENTER <= episode.severity
    assert len(found(surprise, ENTER / episode.evidence)) == 1
    assert found(surprise, 0.999 * ENTER / episode.evidence) == []


def test_the_alarm_is_when_the_evidence_sufficed_and_not_where_the_trouble_began() -> None:
    surprise = 0.3 * quiet()
    surprise[200:224] += 2.0
    (episode,) = found(surprise)
    assert found(surprise[: episode.alarm + 1])
    assert found(surprise[: episode.alarm]) == []
    assert episode.start < episode.alarm


@settings(max_examples=40, deadline=None)
@given(low=st.floats(0, 100), more=st.floats(0.01, 100))
def test_the_score_grows_with_severity_and_stays_below_one(low: float, more: float) -> None:
    assert 0 <= severity_score(low) < severity_score(low + more) < 1
    assert severity_score(ENTER) == 0.5


def test_autocorrelated_noise_raises_its_own_bar() -> None:
    slow = np.repeat(quiet(200, 3), 20)[None]
    usual = usual_evidence(slow, past=2000, length=12)
    assert np.nanquantile(np.abs(usual[:, 2000:]), 0.9) < 2.5 < np.nanquantile(np.abs(rolled_sums(slow, 12)), 0.9)


def test_evidence_of_history_alone_scales_what_follows() -> None:
    """What comes after the past changes nothing before itself."""
    calm = quiet(600, 5)[None]
    shaken = calm.copy()
    shaken[:, 450:] += 30
    assert np.array_equal(usual_evidence(calm, 400, 3)[:, :450], usual_evidence(shaken, 400, 3)[:, :450], equal_nan=True)
