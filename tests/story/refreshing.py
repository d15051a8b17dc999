"""The tasks of the refresh, run in this process in the order of the DAG."""

from __future__ import annotations

from aftercast.steps import refreshing


def refresh(until: str | None = None) -> None:
    """Run every task of the refresh after `plan`, up to and with `until`."""
    for name in ("stage", "star", "watch", "correlate", "measure", "marts", "check", "publish"):
        if name == "watch":
            chunks = refreshing.watch()
            for chunk in chunks:
                refreshing.detect(chunk)
            refreshing.gather(chunks)
        else:
            getattr(refreshing, name)()
        if name == until:
            return
