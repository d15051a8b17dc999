"""The pipeline watches itself: how old the mart is, how long tasks take, what was landed and refused, what waits to go out.

`records` keeps small facts beside the mart, `freshness` holds them against what is promised, `measuring` puts everything together,
`exposition` writes it as text that Prometheus reads. Nothing here changes the mart, and nothing in the mart depends on it.
"""

from __future__ import annotations

from aftercast.watching.exposition import CONTENT_TYPE, text
from aftercast.watching.freshness import Standing, standing
from aftercast.watching.measuring import history, measure, write
from aftercast.watching.records import TaskEnd, note_missed, note_published, note_task

__all__ = [
    "CONTENT_TYPE",
    "Standing",
    "TaskEnd",
    "history",
    "measure",
    "note_missed",
    "note_published",
    "note_task",
    "standing",
    "text",
    "write",
]
