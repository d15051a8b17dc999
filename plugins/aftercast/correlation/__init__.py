"""From anomalies and changes to probable causes: evidence rows, ranked candidates with probabilities, similar incidents and families.

A pure function of frames and the as-of time. Causes are candidates: nothing here claims more than a probability, and `none` is always one
of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import polars as pl

from aftercast.correlation.blast import blast_radius
from aftercast.correlation.families import Portrait, family_tables
from aftercast.correlation.fingerprints import digest_of
from aftercast.correlation.inferred_edges import beside_calls, infer_edges
from aftercast.correlation.inputs import CLUSTERING_VERSION, MODEL_VERSION, Correlation, Inputs, table
from aftercast.correlation.judging import Hearing
from aftercast.correlation.kpi_correlations import correlate_kpis
from aftercast.correlation.leading_rows import leading_tables
from aftercast.correlation.patterns import pattern_rows
from aftercast.correlation.portraits import done_of, portrayed
from aftercast.correlation.proposal_rows import match_rows, member_rows, proposal_rows, proposals_of
from aftercast.correlation.rankers import Rankings, rank_all
from aftercast.correlation.ranking import candidate_rows, evidence_rows, order
from aftercast.correlation.reading import query
from aftercast.correlation.remembering import LEARNED, RANKED, ROWS, Examination, Memory, read_portrait, written_portrait
from aftercast.correlation.rules import seen_by
from aftercast.correlation.situation import Incident
from aftercast.correlation.surroundings import incidents_of, micros, surroundings_of, told_in
from aftercast.declarations import DEFAULT_RANKER, RankerRow
from aftercast.prescriptions import Advice

__all__ = [
    "CLUSTERING_VERSION",
    "LEARNED",
    "MODEL_VERSION",
    "RANKED",
    "ROWS",
    "Correlation",
    "Inputs",
    "Memory",
    "beside_calls",
    "blast_radius",
    "correlate",
    "correlate_kpis",
    "infer_edges",
    "query",
]


def correlate(
    inputs: Inputs,
    as_of: datetime,
    rankers: Sequence[RankerRow] = (DEFAULT_RANKER,),
    advice: Sequence[Advice] = (),
    memory: Memory | None = None,
) -> Correlation:
    """Propose incidents, rank the causes of every one that began by `as_of` or was proposed, and place it among earlier ones.

    Telemetry, changes, dependencies, alerts and logs of an incident's own environment are the only ones looked at. The result does not
    depend on the order of input rows. An incident about which nothing is known still gets `none`, with the reason. Every version in
    `rankers` ranks; only the live one has a say in anything but the scorecard. Rules among `advice` are compared, and change nothing.
    With a `memory` of an earlier run, the result is the same and what has not changed is not computed again.
    """
    memory = memory or Memory()
    inputs = inputs.conformed()
    incidents = incidents_of(inputs, as_of)
    proposed = proposals_of(inputs, incidents, as_of)
    undeclared = proposed.undeclared
    unheard: list[tuple[Incident, Examination]] = []
    heard: list[tuple[Examination, Hearing]] = []
    for environment in sorted({incident.environment for incident in [*incidents, *undeclared]}):
        around = surroundings_of(environment, inputs, incidents, as_of)
        told = told_in(environment, inputs, as_of)
        own = [incident for incident in incidents if incident.environment == environment]
        for incident, one in zip(own, memory.examine("incidents", own, around, told), strict=True):
            heard.append((one, Hearing(incident, one.examined, around, one.fingerprint, one.listed)))
        own = sorted((one for one in undeclared if one.environment == environment), key=lambda each: (each.started, each.incident_id))
        unheard.extend(zip(own, memory.examine("proposals", own, around, told), strict=True))
    memory.close()
    rankings = rank_all([hearing for _, hearing in heard], inputs.verdicts, as_of, rankers, advice, memory)
    live = next(ranker for ranker in rankers if ranker.state == "live")
    rows, portraits = _live_rows(heard, rankings, live, done_of(inputs.action_items), memory)
    tops = rows["candidates"].filter(pl.col("rank") == 1).to_dicts()
    for proposal, one in unheard:
        tops.extend(
            candidate_rows(proposal.incident_id, order(seen_by(live, proposal, one.examined), rankings.weights_at(proposal.started))[:1])
        )
    portraits.sort(key=lambda each: (each.started, each.incident_id))
    grouped = family_tables(portraits, micros(as_of))
    family_of = dict(grouped["families"].select("incident_id", "family_id").iter_rows())
    return Correlation(
        **rows,
        **grouped,
        incident_patterns=table("incident_patterns", pattern_rows(inputs, incidents, portraits, family_of, as_of)),
        **leading_tables(inputs, incidents, portraits, grouped["families"], micros(as_of)),
        judged_rankings=table("judged_rankings", rankings.judged),
        ranker_weights=table("ranker_weights", rankings.weights),
        insight_effects=table("insight_effects", rankings.effects),
        proposals=table("proposals", proposal_rows(proposed, {str(row["incident_id"]): row for row in tops})),
        proposal_members=table("proposal_members", member_rows(proposed)),
        proposal_incidents=table("proposal_incidents", match_rows(proposed)),
    )


def _live_rows(
    heard: Sequence[tuple[Examination, Hearing]], rankings: Rankings, live: RankerRow, done: Mapping[str, tuple[str, ...]], memory: Memory
) -> tuple[dict[str, pl.DataFrame], list[Portrait]]:
    """The tables of rankings, and a portrait of each incident; those of the last run where they are a function of the very same."""
    prints = {
        name: digest_of(fingerprint, done.get(name, ())).hex() if fingerprint else ""
        for name, fingerprint in rankings.prints[live.version].items()
    }
    same, held = memory.same(live.version, prints), memory.portraits(live.version)
    evidence: list[dict[str, object]] = []
    candidates: list[dict[str, object]] = []
    portraits: list[Portrait] = []
    notes: list[dict[str, object]] = []
    for one, hearing in heard:
        name = hearing.incident.incident_id
        ranked, weights = rankings.live[name]
        if name in same:
            portraits.append(read_portrait(held[name]))
        else:
            evidence.extend(evidence_rows(name, ranked))
            candidates.extend(candidate_rows(name, ranked, weights))
            portraits.append(portrayed(one.sight, ranked, hearing.around, done.get(name, ())))
        if prints[name]:
            told = held[name] if name in same else written_portrait(portraits[-1])
            notes.append({"ranker_version": live.version, "incident_id": name, "fingerprint": prints[name], "portrait": told})
    for version in rankings.same:
        notes.extend(
            {"ranker_version": version, "incident_id": name, "fingerprint": fingerprint, "portrait": ""}
            for name, fingerprint in rankings.prints[version].items()
            if fingerprint
        )
    memory.ranked_anew = len(heard) - len(same)
    rows = {"evidence": evidence, "candidates": candidates, "ranked_in_shadow": rankings.in_shadow}
    tables = {name: table(name, found) for name, found in rows.items()}
    if memory.tables:
        is_same = pl.col("incident_id").is_in(sorted(same))
        kept = {name: memory.tables[name].filter(is_same) for name in ("evidence", "candidates")}
        shadow = memory.tables["ranked_in_shadow"]
        kept["ranked_in_shadow"] = pl.concat(
            [
                shadow.clear(),
                *(
                    shadow.filter((pl.col("ranker_version") == version) & pl.col("incident_id").is_in(sorted(names)))
                    for version, names in rankings.same.items()
                ),
            ]
        )
        tables = {name: pl.concat([kept[name], rows]) for name, rows in tables.items()}
    memory.ranked = pl.DataFrame(notes, schema=RANKED, orient="row")
    return tables, portraits
