"""A narrative beside a draft, told by a language model from what the draft cites, and checked claim by claim. Pure: asking is elsewhere.

The model sees the draft's own sentences and nothing else. Of what it says a sentence stays when it cites evidence of the draft, when every
number and every name in it stands in the draft beside one of the ids it cites or anywhere as a name, and when it does not call anything a
cause. Everything else is left out. A narrative adds no fact; the draft is complete without it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from aftercast.learning.drafts.evidence import CITED, HEADING, explained, sentences

SECTION = "Narrative"
INSTRUCTIONS = """\
You retell a draft postmortem as one or two short paragraphs for people who were not there.
Use only what the draft says. Put the ids of the evidence, like [E3], at the end of every sentence, before its full stop.
Copy numbers, units and times exactly as they are written. Copy names exactly.
Never say that something caused, triggered or led to something else: candidates are likely or unlikely, not causes.
Name no person and blame nobody. Write no headings, lists or tables."""

_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*\s?(?:%|[kM]\b)?")
_NAME = re.compile(r"(?<![\w-])(?:[A-Za-z]\w*(?:[-_]\w+)+|[A-Z]\w+)")
_CAUSAL = re.compile(r"(?i)\b(caus\w+|because|due to|root cause|led to|leading to|result\w* (?:in|from)|trigger\w*|blame\w*|fault of)\b")
_COMMENT = re.compile(r"<!--.*?-->", re.S)


@dataclass(frozen=True, slots=True)
class Narrative:
    """What is left of a told text: sentences that passed every check, and those that did not, each with the reason."""

    kept: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]


def material(document: str) -> str:
    """Return what of a draft is shown to a model: its text without front matter, comments and the list of evidence."""
    body = re.sub(r"\A---\n.*?\n---\n", "", document, flags=re.S)
    return _COMMENT.sub("", re.split(rf"(?m)^## {HEADING}$", body)[0]).strip()


def checked(said: str, document: str) -> Narrative:
    """Return which sentences of a told text the draft bears out."""
    known, shown = explained(document), material(document)
    beside = _numbers_beside(shown)
    names = set(_NAME.findall(shown)) | {word for name in _NAME.findall(shown) for word in re.split(r"[-_]", name)}
    kept, left_out = [], []
    for line in said.splitlines():
        for sentence in sentences(line.strip().lstrip("-*> ").strip()):
            why = _wrong(sentence, known.keys(), beside, names)
            if why:
                left_out.append((sentence, why))
            else:
                kept.append(sentence)
    return Narrative(tuple(kept), tuple(left_out))


def inserted(document: str, narrative: Narrative, model: str) -> str:
    """Return a draft with the narrative behind its summary; the draft itself when nothing of the narrative is left."""
    if not narrative.kept:
        return document
    name = re.sub(r"[^A-Za-z:._-]", "", model) or "not named"
    less = ", and what could not be checked was left out" if narrative.left_out else ""
    note = (
        f"> Retold by a language model ({name}) from the evidence below. Each sentence was checked against it{less}. "
        "Where words and tables differ, the tables are right."
    )
    section = f"## {SECTION}\n\n{note}\n\n{' '.join(narrative.kept)}\n\n"
    head, found, rest = document.partition("\n## Impact\n")
    return f"{head}\n{section}{found.lstrip()}{rest}" if found else document


def _numbers_beside(shown: str) -> dict[str, set[str]]:
    """Return for each id the numbers of the lines and sentences that cite it."""
    found: dict[str, set[str]] = {}
    for line in shown.splitlines():
        for part in [line] if line.lstrip().startswith("|") else sentences(line):
            numbers = {_plain(number) for number in _NUMBER.findall(CITED.sub("", part))}
            for identity in CITED.findall(part):
                found.setdefault(identity, set()).update(numbers)
    return found


def _plain(number: str) -> str:
    return re.sub(r"\s", "", number)


def _wrong(sentence: str, known: object, beside: dict[str, set[str]], names: set[str]) -> str | None:
    cited = CITED.findall(sentence)
    if not cited:
        return "cites no evidence"
    if unknown := [one for one in cited if one not in known]:  # type: ignore[operator]
        return f"cites {unknown[0]}, which the draft does not have"
    words = CITED.sub("", sentence)
    if found := _CAUSAL.search(words):
        return f"calls something a cause ({found[0].lower()})"
    allowed = set[str]().union(*(beside.get(one, set()) for one in cited))
    if strange := [number for number in _NUMBER.findall(words) if _plain(number) not in allowed]:
        return f"the number {strange[0].strip()} does not stand beside what it cites"
    first = words.lstrip('“"( ').split(" ", 1)[0]
    for name in _NAME.findall(words):
        if name not in names and not first.startswith(name):
            return f"the draft knows no {name}"
    return None
