"""YAML that people write, read without surprises: whatever is wrong is one kind of error, and aliases make no more than they should.

PyYAML raises what its parts raise (a day that does not exist is a ValueError, brackets without end a RecursionError), and a few lines of
aliases stand for billions of values, or for a value that holds itself.
"""

from __future__ import annotations

from typing import Any

import yaml

MOST_VALUES = 1_000_000
LONGEST = 1_000_000  # characters of a text that somebody else wrote
DEEPEST = 100  # lists and mappings inside each other
EVENTS: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


class NotYaml(ValueError):
    """A text that is no YAML we read: why, and at which line (from 0), where that is known."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.reason, self.line = reason, line


def read(text: str, loader: Any = yaml.SafeLoader) -> Any:
    """Return the only document of a text; None when there is none.

    Raises:
        NotYaml: it cannot be read, or its aliases make too many values of it.
    """
    found = read_all(text, loader)
    if len(found) > 1:
        raise NotYaml("expected a single document; remove the lines with ---")
    return found[0] if found else None


def plain(text: str) -> Any:
    """Return the only document of a text that somebody else wrote, every scalar as the text it is: no date loses its zone, no id its zeros.

    Raises:
        NotYaml: as `read`, and when it is longer than anybody writes.
    """
    if len(text) > LONGEST:
        raise NotYaml(f"longer than {LONGEST:,} characters")
    return read(text, yaml.BaseLoader)


def read_all(text: str, loader: Any = yaml.SafeLoader) -> list[Any]:
    """Return the documents of a text, as `read`."""
    try:
        _check_depth(text)
        found = list(yaml.load_all(text, loader))
        for document in found:
            if _size(document, {}) > MOST_VALUES:
                raise NotYaml(f"its aliases make more than {MOST_VALUES:,} values of it; write out what is meant")
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise NotYaml(" ".join(str(error).split()), mark.line if mark else None) from error
    except RecursionError as error:
        raise NotYaml("it is nested too deeply, or holds itself by an alias; write out what is meant") from error
    except NotYaml:
        raise
    except (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        ArithmeticError,
    ) as error:  # of a value: a day or a number that does not exist
        raise NotYaml(f"a value cannot be read ({error}); put it in quotation marks if it is a text") from error
    return found


def _check_depth(text: str) -> None:
    """Refuse what is too deep before anything is composed: a loader in Python runs out of stack, one in C takes the process with it.

    Counted in events, which nest nothing, by the parser in C where there is one; what is no YAML is left to the loader to name.
    """
    depth = 0
    try:
        for event in yaml.parse(text, EVENTS):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise NotYaml(f"nested too deeply: more than {DEEPEST} lists or mappings inside each other")
    except yaml.YAMLError:
        return


def _size(value: Any, known: dict[int, int]) -> int:
    """How many values a document stands for, aliases written out."""
    if not isinstance(value, (dict, list)):
        return 1
    size = known.get(id(value))
    if size is None:
        known[id(value)] = MOST_VALUES  # until it is counted: what holds itself is as large as can be
        below = [*value.values(), *value.keys()] if isinstance(value, dict) else value
        size = known[id(value)] = 1 + sum(_size(one, known) for one in below)
    return size
