"""Evidence on incidents that earlier runs found, used again where nothing it is a function of has changed.

What is kept is the evidence before anything is weighed, and per version of the ranker what its ranking was a function of. A row counts only
when its fingerprint is that of today's inputs and its seal is whole; whatever else is there is computed as if nothing had been kept. So an
increment equals a rebuild, and everything kept can be deleted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from itertools import groupby
from typing import Generic, Protocol, TypeVar, overload

import polars as pl

from aftercast.analyses import Schema
from aftercast.correlation.findings import Candidate, Finding
from aftercast.correlation.fingerprints import Fingerprints, digest_of, reaches_of
from aftercast.correlation.portraits import Attempt, Portrait, Sight, sight_of
from aftercast.correlation.ranking import Examined, gather
from aftercast.correlation.reach import Reach
from aftercast.correlation.situation import Incident, look
from aftercast.correlation.surroundings import Change, Surroundings
from aftercast.correlation.weights import Weights
from aftercast.entities import COUNT, TEXT

T = TypeVar("T")
Key = tuple[str, str]

EVIDENCE: Schema = {
    "incident_id": TEXT,
    "fingerprint": TEXT,
    "metrics_from": COUNT,
    "metrics_until": COUNT,
    "told_from": COUNT,
    "told_until": COUNT,
    "onset": COUNT,
    "symptoms": TEXT,
    "listed": TEXT,
    "seal": TEXT,  # of this row
    "examined_seal": TEXT,
    "examined": TEXT,
}
NOTES = [name for name in EVIDENCE if name != "examined"]
RANKED: Schema = {"ranker_version": TEXT, "incident_id": TEXT, "fingerprint": TEXT, "portrait": TEXT}
LEARNED: Schema = {"cases": TEXT, "weights": TEXT}
ROWS = ("evidence", "candidates", "ranked_in_shadow")
"""The derived tables whose rows are used again."""


class Lazily(Sequence[T], Generic[T]):
    """A sequence that is made when it is first looked at."""

    def __init__(self, make: Callable[[], Sequence[T]]) -> None:
        self._make: Callable[[], Sequence[T]] | None = make
        self._made: Sequence[T] = ()

    def _whole(self) -> Sequence[T]:
        if self._make is not None:
            self._made, self._make = self._make(), None
        return self._made

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[T]: ...
    def __getitem__(self, place: int | slice) -> T | Sequence[T]:
        return self._whole()[place]

    def __len__(self) -> int:
        return len(self._whole())

    def __iter__(self) -> Iterator[T]:
        return iter(self._whole())


@dataclass(frozen=True, slots=True)
class Examination:
    """The evidence on one incident, before anything is weighed; `listed` are its candidates."""

    sight: Sight
    examined: Sequence[Examined]
    listed: frozenset[Key]
    fingerprint: str


class Shelf(Protocol):
    """Where evidence is kept, in parts; a part that cannot be read is reported there, and is as if it were not."""

    def notes(self, columns: Sequence[str]) -> Mapping[str, pl.DataFrame]:
        """Every part, with these columns."""

    def read(self, part: str) -> pl.DataFrame | None:
        """One part, whole."""

    def write(self, part: str, rows: pl.DataFrame) -> None:
        """Replace a part."""

    def forget(self, part: str) -> None:
        """Delete a part."""


class Nowhere:
    """A shelf that keeps nothing."""

    def notes(self, columns: Sequence[str]) -> Mapping[str, pl.DataFrame]:
        return {}

    def read(self, part: str) -> pl.DataFrame | None:
        return None

    def write(self, part: str, rows: pl.DataFrame) -> None:
        """Keep nothing."""

    def forget(self, part: str) -> None:
        """There is nothing."""


@dataclass(slots=True)
class Memory:
    """What earlier runs found, and what this one adds.

    Attributes:
        code: a fingerprint of the code that computes; '' keeps nothing and uses nothing again.
        ranked: rows of `RANKED` of the last run, and `tables`: the derived tables `ROWS` they tell of, whole.
        learned: rows of `LEARNED` of the last run.
    """

    shelf: Shelf = field(default_factory=Nowhere)
    code: str = ""
    ranked: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=RANKED))
    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    learned: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=LEARNED))
    examined_anew: int = 0
    ranked_anew: int = 0
    _weights: dict[str, str] = field(default_factory=dict)
    _parts: dict[str, dict[str, dict[str, object]]] | None = None
    _used: set[str] = field(default_factory=set)

    def examine(self, kind: str, incidents: Sequence[Incident], around: Surroundings, told: Sequence[pl.DataFrame]) -> list[Examination]:
        """Return the evidence on incidents of one environment, oldest first; what is found anew is kept, day by day."""
        if not self.code:
            return [_as_read(_look(one, around)[0], "") for one in incidents]
        prints, found = Fingerprints.of(around, told, self.code), list[Examination]()
        place = digest_of(around.environment).hex()[:12]
        for day, these in groupby(incidents, key=lambda one: f"{datetime.fromtimestamp(one.started / 1e6, UTC):%Y-%m-%d}"):
            found.extend(self._of_part(f"{kind}-{place}-{day}", list(these), around, prints))
        return found

    def same(self, ranker_version: str, prints: Mapping[str, str]) -> set[str]:
        """The incidents that a version of the ranker ranked before from the very same; their rows hold, where all of them are there."""
        if set(ROWS) - self.tables.keys():
            return set()
        own = self.ranked.filter(pl.col("ranker_version") == ranker_version).select("incident_id", "fingerprint")
        return {name for name, fingerprint in own.iter_rows() if fingerprint and prints.get(name) == fingerprint}

    def portraits(self, ranker_version: str) -> dict[str, str]:
        """The portraits of the last run, as texts."""
        return dict(self.ranked.filter(pl.col("ranker_version") == ranker_version).select("incident_id", "portrait").iter_rows())

    def weights(self, cases: str) -> Weights | None:
        """The weights learned before from these cases."""
        held = dict(self.learned.iter_rows()).get(cases)
        if held is None or not cases:
            return None
        self._weights[cases] = held
        return Weights(**json.loads(held))

    def keep_weights(self, cases: str, weights: Weights) -> None:
        """Keep what was learned from cases that can be told apart."""
        if cases:
            self._weights[cases] = json.dumps(asdict(weights))

    def learned_now(self) -> pl.DataFrame:
        """Rows of `LEARNED` of this run."""
        return pl.DataFrame(sorted(self._weights.items()), schema=LEARNED, orient="row")

    def close(self) -> None:
        """Forget the parts nobody asked for."""
        for part in sorted(set(self._notes()) - self._used):
            self.shelf.forget(part)

    def _notes(self) -> dict[str, dict[str, dict[str, object]]]:
        if self._parts is None:
            self._parts = {
                part: {str(row["incident_id"]): row for row in rows.iter_rows(named=True)} for part, rows in self.shelf.notes(NOTES).items()
            }
        return self._parts

    def _of_part(self, part: str, incidents: Sequence[Incident], around: Surroundings, prints: Fingerprints) -> list[Examination]:
        notes, found, fresh = self._notes().get(part, {}), list[Examination](), dict[str, dict[str, object]]()
        self._used.add(part)
        texts = lru_cache(maxsize=1)(lambda: self._texts(part))
        for incident in incidents:
            note = notes.get(incident.incident_id)
            if note is not None and _is_whole(note) and note["fingerprint"] == prints.of_incident(incident, _reaches(note)):
                found.append(_recalled(note, incident, around, texts))
                continue
            self.examined_anew += 1
            seen, reaches = _look(incident, around)
            fingerprint = prints.of_incident(incident, reaches)
            found.append(_as_read(seen, fingerprint))
            fresh[incident.incident_id] = _row(found[-1], seen[1], reaches)
        if fresh or notes.keys() != {one.incident_id for one in incidents}:
            self._write(part, incidents, notes, fresh)
        return found

    def _texts(self, part: str) -> dict[str, str]:
        rows = self.shelf.read(part)
        return {} if rows is None else dict(rows.select("incident_id", "examined").iter_rows())

    def _write(
        self, part: str, incidents: Sequence[Incident], notes: Mapping[str, dict[str, object]], fresh: Mapping[str, dict[str, object]]
    ) -> None:
        same = [one.incident_id for one in incidents if one.incident_id not in fresh]
        held = self._texts(part) if same else {}
        rows = [{**notes[name], "examined": held[name]} for name in same if name in held]
        self.shelf.write(part, pl.DataFrame([*rows, *fresh.values()], schema=EVIDENCE, orient="row").sort("incident_id"))


# --- one incident ------------------------------------------------------------------------------------------------------------------------


def _look(incident: Incident, around: Surroundings) -> tuple[tuple[Sight, str], tuple[int, int, int, int]]:
    """What is seen and found, and how far normals reached for it."""
    metrics, told = Reach(), Reach()
    panel = None if around.panel is None else replace(around.panel, reach=metrics)
    book = None if around.book is None else replace(around.book, reach=told)
    situation = look(incident, panel, around.graph, around.as_of, book)
    return (sight_of(situation), _written(gather(situation, around))), reaches_of(metrics, told)


def _as_read(seen: tuple[Sight, str], fingerprint: str) -> Examination:
    """As it would be read again: what is computed and what is recalled are the same to the last bit."""
    sight, text = seen
    examined = tuple(_examined(text))
    return Examination(sight, examined, _listed(examined), fingerprint)


def _recalled(note: Mapping[str, object], incident: Incident, around: Surroundings, texts: Callable[[], dict[str, str]]) -> Examination:
    """Evidence as it was kept; its text is read when it is needed, and what is damaged by then is found again."""

    def read() -> Sequence[Examined]:
        text = texts().get(incident.incident_id)
        if text is None or digest_of(text).hex() != note["examined_seal"]:
            text = _look(incident, around)[0][1]
        return tuple(_examined(text))

    symptoms = frozenset((service, kind) for service, kind in json.loads(str(note["symptoms"])))
    listed = frozenset((kind, name) for kind, name in json.loads(str(note["listed"])))
    return Examination(Sight(incident, int(str(note["onset"])), symptoms), Lazily(read), listed, str(note["fingerprint"]))


def _row(one: Examination, text: str, reaches: tuple[int, int, int, int]) -> dict[str, object]:
    row: dict[str, object] = {
        "incident_id": one.sight.incident.incident_id,
        "fingerprint": one.fingerprint,
        **dict(zip(("metrics_from", "metrics_until", "told_from", "told_until"), reaches, strict=True)),
        "onset": one.sight.onset,
        "symptoms": json.dumps(sorted(one.sight.symptoms)),
        "listed": json.dumps(sorted(one.listed)),
        "examined_seal": digest_of(text).hex(),
        "examined": text,
    }
    return {**row, "seal": _seal(row)}


def _seal(row: Mapping[str, object]) -> str:
    return digest_of(*(row[name] for name in NOTES if name != "seal")).hex()


def _is_whole(note: Mapping[str, object]) -> bool:
    return note["seal"] == _seal(note)


def _reaches(note: Mapping[str, object]) -> tuple[int, int, int, int]:
    first, last, told_first, told_last = (int(str(note[name])) for name in ("metrics_from", "metrics_until", "told_from", "told_until"))
    return first, last, told_first, told_last


def _listed(examined: Iterable[Examined]) -> frozenset[Key]:
    return frozenset((candidate.kind, candidate.candidate_id) for candidate, _ in examined)


def _written(examined: Iterable[Examined]) -> str:
    """Candidates with their findings as a text; numbers are written so that they are read again exactly."""
    told = [
        [
            candidate.kind,
            candidate.candidate_id,
            candidate.service,
            float(candidate.prior),
            None if candidate.change is None else list(astuple(candidate.change)),
            *(candidate.hops, candidate.gap_minutes, candidate.base_rate_per_hour, candidate.lift),
            [[one.check, float(one.strength), one.why, one.pointer, one.version] for one in findings],
        ]
        for candidate, findings in examined
    ]
    return json.dumps(told, ensure_ascii=False)


def _examined(text: str) -> Iterator[Examined]:
    for kind, name, service, prior, change, hops, gap, rate, lift, findings in json.loads(text):
        yield (
            Candidate(kind, name, service, prior, None if change is None else Change(*change), hops, gap, rate, lift),
            tuple(Finding(*finding) for finding in findings),
        )


# --- what was ranked ---------------------------------------------------------------------------------------------------------------------


def written_portrait(one: Portrait) -> str:
    """A portrait as a text."""
    plain = {name: getattr(one, name) for name in Portrait.__slots__}
    sets = {name: sorted(plain[name]) for name in ("symptoms", "services", "title")}
    return json.dumps(plain | sets | {"attempts": [list(astuple(each)) for each in one.attempts]}, ensure_ascii=False)


def read_portrait(text: str) -> Portrait:
    """The portrait that was written."""
    held = json.loads(text)
    sets = {"services": frozenset(held["services"]), "title": frozenset(held["title"])}
    symptoms = frozenset((service, kind) for service, kind in held["symptoms"])
    return Portrait(**{**held, **sets, "symptoms": symptoms, "attempts": tuple(Attempt(*each) for each in held["attempts"])})
