"""Watched series to anomaly episodes: an exact batched Prophet, causal scores, episodes, and the models behind them."""

from aftercast.detection.detecting import DETECTOR_VERSION, Detection, detect
from aftercast.detection.signals import signal_query

__all__ = ["DETECTOR_VERSION", "Detection", "detect", "signal_query"]
