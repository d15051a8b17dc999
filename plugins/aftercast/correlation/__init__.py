"""From anomalies and changes to probable causes: evidence rows, ranked candidates with probabilities, similar incidents and families.

A pure function of frames and the as-of time. Causes are candidates: nothing here claims more than a probability, and `none` is always one
of them.
"""

from __future__ import annotations

from datetime import datetime

from aftercast.correlation.families import Portrait, family_rows, portrait, similar_rows
from aftercast.correlation.inputs import CLUSTERING_VERSION, MODEL_VERSION, Correlation, Inputs, table
from aftercast.correlation.proposal_rows import match_rows, member_rows, proposal_rows, proposals_of
from aftercast.correlation.ranking import candidate_rows, evidence_rows, rank
from aftercast.correlation.situation import look
from aftercast.correlation.surroundings import incidents_of, surroundings_of

__all__ = ["CLUSTERING_VERSION", "MODEL_VERSION", "Correlation", "Inputs", "correlate"]


def correlate(inputs: Inputs, as_of: datetime) -> Correlation:
    """Propose incidents, rank the causes of every one that began by `as_of` or was proposed, and place it among earlier ones.

    Telemetry, changes, dependencies, alerts and logs of an incident's own environment are the only ones looked at. The result does not
    depend on the order of input rows. An incident about which nothing is known still gets `none`, with the reason.
    """
    inputs = inputs.conformed()
    incidents = incidents_of(inputs, as_of)
    proposed = proposals_of(inputs, incidents, as_of)
    undeclared = proposed.undeclared
    suspects: list[dict[str, object]] = []
    evidence: list[dict[str, object]] = []
    candidates: list[dict[str, object]] = []
    portraits: list[Portrait] = []
    for environment in sorted({incident.environment for incident in [*incidents, *undeclared]}):
        around = surroundings_of(environment, inputs, incidents, as_of)
        for incident in incidents:
            if incident.environment != environment:
                continue
            situation = look(incident, around.panel, around.graph, around.as_of)
            ranked = rank(situation, around)
            evidence.extend(evidence_rows(incident.incident_id, ranked))
            candidates.extend(candidate_rows(incident.incident_id, ranked))
            portraits.append(portrait(situation, ranked, around, inputs.action_items))
        for proposal in undeclared:
            if proposal.environment == environment:
                ranked = rank(look(proposal, around.panel, around.graph, around.as_of), around)
                suspects.extend(candidate_rows(proposal.incident_id, ranked[:1]))
    tops = [row for row in candidates if row["rank"] == 1]
    portraits.sort(key=lambda each: (each.started, each.incident_id))
    return Correlation(
        evidence=table("evidence", evidence),
        candidates=table("candidates", candidates),
        similar_incidents=table("similar_incidents", similar_rows(portraits)),
        families=table("families", family_rows(portraits)),
        proposals=table("proposals", proposal_rows(proposed, {str(row["incident_id"]): row for row in [*tops, *suspects]})),
        proposal_members=table("proposal_members", member_rows(proposed)),
        proposal_incidents=table("proposal_incidents", match_rows(proposed)),
    )
