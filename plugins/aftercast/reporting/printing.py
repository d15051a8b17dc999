"""The page as PDF, by WeasyPrint from the same HTML: its print style, A4, selectable text, tables that carry their heads over pages.

WeasyPrint needs Pango, which is a library of the system and not of Python. Where it is missing there is no PDF and the log says what to
install; nothing else of a report depends on it.
"""

from __future__ import annotations

import logging
import re

log = logging.getLogger(__name__)

INSTALL = "on Debian and Ubuntu `apt-get install libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0`, on macOS `brew install pango`"

# WeasyPrint does not apply the page's style sheet inside drawings, so those in tiles and cells carry their (printed) colours themselves.
MARKS = (
    "<style>.band{fill:#eceff3}.line{fill:none;stroke:#545d69;stroke-width:1.2}.point{fill:#545d69}.end,.dot{fill:#1b1f27}"
    ".bar{fill:#1d5b9e}.interval .bar{fill:#98a2b3}.tick,.whisker{stroke:#1b1f27;stroke-width:1.2}.track{stroke:#e2e6eb;stroke-width:1}"
    ".none{stroke:#98a2b3;stroke-width:1;stroke-dasharray:2 2}.reach{stroke:#98a2b3;stroke-width:4;stroke-linecap:round}"
    ".spark.worse .end,.alarm .bar,.ratio.not_effective .dot{fill:#b3261e}.spark.better .end,.ratio.effective .dot{fill:#1c7a4f}</style>"
)


# Twenty characters, an entity being one, that more of their kind follow.
LONG = re.compile(r"((?:&[#a-z0-9]+;|[^\s<>&]){20})(?=[^\s<>])")


def pdf(html: str) -> bytes | None:
    """Return a page as PDF; None, with a warning in the log, where the libraries for it are missing.

    The page is all there is: nothing is fetched, whatever it names.
    """
    try:
        import weasyprint
        from weasyprint.urls import URLFetcher
    except (ImportError, OSError) as error:  # OSError: Pango cannot be loaded
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        log.warning("no PDF was made: WeasyPrint does not start (%s). HTML, Markdown and CSV are written. To get it: %s", reason, INSTALL)
        return None
    _quiet()
    made = weasyprint.HTML(string=for_print(html), url_fetcher=URLFetcher(allowed_protocols=())).write_pdf()
    return bytes(made) if made else None


def for_print(html: str) -> str:
    """Return a page in which drawings carry their colours and long runs of letters may break.

    Breaking anywhere costs WeasyPrint a measure for every letter (a hostile title: 38 s); places to break at say the same for nothing.
    """
    head, found, rest = html.replace("overflow-wrap: anywhere", "overflow-wrap: break-word").partition("</head>")
    rest = re.sub(r">[^<>]{20,}<", lambda text: LONG.sub(r"\1&#8203;", text[0]), rest)
    return head + found + re.sub(r'<svg class="mark [^>]*>', rf"\g<0>{MARKS}", rest)


def _quiet() -> None:
    """It tells of every style it does not know, which a page made for browsers has some of."""
    for name in ("weasyprint", "fontTools"):
        logging.getLogger(name).setLevel(logging.ERROR)
