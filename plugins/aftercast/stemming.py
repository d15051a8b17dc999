"""The function `stem_of` of the warehouse: words to the stem they are found by. dbt loads it as a plugin (`profiles.yml`)."""

from __future__ import annotations

from typing import Any

import snowballstemmer
from dbt.adapters.duckdb.plugins import BasePlugin


def stem(word: str) -> str:
    """Return the English stem of a word in lower case; words of other scripts and numbers are their own (Snowball's Porter2)."""
    return str(snowballstemmer.stemmer("english").stemWord(word)) if word.isascii() and word.isalpha() else word


class Plugin(BasePlugin):  # type: ignore[misc]
    """What dbt-duckdb looks for in the module that a profile names."""

    def configure_connection(self, conn: Any) -> None:
        """Make `stem_of(word)` known to SQL."""
        conn.create_function("stem_of", stem, ["VARCHAR"], "VARCHAR")
