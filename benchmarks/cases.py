"""A suite of cases for ranking causes: what the pipeline may read, and the labels only the scorer may."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from aftercast.correlation import Inputs


@dataclass(frozen=True, slots=True)
class Label:
    """The true cause of an incident; `kind` and `candidate_id` as in `derived/candidates`."""

    kind: str
    candidate_id: str
    service: str
    fault_type: str


@dataclass(frozen=True, slots=True)
class Suite:
    """Frames, as-of time, labels, the nodes a baseline may name per environment, and the system of each incident."""

    inputs: Inputs
    as_of: datetime
    labels: Mapping[str, Label]
    nodes: Mapping[str, tuple[str, ...]]
    notes: Mapping[str, Any] = field(default_factory=dict)
    systems: Mapping[str, str] = field(default_factory=dict)
