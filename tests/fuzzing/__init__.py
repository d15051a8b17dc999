"""A campaign of bad input: seeded mutations of recorded payloads for every kind of source and every kind of configuration file."""
