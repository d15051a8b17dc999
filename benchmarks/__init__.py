"""Benchmarks beside their peers: one module a command, the same keys on any data, labels and truth read by the scorer only."""
