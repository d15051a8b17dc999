"""Which earlier incidents look like this one, and which family it belongs to.

Everything runs forward in time: an incident is compared with earlier ones only, word weights come from the past, and it joins the best
family or founds one. At the first of each month all recent incidents are grouped afresh (average linkage) and the groups inherit the ids of
the families they overlap most (`lineage`). So between two cuts later incidents never move earlier ones, and what a cut moves is on record.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from statistics import median

import numpy as np
import polars as pl
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from aftercast.correlation.inputs import CLUSTERING_VERSION, MODEL_VERSION, table
from aftercast.correlation.likeness import Floats, Gallery, Ints, Likeness, compare
from aftercast.correlation.lineage import MERGED, SPLIT, Regrouping, family_id, inherit
from aftercast.correlation.portraits import Portrait, portrait

__all__ = ["FAMILY_TABLES", "Families", "Portrait", "compare", "families_of", "family_id", "family_tables", "portrait", "similar_rows"]

FAMILY_TABLES = ("similar_incidents", "families", "family_memberships", "family_changes", "family_fixes")

JOIN = 0.5
"""An incident joins a family when its mean similarity to the members is at least this; else it founds one."""
SHOW = 0.35
MOST_SIMILAR = 5
LOOK_BACK = 2_000
"""How many of the latest incidents an incident is compared with when families are made; older members keep their family."""
CHUNK = 250
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST, JOINED, MOVED = "founded", "joined", "moved"

Row = dict[str, object]


def similar_rows(portraits: Sequence[Portrait]) -> list[Row]:
    """Rows of `similar_incidents`; `portraits` oldest first. All incidents that began earlier are looked at."""
    gallery, rows = Gallery(portraits), list[Row]()
    tried = _attempts_before(portraits)
    for chunk in _chunks(len(gallery)):
        weights = gallery.rarities(chunk)
        likeness = gallery.similarities(chunk, slice(0, chunk.stop), weights)
        for position in range(chunk.start, chunk.stop):
            one, row = portraits[position], likeness[position - chunk.start]
            earlier = int(np.searchsorted(gallery.started, one.started, side="left"))
            found = np.flatnonzero(row[:earlier] >= SHOW)
            if not found.size:
                continue
            order = sorted(found.tolist(), key=lambda other: (-row[other], -portraits[other].started, portraits[other].incident_id))
            rarity = gallery.named(weights[position - chunk.start], [one, *(portraits[other] for other in order[:MOST_SIMILAR])])
            for place, other in enumerate(order[:MOST_SIMILAR], start=1):
                rows.append(_similar_row(one, portraits[other], place, compare(one, portraits[other], rarity), tried[position]))
    return rows


def _similar_row(one: Portrait, other: Portrait, place: int, likeness: Likeness, tried: dict[tuple[str, str], tuple[int, int]]) -> Row:
    worked = next((attempt for attempt in reversed(other.attempts) if attempt.worked), None)
    n_of_m = tried.get((worked.kind, worked.service)) if worked else None
    return {
        "incident_id": one.incident_id,
        "similar_incident_id": other.incident_id,
        "rank": place,
        "similarity": likeness.similarity,
        "reasons": list(likeness.reasons),
        "fixed_by": other.fixed_by,
        "fix": f"{worked.kind} on {worked.service}" if worked and n_of_m else None,
        "fix_worked_n": n_of_m[0] if n_of_m else None,
        "fix_tried_n": n_of_m[1] if n_of_m else None,
        "model_version": MODEL_VERSION,
    }


def _attempts_before(portraits: Sequence[Portrait]) -> list[dict[tuple[str, str], tuple[int, int]]]:
    """For each incident, of each kind of fix and service: in how many earlier incidents it worked, of how many it was tried in."""
    held: dict[tuple[str, str], tuple[int, int]] = {}
    found: list[dict[tuple[str, str], tuple[int, int]]] = []
    for one in portraits:
        found.append(held)
        if any(attempt.worked is not None for attempt in one.attempts):
            held = dict(held)
        for attempt in one.attempts:
            if attempt.worked is not None:
                worked, tried = held.get((attempt.kind, attempt.service), (0, 0))
                held[attempt.kind, attempt.service] = (worked + attempt.worked, tried + 1)
    return found


class Families:
    """Families as the portraits arrive: where each is now, and every place it was ever given."""

    def __init__(self, gallery: Gallery) -> None:
        self.gallery = gallery
        self.version = CLUSTERING_VERSION
        self.titles: dict[str, str] = {}
        self.history: list[Row] = []
        self.changes: list[Row] = []
        self._ids: list[str] = []
        self._number: dict[str, int] = {}
        self.numbers: Ints = np.full(len(gallery), -1, dtype=np.int64)
        self.distances: Floats = np.zeros(len(gallery))
        self._now: dict[str, Row] = {}

    def of(self, position: int) -> str:
        """The family a portrait is in now."""
        return self._ids[int(self.numbers[position])]

    def named(self, number: int) -> str:
        return self._ids[number]

    def rows(self) -> list[Row]:
        """Rows of `families`: where each incident is now."""
        held = [self._now[one.incident_id] for one in self.gallery.portraits]
        return [
            {
                "incident_id": row["incident_id"],
                "family_id": row["family_id"],
                "family_title": self.titles[str(row["family_id"])],
                "distance": row["distance"],
                "reasons": row["reasons"],
                "clustering_version": self.version,
                "model_version": MODEL_VERSION,
            }
            for row in held
        ]

    def place(self, position: int, family: str, at: int, how: str, distance: float, reasons: tuple[str, ...]) -> None:
        """Put a portrait into a family, now: the place it had before ends."""
        one = self.gallery.portraits[position]
        if one.incident_id in self._now:
            self._now[one.incident_id]["valid_until"] = _moment(at)
        if family not in self._number:
            self._number[family] = len(self._ids)
            self._ids.append(family)
        self.numbers[position], self.distances[position] = self._number[family], distance
        row: Row = {
            "incident_id": one.incident_id,
            "family_id": family,
            "how": how,
            "distance": round(distance, 6),
            "reasons": list(reasons),
            "valid_from": _moment(at),
            "valid_until": None,
            "clustering_version": self.version,
            "model_version": MODEL_VERSION,
        }
        self._now[one.incident_id] = row
        self.history.append(row)


def families_of(portraits: Sequence[Portrait], until: int | None = None) -> Families:
    """Place portraits (oldest first) one after the other, grouping afresh at the first of each month up to `until` (microseconds)."""
    families = Families(Gallery(portraits))
    if not portraits:
        return families
    cuts = list(_month_starts(portraits[0].started, max(portraits[-1].started, until or 0)))
    starts = [int(np.searchsorted(families.gallery.started, cut, side="left")) for cut in cuts]
    done = 0
    for cut, start in zip(cuts, starts, strict=True):
        _arrive(families, done, start)
        _regroup(families, cut, start)
        done = start
    _arrive(families, done, len(portraits))
    return families


def family_tables(portraits: Sequence[Portrait], until: int) -> dict[str, pl.DataFrame]:
    """The derived tables `FAMILY_TABLES`; `portraits` oldest first."""
    families = families_of(portraits, until)
    held = families.rows()
    family_of = {str(row["incident_id"]): str(row["family_id"]) for row in held}
    rows = (similar_rows(portraits), held, families.history, families.changes, family_fix_rows(portraits, family_of))
    return {name: table(name, found) for name, found in zip(FAMILY_TABLES, rows, strict=True)}


def _arrive(families: Families, first: int, last: int) -> None:
    """Let portraits first..last-1 join the best family by mean similarity, or found one."""
    gallery = families.gallery
    for chunk in _chunks(last, first):
        begin = max(0, chunk.start - LOOK_BACK)
        weights = gallery.rarities(chunk)
        likeness = gallery.similarities(chunk, slice(begin, chunk.stop), weights)
        for position in range(chunk.start, chunk.stop):
            _join(families, position, begin, likeness[position - chunk.start], weights[position - chunk.start])


def _join(families: Families, position: int, begin: int, likeness: Floats, weights: Floats) -> None:
    gallery, oldest = families.gallery, max(begin, position - LOOK_BACK)
    one, mine, alike = gallery.portraits[position], families.numbers[oldest:position], likeness[oldest - begin : position - begin]
    found, first = np.unique(mine, return_index=True)
    means = np.round(np.bincount(mine, alike)[found] / np.bincount(mine)[found], 6)
    best = min(range(len(found)), key=lambda place: (-means[place], first[place]), default=None)
    if best is None or means[best] < JOIN:
        family = _free_id(families, one, _iso(one.started))
        families.titles[family] = family_title(one)
        families.place(position, family, one.started, FIRST, 0.0, ("the first of its family",))
        return
    nearest = oldest + int(np.argmax(np.where(mine == found[best], alike, -1.0)))
    rarity = gallery.named(weights, [one, gallery.portraits[nearest]])
    reasons = compare(one, gallery.portraits[nearest], rarity).reasons
    families.place(position, families.named(int(found[best])), one.started, JOINED, 1 - float(means[best]), reasons)


def _regroup(families: Families, cut: int, end: int) -> None:
    """Group the latest portraits before a cut afresh; the groups inherit ids, and what moves is written down."""
    families.version = f"{CLUSTERING_VERSION}@{_moment(cut):%Y-%m}"
    begin = max(0, end - LOOK_BACK)
    if end - begin < 2:
        return
    gallery, window = families.gallery, slice(begin, end)
    rarity = gallery.rarities(slice(end - 1, end))
    likeness = np.vstack([gallery.similarities(chunk, window, rarity) for chunk in _chunks(end, begin)])
    labels = _linked(likeness)
    oldest = {int(label): gallery.portraits[begin + int(np.argmax(labels == label))] for label in np.unique(labels)}
    before = [families.of(position) for position in range(begin, end)]
    found = inherit(before, labels.tolist(), lambda group: _free_id(families, oldest[group], _iso(cut)))
    for label, family in found.family_of.items():
        families.titles.setdefault(family, family_title(oldest[label]))
    _move(families, found, labels, likeness, begin, cut)
    families.changes.extend(_change_rows(families, found, cut))


def _linked(likeness: Floats) -> Ints:
    """Labels by average linkage: groups whose members are on average as similar as an incident must be to join."""
    distance = np.clip(1 - (likeness + likeness.T) / 2, 0.0, 1.0)
    np.fill_diagonal(distance, 0.0)
    tree = hierarchy.linkage(squareform(distance, checks=False), method="average")
    return np.asarray(hierarchy.fcluster(tree, 1 - JOIN, criterion="distance"), dtype=np.int64)


def _move(families: Families, found: Regrouping, labels: Ints, likeness: Floats, begin: int, cut: int) -> None:
    gallery, rarity = families.gallery, families.gallery.rarity_at(begin + len(labels) - 1)
    for place, label in enumerate(labels.tolist()):
        position, family = begin + place, found.family_of[label]
        if families.of(position) == family:
            continue
        note = f"moved from {families.of(position)} when families were grouped afresh"
        others = np.flatnonzero((labels == label) & (np.arange(len(labels)) != place))
        if not others.size:
            families.place(position, family, cut, MOVED, 0.0, (note, "like no other"))
            continue
        nearest = begin + int(others[np.argmax(likeness[place, others])])
        reasons = compare(gallery.portraits[position], gallery.portraits[nearest], rarity).reasons
        families.place(position, family, cut, MOVED, 1 - float(likeness[place, others].mean()), (note, *reasons))
    for position in range(begin):  # older ones are not grouped afresh; they follow their family when it merges
        old = families.of(position)
        if old in found.merged:
            note = f"followed {old} when it merged"
            families.place(position, found.merged[old], cut, MOVED, float(families.distances[position]), (note,))


def _change_rows(families: Families, found: Regrouping, cut: int) -> list[Row]:
    pairs = [(MERGED, family, target) for family, target in sorted(found.merged.items())]
    pairs += [(SPLIT, family, origin) for family, origin in sorted(found.split.items())]
    return [
        {
            "family_id": family,
            "change": change,
            "other_family_id": other,
            "n_incidents": found.sizes[family],
            "family_title": families.titles[family],
            "changed_at": _moment(cut),
            "clustering_version": families.version,
            "model_version": MODEL_VERSION,
        }
        for change, family, other in pairs
    ]


def family_fix_rows(portraits: Sequence[Portrait], family_of: dict[str, str]) -> list[Row]:
    """Rows of `family_fixes`: what was tried on the incidents of a family, and in how many of them it worked."""
    held: dict[tuple[str, str, str], list[tuple[Portrait, bool, float]]] = defaultdict(list)
    for one in portraits:
        for attempt in one.attempts:
            if attempt.worked is not None and attempt.minutes_to_end is not None:
                held[family_of[one.incident_id], attempt.kind, attempt.service].append((one, attempt.worked, attempt.minutes_to_end))
    return [
        {
            "family_id": family,
            "fix_kind": kind,
            "service": service,
            "tried_n": len(tries),
            "worked_n": sum(worked for _, worked, _ in tries),
            "minutes_to_end_median": median([minutes for _, worked, minutes in tries if worked]) if any(w for _, w, _ in tries) else None,
            "last_tried_at": _moment(max(one.started for one, _, _ in tries)),
            "incidents": [one.incident_id for one, _, _ in tries],
            "model_version": MODEL_VERSION,
        }
        for (family, kind, service), tries in sorted(held.items())
    ]


def family_title(founder: Portrait) -> str:
    """A short name people recognise: what happened where, and what it seems to follow."""
    place = founder.place or ", ".join(sorted(founder.services)[:2]) or "unknown service"
    here = sorted(symptom for service, symptom in founder.symptoms if service == place)
    symptom = here[0] if here else "trouble"
    return {
        "change": f"{place}: {symptom} after a {founder.change_kind}",
        "service": f"{place}: {symptom} without a known change",
        "provider": f"provider {place}: {symptom}",
        "none": f"{place}: no known cause inside",
    }[founder.kind]


def _free_id(families: Families, founder: Portrait, moment: str) -> str:
    """The founder's own id, unless the family it once founded lives on without it."""
    own = family_id(founder.incident_id)
    return own if own not in families.titles else family_id(f"{founder.incident_id} {moment}")


def _chunks(last: int, first: int = 0) -> Iterator[slice]:
    for begin in range(first, last, CHUNK):
        yield slice(begin, min(begin + CHUNK, last))


def _month_starts(first: int, last: int) -> Iterator[int]:
    """Starts of months after `first` and up to `last`, in microseconds."""
    month = _moment(first).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    while True:
        month = (month + timedelta(days=32)).replace(day=1)
        at = (month - EPOCH) // timedelta(microseconds=1)
        if at > last:
            return
        yield at


def _moment(micros: int) -> datetime:
    return EPOCH + timedelta(microseconds=micros)


def _iso(micros: int) -> str:
    return f"{_moment(micros):%Y-%m-%dT%H:%M:%S.%f}"
