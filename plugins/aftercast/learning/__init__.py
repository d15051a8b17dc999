"""Learning: what to fix next and what fixing brought, from data alone; where a figure is missing it says so."""

from __future__ import annotations

from aftercast.learning.portfolio import weigh
from aftercast.learning.recommendations import MODEL_VERSION, recommend

__all__ = ["MODEL_VERSION", "recommend", "weigh"]
