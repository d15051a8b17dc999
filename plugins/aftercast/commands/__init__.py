"""Subcommands of the command line, by what they are about. `aftercast.cli` puts them together."""
