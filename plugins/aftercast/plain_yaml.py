"""YAML that somebody else wrote: texts, lists and mappings only, no alias, not deep, not long.

An alias lets a few lines stand for millions of values, and depth overflows the stack of whoever walks through it, so both are refused as
what is no YAML. No tag makes an object: every value is a text.
"""

from __future__ import annotations

from typing import Any

import yaml

LONGEST = 1_000_000  # characters
DEEPEST = 40  # lists and mappings inside each other


class _Loader(yaml.BaseLoader):
    """A loader that counts how deep it is."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "an alias (*) stands for other lines; write them out", mark)
        if self.depth >= DEEPEST:
            raise yaml.composer.ComposerError(None, None, f"more than {DEEPEST} lists or mappings inside each other", mark)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def load(text: str) -> Any:
    """Return the value of a document; every scalar is a text.

    Raises:
        yaml.YAMLError: it is no YAML, or more than we take; carries the place where there is one.
    """
    if len(text) > LONGEST:
        raise yaml.YAMLError(f"longer than {LONGEST:,} characters")
    return yaml.load(text, Loader=_Loader)
