"""Words inside what we ask: a value or a name in PromQL, LogQL and TraceQL, a segment of a path. Each stays the one word it is. Pure.

Names, values and ids that others chose go into a query or an address through here and no other way (a test looks).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from aftercast.errors import SourceRejected

PLAIN_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
# One attribute as Tempo's lexer reads it: an intrinsic, or a scope and then runs of what is no space
# or operator, or quoted parts.
ATTRIBUTE = re.compile(r'(?:[a-z]+\.){0,2}\.?(?:(?<=\.)(?:[^\s{}()=~!<>&|^,"\\]|"(?:[^"\\\n]|\\["\\])+")+)|[a-zA-Z]+(?::[a-zA-Z]+)?')
SHORT = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "$": "\\x24"}  # a `$step` inside a value is not ours to fill in
SHOWN = 60


def literal(value: str) -> str:
    """Return a text as a string of PromQL, LogQL and TraceQL, which all read strings as Go does.

    Raises:
        ValueError: it is no Unicode text, half of a surrogate pair for example.
    """
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{value[:SHOWN]!a} is no Unicode text") from error
    return '"' + "".join(SHORT.get(sign) or (sign if sign.isprintable() else f"\\U{ord(sign):08x}") for sign in value) + '"'


def label_name(name: str) -> str:
    """Return the name of a label as PromQL and LogQL take it: as it is where it is plain, quoted (Prometheus 3) where it is not."""
    return name if PLAIN_NAME.fullmatch(name) else literal(name)


def attribute_name(name: str) -> str:
    """Return the name of an attribute as TraceQL takes it, such as `resource.service.name` or `span."a b"`.

    Raises:
        ValueError: TraceQL would not read it as one name.
    """
    if not ATTRIBUTE.fullmatch(name):
        raise ValueError(f'{name[:SHOWN]!r} is no one attribute of TraceQL, such as resource.service.name or span."with spaces"')
    return name


def narrowed(selector: str, only: Mapping[str, str]) -> str:
    """Return a selector (`up`, `up{job="shop"}`, `{env="eu"} | json`) that finds only series whose labels have these values exactly."""
    if not only:
        return selector
    added = ", ".join(f"{label_name(name)}={literal(value)}" for name, value in only.items())
    start = selector.find("{")
    if start < 0:
        return f"{selector.strip()}{{{added}}}"
    end = _closing(selector, start)
    inside = selector[start + 1 : end].strip().rstrip(",")
    return f"{selector[: start + 1]}{inside}{', ' if inside else ''}{added}{selector[end:]}"


def _closing(selector: str, start: int) -> int:
    """Return where the brace that opens at `start` closes; braces in strings do not count.

    Raises:
        ValueError: it does not close.
    """
    quoted, at = "", start + 1
    while at < len(selector):
        sign = selector[at]
        if quoted:
            at += quoted != "`" and sign == "\\"
            quoted = "" if sign == quoted else quoted
        elif sign in "\"'`":
            quoted = sign
        elif sign == "}":
            return at
        at += 1
    raise ValueError(f"the selector {selector[:SHOWN]!r} has no closing brace")


def segment(text: object) -> str:
    """Return a text as one segment of a path: no `/`, `?`, `#` or `%` of it is read as more than a letter.

    Raises:
        SourceRejected: it is empty, or a dot or two, which servers read as a way to another folder however they are written.
    """
    word = str(text)
    if word in ("", ".", ".."):
        raise SourceRejected(f"{word!r} is no id that can be asked for: it would name another address")
    return quote(word, safe="")


def folders(text: str) -> str:
    """Return words with slashes between them, such as `owner/name`, as that many segments of a path.

    Raises:
        SourceRejected: as for `segment`.
    """
    return "/".join(map(segment, text.split("/")))
