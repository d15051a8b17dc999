"""Watched series to anomaly episodes: an exact batched Prophet, causal scores, episodes, and the models behind them."""

from aftercast.detection.detecting import TABLES, Detection, as_table, detect
from aftercast.detection.scores import SCORES, no_scores
from aftercast.detection.signals import masks_query, signal_query

__all__ = ["SCORES", "TABLES", "Detection", "as_table", "detect", "masks_query", "no_scores", "signal_query"]
