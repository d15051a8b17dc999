"""From anomalies and changes to probable causes: evidence rows, ranked candidates with probabilities, similar incidents and families.

A pure function of frames and the as-of time. Causes are candidates: nothing here claims more than a probability, and `none` is always one
of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from aftercast.correlation.blast import blast_radius
from aftercast.correlation.families import Portrait, family_tables, portrait
from aftercast.correlation.inferred_edges import beside_calls, infer_edges
from aftercast.correlation.inputs import CLUSTERING_VERSION, MODEL_VERSION, Correlation, Inputs, table
from aftercast.correlation.judging import Hearing
from aftercast.correlation.kpi_correlations import correlate_kpis
from aftercast.correlation.leading_rows import leading_tables
from aftercast.correlation.patterns import pattern_rows
from aftercast.correlation.proposal_rows import match_rows, member_rows, proposal_rows, proposals_of
from aftercast.correlation.rankers import rank_all
from aftercast.correlation.ranking import Examined, candidate_rows, evidence_rows, gather, order
from aftercast.correlation.reading import query
from aftercast.correlation.rules import seen_by
from aftercast.correlation.situation import Incident, Situation, look
from aftercast.correlation.surroundings import incidents_of, micros, surroundings_of
from aftercast.declarations import DEFAULT_RANKER, RankerRow
from aftercast.prescriptions import Advice

__all__ = [
    "CLUSTERING_VERSION",
    "MODEL_VERSION",
    "Correlation",
    "Inputs",
    "beside_calls",
    "blast_radius",
    "correlate",
    "correlate_kpis",
    "infer_edges",
    "query",
]


def correlate(
    inputs: Inputs, as_of: datetime, rankers: Sequence[RankerRow] = (DEFAULT_RANKER,), advice: Sequence[Advice] = ()
) -> Correlation:
    """Propose incidents, rank the causes of every one that began by `as_of` or was proposed, and place it among earlier ones.

    Telemetry, changes, dependencies, alerts and logs of an incident's own environment are the only ones looked at. The result does not
    depend on the order of input rows. An incident about which nothing is known still gets `none`, with the reason. Every version in
    `rankers` ranks; only the live one has a say in anything but the scorecard. Rules among `advice` are compared, and change nothing.
    """
    inputs = inputs.conformed()
    incidents = incidents_of(inputs, as_of)
    proposed = proposals_of(inputs, incidents, as_of)
    undeclared = proposed.undeclared
    unheard: list[tuple[Incident, list[Examined]]] = []
    heard: list[tuple[Situation, Hearing]] = []
    evidence: list[dict[str, object]] = []
    candidates: list[dict[str, object]] = []
    portraits: list[Portrait] = []
    for environment in sorted({incident.environment for incident in [*incidents, *undeclared]}):
        around = surroundings_of(environment, inputs, incidents, as_of)
        for incident in incidents:
            if incident.environment != environment:
                continue
            situation = look(incident, around.panel, around.graph, around.as_of, around.book)
            heard.append((situation, Hearing(incident, tuple(gather(situation, around)), around)))
        for proposal in undeclared:
            if proposal.environment == environment:
                unheard.append((proposal, gather(look(proposal, around.panel, around.graph, around.as_of, around.book), around)))
    rankings = rank_all([hearing for _, hearing in heard], inputs.verdicts, as_of, rankers, advice)
    live = next(ranker for ranker in rankers if ranker.state == "live")
    for situation, hearing in heard:
        ranked, weights = rankings.live[hearing.incident.incident_id]
        evidence.extend(evidence_rows(hearing.incident.incident_id, ranked))
        candidates.extend(candidate_rows(hearing.incident.incident_id, ranked, weights))
        portraits.append(portrait(situation, ranked, hearing.around, inputs.action_items))
    tops = [row for row in candidates if row["rank"] == 1]
    for proposal, examined in unheard:
        tops.extend(
            candidate_rows(proposal.incident_id, order(seen_by(live, proposal, examined), rankings.weights_at(proposal.started))[:1])
        )
    portraits.sort(key=lambda each: (each.started, each.incident_id))
    grouped = family_tables(portraits, micros(as_of))
    family_of = dict(grouped["families"].select("incident_id", "family_id").iter_rows())
    return Correlation(
        evidence=table("evidence", evidence),
        candidates=table("candidates", candidates),
        **grouped,
        incident_patterns=table("incident_patterns", pattern_rows(inputs, incidents, portraits, family_of, as_of)),
        **leading_tables(inputs, incidents, portraits, grouped["families"], micros(as_of)),
        ranked_in_shadow=table("ranked_in_shadow", rankings.in_shadow),
        judged_rankings=table("judged_rankings", rankings.judged),
        ranker_weights=table("ranker_weights", rankings.weights),
        insight_effects=table("insight_effects", rankings.effects),
        proposals=table("proposals", proposal_rows(proposed, {str(row["incident_id"]): row for row in tops})),
        proposal_members=table("proposal_members", member_rows(proposed)),
        proposal_incidents=table("proposal_incidents", match_rows(proposed)),
    )
