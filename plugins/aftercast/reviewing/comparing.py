"""What people made of a draft: two versions of a postmortem line by line. Reads only, and reads what cannot be parsed, too."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from aftercast.errors import ReviewConflict
from aftercast.reviewing import folder

WORDS = {
    "draft": "draft",
    "beside": "newer draft, put beside what people had edited",
    "edited": "as people had edited it",
    "state": "after a review",
    "rejected": "rejected",
}


@dataclass(frozen=True, slots=True)
class Kept:
    """A kept version, or the file as it lies there (`number` None): why it was kept, and how many lines it adds and drops."""

    number: int | None
    kind: str
    added: int
    dropped: int

    @property
    def name(self) -> str:
        return "the file as it is" if self.number is None else f"version {self.number} ({WORDS[self.kind]})"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two versions by name, and what differs: lines of a unified diff without its two heads; none when nothing does."""

    older: str
    newer: str
    lines: tuple[str, ...]


def kept(place: Path, name: str) -> list[Kept]:
    """Return the kept versions of a file, oldest first, and the file last where it is something else; each against the one before it."""
    known = folder.versions(place, name)
    texts: list[tuple[int | None, str, list[str]]] = [(one.number, one.kind, _lines(one.path)) for one in known]
    path = place / name
    if path.exists() and (not texts or _lines(path) != texts[-1][2]):
        texts.append((None, "", _lines(path)))
    found = []
    before: list[str] = []
    for number, kind, text in texts:
        differs = [line[0] for line in difflib.ndiff(before, text) if line[0] in "+-"]
        found.append(Kept(number, kind, differs.count("+"), differs.count("-")))
        before = text
    return found


def compare(place: Path, name: str, older: int | None = None, newer: int | None = None) -> Comparison:
    """Return what differs between two versions of a file.

    Args:
        place: the folder of postmortems.
        name: path inside it.
        older: number of a kept version; None is the last draft that was put into the file.
        newer: number of a kept version; None is the file as it is.

    Raises:
        ReviewConflict: there is no such version, no draft of ours, or the file is gone.
    """
    known = {one.number: one for one in folder.versions(place, name)}
    numbers = ", ".join(map(str, known)) or "none"
    drafts = [one for one in known.values() if one.kind == "draft"]
    if older is None and not drafts:
        raise ReviewConflict(
            f"{place / name}: people wrote it themselves, so there is no draft of ours to compare it with (kept: {numbers})"
        )
    for number in (older, newer):
        if number is not None and number not in known:
            raise ReviewConflict(f"{place / name} has no kept version {number}; kept: {numbers}")
    first = known[older] if older is not None else drafts[-1]
    second = known[newer] if newer is not None else None
    path = second.path if second else place / name
    if not path.exists():
        raise ReviewConflict(f"{place / name} is gone: it was renamed or deleted; name two of its kept versions ({numbers})")
    lines = list(difflib.unified_diff(_lines(first.path), _lines(path), lineterm="", n=1))[2:]
    return Comparison(
        Kept(first.number, first.kind, 0, 0).name,
        Kept(second.number if second else None, second.kind if second else "", 0, 0).name,
        tuple(lines),
    )


def find(place: Path, called: str) -> str:
    """Return the path inside the folder of a postmortem called by its incident or by its file.

    Raises:
        ReviewConflict: there is none.
    """
    names = [path.relative_to(place).as_posix() for path in sorted(place.rglob("*.md"))] if place.is_dir() else []
    names = [name for name in names if not any(part.startswith(".") for part in name.split("/"))]
    given = Path(called)
    inside = given.relative_to(place).as_posix() if given.is_absolute() and given.is_relative_to(place) else called
    if inside in names:
        return inside
    for one in folder.documents(place)[0]:
        if one.incident_id == called:
            return one.name
    ours = folder.file_name(called)
    if ours in names or folder.versions(place, ours):
        return ours
    raise ReviewConflict(f"{place} has no postmortem of {called!r} and no such file{_near(called, names)}")


def _near(called: str, names: list[str]) -> str:
    close = difflib.get_close_matches(called, [*names, *(name.removesuffix(".md") for name in names)], n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()
