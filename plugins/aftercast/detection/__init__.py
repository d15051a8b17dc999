"""Watched series to anomaly episodes: an exact batched Prophet, causal scores, episodes, and the models behind them."""

from aftercast.detection.detecting import TABLES, Detection, as_table, detect
from aftercast.detection.scores import SCORES, no_scores
from aftercast.detection.series import no_points
from aftercast.detection.signals import marks_query, masks_query, series_query, signal_query, spills

__all__ = [
    "SCORES",
    "TABLES",
    "Detection",
    "as_table",
    "detect",
    "marks_query",
    "masks_query",
    "no_points",
    "no_scores",
    "series_query",
    "signal_query",
    "spills",
]
