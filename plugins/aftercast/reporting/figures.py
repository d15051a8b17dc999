"""What stands on the page of a report, as values: every number here is one a reader may quote. Computed by `compiling`, drawn by `page`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from aftercast.reporting.history import History, Peak
from aftercast.reporting.intervals import Range, Share
from aftercast.reporting.periods import Cadence
from aftercast.window import Window


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure with its normal range.

    Attributes:
        standing: usual, worse, better, or unknown when fewer than four earlier weeks have a value.
        values: this figure in each week, oldest first, the reported week last; None where it is not known.
    """

    name: str
    label: str
    value: float | None
    text: str
    note: str
    standing: str
    normal: tuple[float, float] | None
    normal_text: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class WeekLoss:
    """The incidents of one week and what they cost, in the report's currency; None where incidents are not published."""

    label: str
    short: str
    start: datetime
    n_incidents: int | None
    n_quantified: int | None
    n_unknown: int | None
    lost: Range


@dataclass(frozen=True, slots=True)
class IncidentLine:
    """One incident of the week.

    Attributes:
        loss_text: what the table says where no amount was measured.
        minutes: how long customers were hit; at least that long unless `is_over`.
        cause: the likeliest candidate in words; `review` says whether a person confirmed it.
    """

    incident_id: str
    title: str
    severity: str
    service: str
    started_at: datetime
    journeys: tuple[str, ...]
    lost: Range
    currency: str
    impact_status: str
    loss_text: str
    minutes: float | None
    is_over: bool
    cause: str
    probability: float | None
    review: str
    family: str | None
    status: str
    recurred: bool
    url: str | None


@dataclass(frozen=True, slots=True)
class ObjectiveLine:
    """An objective declared in OpenSLO as it stood at the end of the period.

    Attributes:
        success: share of its window that was good.
        budget_used: share of its error budget; above 1 it is gone.
        status: `kept`, `missed`, or `not_judged` for a `reason`.
        firing: burn-rate rules that fire at the end of the data.
    """

    slo: str
    title: str
    target: float | None
    success: float | None
    budget_used: float | None
    status: str
    reason: str
    firing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ExceptionLine:
    """A `mask`, a `known time` or a `trial` in force, and when it ends or is to be reviewed."""

    kind: str
    title: str
    until: datetime


@dataclass(frozen=True, slots=True)
class JourneyLine:
    """A journey this week: what it lost and how it stands against its SLO.

    Attributes:
        success_7d, success_slo: successes over attempts, of all steps, in 7 days and in the SLO's window; attempts beside them.
        budget_used: failed attempts over those the SLO allows in its window; above 1 the budget is gone.
        burn: cumulative budget used at the end of each day of the window.
        usual_loss: median weekly loss of the weeks before; None with fewer than four.
    """

    journey: str
    title: str
    owner: str
    target: float | None
    window_days: int
    attempts_7d: float
    success_7d: float | None
    attempts_slo: float
    success_slo: float | None
    days_known: int
    budget_used: float | None
    burn: tuple[tuple[datetime, float], ...]
    jump_at: datetime | None
    jump_incident: str | None
    traffic_share: float | None
    success_by_week: tuple[float | None, ...]
    n_incidents: int
    lost: float
    usual_loss: float | None


@dataclass(frozen=True, slots=True)
class FamilyLine:
    """Incidents that resemble each other, week by week."""

    family_id: str
    title: str
    services: tuple[str, ...]
    cells: tuple[int, ...]
    n_incidents: int
    lost: float | None
    last_fix: str | None
    fixed_at: datetime | None
    since_fix: int | None
    verdict: str | None
    this_week: int


@dataclass(frozen=True, slots=True)
class FixLine:
    """A shipped fix and whether it worked: incidents of its family before and after, with exposure in days.

    Attributes:
        ratio: rate after over rate before, with its interval; None when it cannot be estimated.
        again: incidents of the family in the reported week, after the fix had shipped.
    """

    action_item_id: str
    title: str
    family: str | None
    owner: str
    shipped_at: datetime | None
    n_before: int | None
    days_before: float | None
    n_after: int | None
    days_after: float | None
    ratio: Range
    verdict: str
    verdict_text: str
    reason: str
    again: int


@dataclass(frozen=True, slots=True)
class TeamActions:
    """Open actions of a team, and the age of the oldest that is overdue."""

    team: str
    n_open: int
    n_overdue: int
    oldest_days: float | None


@dataclass(frozen=True, slots=True)
class Detection:
    """How incidents of this week were noticed and stopped, and the same over the weeks before."""

    label: str
    definition: str
    share: Share
    before: Share


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A systemic fix, ranked by the loss it is expected to avoid in 90 days."""

    rank: int
    action: str
    rationale: str
    reduction: Range
    currency: str
    confidence: str
    owner: str
    approvals: tuple[str, ...]
    trade_offs: str
    n_incidents: int | None


@dataclass(frozen=True, slots=True)
class SourceLine:
    """What a source delivered of one entity, over every window kept; null when it never delivered."""

    source: str
    entity: str
    received: int | None
    rejected: int | None
    duplicate: int | None
    late: int | None
    reasons: str
    covered_until: datetime | None
    latest: datetime | None
    standing: str


@dataclass(frozen=True, slots=True)
class Suspect:
    """One ranked candidate cause of an incident."""

    label: str
    kind: str
    probability: float | None
    rationale: str
    verdict: str


@dataclass(frozen=True, slots=True)
class Suspects:
    """The candidates of one incident; their probabilities and the rest sum to one."""

    incident_id: str
    title: str
    candidates: tuple[Suspect, ...]
    rest: float | None


@dataclass(frozen=True, slots=True)
class IncidentPicture:
    """The severest episode of an incident: what its picture states, the point furthest from what was expected, what is drawn."""

    incident_id: str
    title: str
    finding: str
    peak: Peak | None
    history: History


@dataclass(frozen=True, slots=True)
class LeadingLine:
    """A leading indicator that matches now. `record`: what had become of its earlier warnings when it matched."""

    look: str
    status: str
    record: str
    until: datetime
    family: str | None


@dataclass(frozen=True, slots=True)
class PatternLine:
    """A value of a dimension in the period: incidents beside what was expected of them, and what the expectation rests on."""

    dimension: str
    title: str
    n_incidents: int
    n_known: int | None
    expected: float | None
    basis: str
    ratio: Range
    q_value: float | None
    lost: float | None
    currency: str
    status: str


@dataclass(frozen=True, slots=True)
class PortfolioLine:
    """What a kind of fix promised and brought; of one family of incidents when `subject` names it.

    Attributes:
        effective: effective of those judged.
        promised, reduction: share by which incidents were to fall and fell, the latter drawn towards what all fixes brought.
        avoided: revenue.
    """

    kind: str
    subject: str
    outcome: str
    n_planned: int
    n_shipped: int
    n_too_early: int
    effective: Share
    promised: float | None
    reduction: Range
    avoided: Range
    currency: str
    reason: str


@dataclass(frozen=True, slots=True)
class IndicatorLine:
    """A leading indicator and its record on later data: warnings that came true, beside the share that chance gives."""

    title: str
    family: str
    status: str
    came_true: Share
    base_rate: float | None
    warned: int | None
    due: int | None
    lead_minutes: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """The whole page.

    Attributes:
        week: the period reported, whatever its length.
        compared: labels of the earlier periods and this one, which the tiles' values belong to.
        weeks: the losses that the chart shows: this and earlier weeks; of a longer report the weeks of the period, cut to it.
        configuration: fingerprint of the declarations that the mart was made with.
        changed: what is defined otherwise than in the report before, in one sentence.
        patterns, portfolio, indicators: of longer reports only.
    """

    cadence: Cadence
    company: str
    week: Window
    label: str
    as_of: datetime
    code_version: str
    configuration: str
    model_versions: tuple[str, ...]
    changed: str
    currency: str
    headline: str
    sentences: tuple[str, ...]
    decision: str
    decision_why: str
    banners: tuple[str, ...]
    tiles: tuple[Tile, ...]
    lost: Range
    other_money: tuple[tuple[str, Range], ...]
    n_quantified: int
    n_below_noise: int
    n_unknown: int
    n_excluded: int
    compared: tuple[str, ...]
    weeks: tuple[WeekLoss, ...]
    weeks_normal: tuple[float, float] | None
    journeys: tuple[JourneyLine, ...]
    objectives: tuple[ObjectiveLine, ...]
    incidents: tuple[IncidentLine, ...]
    pictures: tuple[IncidentPicture, ...]
    pictures_text: str
    families: tuple[FamilyLine, ...]
    fixes: tuple[FixLine, ...]
    teams: tuple[TeamActions, ...]
    leading: tuple[LeadingLine, ...]
    detection: tuple[Detection, ...]
    alerts_text: str
    recommendations: tuple[Recommendation, ...]
    sources: tuple[SourceLine, ...]
    series_status: tuple[tuple[str, int], ...]
    health_notes: tuple[str, ...]
    exceptions: tuple[ExceptionLine, ...]
    suspects: tuple[Suspects, ...]
    patterns: tuple[PatternLine, ...]
    portfolio: tuple[PortfolioLine, ...]
    indicators: tuple[IndicatorLine, ...]
    titles: dict[str, str]
