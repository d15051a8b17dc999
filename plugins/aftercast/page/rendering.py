"""Rows to HTML, in the words and colours of the weekly report.

Everything from a mart is text: escaped by the template, isolated in its own direction, never markup or a script.
"""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment

from aftercast.reporting import templating, wording

TEMPLATES = Path(__file__).parent / "templates"
PALETTE = Path(wording.__file__).parent / "templates" / "colours.css.j2"


@cache
def _environment() -> Environment:
    return templating.environment(
        TEMPLATES,
        moment=lambda at: f"{at:%a} {at.day} {at:%b %Y %H:%M}",
        shorten=lambda text, most: wording.shorten(str(text or ""), most),
        shell=lambda text: shlex.quote(str(text)),
        words=lambda text: str(text or "").replace("_", " "),
    )


def html(template: str, **context: Any) -> str:
    """Return a page."""
    return _environment().get_template(f"{template}.html.j2").render(**context)


@cache
def style() -> str:
    """Return the style sheet: the weekly report's palette, light or dark as Airflow is, else as the reader's system is."""
    blocks = re.findall(r":root \{(.*?)\}", PALETTE.read_text(encoding="utf-8"), re.S)
    light, dark = (" ".join(block.split()) for block in blocks)
    palette = (
        f":root {{ {light} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root:not([data-theme=light]) {{ {dark} }} }}\n"
        f":root[data-theme=dark] {{ color-scheme: dark; {dark} }}\n"
        ":root[data-theme=light] { color-scheme: light; }\n"
    )
    return palette + (TEMPLATES / "page.css").read_text(encoding="utf-8")


@cache
def script() -> str:
    """Return the little the page does by itself in a browser; it reads well without."""
    return (TEMPLATES / "page.js").read_text(encoding="utf-8")
