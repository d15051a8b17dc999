"""Do verdicts on fixes hold in worlds where it is known what each fix did: `python -m benchmarks.fixes [--json]`.

Each world is a company of families of incidents, one year before and one year after its fixes, and is looked at every week of the year
after, as the weekly report does: a fix counts as called effective if any look said so. Nothing here knows the worlds' rates but the scorer.
Worlds without effect: fixes at random families; at the families with most incidents, and at those with the worst last quarter (regression
to the mean), among families that differ and among families that do not; the whole company calming down; differing time before and after.
Worlds with effect: half of the fixes leave a share of their family's rate, the other half nothing changes.

Fixes promise "no recurrence within 52 weeks" before they ship, but for two kinds of worlds where nothing is promised. The first worlds of
each kind are asked for verdicts every week, the others every quarter; a verdict itself counts all weekly looks before it. Other outcomes
than recurrence are drawn without their company and asked at every look.

Peers see the same incidents: the plain before-and-after comparison (fewer per day after than before), a DevLake-style one (the mean of the
last three months below that of the three before the fix), the single-look test at 5 % repeated each week, random, and a static prior.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import stats

from aftercast.analyses import DERIVED
from aftercast.measurement import Inputs, samples
from aftercast.measurement.fixes import measure_fixes
from aftercast.version import code_version

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
BEFORE, AFTER = 364.0, 364.0
QUARTER = 91.0
SEED = 20260
WEEKLY = tuple(7.0 * week for week in range(1, 53))
QUARTERLY = WEEKLY[12::13]
EVERY_WEEK = 2
"""Worlds of each kind that are asked for verdicts every week."""
ALPHA = 0.05
FALSE_DISCOVERIES = 0.10
NO_LOSS = pl.DataFrame(schema=DERIVED["incident_loss"])
TIME = pl.Datetime("us", "UTC")
CALMER = 0.6
"""Share of its incidents the whole company keeps at the end of the year after, in the world that calms down."""

Array = npt.NDArray[np.float64]
Chance = np.random.Generator


@dataclass(frozen=True, slots=True)
class World:
    """Days of incidents by family, and the fixes: family, day shipped, and the share of the rate that is left after it."""

    days: dict[str, Array]
    fixes: list[tuple[str, float, float]]
    promises: bool


@dataclass(frozen=True, slots=True)
class Kind:
    """How worlds of one kind are made.

    Attributes:
        spread: coefficient of variation of the families' rates; per_year: their mean; pick: which families get a fix.
        left: shares of the rate left by the fixes that work, none for a world without effect.
    """

    name: str
    pick: str = "random"
    spread: float = 0.7
    per_year: float = 10.0
    left: float | None = None
    drift: float = 1.0
    varied: bool = False
    families: int = 40
    fixes: int = 12
    promises: bool = True


KINDS = (
    Kind("no effect"),
    Kind("no effect, few families", families=8, fixes=3),
    Kind("no effect, different exposure", varied=True),
    Kind("no effect, company calms down", drift=CALMER),
    Kind("no effect, worst families", pick="worst"),
    Kind("no effect, worst of equal families", pick="worst", spread=0.0),
    Kind("no effect, worst last quarter", pick="spell"),
    Kind("no effect, nothing promised", promises=False),
    Kind("none recurs", left=0.0),
    Kind("a fifth left", left=0.2),
    Kind("a third left", left=0.33),
    Kind("half left", left=0.5),
    Kind("a fifth left, rare incidents", left=0.2, per_year=5.0),
    Kind("a fifth left, worst families", left=0.2, pick="worst"),
    Kind("a fifth left, nothing promised", left=0.2, promises=False),
)
REGRESSION = {kind.name for kind in KINDS if kind.left is None and kind.pick != "random"}
EFFECT = {kind.name for kind in KINDS if kind.left is not None and kind.promises}


def make(kind: Kind, chance: Chance) -> World:
    """Make one world."""
    shape = 1 / kind.spread**2 if kind.spread else None
    rates = chance.gamma(shape, kind.per_year / shape / BEFORE, kind.families) if shape else np.full(kind.families, kind.per_year / BEFORE)
    names = [f"family-{number:03d}" for number in range(kind.families)]
    before = [np.sort(chance.uniform(0, BEFORE, chance.poisson(rate * BEFORE))) for rate in rates]
    hit = [number for number in range(kind.families) if len(before[number])]
    luck = chance.random(kind.families) / 2
    counted = {
        "random": np.zeros(kind.families),
        "worst": np.array([len(own) for own in before], dtype=float),
        "spell": np.array([(own >= BEFORE - QUARTER).sum() for own in before], dtype=float),
    }[kind.pick]
    keys = luck - counted
    chosen = sorted(hit, key=lambda number: keys[number])[: kind.fixes]
    shipped = {number: BEFORE - (float(chance.uniform(0, 3 * QUARTER)) if kind.varied else 0.0) for number in chosen}
    works = {number: kind.left if kind.left is not None and place % 2 == 0 else 1.0 for place, number in enumerate(sorted(chosen))}
    days = {}
    for number, name in enumerate(names):
        after = np.sort(chance.uniform(BEFORE, BEFORE + AFTER, chance.poisson(rates[number] * AFTER)))
        keep = chance.random(len(after)) < 1 - (1 - kind.drift) * (after - BEFORE) / AFTER
        own = np.concatenate([before[number], after[keep]])
        left = works.get(number, 1.0)
        days[name] = own[(own < shipped.get(number, np.inf)) | (chance.random(len(own)) < left)]
    fixes = [(names[number], shipped[number], works[number]) for number in chosen if (days[names[number]] < shipped[number]).any()]
    return World(days, fixes, kind.promises)


def inputs_of(world: World) -> Inputs:
    """Return a world as the frames measurement reads; the incident before shipping is the one a fix came from."""
    rows = [(f"{family}-{number:04d}", family, float(day)) for family, days in world.days.items() for number, day in enumerate(days)]
    started = pl.Series([BEGIN + timedelta(days=day) for _, _, day in rows], dtype=TIME)
    triggers = [f"{family}-{int((world.days[family] < day).sum()) - 1:04d}" for family, day, _ in world.fixes]
    return Inputs(
        incidents=pl.DataFrame(
            {
                "incident_id": [name for name, _, _ in rows],
                "region": [""] * len(rows),
                "started_at": started,
                "impact_end_at": started + timedelta(hours=1),
            }
        ),
        families=pl.DataFrame({"incident_id": [name for name, _, _ in rows], "family_id": [family for _, family, _ in rows]}),
        changes=pl.DataFrame({"started_at": [BEGIN]}, schema={"started_at": TIME}),
        action_items=pl.DataFrame(
            {
                "action_item_id": [f"fix-{number:04d}" for number in range(len(world.fixes))],
                "incident_id": triggers,
                "type": ["prevent"] * len(world.fixes),
                "status": ["done"] * len(world.fixes),
                "success_criterion": ["No incident of this kind within 52 weeks" if world.promises else None] * len(world.fixes),
                "criterion_set_at": pl.Series([BEGIN + timedelta(days=day - 1) for _, day, _ in world.fixes], dtype=TIME),
                "shipped_at": pl.Series([BEGIN + timedelta(days=day) for _, day, _ in world.fixes], dtype=TIME),
            },
            schema_overrides={"success_criterion": pl.String},
        ),
    )


@dataclass(slots=True)
class Tally:
    """Of how many fixes each judge said "effective", ever in the year and at its end."""

    n: int = 0
    said: dict[str, int] = field(default_factory=dict)

    def add(self, judge: str, count: int) -> None:
        self.said[judge] = self.said.get(judge, 0) + count

    def share(self, judge: str) -> float | None:
        return round(100 * self.said.get(judge, 0) / self.n, 1) if self.n else None


def peers(world: World, days: float) -> dict[str, list[bool]]:
    """What each peer says of each fix after so many days."""
    said: dict[str, list[bool]] = {"naive": [], "devlake": [], "exact": [], "p": []}
    for family, shipped, _ in world.fixes:
        own = world.days[family]
        until = min(BEFORE + days, BEFORE + AFTER)
        before, after = int((own < shipped).sum()), int(((own >= shipped) & (own < until)).sum())
        span = until - shipped
        said["naive"].append(after / span < before / shipped)
        recent = int(((own >= until - QUARTER) & (own < until)).sum())
        said["devlake"].append(span >= QUARTER and recent < int(((own >= shipped - QUARTER) & (own < shipped)).sum()))
        p_value = float(stats.binom.cdf(after, before - 1 + after, span / (shipped + span))) if before > 1 else 1.0
        said["p"].append(p_value)  # type: ignore[arg-type]
        said["exact"].append(p_value <= ALPHA)
    return said


def judge(world: World, looks: Sequence[float], tallies: Mapping[bool, Tally]) -> None:
    """Look at one world at every day in `looks`, and count what was ever said of fixes that work and of those that do not."""
    inputs, n = inputs_of(world), len(world.fixes)
    works = np.array([left < 1 for _, _, left in world.fixes], dtype=bool)
    ever: dict[str, npt.NDArray[np.bool_]] = {}

    def note(judge: str, said: npt.NDArray[np.bool_]) -> None:
        ever[judge] = ever.get(judge, np.zeros(n, dtype=bool)) | said

    for day in WEEKLY:
        told = peers(world, day)
        if day >= 28:
            note("naive_weekly", np.array(told["naive"]))
        note("exact_weekly", np.array(told["exact"]))
        if day in looks:
            rows = measure_fixes(inputs, BEGIN + timedelta(days=BEFORE + day), NO_LOSS, ("recurrence",))
            verdicts = np.array([str(row["verdict"]) for row in rows])
            note("ours", verdicts == "effective")
            note("ours_not_effective", verdicts == "not_effective")
    note("ours_at_end", verdicts == "effective")
    note("naive", np.array(told["naive"]))
    note("devlake", np.array(told["devlake"]))
    note("exact", np.array(told["exact"]))
    discovered = stats.false_discovery_control(np.array(told["p"], dtype=float)) <= FALSE_DISCOVERIES if n else np.zeros(0, dtype=bool)
    note("exact_among_many", np.array(told["exact"]) & discovered)
    for truth, tally in tallies.items():
        tally.n += int((works == truth).sum())
        for name, said in ever.items():
            tally.add(name, int(said[works == truth].sum()))


def other_outcomes(n: int) -> dict[str, Any]:
    """Of how many fixes the other outcomes are ever called better: without effect (false), and when durations, sums or shares fall (power).

    Ten incidents, 26 weeks or 60 deployments before, as many or twice as many after, each a look; durations and losses are log-normal,
    every tenth incident is still open when it is looked at.
    """
    chance = np.random.default_rng([SEED, 99])
    found: dict[str, Any] = {}
    for name in ("durations", "sums", "shares"):
        found[name] = {
            f"{what}_pct": round(100 * float(np.mean([_ever_better(name, left, chance) for _ in range(n)])), 1)
            for what, left in (("false_effective", 1.0), ("power_halved", 0.5), ("power_a_tenth_left", 0.1))
        }
    return {**found, "n": n}


def _ever_better(name: str, left: float, chance: Chance) -> bool:
    looks: Iterator[samples.Contrast]
    if name == "durations":
        before, after = chance.lognormal(4, 1.3, 10), left * chance.lognormal(4, 1.3, 20)
        nobody = np.zeros(10, dtype=bool)
        seen = ((after[:m], (np.arange(m) == m - 1) & (m % 10 == 0)) for m in range(2, 21))
        looks = (samples.durations(before, nobody, own, is_open) for own, is_open in seen)
    elif name == "sums":
        sums = chance.lognormal(4, 1.3, 52) * (chance.random(52) < 0.4) * np.where(np.arange(52) < 26, 1.0, left)
        looks = (samples.sizes(sums[:26], sums[26 : 26 + m]) for m in range(4, 27))
    else:
        failed, later = int(chance.binomial(60, 0.2)), chance.random(120) < 0.2 * left
        looks = (samples.shares(failed, 60, int(later[:m].sum()), m) for m in range(5, 121, 5))
    return any(look.sequential <= ALPHA and look.high is not None and look.high < 1 for look in looks)


def cost() -> dict[str, Any]:
    """CPU seconds to judge 50 fixes by every outcome, once, among 10,000 incidents of 400 families with ends and losses."""
    world = make(Kind("large", per_year=13.0, families=400, fixes=50), np.random.default_rng([SEED, 1]))
    inputs, began = inputs_of(world), time.process_time()
    incidents = inputs.incidents["incident_id"]
    told = {"incident_id": incidents, "lost_revenue": np.random.default_rng(SEED).lognormal(4, 1.3, len(incidents))}
    losses = pl.DataFrame(told).with_columns(status=pl.lit("quantified"), currency=pl.lit("EUR"))
    rows = measure_fixes(inputs, BEGIN + timedelta(days=BEFORE + AFTER), pl.concat([NO_LOSS, losses], how="diagonal"))
    return {"incidents": len(incidents), "fixes": len(world.fixes), "rows": len(rows), "cpu_seconds": round(time.process_time() - began, 1)}


def run(worlds: int = 20, kinds: Sequence[Kind] = KINDS, progress: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Return the benchmark's JSON object."""
    began = time.perf_counter()
    found: dict[str, dict[bool, Tally]] = {}
    for place, kind in enumerate(kinds):
        tallies = {False: Tally(), True: Tally()}
        for number in range(worlds):
            judge(make(kind, np.random.default_rng([SEED, place, number])), WEEKLY if number < EVERY_WEEK else QUARTERLY, tallies)
        found[kind.name] = tallies
        progress(f"{kind.name}: {json.dumps(_shares(tallies[kind.left is not None]))}")

    def pooled(names: set[str], truth: bool) -> Tally:
        total = Tally()
        for name in sorted(names & set(found)):
            total.n += found[name][truth].n
            for judge_name, count in found[name][truth].said.items():
                total.add(judge_name, count)
        return total

    calm = pooled({kind.name for kind in kinds if kind.left is None} - REGRESSION, truth=False)
    regression, working = pooled(REGRESSION, truth=False), pooled(EFFECT, truth=True)
    beside = pooled(EFFECT, truth=False)
    return {
        "false_effective_pct": calm.share("ours"),
        "false_effective_regression_pct": regression.share("ours"),
        "false_effective_beside_working_pct": beside.share("ours"),
        "power_pct": working.share("ours"),
        "power_at_end_pct": working.share("ours_at_end"),
        "power_of_exact_test_pct": working.share("exact"),
        "power_of_exact_test_among_many_pct": working.share("exact_among_many"),
        "working_called_not_effective_pct": working.share("ours_not_effective"),
        "naive_false_effective_pct": regression.share("naive"),
        "naive_weekly_false_effective_pct": regression.share("naive_weekly"),
        "exact_test": "conditional binomial test of two Poisson rates, one-sided 5 %, one look at the year's end, without the trigger",
        "n": calm.n + regression.n + working.n + beside.n,
        "n_without_effect": calm.n,
        "n_regression": regression.n,
        "n_working": working.n,
        "cost": cost(),
        "baselines": {
            "naive": {"false_effective_pct": calm.share("naive"), "power_pct": working.share("naive")},
            "devlake_style": {
                "false_effective_pct": calm.share("devlake"),
                "false_effective_regression_pct": regression.share("devlake"),
                "power_pct": working.share("devlake"),
            },
            "exact_test_repeated_weekly": {
                "false_effective_pct": calm.share("exact_weekly"),
                "false_effective_regression_pct": regression.share("exact_weekly"),
                "power_pct": working.share("exact_weekly"),
            },
            "random": {"false_effective_pct": 33.3, "false_effective_regression_pct": 33.3, "power_pct": 33.3},
            "static_prior": {"false_effective_pct": 100.0, "false_effective_regression_pct": 100.0, "power_pct": 100.0},
        },
        "worlds": {kind.name: _shares(found[kind.name][kind.left is not None]) for kind in kinds},
        "other_outcomes": other_outcomes(worlds * 10),
        "seconds": round(time.perf_counter() - began, 1),
        "version": code_version(),
    }


def _shares(tally: Tally) -> dict[str, Any]:
    return {name: tally.share(name) for name in sorted(tally.said)} | {"n": tally.n}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--worlds", type=int, default=20, help="worlds of each kind")
    options = parser.parse_args(arguments)
    result = run(options.worlds, progress=(lambda _: None) if options.json else print)
    print(json.dumps(result) if options.json else json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
