"""A postmortem in Markdown, taken apart: front matter, sections known by the headings of the usual templates, items, tables. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from aftercast import yaml_texts

FENCE = re.compile(r"^\s{0,3}(```|~~~)")
HEADING = re.compile(r"^\s{0,3}(#{1,6})\s+(.*?)\s*#*\s*$")
ITEM = re.compile(r"^(\s*)(?:[-*+]|[0-9]{1,3}[.)])\s+(.*)$")
TASK = re.compile(r"^\[([ xX])\]\s+(.*)$")
RULE_OF_TABLE = re.compile(r"^[\s|:-]*-[\s|:-]*$")

# What a heading says, letters only and in lower case; the first that fits counts. Google's and PagerDuty's templates, and common others.
SECTIONS: tuple[tuple[str, str], ...] = (
    ("timeline", r"(incident )?(timeline|chronology)( of events)?"),
    ("actions", r"(action items?|actions?|follow ?ups?|corrective actions?|remediations?)( items?| actions?)?"),
    ("well", r"(what )?went (well|right)|what (we did|worked) well"),
    ("badly", r"(what )?(went (wrong|badly|poorly)|did(n'?t| not) go (so )?well)|what could (have gone|be) better"),
    ("lucky", r"(where|what) we (got|were) lucky( with)?|where we got lucky|luck"),
    ("lessons", r"(key )?(lessons?( learn(ed|t))?|learnings?|what we learn(ed|t)|takeaways?|insights?)"),
    ("factors", r"contributing (factors?|causes?)|contributors?|root causes?|causes?"),
    ("trigger", r"trigger"),
    ("people", r"responders?|authors?|participants?|attendees?|people( involved)?|reviewers?|roles?|response team"),
)
PEOPLE_LINE = re.compile(
    r"(?i)^\W*(authors?|owners?|responders?|participants?|attendees?|reviewers?|incident commander|commander|ic|scribe|on-?call)\W*:"
)


class Broken(Exception):
    """A document that cannot be read: why, at which line, and what stands there."""

    def __init__(self, reason: str, line: int, raw: str = "") -> None:
        super().__init__(reason)
        self.reason, self.line, self.raw = reason, line, raw


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a document and its number."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Section:
    """What stands below a heading, up to the next: its title, what it is (`''`: nothing we know), and its lines without the heading."""

    title: str
    kind: str
    heading: Line | None
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """Front matter as texts, the lines at which the items of its lists begin, and sections in order."""

    front: Mapping[str, Any]
    sections: tuple[Section, ...]
    lines: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def of(self, *kinds: str) -> list[Section]:
        return [one for one in self.sections if one.kind in kinds]


def parse(content: str) -> Document:
    """Take a document apart.

    Raises:
        Broken: it has no front matter, or one that is no mapping.
    """
    lines = [Line(number, text) for number, text in enumerate(content.removeprefix("\ufeff").splitlines(), start=1)]
    if not lines or lines[0].text.rstrip() != "---":
        raise Broken("no front matter: the first line is not ---", 1, lines[0].text if lines else "")
    end = next((at for at, line in enumerate(lines[1:], start=1) if line.text.rstrip() in ("---", "...")), None)
    if end is None:
        raise Broken("front matter is not closed by ---", 1, lines[0].text)
    try:
        # This loader makes texts, lists and mappings only: no date loses its zone, no id its zeros.
        front = yaml_texts.plain("\n".join(line.text for line in lines[1:end])) or {}
    except yaml_texts.NotYaml as error:
        number = (error.line or 0) + 2
        raise Broken(f"front matter is no YAML: {error}", number, lines[min(number, len(lines)) - 1].text) from error
    if not isinstance(front, dict):
        raise Broken("front matter is no mapping of names to values", 2, lines[1].text)
    named = {str(name).strip().casefold(): value for name, value in front.items()}
    return Document(named, tuple(_sections(lines[end + 1 :])), _places("\n".join(line.text for line in lines[1:end])))


def _places(front: str) -> dict[str, tuple[int, ...]]:
    """At which lines of the document (from 1) the values of a front matter begin; of a list each of its items."""
    node = yaml.compose(front, Loader=yaml.BaseLoader)
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return {
        str(name.value).strip().casefold(): tuple(
            one.start_mark.line + 2 for one in (value.value if isinstance(value, yaml.SequenceNode) else [value])
        )
        for name, value in pairs
    }


def kind_of(title: str) -> str:
    """Return what a heading announces; '' for what we do not know."""
    words = " ".join(re.sub(r"[^a-z']+", " ", title.casefold().replace("’", "'")).split())
    return next((kind for kind, shape in SECTIONS if re.fullmatch(shape, words)), "")


def _sections(lines: Iterable[Line]) -> Iterator[Section]:
    """Sections in order; below a heading that is known, those that are not known belong to it."""
    title, kind, heading, held = "", "", None, list[Line]()
    above: list[tuple[int, str]] = []
    fenced = False
    for line in lines:
        fenced ^= bool(FENCE.match(line.text))
        found = None if fenced else HEADING.match(line.text)
        if found is None:
            held.append(line)
            continue
        yield Section(title, kind, heading, tuple(held))
        level = len(found[1])
        above = [one for one in above if one[0] < level]
        title, heading, held = found[2].strip("*_ "), line, []
        kind = kind_of(title) or next((one for _, one in reversed(above) if one), "")
        above.append((level, kind))
    yield Section(title, kind, heading, tuple(held))


def plain(text: str) -> str:
    """Return a text without emphasis."""
    return re.sub(r"\*\*|__|(?<!\w)[*_](?=\S)|(?<=\S)[*_](?!\w)", "", text).strip()


def items(section: Section) -> list[Line]:
    """The items of a list with what continues them; of a section without a list, its paragraphs. Tables are left out."""
    found: list[list[Line]] = []
    begun, blank = False, True
    has_list = any(ITEM.match(line.text) for line in section.lines)
    top = min((len(match[1]) for line in section.lines if (match := ITEM.match(line.text))), default=0)
    for line in section.lines:
        match = ITEM.match(line.text)
        text = line.text.strip()
        if not text or text.startswith(("|", "<!--")):
            begun, blank = begun and has_list and not text.startswith("|"), True
            continue
        if match and len(match[1]) <= top:
            found.append([Line(line.number, match[2])])
            begun = True
        elif begun and (not has_list or not blank or line.text.startswith((" ", "\t"))):
            found[-1].append(Line(line.number, match[2] if match else text))
        elif not has_list:
            found.append([Line(line.number, text)])
            begun = True
        blank = False
    return [Line(one[0].number, plain(" ".join(line.text.strip() for line in one))) for one in found]


def tables(section: Section) -> Iterator[tuple[Line, dict[str, str]]]:
    """Rows of the tables of a section: cells by the header's words, in lower case."""
    header: list[str] | None = None
    before: list[str] | None = None
    for line in section.lines:
        text = line.text.strip()
        if not text.startswith("|"):
            header = before = None
            continue
        cells = [plain(cell.replace("\\|", "|")) for cell in re.split(r"(?<!\\)\|", text.strip("|"))]
        if before is not None and RULE_OF_TABLE.match(text):
            header = [cell.casefold() for cell in before]
        elif header is not None:
            yield line, dict(zip(header, cells, strict=False))
        before = cells
