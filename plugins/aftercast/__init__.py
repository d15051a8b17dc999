"""Aftercast: what an incident cost, what probably caused it, and whether the fix worked."""
