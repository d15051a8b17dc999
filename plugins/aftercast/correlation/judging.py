"""What people said of the causes of incidents by some time, and which candidate that leaves as the cause of each.

The newest version of a verdict counts, then the newest word on a candidate, then the newest confirmation. `confirm` of something we know
but did not list, and `other`, mean that none of the candidates was it. What cannot be used says why: nothing is dropped in silence.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import polars as pl

from aftercast.correlation.findings import Candidate
from aftercast.correlation.learned import Case
from aftercast.correlation.ranking import KIND_ORDER, NONE, Examined
from aftercast.correlation.situation import Incident
from aftercast.correlation.surroundings import Surroundings, iso, micros

Key = tuple[str, str]
NOBODY: Key = (NONE, NONE)


@dataclass(frozen=True, slots=True)
class Hearing:
    """An incident that was ranked: its candidates, and what else is known and might have been one.

    Attributes:
        fingerprint: of all that the evidence is a function of; '' when that is not known.
        keys: the candidates, where they are known without looking at the evidence.
    """

    incident: Incident
    examined: Sequence[Examined]
    around: Surroundings
    fingerprint: str = ""
    keys: frozenset[Key] | None = None

    @property
    def listed(self) -> frozenset[Key]:
        return frozenset(_key(candidate) for candidate, _ in self.examined) if self.keys is None else self.keys

    def knows(self, key: Key) -> bool:
        """Whether there is such a change, service or provider at all."""
        kind, name = key
        if kind == "change":
            return any(change.change_id == name for change in self.around.changes)
        return name in (self.around.providers if kind == "provider" else self.around.services)


@dataclass(frozen=True, slots=True)
class Word:
    """One verdict on one candidate; times in microseconds."""

    verdict_id: str
    version: int
    incident_id: str
    key: Key
    verdict: str
    decided: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was said of one incident: `cause` when it is known, else the candidates left `possible`; `status` and `reason` say which."""

    incident_id: str
    status: str
    reason: str
    n_verdicts: int
    decided: int
    cause: Key | None = None
    possible: frozenset[Key] = frozenset()
    confidence: float = 1.0


def words(verdicts: pl.DataFrame) -> list[Word]:
    """Return what people, not programs, said of the causes of incidents, in every version, in a stated order."""
    rows = verdicts.filter(
        pl.col("incident_id").is_not_null()
        & pl.col("subject_kind").is_in(list(KIND_ORDER))
        & pl.col("verdict").is_in(["confirm", "reject", "other"])
        & pl.col("decided_at").is_not_null()
        & (pl.col("origin").fill_null("human") == "human")
    )
    found = [
        Word(
            row["verdict_id"] or "",
            row["version"] or 0,
            row["incident_id"],
            NOBODY if row["subject_kind"] == NONE else (row["subject_kind"], row["subject_id"] or ""),
            row["verdict"],
            micros(row["decided_at"]),
            min(max(1.0 if row["confidence"] is None else row["confidence"], 0.0), 1.0),
        )
        for row in rows.iter_rows(named=True)
    ]
    return sorted(found, key=lambda word: (word.decided, word.verdict_id, word.version, word.key, word.verdict))


def judgements(said: Iterable[Word], hearings: Mapping[str, Hearing], by: int) -> list[Judgement]:
    """Return one judgement of each incident somebody judged before `by`, in the order of their ids."""
    newest: dict[str, Word] = {}
    for number, word in enumerate(said):
        if word.decided < by:
            name = word.verdict_id or f"#{number}"
            newest[name] = max(newest.get(name, word), word, key=lambda one: (one.version, one.decided))
    by_incident: dict[str, list[Word]] = defaultdict(list)
    for word in newest.values():
        by_incident[word.incident_id].append(word)
    return [_judgement(incident, by_incident[incident], hearings.get(incident)) for incident in sorted(by_incident)]


def _judgement(incident_id: str, said: list[Word], hearing: Hearing | None) -> Judgement:
    n, last = len(said), max(word.decided for word in said)
    if hearing is None:
        return Judgement(incident_id, "no_such_incident", "no incident of that id is ranked: unknown, cancelled or left out", n, last)
    timely = [word for word in said if word.decided >= hearing.incident.started]
    if not timely:
        reason = f"given before the incident began at {iso(hearing.incident.started)}"
        return Judgement(incident_id, "before_the_incident", reason, n, last)
    status, reason, cause, possible = _verdict(timely, hearing)
    return Judgement(incident_id, status, reason, n, last, cause, possible, fmean(word.confidence for word in timely))


def _verdict(said: list[Word], hearing: Hearing) -> tuple[str, str, Key | None, frozenset[Key]]:
    """Status, reason, cause, and what may be the cause."""
    on: dict[Key, Word] = {}
    for word in sorted(said, key=lambda word: (word.decided, word.verdict_id)):
        earlier = on.get(word.key)
        if earlier is None or word.decided > earlier.decided:
            on[word.key] = word
    named = {_meant(word): word for word in sorted(on.values(), key=lambda word: word.decided) if _meant(word) is not None}
    listed = hearing.listed
    if named:
        latest = max(word.decided for word in named.values())
        causes = sorted(key for key, word in named.items() if word.decided == latest and key is not None)
        if len(causes) > 1:
            return "contradictory", f"{len(causes)} causes were confirmed at the same time", None, frozenset()
        cause = causes[0]
        note = f"; {len(named) - 1} earlier one(s) superseded" if len(named) > 1 else ""
        if cause in listed:
            return "judged", f"confirmed {':'.join(cause)}{note}", cause, frozenset({cause})
        if hearing.knows(cause):
            return "judged", f"confirmed {':'.join(cause)}, which was no candidate: none of them{note}", NOBODY, frozenset({NOBODY})
        return "no_such_candidate", f"confirmed {':'.join(cause)}, which is not there (any more){note}", None, frozenset()
    rejected = {key for key, word in on.items() if word.verdict != "confirm"}
    left = listed - rejected
    if not rejected & listed:
        return "no_such_candidate", f"rejected {', '.join(sorted(':'.join(key) for key in rejected))}, no candidate (any more)", None, left
    if not left:
        return "contradictory", f"every one of the {len(listed)} candidates was rejected, none of them among these", None, frozenset()
    if len(left) == 1:
        cause = next(iter(left))
        return "judged", f"every candidate but {':'.join(cause)} was rejected", cause, left
    return "only_rejected", f"{len(rejected & listed)} of {len(listed)} candidates rejected; nobody said what it was", None, left


def _meant(word: Word) -> Key | None:
    """What a verdict says the cause is; None when it only says what it is not."""
    if word.verdict == "confirm":
        return word.key
    return NOBODY if word.verdict == "other" and word.key != NOBODY else None


def case_of(judgement: Judgement, hearing: Hearing) -> Case:
    """A judged incident to learn from."""
    return Case(judgement.incident_id, tuple(hearing.examined), judgement.possible, judgement.confidence)


def _key(candidate: Candidate) -> Key:
    return candidate.kind, candidate.candidate_id
