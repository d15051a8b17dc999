"""Trackers: where action items get tickets. One thin client for each kind, over the HTTP client that sources use.

A tracker creates, updates, comments and reopens, and tells whether what carries a mark is there. It sends a request that changes something
once only and raises what the outbox needs to know: refused, cannot have arrived, or not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Protocol

from aftercast.declarations import TrackerRow

Payload = Mapping[str, object]


class Tracker(Protocol):
    """What a kind of tracker offers. A reference is what people call a ticket: `OPS-12`, `acme/shop#12`.

    `settle` is how long a search may not know what was just made.
    """

    @property
    def settle(self) -> timedelta: ...

    def create(self, payload: Payload, mark: str) -> str:
        """Make a ticket that carries the mark; return its reference."""
        ...

    def find(self, mark: str, since: datetime) -> str | None:
        """Return the oldest ticket with the mark among those made after `since`."""
        ...

    def update(self, payload: Payload, mark: str) -> str:
        """Set title, due date and the item's block; what people wrote around it stays. Doing it twice does the same."""
        ...

    def comment(self, payload: Payload, mark: str) -> str:
        """Add a comment that carries the mark; return where it is."""
        ...

    def find_comment(self, payload: Payload, mark: str) -> str | None:
        """Return the comment with the mark on the ticket the payload names."""
        ...

    def reopen(self, payload: Payload, mark: str) -> str:
        """Open a ticket that is done, and say why in a comment, which comes last and so proves both."""
        ...


def open_tracker(row: TrackerRow) -> Tracker:
    """Return the tracker a row of actions.yml declares.

    Raises:
        ConfigError: the connection does not fit.
    """
    if row.kind == "jira":
        from aftercast.acting.trackers.jira_tickets import open_jira

        return open_jira(row)
    from aftercast.acting.trackers.github_tickets import open_github

    return open_github(row)
