"""What one stretch of a journey lost, and how stretches and journeys are added up.

An `Outcome` is measured once per stretch. Draws stay aligned by quiet window where they can, so that shocks journeys share stay shared.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from aftercast.measurement.counterfactual import HOUR, LEAST_WINDOWS, TAIL, World, columns_of
from aftercast.measurement.factors import Echo, Pools, hear_echo, seed_of, window_loss
from aftercast.measurement.flows import Array

ANY_SHARE = 1 / 3
ONE_SIGMA = (float(norm.cdf(-1)), float(norm.cdf(1)))
"""Quantiles one standard deviation from the middle, which heavy tails do not move."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one incident did to one journey, per segment.

    Attributes:
        gross: counterfactual minus actual in the window.
        draws: the same under each quiet window's errors, [draw, segment]; times: those windows' starts.
        chance: per region, how likely quiet windows alone would look as bad.
        echo: what the span after the window says about sales that came back; None when there is none to look at.
        refunds: paid back in the window, per segment; not part of the loss.
        note: what about the window is unlike any other.
        attempts: expected, low, high, actual, [4, segment]. successes: expected, actual, [2, segment].
    """

    gross: Array
    draws: Array
    chance: dict[str, float]
    echo: Echo | None
    times: npt.NDArray[np.int64]
    actual: Array
    attempts: Array
    successes: Array
    coverage: Array
    n_buckets: Array
    shared_minutes: Array
    trained_until: int
    refunds: Array
    note: str | None = None


def interval(draws: Array) -> tuple[float, float]:
    """Nominal 95 % interval: ranks (n + 1) p of the draws."""
    low, high = np.quantile(draws, [TAIL, 1 - TAIL], method="weibull")
    return float(low), float(high)


def evaluate(world: World, start: int, end: int, cluster: tuple[int, int], rebound_until: int, pools: Pools, seed: str) -> Outcome | str:
    """Measure one stretch of a journey, [start, end) in buckets of the flow.

    Args:
        cluster: buckets of all windows that hang together with this stretch: the level is taken around them.
        rebound_until: end of the following span in which lost sales may come back; `end` when none is to be looked for.
        pools: segments that are hit by the same incidents.
    """
    n, flow = world.n_segments, world.flow
    start, end, rebound_until = start - world.first, end - world.first, rebound_until - world.first
    whole = (cluster[0] - world.first, cluster[1] - world.first)
    if whole[0] < 0 or whole[1] > len(world.actual):
        return "no journey data in window"
    quiet = world.quiet_errors(start, end)
    level = quiet if whole == (start, end) else world.quiet_errors(*whole)
    if level is None or quiet is None:
        return f"not enough history: fewer than {LEAST_WINDOWS} quiet windows of {(end - start) * flow.grain / HOUR:.1f} hours"
    actual, seen = (part[0] for part in world.total(np.array([start]), np.array([end])))
    due = seen * (1 + level.correction)
    _, tries, wins, _ = columns_of(n)
    judged = columns_of(n)[0 if flow.earns else 2]
    present = world.present[start:end, judged]
    wanted = world.expected[start:end, judged].sum(axis=0)
    coverage = np.divide(seen[judged], wanted, out=present.mean(axis=0), where=wanted > 0)
    loss = window_loss(flow, quiet, seen, due, actual, pools, f"{seed}|loss")
    echo = None
    later = min(rebound_until, len(world.actual))
    after = world.quiet_errors(end, later) if later > end else None
    if after is not None:
        now, then = (part[0] for part in world.total(np.array([end]), np.array([later])))
        echo = hear_echo(flow, after, then * (1 + after.correction), now, loss)
    low, high = np.quantile(quiet.errors[:, tries], [TAIL, 1 - TAIL], axis=0, method="weibull")
    return Outcome(
        gross=loss.lost,
        draws=loss.draws,
        chance=loss.chance,
        echo=echo,
        times=quiet.times,
        actual=actual[judged],
        attempts=np.stack([due[tries], due[tries] * (1 + low), due[tries] * (1 + high), actual[tries]]),
        successes=np.stack([due[wins], actual[wins]]),
        coverage=coverage,
        n_buckets=present.sum(axis=0).astype(float),
        shared_minutes=np.zeros(n),
        trained_until=world.trained_until,
        refunds=np.nan_to_num(flow.refunds[world.first + start : world.first + end]).sum(axis=0),
        note=world.usual.note(start, end),
    )


def tempered(outcome: Outcome, columns: list[int]) -> Outcome:
    """Draw a journey's loss towards nothing by the noise it is seen through; `columns` are the segments that count.

    Beforehand any share of the sales may be lost, so a share has the second moment of a uniform one, `ANY_SHARE`; its mean is left at
    nothing, so that quiet incidents gain and lose alike. Without this, losses picked because they stand out are overstated on average.
    """
    due = float((outcome.actual + outcome.gross)[columns].sum())
    if due <= 0:
        return outcome
    low, high = np.quantile(outcome.draws[:, columns].sum(axis=1), ONE_SIGMA)
    kept = ANY_SHARE / (ANY_SHARE + (float(high - low) / 2 / due) ** 2)
    middle = outcome.draws.mean(axis=0)
    return replace(
        outcome,
        gross=outcome.gross * kept,
        draws=middle * kept + (outcome.draws - middle) * np.sqrt(kept),
        echo=replace(outcome.echo, most=outcome.echo.most * kept) if outcome.echo else None,
    )


def add_up(pieces: list[tuple[Outcome, Array]], grain: int) -> Outcome:
    """Add the pieces of one incident, each with the incident's share per segment.

    Draws of several pieces are added rank by rank, as if their errors were of one mind: neighbours nearly are.
    """
    first, share = pieces[0]
    draws = first.draws * share
    if len(pieces) > 1:
        size = min(len(piece.draws) for piece, _ in pieces)
        ranks = np.linspace(0, 1, size)
        draws = np.sum([np.quantile(piece.draws, ranks, axis=0) * part for piece, part in pieces], axis=0)
    weights = np.sum([piece.n_buckets for piece, _ in pieces], axis=0)
    return Outcome(
        gross=np.sum([piece.gross * part for piece, part in pieces], axis=0),
        draws=draws,
        chance={},
        echo=next((Echo(e.seen * part, e.noise * part, e.most * part) for piece, part in pieces if (e := piece.echo)), None),
        times=first.times if len(pieces) == 1 else np.arange(len(draws), dtype=np.int64),
        actual=np.sum([piece.actual * part for piece, part in pieces], axis=0),
        attempts=np.sum([piece.attempts * part for piece, part in pieces], axis=0),
        successes=np.sum([piece.successes * part for piece, part in pieces], axis=0),
        coverage=np.sum([piece.coverage * piece.n_buckets for piece, _ in pieces], axis=0) / np.maximum(weights, 1.0),
        n_buckets=weights,
        shared_minutes=np.sum([piece.n_buckets * (part < 1) * grain / 60.0 for piece, part in pieces], axis=0),
        trained_until=max(piece.trained_until for piece, _ in pieces),
        refunds=np.sum([piece.refunds * part for piece, part in pieces], axis=0),
        note="; ".join(sorted({piece.note for piece, _ in pieces if piece.note})) or None,
    )


def joined(parts: Iterable[tuple[npt.NDArray[np.int64], Array]], seed: str) -> Array:
    """Sum draws of several journeys: by common quiet windows where they share enough, so that common shocks stay common."""
    listed = list(parts)
    if len(listed) == 1:
        return listed[0][1]
    common = listed[0][0]
    for times, _ in listed[1:]:
        common = np.intersect1d(common, times)
    if len(common) >= 60 or all(len(times) == len(common) for times, _ in listed):
        return np.asarray(np.sum([draws[np.isin(times, common)] for times, draws in listed], axis=0))
    chance = np.random.default_rng(seed_of(seed, "total"))
    return np.asarray(np.sum([draws[chance.integers(len(draws), size=1_000)] for _, draws in listed], axis=0))
