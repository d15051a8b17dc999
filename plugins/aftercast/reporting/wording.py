"""Numbers and times as readers see them: three significant figures, UTC, and words where a number would claim too much."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

NOT_KNOWN = "not known"

Writer = Callable[[float | None], str]


def amount(value: float | None) -> str:
    """Return an amount of money without its currency, e.g. `842`, `12.3k`, `1.16M`."""
    if value is None:
        return NOT_KNOWN
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 0.9995:
            scaled = value / size
            digits = 0 if abs(scaled) >= 99.95 else 1 if abs(scaled) >= 9.995 else 2
            return f"{scaled:,.{digits}f}{suffix}".replace("-", "−")
    rounded = f"{value:,.0f}"
    return "0" if rounded == "-0" else rounded.replace("-", "−")


def money(value: float | None, currency: str | None) -> str:
    """Return an amount with its currency code in front, e.g. `EUR 12.3k`."""
    return amount(value) if value is None or not currency else f"{currency} {amount(value)}"


def span(low: float | None, high: float | None) -> str:
    """Return a range of amounts, e.g. `9.81k to 14.7k`; empty when an end is not known."""
    return "" if low is None or high is None else f"{amount(low)} to {amount(high)}"


def between(low: str, high: str) -> str:
    """Return two written figures as a range, e.g. `27.9k–59.8k`, `50–100%`, or one when they read the same."""
    if low == high:
        return low
    return f"{low.removesuffix('%') if high.endswith('%') else low}–{high}"


def percent(share: float | None, digits: int = 0) -> str:
    """Return a share as a percentage; never rounds a share below one up to 100 %, nor one above zero down to 0 %."""
    if share is None:
        return NOT_KNOWN
    text = f"{share:.{digits}%}"
    if 0 < share < 1 and float(text[:-1]) in (0.0, 100.0):
        step = 10.0**-digits
        return f"<{step:.{digits}f}%" if share < 0.5 else f">{100 - step:.{digits}f}%"
    return text


def ratio(value: float | None) -> str:
    """Return a ratio of rates with two significant figures, e.g. `0.15`, `3.8`, `20`; more than a hundred is not told apart."""
    if value is None:
        return "no bound"
    if value > 100:
        return "over 100"
    return f"{value:.0f}" if value >= 9.95 else f"{value:.2g}"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Return `1 incident`, `3 incidents`, `no incidents`."""
    words = noun if number == 1 else plural or f"{noun}s"
    return f"no {words}" if number == 0 else f"{number:,} {words}"


def number_word(number: int) -> str:
    """Return a small number as a word to begin a sentence with, larger ones as digits."""
    words = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")
    return words[number] if 0 <= number < len(words) else f"{number:,}"


def part(share: float) -> str:
    """Return a share in the words people use for it."""
    for value, words in (
        (0.25, "a quarter of"),
        (1 / 3, "a third of"),
        (0.5, "half of"),
        (2 / 3, "two-thirds of"),
        (0.75, "three-quarters of"),
    ):
        if abs(share - value) < 0.025:
            return words
    if share >= 0.9995:
        return "all of"
    return "nearly all of" if share >= 0.93 else f"{share:.0%} of"


def minutes(length: float | None) -> str:
    """Return a number of minutes at the precision it deserves: `27 min`, `1 h 36 min`, `3 d 4 h`."""
    if length is None:
        return NOT_KNOWN
    total = round(length)
    if total < 60:
        return f"{total} min"
    hours, rest = divmod(total, 60)
    return f"{hours} h {rest:02d} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"


def day(moment: datetime) -> str:
    """Return e.g. `3 Nov`."""
    return f"{moment.day} {moment:%b}"


def day_and_time(moment: datetime) -> str:
    """Return e.g. `Tue 3 Nov 18:12`."""
    return f"{moment:%a} {day(moment)} {moment:%H:%M}"


def listing(words: Sequence[str], most: int = 3) -> str:
    """Return `a, b and c`, or the first ones and how many more."""
    shown = list(words[:most])
    if len(words) > most:
        return f"{', '.join(shown)} and {len(words) - most} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}" if shown else ""


def shorten(text: str, most: int) -> str:
    """Return a text cut at a word, with an ellipsis, when it is longer than `most` characters."""
    flat = " ".join(text.split())
    if len(flat) <= most:
        return flat
    cut = flat[: most - 1]
    at_word = cut.rsplit(" ", 1)[0]
    return f"{(at_word if len(at_word) > most // 2 else cut).rstrip(' ,;:.-')}…"
