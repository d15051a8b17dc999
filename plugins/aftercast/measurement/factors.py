"""A window's loss taken apart: who came, how many of them bought, what a sale is worth.

Demand is far noisier than the share of those who come and buy, and an incident often leaves it alone. So where arrivals are counted
apart from sales, the loss is what those who came failed to buy, plus what those would have bought who stayed away; and whether anyone
stayed away is weighed: as likely as not beforehand, a part rather than all (a spike and a slab), against what arrivals do in quiet windows.
Sales that come back afterwards are weighed the same way, up to what was lost. Draws carry every one of these doubts.

What a sale is worth has heavy tails, so lost sales are counted and then valued: the count is far less noisy than the money.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from scipy import stats

from aftercast.measurement.counterfactual import LEAST_WINDOWS, Quiet, columns_of
from aftercast.measurement.flows import Array, Flow

RARE = 0.05
"""Share of quiet windows a figure may lie beyond before it is called unusual."""
FEW_DRAWS = 8
"""Degrees of freedom when a tail beyond the draws is asked for."""
FEWEST_COUNTED = 20
"""Draws of which one in twenty can be counted."""
ONE_SIGMA = 1 - 2 * float(stats.norm.sf(1.0))
TAIL_WEIGHT = 5
"""Degrees of freedom of the t distribution that stands for the noise of arrivals."""


def seed_of(*words: str) -> int:
    """Seed from names, so that draws depend on what they are for and on no order."""
    return int.from_bytes(hashlib.blake2s("|".join(words).encode(), digest_size=8).digest(), "big")


Pools = tuple[tuple[int, ...], ...]
"""Segments by number; those of one pool are hit by the same incidents."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Sales lost (or won, negative) per segment, in the journey's unit: money, or successes where it does not earn.

    Attributes:
        value: what one sale is worth per segment.
        chance: per region, how likely quiet windows alone would look as bad.
    """

    lost: Array
    draws: Array
    value: Array
    chance: dict[str, float]


@dataclass(frozen=True, slots=True)
class Echo:
    """What sales above expectation after a window say about lost ones that came back, per segment.

    Attributes:
        seen: sales above expectation. noise: what quiet windows show there, [window, segment], so that seen = amount - noise.
        most: what was lost, and so may come back.
    """

    seen: Array
    noise: Array
    most: Array


def groups_of(flow: Flow) -> dict[str, list[int]]:
    """Segments by region: those who share the noise of demand."""
    regions = sorted({segment["region"] for segment in flow.segments})
    return {region: [number for number, segment in enumerate(flow.segments) if segment["region"] == region] for region in regions}


def window_loss(flow: Flow, quiet: Quiet, seen: Array, due: Array, actual: Array, pools: Pools, seed: str) -> Parts:
    """Loss of a window from its expectation before and after correction and its actual sums, per column.

    Segments of a pool are hit by the same incidents and borrow strength from each other.
    """
    n = len(flow.segments)
    money, _, wins, _ = columns_of(n)
    chance = np.random.default_rng(seed_of(seed))
    groups = groups_of(flow)
    value, sizes, moved = np.ones(n), np.zeros(1), False
    if flow.earns:
        usual = np.divide(seen[money], seen[wins], out=np.zeros(n), where=seen[wins] > 0)
        value, sizes, moved = _worth(quiet, usual, actual, n)
    if flow.steps_apart and not moved:
        lost, draws, odds = _stepwise(quiet, due, actual, value, groups, chance)
    else:
        lost, draws = (due[wins] - actual[wins]) * value, (due[wins] * (1 + quiet.errors[:, wins]) - actual[wins]) * value
    lost, draws = _pooled(lost, draws, due[wins] * value, pools)
    if moved:
        lost, draws = due[money] - actual[money], due[money] * (1 + quiet.errors[:, money]) - actual[money]
    if moved or not flow.steps_apart:
        odds = {region: unlikely(draws[:, members].sum(axis=1)) for region, members in groups.items()}
    if not moved:
        draws = draws + chance.choice(sizes, draws.shape) * np.sqrt(np.abs(draws * value))
    return Parts(lost, draws, value, odds)


def _stepwise(
    quiet: Quiet, due: Array, actual: Array, value: Array, groups: dict[str, list[int]], chance: np.random.Generator
) -> tuple[Array, Array, dict[str, float]]:
    """Loss by failing purchases and by staying away, its draws, and per region the chance of neither."""
    n = len(value)
    _, _, wins, came = columns_of(n)
    share = np.divide(due[wins], due[came], out=np.zeros(n), where=due[came] > 0)
    failed = actual[came] * share
    lost, draws = (failed - actual[wins]) * value, (failed * (1 + _share_errors(quiet, n)) - actual[wins]) * value
    odds = {}
    for region, members in groups.items():
        worth = (share * value)[members]
        short = float(((due[came] - actual[came])[members] * worth).sum())
        due_worth = due[came][members] * worth
        noise = quiet.errors[:, came][:, members] @ due_worth
        odds[region] = min(1.0, 2 * min(unlikely(draws[:, members].sum(axis=1)), unlikely(short + noise)))
        away = weigh(short, noise, float(due_worth.sum()), chance)
        part = due_worth / due_worth.sum() if due_worth.sum() > 0 else np.zeros(len(members))
        lost[members] += away.mean() * part
        draws[:, members] += away[:, None] * part
    return lost, draws, odds


def unlikely(draws: Array) -> float:
    """Chance that what was drawn is really nothing or a gain, with a heavy tail because draws are few."""
    spread = float(draws.std())
    return float(stats.t.sf(draws.mean() / spread, FEW_DRAWS)) if spread > 0 else 1.0


def odds_of_nothing(draws: Array) -> float:
    """How often quiet windows alone look as bad: the upper end of Wilson's interval of one standard error, or the tail beyond few draws."""
    if len(draws) < FEWEST_COUNTED:
        return unlikely(draws)
    return float(stats.binomtest(int((draws <= 0).sum()), len(draws)).proportion_ci(ONE_SIGMA, method="wilson").high)


def hear_echo(flow: Flow, quiet: Quiet, due: Array, actual: Array, loss: Parts) -> Echo:
    """Compare the span after a window with its corrected expectation; regions that lost nothing have nothing to come back."""
    n = len(flow.segments)
    _, _, wins, came = columns_of(n)
    column = came if flow.steps_apart else wins
    share = np.divide(due[wins], due[column], out=np.zeros(n), where=due[column] > 0)
    most = np.zeros(n)
    for members in groups_of(flow).values():
        lost = np.maximum(loss.lost[members], 0.0)
        total = float(loss.lost[members].sum())
        if total > 0 and lost.sum() > 0:
            most[members] = lost * total / lost.sum()
    worth = share * loss.value
    for members in groups_of(flow).values():
        if most[members].sum() <= 0:
            worth[members] = 0.0
    return Echo((actual[column] - due[column]) * worth, -quiet.errors[:, column] * due[column] * worth, most)


def weigh(seen: float, noise: Array, most: float, chance: np.random.Generator) -> Array:
    """Draw an amount seen through noise (seen = amount - noise): nothing, or something up to `most`, as likely as not beforehand.

    Something is more often a part than all: exponential with a mean of a quarter of `most`, cut off there.
    """
    scale = float(noise.std()) * np.sqrt((TAIL_WEIGHT - 2) / TAIL_WEIGHT)
    if scale <= 0 or most <= 0:
        return np.zeros(len(noise))
    amounts = np.linspace(0.0, most, 401)
    slab = np.exp(-4.0 * amounts / most)
    likely = stats.t.pdf((seen + float(noise.mean()) - amounts) / scale, TAIL_WEIGHT)
    weights = slab / slab.sum() * likely
    weights[0] += likely[0]
    if weights.sum() <= 0:
        return np.full(len(noise), most if seen > 0 else 0.0)
    levels = (chance.permutation(len(noise)) + 0.5) / len(noise)
    return np.asarray(amounts[np.searchsorted(weights.cumsum() / weights.sum(), levels).clip(0, len(amounts) - 1)])


def _share_errors(quiet: Quiet, n: int) -> Array:
    """Relative error of the share that buys, in quiet windows; widened as the others are."""
    _, _, wins, came = columns_of(n)
    bought, expected = 1 + quiet.errors[:, wins], 1 + quiet.errors[:, came]
    return np.asarray(np.divide(bought, expected, out=np.ones_like(bought), where=expected > 0) - 1.0)


def _pooled(lost: Array, draws: Array, due: Array, pools: Pools) -> tuple[Array, Array]:
    """Draw the shares that the segments of a pool lost towards each other: all the way where they differ by no more than noise.

    Random effects: what segments share keeps its noise, what is their own keeps the root of the part it is trusted with.
    """
    lost, draws = lost.copy(), draws.copy()
    spread = draws.std(axis=0)
    for pool in pools:
        members = np.array([number for number in pool if due[number] > 0 and spread[number] > 0], dtype=int)
        if len(members) < 2:
            continue
        base, noise = due[members], (spread[members] / due[members]) ** 2
        share, drawn = lost[members] / base, draws[:, members] / base
        between = _between(share, noise)
        weight = 1 / (noise + between)
        weight, own = weight / weight.sum(), between / (between + noise)
        lost[members] = base * (own * share + (1 - own) * (weight @ share))
        together, apart = drawn @ weight, drawn - (drawn @ weight)[:, None]
        middle = together.mean() + own * apart.mean(axis=0)
        draws[:, members] = base * (middle + (together - together.mean())[:, None] + np.sqrt(own) * (apart - apart.mean(axis=0)))
    return lost, draws


def _between(share: Array, noise: Array) -> float:
    """Variance between segments at the mode of its likelihood times the standard deviation: never quite nothing (Chung et al. 2013)."""
    deviation = np.linspace(0.005, 1.0, 200)[:, None]
    weight = 1 / (noise + deviation**2)
    middle = (weight @ share) / weight.sum(axis=1)
    off = (weight * (share - middle[:, None]) ** 2).sum(axis=1)
    likely = np.log(deviation[:, 0]) + 0.5 * (np.log(weight).sum(axis=1) - off - np.log(weight.sum(axis=1)))
    return float(deviation[likely.argmax(), 0] ** 2)


def _worth(quiet: Quiet, usual: Array, actual: Array, n: int) -> tuple[Array, Array, bool]:
    """What a sale is worth per segment, how single sales differ, and whether the value fell in the window beyond what quiet windows know.

    Order values have heavy tails: a few big ones carry the mean of a window. So a sale is worth what it is in the middle quiet window,
    moved by the window's own sales only as far as values persist from one quiet window to the next. Differences are relative, times the
    root of the number of sales, so that sums of any number of sales can be drawn from them.
    """
    money, _, wins, _ = columns_of(n)
    sold, earned = quiet.actual[:, wins].sum(axis=1), quiet.actual[:, money].sum(axis=1)
    due_earned = quiet.actual[:, wins] @ usual
    fine = (sold > 0) & (due_earned > 0)
    if fine.sum() < LEAST_WINDOWS:
        return usual, np.zeros(1), True
    ratio = earned[fine] / due_earned[fine]
    middle = float(np.median(ratio))
    off = (ratio / middle - 1.0) * np.sqrt(sold[fine]) if middle > 0 else np.zeros(len(ratio))
    now_sold, now_due = actual[wins].sum(), float(actual[wins] @ usual)
    if now_sold <= 0 or now_due <= 0 or middle <= 0:
        return usual * middle, off, False
    shift = float(actual[money].sum()) / now_due / middle - 1.0
    moved = shift * np.sqrt(now_sold) < np.quantile(off, RARE / 2)
    return usual * middle * (1.0 + _persistence(ratio) * shift), off, bool(moved)


def _persistence(values: Array) -> float:
    """Rank correlation of neighbours, 0 where it is negative: how much of a window's value is more than chance."""
    if len(values) < 2 * LEAST_WINDOWS or np.ptp(values) == 0:
        return 0.0
    ranks = stats.rankdata(values)
    return max(float(np.corrcoef(ranks[:-1], ranks[1:])[0, 1]), 0.0)
