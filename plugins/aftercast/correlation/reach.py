"""How far of a timeline was read while an incident was looked at, so that it can be told later whether anything of it has changed."""

from __future__ import annotations

from dataclasses import dataclass

BEGINNING, END = -(2**62), 2**62
"""Read as far as there is anything: rows that come later, however old, would have been read too."""


@dataclass(slots=True)
class Reach:
    """The earliest and the latest moment read, in microseconds; nothing yet when `first` lies after `last`."""

    first: int = END
    last: int = BEGINNING

    def note(self, first: int, last: int) -> None:
        """Something from `first` to `last` was read, or would have been had it been there."""
        self.first, self.last = min(self.first, first), max(self.last, last)
