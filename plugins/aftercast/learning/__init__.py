"""Learning: what to fix next, from what happened and what it cost. Recommends from data alone; where a figure is missing it says so."""

from __future__ import annotations

from aftercast.learning.recommendations import MODEL_VERSION, recommend

__all__ = ["MODEL_VERSION", "recommend"]
