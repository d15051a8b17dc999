"""How alike two incidents are, and in which respects: one pair with its reasons, or all pairs at once as a matrix.

Incidents are compared by likely cause, deviating services and symptoms, services hit, words of the title and trigger; never by region, so
the same trouble in another region is recognised. The cause counts as much as all that was seen together (geometric mean): a release and a
flag that break the same service alike are two families, because what ends them differs. Both ways give the same numbers; a test holds them
together.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from aftercast.correlation.portraits import Portrait

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WEIGHTS = {"symptoms": 0.25, "services": 0.15, "title": 0.15, "trigger": 0.10}
"""Of what was seen, relative to each other."""
SAME_PLACE_OTHER_KIND, OTHER_PLACE, OTHER_CHANGE = 0.3, 0.2, 0.2


@dataclass(frozen=True, slots=True)
class Likeness:
    """How alike two incidents are, in [0, 1], and in which respects."""

    similarity: float
    reasons: tuple[str, ...]


def compare(left: Portrait, right: Portrait, rarity: dict[str, float]) -> Likeness:
    """Root of the agreement on the cause times the weighted agreement on what was seen.

    A respect neither incident has anything to say about does not count; with none, only the cause does.

    Args:
        rarity: weight of a title word; a word it does not know weighs 1.
    """
    cause, parts = _cause(left, right), dict[str, float]()
    reasons: list[str] = []
    if _agreement(left, right) == 1.0:
        reasons.append(f"same likely cause: {_cause_name(left)}")
    if left.symptoms or right.symptoms:
        shared = left.symptoms & right.symptoms
        parts["symptoms"] = len(shared) / len(left.symptoms | right.symptoms)
        if shared:
            reasons.append("same symptoms: " + ", ".join(f"{service} {symptom}" for service, symptom in sorted(shared)[:3]))
    if left.services or right.services:
        both = left.services & right.services
        parts["services"] = len(both) / len(left.services | right.services)
        if both:
            reasons.append("same services hit: " + ", ".join(sorted(both)[:3]))
    if left.title or right.title:
        parts["title"] = _cosine(left.title, right.title, rarity)
        common = sorted(left.title & right.title, key=lambda word: (-rarity.get(word, 1.0), word))
        if parts["title"] >= 0.3 and common:
            reasons.append("similar title: " + ", ".join(common[:4]))
    if left.trigger and right.trigger:
        parts["trigger"] = float(left.trigger == right.trigger)
        if left.trigger == right.trigger:
            reasons.append(f"same trigger: {left.trigger}")
    total = math.fsum(WEIGHTS[name] for name in parts)
    seen = math.fsum(WEIGHTS[name] * value for name, value in parts.items()) / total if parts else cause
    return Likeness(round(min(math.sqrt(cause * seen), 1.0), 6), tuple(reasons))


def _agreement(left: Portrait, right: Portrait) -> float:
    """1 for the same kind of cause in the same place, less when the place or the kind of change differs."""
    if left.kind != right.kind or (left.kind == "none" and not left.services & right.services):
        return SAME_PLACE_OTHER_KIND if left.place and left.place == right.place else 0.0
    if left.place != right.place:
        return OTHER_PLACE
    return 1.0 if left.change_kind == right.change_kind else OTHER_CHANGE


def _cause(left: Portrait, right: Portrait) -> float:
    """How far the likely causes agree; doubt about either pulls towards a half."""
    sure = min(left.certainty, right.certainty)
    return _agreement(left, right) * sure + 0.5 * (1 - sure)


def _cosine(left: frozenset[str], right: frozenset[str], rarity: dict[str, float]) -> float:
    def length(ws: frozenset[str]) -> float:
        return math.sqrt(math.fsum(rarity.get(word, 1.0) ** 2 for word in sorted(ws)))

    if not left or not right:
        return 0.0
    return math.fsum(rarity.get(word, 1.0) ** 2 for word in sorted(left & right)) / (length(left) * length(right))


def _cause_name(one: Portrait) -> str:
    if one.kind == "none":
        return "none of what we know"
    return f"{one.change_kind} on {one.place}" if one.kind == "change" else f"{one.kind} {one.place}"


class Gallery:
    """Portraits, oldest first, as arrays: similarities of many pairs cost a few products of sparse matrices."""

    def __init__(self, portraits: Sequence[Portrait]) -> None:
        self.portraits = tuple(portraits)
        self.started: Ints = np.array([one.started for one in portraits], dtype=np.int64)
        self.words, self._title = _table([one.title for one in portraits])
        self._place_of = {word: place for place, word in enumerate(self.words)}
        self._services = _table([one.services for one in portraits])[1]
        self._symptoms = _table([one.symptoms for one in portraits])[1]
        self._kind, self._change = _codes(one.kind for one in portraits), _codes(one.change_kind for one in portraits)
        self._place, self._trigger = _codes(one.place for one in portraits), _codes(one.trigger for one in portraits)
        self._is_none = np.array([one.kind == "none" for one in portraits], dtype=bool)
        self._has_place = np.array([bool(one.place) for one in portraits], dtype=bool)
        self._has_trigger = np.array([bool(one.trigger) for one in portraits], dtype=bool)
        self._certainty: Floats = np.array([one.certainty for one in portraits], dtype=np.float64)

    def __len__(self) -> int:
        return len(self.portraits)

    def rarities(self, rows: slice) -> Floats:
        """Weights of all words by the titles up to and with each portrait of `rows`: one row each, one column a word."""
        first, last, _ = rows.indices(len(self))
        before = np.asarray(self._title[:first].sum(axis=0)).ravel()
        counts = before + np.cumsum(self._title[first:last].toarray(), axis=0)
        titles = np.arange(first + 1, last + 1, dtype=np.float64)[:, None]
        return np.asarray(np.log((1 + titles) / (1 + counts)) + 1)

    def rarity_at(self, position: int) -> dict[str, float]:
        """The same for one portrait, by word."""
        return dict(zip(self.words, self.rarities(slice(position, position + 1))[0].tolist(), strict=True))

    def named(self, weights: Floats, portraits: Iterable[Portrait]) -> dict[str, float]:
        """A row of `rarities` by word, for the words of some titles."""
        return {word: float(weights[self._place_of[word]]) for one in portraits for word in one.title}

    def similarities(self, rows: slice, columns: slice, weights: Floats) -> Floats:
        """Similarity of each portrait of `rows` to each of `columns`.

        Args:
            weights: of words; one row for each portrait of `rows`, or a single row for all.
        """
        shape = (len(range(*rows.indices(len(self)))), len(range(*columns.indices(len(self)))))
        shared_services = _shared(self._services, rows, columns)
        cause = self._causes(rows, columns, shared_services)
        total, found = np.zeros(shape), np.zeros(shape)
        for name, members, shared in (
            ("symptoms", self._symptoms, _shared(self._symptoms, rows, columns)),
            ("services", self._services, shared_services),
        ):
            sizes = np.asarray(members.sum(axis=1)).ravel()
            either = sizes[rows][:, None] + sizes[columns][None, :] - shared
            total += WEIGHTS[name] * (either > 0)
            found += WEIGHTS[name] * shared / np.maximum(either, 1)
        any_title, cosine = self._titles(rows, columns, weights)
        total += WEIGHTS["title"] * any_title
        found += WEIGHTS["title"] * cosine
        both = self._has_trigger[rows][:, None] & self._has_trigger[columns][None, :]
        total += WEIGHTS["trigger"] * both
        found += WEIGHTS["trigger"] * (both & (self._trigger[rows][:, None] == self._trigger[columns][None, :]))
        seen = np.where(total > 0, found / np.maximum(total, WEIGHTS["trigger"]), cause)
        return np.asarray(np.round(np.minimum(np.sqrt(cause * seen), 1.0), 6))

    def _causes(self, rows: slice, columns: slice, shared_services: Floats) -> Floats:
        def same(codes: Ints) -> NDArray[np.bool_]:
            return np.asarray(codes[rows][:, None] == codes[columns][None, :])

        place = same(self._place)
        kind = same(self._kind) & ~(self._is_none[rows][:, None] & (shared_services == 0))
        agreement = np.where(
            kind,
            np.where(place, np.where(same(self._change), 1.0, OTHER_CHANGE), OTHER_PLACE),
            np.where(place & self._has_place[rows][:, None], SAME_PLACE_OTHER_KIND, 0.0),
        )
        sure = np.minimum(self._certainty[rows][:, None], self._certainty[columns][None, :])
        return np.asarray(agreement * sure + 0.5 * (1 - sure))

    def _titles(self, rows: slice, columns: slice, weights: Floats) -> tuple[NDArray[np.bool_], Floats]:
        squares = weights**2
        left, right = self._title[rows], self._title[columns]
        sizes = np.asarray(self._title.sum(axis=1)).ravel()
        any_title = np.asarray((sizes[rows][:, None] + sizes[columns][None, :]) > 0)
        shared = (left.multiply(squares).tocsr() @ right.T).toarray()
        length_left = np.sqrt(np.asarray(left.multiply(squares).sum(axis=1)).reshape(-1, 1))
        length_right = np.sqrt((right @ squares.T).T)
        lengths = length_left * length_right
        return any_title, np.divide(shared, lengths, out=np.zeros_like(shared), where=lengths > 0)


def _codes(values: Iterable[str]) -> Ints:
    held = list(values)
    code = {value: number for number, value in enumerate(sorted(set(held)))}
    return np.array([code[value] for value in held], dtype=np.int64)


def _table(sets: Sequence[Collection[Any]]) -> tuple[list[Any], sparse.csr_array]:
    """Members in order of name, and which portrait has which as a 0/1 matrix."""
    names = sorted({member for members in sets for member in members})
    place = {member: number for number, member in enumerate(names)}
    columns = [place[member] for members in sets for member in sorted(members)]
    starts = np.cumsum([0, *(len(members) for members in sets)])
    return names, sparse.csr_array((np.ones(len(columns)), np.array(columns, dtype=np.int64), starts), shape=(len(sets), len(names)))


def _shared(matrix: sparse.csr_array, rows: slice, columns: slice) -> Floats:
    return np.asarray((matrix[rows] @ matrix[columns].T).toarray(), dtype=np.float64)
