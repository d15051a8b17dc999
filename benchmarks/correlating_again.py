"""Correlating one more hour with what the hour before kept: `python -m benchmarks.correlating_again [--incidents N] [--check]`.

On the home named by AFTERCAST_HOME, after a refresh. CPU seconds of `correlate` alone, without reading the star: whole as of an hour before
the end, then at the end with what that kept (in memory), for the latest N incidents. `--check` also correlates the end from nothing and
compares every table.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta

import polars as pl

from aftercast import correlation, warehouse
from aftercast.settings import Settings
from aftercast.steps import refreshing


class Shelf:
    """A shelf in memory."""

    def __init__(self) -> None:
        self.parts: dict[str, pl.DataFrame] = {}

    def notes(self, columns: Sequence[str]) -> Mapping[str, pl.DataFrame]:
        return {part: rows.select(columns) for part, rows in self.parts.items()}

    def read(self, part: str) -> pl.DataFrame | None:
        return self.parts.get(part)

    def write(self, part: str, rows: pl.DataFrame) -> None:
        self.parts[part] = rows

    def forget(self, part: str) -> None:
        del self.parts[part]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one line a run."""
    parser = argparse.ArgumentParser(description="Correlating one more hour with what the hour before kept")
    parser.add_argument("--incidents", type=int, default=500)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(arguments)
    settings = Settings.from_environment()
    with warehouse.connect(settings.warehouse) as connection:
        reads = refreshing.CORRELATION_READS.items()
        frames = {name: refreshing._read_for_correlation(connection, name, f"star.{table}") for name, table in reads}
        incidents = warehouse.frame(connection, refreshing.REAL_INCIDENTS).sort("started_at").tail(options.incidents)
        frames["verdicts"] = warehouse.frame(connection, refreshing.EVERY_VERDICT)
    frames["anomalies"] = refreshing._live_anomalies(settings)
    end = refreshing._window(settings).end
    before = end - timedelta(hours=1)
    shelf = Shelf()

    def run(name: str, hours_back: int, memory: correlation.Memory | None) -> correlation.Correlation:
        as_of, began = end - timedelta(hours=hours_back), time.process_time()
        inputs = correlation.Inputs.of({**frames, "incidents": incidents.filter(pl.col("started_at") < as_of)})
        found = correlation.correlate(inputs, as_of, settings.deployment.rankers, (), memory)
        anew = f", {memory.examined_anew} examined and {memory.ranked_anew} ranked anew" if memory else ""
        sys.stdout.write(f"{name:14} {time.process_time() - began:6.1f} CPU s{anew}\n")
        return found

    memory = correlation.Memory(shelf, "this code")
    found = run(f"{before:%H:%M} whole", 1, memory)
    held = {name: getattr(found, name) for name in correlation.ROWS}
    again = run(f"{end:%H:%M} again", 0, correlation.Memory(shelf, "this code", memory.ranked, held, memory.learned_now()))
    if options.check:
        whole = run(f"{end:%H:%M} whole", 0, None)
        for name, rows in whole.tables().items():
            keys = [column for column, kind in rows.schema.items() if not isinstance(kind, pl.List)]
            if not getattr(again, name).sort(keys).equals(rows.sort(keys)):
                raise SystemExit(f"table {name} differs from the whole computation")
        sys.stdout.write("every table is equal\n")


if __name__ == "__main__":
    main()
