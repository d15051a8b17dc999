"""A window's loss taken apart: who came, how many of them bought, what a sale is worth.

Demand is far noisier than the share of those who came and bought, and an incident often leaves it alone. So where arrivals are counted apart
from sales, the loss is what those who came failed to buy, plus what those bought who stayed away; and whether anyone stayed away is weighed:
as likely as not beforehand, any share up to all (a spike and a slab), against what arrivals do in quiet windows. Sales that come
back afterwards are weighed the same way, up to what was lost. Draws carry every one of these doubts.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from scipy import stats

from aftercast.measurement.counterfactual import LEAST_WINDOWS, Quiet, columns_of
from aftercast.measurement.flows import Array, Flow

TAIL = 0.05
"""Share of draws beyond each end of an interval: nominal 90 %."""
PRIOR_SALES = 10.0
"""Usual sales mixed into the observed value of a sale."""
TAIL_WEIGHT = 5
"""Degrees of freedom of the t distribution that stands for the noise of arrivals."""


def seed_of(*words: str) -> int:
    """Seed from names, so that draws depend on what they are for and on no order."""
    return int.from_bytes(hashlib.blake2s("|".join(words).encode(), digest_size=8).digest(), "big")


@dataclass(frozen=True, slots=True)
class Parts:
    """Sales lost (or won, negative) per segment, in the journey's unit: money, or successes where it does not earn.

    Attributes:
        value: what one sale is worth per segment.
        spread: of one sale's value relative to `value`.
    """

    lost: Array
    draws: Array
    value: Array
    spread: float


def groups_of(flow: Flow) -> list[list[int]]:
    """Segments by region: those who share the noise of demand."""
    regions = sorted({segment["region"] for segment in flow.segments})
    return [[number for number, segment in enumerate(flow.segments) if segment["region"] == region] for region in regions]


def window_loss(flow: Flow, quiet: Quiet, due: Array, actual: Array, seed: str) -> Parts:
    """Loss of a window from its corrected expectation and its actual sums per column."""
    n = len(flow.segments)
    money, _, wins, came = columns_of(n)
    chance = np.random.default_rng(seed_of(seed))
    if not flow.earns:
        value, spread, moved = np.ones(n), 0.0, False
    else:
        usual = np.divide(due[money], due[wins], out=np.zeros(n), where=due[wins] > 0)
        value = (actual[money] + PRIOR_SALES * usual) / (actual[wins] + PRIOR_SALES)
        spread, moved = _value_noise(quiet, due, actual, n)
    if moved:
        return Parts(due[money] - actual[money], due[money] * (1 + quiet.errors[:, money]) - actual[money], value, spread)
    if not flow.steps_apart:
        lost, sales = due[wins] - actual[wins], due[wins] * (1 + quiet.errors[:, wins]) - actual[wins]
    else:
        share = np.divide(due[wins], due[came], out=np.zeros(n), where=due[came] > 0)
        failed = actual[came] * share
        lost, sales = failed - actual[wins], failed * (1 + _share_errors(quiet, n)) - actual[wins]
        for members in groups_of(flow):
            worth = (share * value)[members]
            short = float(((due[came] - actual[came])[members] * worth).sum())
            due_worth = due[came][members] * worth
            noise = quiet.errors[:, came][:, members] @ due_worth
            away = _weigh(short, noise, float(due_worth.sum()), chance)[1]
            part = due_worth / due_worth.sum() if due_worth.sum() > 0 else np.zeros(len(members))
            per_sale = np.where(value[members] > 0, part / np.maximum(value[members], 1e-12), 0.0)
            lost[members] += away.mean() * per_sale
            sales[:, members] += away[:, None] * per_sale
    draws = sales * value + chance.standard_normal(sales.shape) * spread * value * np.sqrt(np.abs(sales))
    if flow.earns and not flow.steps_apart:
        direct = due[money] * (1 + quiet.errors[:, money]) - actual[money]
        if draws.sum(axis=1).std() >= direct.sum(axis=1).std():
            return Parts(due[money] - actual[money], direct, value, spread)
    return Parts(lost * value, draws, value, spread)


def came_back(flow: Flow, quiet: Quiet, due: Array, actual: Array, loss: Parts, seed: str) -> tuple[Array, Array]:
    """Sales that came back in the span after a window, per segment: what stands out, and draws that also carry what does not."""
    n = len(flow.segments)
    _, _, wins, came = columns_of(n)
    column = came if flow.steps_apart else wins
    share = np.divide(due[wins], due[column], out=np.zeros(n), where=due[column] > 0)
    chance = np.random.default_rng(seed_of(seed))
    back, draws = np.zeros(n), np.zeros((len(quiet.errors), n))
    for members in groups_of(flow):
        worth = (share * loss.value)[members]
        due_worth = due[column][members] * worth
        most = float(loss.lost[members].sum())
        if most <= 0 or due_worth.sum() <= 0:
            continue
        over = float(((actual[column] - due[column])[members] * worth).sum())
        nothing, amount = _weigh(over, -(quiet.errors[:, column][:, members] @ due_worth), most, chance)
        part = due_worth / due_worth.sum()
        draws[:, members] = amount[:, None] * part
        if nothing < 0.5:
            back[members] = amount.mean() * part
    return back, draws


def _weigh(seen: float, noise: Array, most: float, chance: np.random.Generator) -> tuple[float, Array]:
    """Weigh "nothing" against "anything up to `most`" given seen = amount - noise. Returns the odds of nothing and draws of the amount."""
    scale = float(noise.std()) * np.sqrt((TAIL_WEIGHT - 2) / TAIL_WEIGHT)
    if scale <= 0 or most <= 0:
        return 1.0, np.zeros(len(noise))
    centre = seen + float(noise.mean())
    spike = float(stats.t.pdf(centre / scale, TAIL_WEIGHT)) / scale
    slab = float(stats.t.cdf(centre / scale, TAIL_WEIGHT) - stats.t.cdf((centre - most) / scale, TAIL_WEIGHT)) / most
    nothing = spike / (spike + slab) if spike + slab > 0 else 0.0
    amount = np.minimum(seen + noise, most)
    some = np.flatnonzero(amount > 0)
    if not len(some):
        return 1.0, np.zeros(len(noise))
    amount = np.where(amount > 0, amount, amount[chance.choice(some, size=len(amount))])
    return nothing, np.where(chance.random(len(amount)) < nothing, 0.0, amount)


def _share_errors(quiet: Quiet, n: int) -> Array:
    """Relative error of the share that buys, in quiet windows; widened as the others are."""
    _, _, wins, came = columns_of(n)
    bought, expected = 1 + quiet.errors[:, wins], 1 + quiet.errors[:, came]
    return np.asarray(np.divide(bought, expected, out=np.ones_like(bought), where=expected > 0) - 1.0)


def _value_noise(quiet: Quiet, due: Array, actual: Array, n: int) -> tuple[float, bool]:
    """Spread of one sale's value, from quiet windows, and whether the value fell in the window beyond what they know."""
    money, _, wins, _ = columns_of(n)
    sold, earned = quiet.actual[:, wins].sum(axis=1), quiet.actual[:, money].sum(axis=1)
    due_sold, due_earned = quiet.expected[:, wins].sum(axis=1), quiet.expected[:, money].sum(axis=1)
    fine = (sold > 0) & (due_sold > 0) & (due_earned > 0)
    if fine.sum() < LEAST_WINDOWS:
        return 0.0, True
    off = np.abs(earned[fine] / sold[fine] / (due_earned[fine] / due_sold[fine]) - 1.0) * np.sqrt(sold[fine])
    spread = float(np.quantile(off, 0.68))
    now_sold, now_due = actual[wins].sum(), due[wins].sum()
    if now_sold <= 0 or now_due <= 0 or due[money].sum() <= 0:
        return spread, False
    shift = float(actual[money].sum() / now_sold / (due[money].sum() / now_due) - 1.0)
    return spread, bool(-shift * np.sqrt(now_sold) > np.quantile(off, 0.95))
