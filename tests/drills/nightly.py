"""The long drills in one go, for a machine that has the night: kills, two refreshes at once, spoilt payloads; one table at the end.

    python -m tests.drills.nightly --kills 400 --payloads 2000

Without --seed the seed is the day, so that every night tries other places; the table names it, and the same seed does the same again.
Exits with 1 when anything did not hold.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT / "plugins"), str(PROJECT)]


@dataclass
class Row:
    """What one drill tried, for how much of it the promise held, and what was wrong."""

    what: str
    tried: int
    held: int
    seconds: float
    wrong: list[str] = field(default_factory=list)


def killed(kills: int, seed: int, minutes: float) -> Iterator[Row]:
    """Two refreshes at once, and kills by stage."""
    from tests.drills import random_kills

    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="aftercast-drill-") as folder, random_kills.field_of(Path(folder)) as there:
        clashes = random_kills.two_at_once(there)
        yield Row("two refreshes at once", 1, not clashes, time.monotonic() - begun, clashes)
        begun = time.monotonic()
        walks = list(random_kills.drill(there, kills, seed, until=begun + 60 * minutes))
    counted = random_kills.counted(walks)
    taken = (time.monotonic() - begun) / max(sum(tried for tried, _ in counted.values()), 1)
    wrong = [line for one in walks for line in one.wrong]
    wrong += [f"{kill}: {'; '.join(faults)}" for one in walks for kill, faults in one.kills if faults]
    for number, (stage, (tried, survived)) in enumerate(counted.items()):
        yield Row(f"kills: {stage}", tried, survived, taken * tried, wrong if number == 0 else [])


def spoilt(payloads: int, seed: int, only: list[str] | None = None) -> Iterator[Row]:
    """Spoilt payloads by source, and spoilt files of a configuration."""
    from tests import conftest  # noqa: F401  the environment of the tests
    from tests.fuzzing import campaign, config_files
    from tests.fuzzing.seeds import SEEDS

    with tempfile.TemporaryDirectory() as folder:
        files = config_files.names(config_files.make(Path(folder)))
    for name in only or [*sorted(SEEDS), *files]:
        with tempfile.TemporaryDirectory() as folder:
            found = (campaign if name in SEEDS else config_files).run(name, Path(folder), seed=seed, payloads=payloads)
        tried = len(found.outcomes)
        yield Row(f"spoilt: {name}", tried, tried - len(found.bad), found.seconds, [str(one) for one in found.bad[:5]])


def table(rows: list[Row]) -> str:
    """One line a drill, and one for all."""
    lines = ["| drill | tried | held | seconds |", "|---|---|---|---|"]
    lines += [f"| {one.what} | {one.tried} | {one.held:d} | {one.seconds:.0f} |" for one in rows]
    tried, held, seconds = (sum(getattr(one, name) for one in rows) for name in ("tried", "held", "seconds"))
    return "\n".join([*lines, f"| all | {tried} | {held:d} | {seconds:.0f} |"])


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--seed", type=int, default=int(f"{datetime.now(UTC):%Y%m%d}"), help="the day, when it is not given")
    asked.add_argument("--kills", type=int, default=400)
    asked.add_argument("--minutes", type=float, default=240, help="begin no walk of kills later than this")
    asked.add_argument("--payloads", type=int, default=2000, help="payloads a source or file")
    given = asked.parse_args()
    logging.disable(logging.WARNING)
    rows: list[Row] = []
    for drills in (killed(given.kills, given.seed, given.minutes), spoilt(given.payloads, given.seed)):
        for one in drills:
            rows.append(one)
            print(f"{one.what}: {one.held:d} of {one.tried}", *one.wrong, sep="\n    ", flush=True)
    print(f"\nseed {given.seed}\n{table(rows)}")
    return int(any(one.held < one.tried or one.wrong for one in rows))


if __name__ == "__main__":
    sys.exit(main())
