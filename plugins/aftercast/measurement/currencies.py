"""Rates between currencies: a loss keeps its own currency and is told beside it in the one reported in, at the rate of the day it began.

A rate holds from the day it is declared for until a later one; before the first there is none, and nothing is guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from aftercast.measurement.inputs import Inputs


@dataclass(frozen=True, slots=True)
class Rate:
    """What one unit is worth in the currency reported in, and since when; None for that currency itself."""

    value: float
    since: datetime | None


@dataclass(frozen=True, slots=True)
class Rates:
    """Declared rates by currency, in the order of time. `report_in` is None where no currency is declared to report in."""

    report_in: str | None
    rows: dict[str, tuple[tuple[datetime, float], ...]]

    def at(self, currency: str, moment: datetime) -> Rate | None:
        """Return the rate that holds at a moment; None when there is none."""
        if currency == self.report_in:
            return Rate(1.0, None)
        held = [row for row in self.rows.get(currency, ()) if row[0] <= moment]
        return Rate(held[-1][1], held[-1][0]) if held else None

    def missing(self, currencies: set[str], moment: datetime) -> str | None:
        """Say why amounts in these currencies have no sum; None when they have."""
        if self.report_in is None:
            return f"currency mix: {', '.join(sorted(currencies))}, and no currency to report in is declared"
        lacking = sorted(code for code in currencies if self.at(code, moment) is None)
        if lacking:
            return f"currency mix: no rate of {', '.join(lacking)} in {self.report_in} on {moment:%Y-%m-%d}"
        return None

    def told(self, currencies: set[str], moment: datetime) -> str:
        """Name the rates used, with the day since which each holds."""
        used = [(code, self.at(code, moment)) for code in sorted(currencies - {self.report_in or ""})]
        return ", ".join(f"{code} at {rate.value:g} {self.report_in} since {rate.since:%Y-%m-%d}" for code, rate in used if rate)


def read_rates(inputs: Inputs) -> Rates:
    """Return the declared rates; the row of a currency in itself names the one reported in."""
    rows: dict[str, list[tuple[datetime, float]]] = {}
    report_in = None
    for currency, target, value, since in inputs.exchange_rates.select("currency", "report_currency", "rate", "since").iter_rows():
        report_in = target
        if currency != target:
            rows.setdefault(currency, []).append((since, value))
    return Rates(report_in, {currency: tuple(sorted(listed)) for currency, listed in rows.items()})
