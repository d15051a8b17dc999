"""Fault drills: what is killed, cut off, filled up or done twice on purpose, and the mart that has to come out of it all the same."""
