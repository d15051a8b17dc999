"""How a benchmark says its figures: a table for people, or one JSON object."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any


def show(result: Mapping[str, Any], *, as_json: bool, width: int = 36) -> None:
    """Print the figures, those of a mapping below its name; names are filled up to `width` characters."""
    if as_json:
        sys.stdout.write(json.dumps(result) + "\n")
        return
    for name, value in result.items():
        for key, shown in value.items() if isinstance(value, dict) else [("", value)]:
            sys.stdout.write(f"{' '.join(filter(None, (name, key))):{width}} {shown}\n")
