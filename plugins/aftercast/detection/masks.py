"""What the masks of a version of the detector expect: which of its episodes they explain. Pure.

A mask works on episodes, not on scores: it can be weighed against the alarms there were, and taking it away changes nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from aftercast.declarations import MaskRow
from aftercast.detection.known_times import MOSTLY, is_in_scope, occurrences
from aftercast.window import Window

COUNTRY = re.compile(r"(?:^|,)country=([^,]*)")


def is_of(mask: MaskRow, episode: Mapping[str, Any]) -> bool:
    """Whether a mask is of the series of an episode, whenever it happened."""
    found = COUNTRY.search(episode["segment"] or "")
    place = (episode["environment"] or "", episode["region"] or "", found[1] if found else "")
    return episode["signal"] in mask.signals and is_in_scope(mask, episode["subject_kind"], episode["subject"], *place)


def explained_by(masks: Sequence[MaskRow], episode: Mapping[str, Any]) -> str | None:
    """Return the name of the first mask that expected an episode, None when none did.

    It must be of its series, expect its direction, hold most of it, and have been there when it began.
    """
    for mask in masks:
        if mask.since is not None and episode["started_at"] < mask.since:
            continue
        if mask.expects in (episode["direction"], "both") and is_of(mask, episode) and _held(mask, episode) >= MOSTLY:
            return mask.name
    return None


def _held(mask: MaskRow, episode: Mapping[str, Any]) -> float:
    """The share of an episode that lies in the times of a mask."""
    begin: datetime = episode["started_at"]
    end: datetime = episode["ended_at"] or begin
    length = (end - begin) / timedelta(seconds=1)
    if length <= 0:
        return 0.0
    before, after = timedelta(minutes=mask.before_minutes), timedelta(minutes=mask.after_minutes)
    spans = [(max(begin, one.start - before), min(end, one.end + after)) for one in occurrences(mask, Window(begin, end))]
    return min(sum(max((until - start) / timedelta(seconds=1), 0.0) for start, until in spans) / length, 1.0)
