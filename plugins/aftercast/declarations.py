"""The rows a deployment declares: one class for each kind of row of the configuration folder, with the checks a row can make by itself.

Unknown keys are errors; messages name the nearest known word. Nothing here reads a file or the environment.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Annotated, Any, Literal, get_args
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from aftercast.entities import CHANGE_KINDS, ENTITIES
from aftercast.errors import ConfigError
from aftercast.features import CHECKS, digest
from aftercast.window import Window, parse_utc


def nearest(word: str, known: Iterable[str], most: int = 100) -> str:
    """What may have been meant; the whole choice when nothing is near and there are at most `most`."""
    choice = sorted(known)
    close = difflib.get_close_matches(word, choice, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; choose from {', '.join(choice)}" if len(choice) <= most else ""


Severity = Literal["sev1", "sev2", "sev3", "sev4", "unknown"]


class Row(BaseModel):
    """A configuration row; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceRow(Row):
    """One source: a name, the kind that knows how to extract it, and how often.

    A scheduled window begins `overlap_minutes` early, for what arrives late. A window longer than `max_window_days` is extracted in parts,
    each landed whole; 0 leaves it whole. Maintenance extracts the last `reconcile_days` again, so that what was deleted upstream goes; 0
    is never. With `keep_raw` the pages of an HTTP source are kept, redacted, for `keep_raw_days`. Unusual volume or freshness warns;
    with `unusual: stop` it keeps the last good mart published. Rows of an entity in `keep_days` (`*`: any other) go when their day is so
    many days old, and do not land again; without it they stay for ever. Where many machines work, those that serve `queue` extract it; see
    `assets.queue_of` for what happens without.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    kind: str
    schedule: str = "0 * * * *"
    owner: str = "unowned"
    connection: str | None = None
    entities: tuple[str, ...] = ()
    overlap_minutes: int = Field(default=0, ge=0, le=10_080)
    max_window_days: int = Field(default=0, ge=0, le=3_660)
    reconcile_days: int = Field(default=0, ge=0, le=3_660)
    keep_raw: bool = False
    keep_raw_days: int = Field(default=30, ge=1, le=3_660)
    keep_days: dict[str, Annotated[int, Field(ge=1, le=36_600)]] = Field(default_factory=dict)
    unusual: Literal["warn", "stop"] = "warn"
    queue: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9_-]*$")
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _entities_exist(self) -> SourceRow:
        for entity in self.entities:
            if entity not in ENTITIES:
                raise ValueError(f"unknown entity {entity!r}{nearest(entity, ENTITIES)}")
        for entity in self.keep_days:
            if entity not in ENTITIES and entity != "*":
                raise ValueError(f"keep_days: unknown entity {entity!r}{nearest(entity, ENTITIES)}; `*` is all others")
        return self

    def kept_from(self, entity: str, now: datetime) -> datetime | None:
        """Return the midnight from which on rows of an entity are kept; None: for ever."""
        days = self.keep_days.get(entity, self.keep_days.get("*"))
        midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return None if days is None else midnight - timedelta(days=days)


class SignalRow(Row):
    """One watched series per combination of `by`.

    A signal is either one column (`value`) or a ratio (`numerator` over `denominator`). For `fact: metric` these are metric names; for
    `fact: kpi` they are columns of the journey KPIs (attempts, successes, revenue_minor). A sum of a journey may be told `per: minute`,
    which makes journeys of different grain comparable; buckets of a ratio whose denominator is below `minimum_volume` are missing.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    fact: Literal["metric", "kpi"]
    value: str | None = None
    numerator: str | None = None
    denominator: str | None = None
    by: tuple[str, ...]
    grain_minutes: int = Field(default=5, ge=1, le=1440)
    aggregate: Literal["sum", "mean", "max"] = "sum"
    hurts: Literal["up", "down", "both"] = "both"
    sensitivity: float = Field(default=1.0, gt=0)
    minimum_effect: float = Field(default=0.0, ge=0)
    minimum_volume: float = Field(default=0.0, ge=0)
    per: Literal["bucket", "minute"] = "bucket"
    steps: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _value_or_ratio(self) -> SignalRow:
        if (self.value is None) == (self.numerator is None) or (self.numerator is None) != (self.denominator is None):
            raise ValueError("give either value, or numerator and denominator")
        figures = {"attempts", "successes", "revenue_minor"}
        for name in (self.value, self.numerator, self.denominator):
            if self.fact == "kpi" and name is not None and name not in figures:
                raise ValueError(f"{name!r} is no figure of a journey{nearest(name, figures)}")
        if self.per == "minute" and (self.fact != "kpi" or self.value is None or self.aggregate != "sum"):
            raise ValueError("only sums of journeys can be counted per minute: ratios, means and maxima do not grow with the bucket")
        if self.minimum_volume and self.denominator is None:
            raise ValueError("minimum_volume is the smallest denominator that counts, so it needs numerator and denominator")
        allowed = (
            {"service", "environment", "region"} if self.fact == "metric" else {"journey", "step", "region", "tier", "plan", "country"}
        )
        for column in self.by:
            if column not in allowed:
                raise ValueError(f"cannot group {self.fact} points by {column!r}; choose from {', '.join(sorted(allowed))}")
        return self

    @property
    def feature_version(self) -> str:
        """What its series are made of, as a digest: another formula, grain or grouping is another feature. How it is judged is not part."""
        judged = {"name", "hurts", "sensitivity", "minimum_effect"}
        return digest(self.model_dump(mode="json", exclude=judged))


class TuningRow(Row):
    """How much more (above 1) or less (below 1) sensitive than its row in signals.yml a signal is, for one subject or for all of them.

    `insight` is what it was learnt from, where that is an insight: `<insight_id>@<version of what it prescribes>`.
    """

    signal: str
    subject: str = ""
    sensitivity: float = Field(gt=0, allow_inf_nan=False)
    insight: str = ""


def _since(value: Any) -> Any:
    """A time with a zone, or a date, which is its midnight in UTC."""
    if not isinstance(value, str | date):
        return value
    try:
        return parse_utc(value if isinstance(value, str) else value.isoformat(), what="since")
    except ConfigError as error:
        raise ValueError(str(error)) from error


Since = Annotated[datetime | None, BeforeValidator(_since)]


class StepRow(Row):
    """A step of a journey and the services that carry it."""

    step: str
    services: tuple[str, ...] = ()
    weight: float = Field(default=1.0, ge=0)
    earns: bool = False


class JourneyRow(Row):
    """A customer journey: its steps in order, who owns it and what it promises."""

    journey: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str
    owner_team: str
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    grain_minutes: int = Field(default=5, ge=1, le=1440)
    slo_target: float | None = Field(default=None, gt=0, lt=1)
    slo_window_days: int = Field(default=28, ge=1, le=90)
    steps: tuple[StepRow, ...]


def _text_of_time(value: Any) -> Any:
    """YAML reads an unquoted date or time as such; take it back as it would have been written."""
    return value.isoformat() if isinstance(value, date | datetime) else value


TimeText = Annotated[str, BeforeValidator(_text_of_time)]


class SpanRow(Row):
    """From a time or day on, until another; the end itself is not part of it."""

    starts: TimeText
    ends: TimeText


Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = get_args(Day)


def _clock(value: Any) -> Any:
    """A time of the day as HH:MM; YAML reads an unquoted 14:30 as the number of its minutes."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1440:
        return f"{value // 60:02d}:{value % 60:02d}"
    return value


Clock = Annotated[str, BeforeValidator(_clock), Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]


class WeeklyRow(Row):
    """A span of the day on some days of every week; one that ends no later than it starts ends on the next day."""

    days: tuple[Day, ...] = Field(default=DAYS, min_length=1)
    starts: Clock
    ends: Clock

    def on(self, day: date, zone: str) -> Window | None:
        """Its window that begins on a day of a zone; None when there is none, or none is left of it where clocks change."""
        if DAYS[day.weekday()] not in self.days:
            return None
        begin, end = (time.fromisoformat(one) for one in (self.starts, self.ends))
        until = day + timedelta(days=1) if end <= begin else day
        moments = [datetime.combine(*one, ZoneInfo(zone)).astimezone(UTC) for one in ((day, begin), (until, end))]
        return Window(moments[0], moments[1]) if moments[0] < moments[1] else None


class CalendarRow(Row):
    """A known unusual time that may come again: what it is, when, where, and which way it moves which signals.

    When: one window (`starts`, `ends`), several (`times`), a span of every week (`weekly`), or the public holidays of a `country`. Times
    need a zone; a bare date is its midnight in `zone`, and so begins every holiday; `weekly` is told in `zone`. An empty list of the scope
    means all. Without `signals` it moves those of journeys.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    kind: Literal["holiday", "promotion", "other"]
    starts: TimeText | None = None
    ends: TimeText | None = None
    times: tuple[SpanRow, ...] = ()
    weekly: WeeklyRow | None = None
    country: str | None = None
    subdivision: str | None = None
    zone: str = "UTC"
    journeys: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    signals: tuple[str, ...] = ()
    expects: Literal["up", "down", "both"] = "both"
    before_minutes: int = Field(default=0, ge=0, le=1440)
    after_minutes: int = Field(default=0, ge=0, le=1440)

    @field_validator("country", mode="before")
    @classmethod
    def _norway(cls, country: Any) -> Any:
        return "NO" if country is False else country  # as YAML reads an unquoted NO

    @field_validator("zone")
    @classmethod
    def _zone_exists(cls, zone: str) -> str:
        if zone not in available_timezones():
            raise ValueError(f"unknown time zone {zone!r}{nearest(zone, available_timezones(), most=0)}")
        return zone

    @model_validator(mode="after")
    def _has_times(self) -> CalendarRow:
        if (self.starts is None) != (self.ends is None):
            raise ValueError("give both starts and ends")
        if (self.starts is not None) + bool(self.times) + (self.weekly is not None) + (self.country is not None) != 1:
            raise ValueError("say when: either starts and ends, or times, or weekly, or country")
        if self.subdivision is not None and self.country is None:
            raise ValueError("a subdivision needs its country")
        if self.country is not None:
            _check_holidays_of(self.country, self.subdivision)
        try:
            windows = self.windows
        except ConfigError as error:
            raise ValueError(str(error)) from error
        for before, after in pairwise(windows):
            if after.start < before.end:
                raise ValueError(f"its times overlap: {before} and {after}")
        return self

    @property
    def windows(self) -> tuple[Window, ...]:
        """The windows written in the row, in the order of time; none where a week or a country says when."""
        written = [(span.starts, span.ends) for span in self.times]
        if self.starts is not None and self.ends is not None:
            written = [(self.starts, self.ends)]
        return tuple(sorted(Window(*(_moment(text, self.zone) for text in pair)) for pair in written))


def _moment(text: str, zone: str) -> datetime:
    """The time a text means; a bare date is its midnight in the zone."""
    if len(text) > 10:
        return parse_utc(text)
    midnight = parse_utc(text).replace(tzinfo=ZoneInfo(zone))
    return midnight.astimezone(UTC)


def _check_holidays_of(country: str, subdivision: str | None) -> None:
    import holidays

    try:
        holidays.country_holidays(country, subdiv=subdivision)
    except NotImplementedError as error:
        known = holidays.list_supported_countries()
        if country not in known:
            raise ValueError(f"no public holidays are known of country {country!r}{nearest(country, known, most=0)}") from error
        raise ValueError(
            f"no public holidays are known of subdivision {subdivision!r} of {country!r}{nearest(str(subdivision), known[country])}"
        ) from error


class MaskRow(CalendarRow):
    """A time in which a version of the detector expects what it would else call an anomaly: its episodes there are explained.

    Nothing is scored or learnt otherwise, so that versions with and without it judge the same scores. It explains episodes that began at or
    after `since`: history is not rewritten. It names signals, whose they are and which way they go; a mask of everything would hide every
    failure.
    """

    name: str = Field(default="", pattern=r"^([a-z][a-z0-9_]*)?$")
    kind: Literal["holiday", "promotion", "other"] = "other"
    expects: Literal["up", "down", "both"]
    since: Since = None
    insight: str = ""

    @model_validator(mode="after")
    def _says_whose(self) -> MaskRow:
        if not self.signals:
            raise ValueError("name the `signals` it expects to move")
        if not (self.services or self.journeys):
            raise ValueError("name the `services` or `journeys` it is of")
        return self


class DetectorRow(Row):
    """A version of the detector: the live one decides, a shadow is only judged, a retired one is kept for comparison.

    All versions judge the same scores; they differ in how sensitive they are (`tuning`) and in what they expect (`masks`).
    """

    version: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    state: Literal["live", "shadow", "retired"]
    since: Since = None
    note: str = ""
    tuning: tuple[TuningRow, ...] = ()
    masks: tuple[MaskRow, ...] = ()

    @model_validator(mode="after")
    def _makes_sense(self) -> DetectorRow:
        if self.state == "shadow" and self.since is None:
            raise ValueError(f"shadow version {self.version!r} needs `since`: how long it ran decides when it may go live")
        contexts = [(row.signal, row.subject) for row in self.tuning]
        for signal, subject in contexts:
            if contexts.count((signal, subject)) > 1:
                raise ValueError(f"version {self.version!r} tunes signal {signal!r} of {subject or 'every subject'} twice")
        names = [row.name for row in self.masks]
        for name in names:
            if not name or names.count(name) > 1:
                raise ValueError(f"every mask of version {self.version!r} needs a name of its own, found {', '.join(map(repr, names))}")
        return self


DEFAULT_DETECTOR = DetectorRow(version="prophet-episodes-2", state="live")


class RuleRow(Row):
    """What people know of changes before looking: changes of some `kinds` `of` some services are known to hurt some services, or never do.

    An empty `of` or `hurts` means any service. A change that fits is `known`, which speaks for it, or `harmless`, which speaks against it;
    it stays a candidate. `confidence` scales how much. It counts in incidents that began at or after `since`: history is not rewritten.
    """

    name: str = Field(default="", pattern=r"^([a-z][a-z0-9_]*)?$")
    kinds: tuple[str, ...] = Field(min_length=1)
    of: tuple[str, ...] = ()
    hurts: tuple[str, ...] = ()
    says: Literal["known", "harmless"]
    confidence: float = Field(default=1.0, gt=0, le=1)
    since: Since = None
    insight: str = ""

    @model_validator(mode="after")
    def _makes_sense(self) -> RuleRow:
        for kind in self.kinds:
            if kind not in CHANGE_KINDS:
                raise ValueError(f"unknown kind of change {kind!r}{nearest(kind, CHANGE_KINDS)}")
        if not (self.of or self.hurts):
            raise ValueError("name the services the changes are `of`, or those it `hurts`: a rule of every change says nothing")
        return self


class RankerRow(Row):
    """A version of the ranker of causes: the live one decides, the others rank the same incidents for comparison only.

    `prior` weighs the evidence as declared in the code; `learned` by what people had said of earlier incidents. `rules` are evidence of
    this version alone; it ranks `without` the checks named, which tells what they are worth.
    """

    version: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    state: Literal["live", "shadow", "retired"]
    since: Since = None
    note: str = ""
    weights: Literal["prior", "learned"] = "prior"
    rules: tuple[RuleRow, ...] = ()
    without: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _names_what_exists(self) -> RankerRow:
        for check in self.without:
            if check not in CHECKS:
                raise ValueError(f"version {self.version!r} ranks without unknown check {check!r}{nearest(check, CHECKS)}")
        return self


DEFAULT_RANKER = RankerRow(version="evidence-ranking-2", state="live")


class ReportRow(Row):
    """A report: how long its period is, when it is made, and where it goes.

    `schedule` is `after_refresh` (whenever a mart is published) or a cron line in UTC; then the last complete period by the clock is made,
    and the task waits for a mart that holds it whole. `channels` are `file` (always done) and names of the file's `channels`; e-mail
    goes to `recipients`, teams' addresses, or else to the channel's `to`. With `pdf` the page is also a PDF, attached to e-mail. With
    `audience` it is made of the file of that audience (`publishing.yml`) instead of the whole mart.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    schedule: str = "after_refresh"
    cadence: Literal["weekly", "monthly", "quarterly"] = "weekly"
    channels: tuple[str, ...] = ("file",)
    recipients: tuple[str, ...] = ()
    pdf: bool = False
    audience: str | None = None

    @field_validator("schedule")
    @classmethod
    def _is_a_schedule(cls, schedule: str) -> str:
        if schedule != "after_refresh" and len(schedule.split()) != 5:
            raise ValueError(f"{schedule!r} is neither after_refresh nor a cron line of five fields such as '0 6 2 * *'")
        return schedule

    @property
    def follows_the_refresh(self) -> bool:
        return self.schedule == "after_refresh"


class ServiceRow(Row):
    """A service, store or external provider of the catalogue."""

    service: str
    kind: Literal["service", "store", "provider"] = "service"
    title: str | None = None
    team: str = "unowned"
    criticality: Literal["critical", "high", "medium", "low"] = "medium"
    runbook: str | None = None


class EdgeRow(Row):
    """A declared dependency."""

    caller: str
    callee: str


class TeamRow(Row):
    """A team: the smallest unit of ownership we name. `on_call` is a schedule, a rota or its link; never a person."""

    team: str
    title: str | None = None
    channel: str | None = None
    on_call: str | None = None


class AliasRow(Row):
    """Another name of something; nothing is merged without such a row."""

    kind: Literal["service", "environment", "region"]
    alias: str
    name: str


class HistoryRow(Row):
    """The window that `run` extracts when none is given on the command line."""

    start: str
    end: str

    @model_validator(mode="after")
    def _parses(self) -> HistoryRow:
        try:
            Window(parse_utc(self.start), parse_utc(self.end))
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def window(self) -> Window:
        return Window.parse(self.start, self.end)


class SourcesFile(Row):
    company: str = "your company"
    history: HistoryRow
    clock_tolerance_minutes: int = Field(default=10, ge=0, le=1440)
    sources: tuple[SourceRow, ...]


class SignalsFile(Row):
    signals: tuple[SignalRow, ...] = ()


class DetectorsFile(Row):
    detectors: tuple[DetectorRow, ...] = (DEFAULT_DETECTOR,)

    @model_validator(mode="after")
    def _one_is_live(self) -> DetectorsFile:
        live = [row.version for row in self.detectors if row.state == "live"]
        if len(live) != 1:
            raise ValueError(f"exactly one detector version must be live, found {', '.join(live) or 'none'}")
        return self


class RankersFile(Row):
    rankers: tuple[RankerRow, ...] = (DEFAULT_RANKER,)

    @model_validator(mode="after")
    def _one_is_live(self) -> RankersFile:
        live = [row.version for row in self.rankers if row.state == "live"]
        if len(live) != 1:
            raise ValueError(f"exactly one ranker version must be live, found {', '.join(live) or 'none'}")
        return self


class JourneysFile(Row):
    journeys: tuple[JourneyRow, ...] = ()


class CostsFile(Row):
    """What an hour of a responder costs; without it no response cost is stated.

    `least_minutes` is what taking part costs at least, `review_hours` what the review of an incident takes of each who took part.
    """

    hourly_rate: float | None = Field(default=None, gt=0)
    currency: str | None = Field(default=None, pattern=r"^[A-Z]{3}$")
    least_minutes: float = Field(default=15, ge=0, le=480)
    review_hours: float = Field(default=0, ge=0, le=40)

    @model_validator(mode="after")
    def _rate_has_a_currency(self) -> CostsFile:
        if (self.hourly_rate is None) != (self.currency is None):
            raise ValueError("hourly_rate and currency belong together: give both, or neither")
        return self


class RateRow(Row):
    """What one unit of a currency is worth in the currency reported in, from midnight UTC of a day on until a later row says otherwise."""

    currency: str = Field(pattern=r"^[A-Z]{3}$")
    rate: float = Field(gt=0, allow_inf_nan=False)
    since: date


class CurrenciesFile(Row):
    """The currency that losses in several currencies are added up in, and the rates that lead there."""

    report_in: str | None = Field(default=None, pattern=r"^[A-Z]{3}$")
    rates: tuple[RateRow, ...] = ()

    @model_validator(mode="after")
    def _rates_lead_somewhere(self) -> CurrenciesFile:
        if self.rates and self.report_in is None:
            raise ValueError("rates need report_in, the currency they lead to")
        days = [(row.currency, row.since) for row in self.rates]
        for currency, since in days:
            if currency == self.report_in:
                raise ValueError(f"a rate of {currency} in {currency} is not a rate")
            if days.count((currency, since)) > 1:
                raise ValueError(f"two rates of {currency} since {since}")
        return self


class CalendarFile(Row):
    calendar: tuple[CalendarRow, ...] = ()


class WriteBackRow(Row):
    """Where recommendations are written: a note in PagerDuty, a comment in Jira, a message in a Slack channel (`room`), or a webhook."""

    channel: Literal["pagerduty", "jira", "slack", "webhook"]
    connection: str
    room: str | None = None

    @model_validator(mode="after")
    def _slack_needs_a_room(self) -> WriteBackRow:
        if (self.channel == "slack") != (self.room is not None):
            raise ValueError("`room`, the id of a Slack channel, belongs to channel slack and only there")
        return self


class IncidentClassRow(Row):
    """What may be done about incidents of a class: 0 observe, 1 recommend, 2 act after approval, 3 act without being asked.

    The first class an incident fits counts. An empty list means all; `families` holds ids, or words of titles; `causes` are kinds of the
    likeliest candidate. Levels 2 and 3 act only with the `actions` named.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    level: int = Field(ge=0, le=3)
    criticality: tuple[Literal["critical", "high", "medium", "low"], ...] = ()
    severity: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()
    least_probability: float = Field(default=0.0, ge=0, le=1)
    actions: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _acting_is_named(self) -> IncidentClassRow:
        if (self.level >= 2) != bool(self.actions):
            raise ValueError(f"class {self.name!r} has level {self.level}: `actions` are named where the level is 2 or 3, and only there")
        if self.level == 3 and not (self.causes or self.families):
            raise ValueError(f"class {self.name!r} acts without being asked: it must name the causes or families it is for")
        return self


class LimitsRow(Row):
    """What holds for every action, whatever the class: see docs/responding.md for each."""

    most_traffic_share: float = Field(default=0.5, ge=0, le=1)
    cool_down_minutes: int = Field(default=120, ge=0, le=10_080)
    most_per_day: int = Field(default=3, ge=0, le=100)
    most_data_age_minutes: int = Field(default=30, ge=1, le=1440)
    least_probability: float = Field(default=0.8, ge=0, le=1)
    least_evidence: int = Field(default=2, ge=0, le=100)
    least_record: float = Field(default=0.3, ge=0, le=1)


class AutomationFile(Row):
    """How far Aftercast may go on its own. Without the file it observes; with `dry_run` it only says what it would have done."""

    dry_run: bool = True
    executor: str | None = None
    limits: LimitsRow = LimitsRow()
    write_back: tuple[WriteBackRow, ...] = ()
    classes: tuple[IncidentClassRow, ...] = ()

    @model_validator(mode="after")
    def _acts_have_an_executor(self) -> AutomationFile:
        acting = [row.name for row in self.classes if row.level >= 2]
        if acting and not self.dry_run and self.executor is None:
            raise ValueError(f"classes {', '.join(acting)} act: name the Airflow connection of what carries actions out as `executor`")
        names = [row.name for row in self.classes]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"class {name!r} is declared twice")
        return self


ITEM_TYPES = Literal["investigate", "mitigate", "repair", "detect", "prevent"]


class TrackerRow(Row):
    """A tracker that action items get tickets in: a project of Jira Cloud, or a repository of GitHub.

    It serves the teams it names; a tracker that names none serves every other team. Until `live` is true nothing is sent: what would be is
    written to the outbox. `reopen_to` is the name of the status a Jira ticket is reopened to; without it the first that is not done.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    kind: Literal["jira", "github"]
    connection: str
    project: str | None = Field(default=None, pattern=r"^[A-Z][A-Z0-9_]+$")
    issue_type: str = "Task"
    reopen_to: str | None = None
    repository: str | None = Field(default=None, pattern=r"^[\w.-]+/[\w.-]+$")
    label: str = Field(default="aftercast", pattern=r"^\S+$")
    teams: tuple[str, ...] = ()
    live: bool = False

    @model_validator(mode="after")
    def _has_a_place(self) -> TrackerRow:
        if (self.kind == "jira") != (self.project is not None) or (self.kind == "github") != (self.repository is not None):
            raise ValueError("a jira tracker has a `project` (its key, such as OPS), a github tracker a `repository` (owner/name)")
        return self


class ChannelRow(Row):
    """A channel that messages about action items go through: Slack's Web API, an incoming webhook of Slack, or e-mail.

    A team's messages go to `by_team`, else to `to`; with `slack` else to the team's channel in teams.csv. Name teams' addresses and
    channels, no person's. Until `live` is true nothing is sent.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    kind: Literal["slack", "slack_webhook", "email"]
    connection: str
    to: str | None = None
    by_team: dict[str, str] = Field(default_factory=dict)
    live: bool = False

    @model_validator(mode="after")
    def _can_be_reached(self) -> ChannelRow:
        for place in (*([self.to] if self.to else []), *self.by_team.values()):
            if (self.kind == "email") != ("@" in place):
                raise ValueError(f"{place!r} is no {'e-mail address' if self.kind == 'email' else 'channel of Slack'}")
        if self.kind == "email" and not self.to and not self.by_team:
            raise ValueError("an e-mail channel needs `to` or `by_team`: the addresses of teams")
        return self


ColumnClass = Literal["keep", "title", "text", "person", "drop"]


class AudienceRow(Row):
    """Readers who get a published file of their own, without the classes of columns in `hides`; `group`: the system group that reads it."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    hides: tuple[Literal["title", "text"], ...] = ("text",)
    group: str | None = Field(default=None, min_length=1)


class RestrictedRow(Row):
    """Services and journeys of which some audiences get no row, nor any that names one, or hangs on one (see `narrowing`)."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    services: tuple[str, ...] = ()
    journeys: tuple[str, ...] = ()
    withheld_from: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _restricts_something(self) -> RestrictedRow:
        if not self.services and not self.journeys:
            raise ValueError("restricts nothing: name services or journeys")
        if any(not re.search(r"\w", name) for name in (*self.services, *self.journeys)):
            raise ValueError("an empty name would withhold nothing")
        return self


class PublishingFile(Row):
    """Who may read what is published: `group` the whole mart (null: everybody on the machine), and narrower audiences beside it."""

    group: str | None = Field(default=None, min_length=1)
    audiences: tuple[AudienceRow, ...] = ()
    restricted: tuple[RestrictedRow, ...] = ()

    @model_validator(mode="after")
    def _audiences_exist(self) -> PublishingFile:
        known = [row.name for row in self.audiences]
        for row in self.restricted:
            for name in row.withheld_from:
                if name not in known:
                    raise ValueError(f"restricted {row.name!r} is withheld from {name!r}, which is no audience{nearest(name, known)}")
        return self


class ReportsFile(Row):
    """Which reports are made and the channels they go through. `pages_at` is the address under which the folder of reports is served."""

    reports: tuple[ReportRow, ...] = ()
    channels: tuple[ChannelRow, ...] = ()
    pages_at: str | None = Field(default=None, pattern=r"^https?://")

    @model_validator(mode="after")
    def _channels_are_declared(self) -> ReportsFile:
        known = {row.name: row for row in self.channels}
        for what, names in (("report", [row.name for row in self.reports]), ("channel", [row.name for row in self.channels])):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{what} {twice[0]!r} is declared twice")
        if "file" in known:
            raise ValueError("a channel cannot be called 'file': that is the folder of reports")
        for report in self.reports:
            for name in report.channels:
                if name != "file" and name not in known:
                    raise ValueError(
                        f"report {report.name!r} goes through channel {name!r}, which is not declared{nearest(name, {*known, 'file'})}"
                    )
            mail = [known[name] for name in report.channels if name != "file" and known[name].kind == "email"]
            if report.recipients and not mail:
                raise ValueError(f"report {report.name!r} has recipients but no e-mail channel")
            for address in report.recipients:
                if "@" not in address:
                    raise ValueError(f"report {report.name!r}: {address!r} is no e-mail address")
            for row in (known[name] for name in report.channels if name != "file"):
                if not row.to and row.kind != "slack_webhook" and not (row.kind == "email" and report.recipients):
                    raise ValueError(f"report {report.name!r}: channel {row.name!r} says to nobody; give it `to`")
        return self


class NudgeRow(Row):
    """When the owner team is reminded of an item that is overdue: days past the due date, and how often from then on.

    With `before_days` it is also reminded once so many days before each due date.
    """

    channel: str
    before_days: float = Field(default=0, ge=0, le=365)
    after_days: float = Field(default=1, ge=0, le=365)
    every_days: float = Field(default=7, ge=1, le=365)


class EscalateRow(Row):
    """When somebody else hears of it, once for each due date."""

    channel: str
    after_days: float = Field(default=14, ge=0, le=365)


class ReopenRow(Row):
    """Which items are reopened when an incident of their family begins after they were done, and how late that may be noticed."""

    types: tuple[ITEM_TYPES, ...] = ("repair", "prevent")
    within_days: float = Field(default=30, gt=0, le=365)


class ActionsFile(Row):
    """What is done outside for action items; nothing without rows. A run sends at most `most_per_run` things, the next one the others."""

    trackers: tuple[TrackerRow, ...] = ()
    channels: tuple[ChannelRow, ...] = ()
    nudge: NudgeRow | None = None
    escalate: EscalateRow | None = None
    reopen: ReopenRow = ReopenRow()
    most_per_run: int = Field(default=20, ge=1, le=1_000)

    @model_validator(mode="after")
    def _channels_are_declared(self) -> ActionsFile:
        names = [*(row.name for row in self.trackers), *(row.name for row in self.channels)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{twice[0]!r} is declared twice; trackers and channels share their names")
        known = [row.name for row in self.channels]
        for what, rule in (("nudge", self.nudge), ("escalate", self.escalate)):
            if rule and rule.channel not in known:
                raise ValueError(f"{what} goes through channel {rule.channel!r}, which is not declared{nearest(rule.channel, known)}")
        return self


class FreshnessRow(Row):
    """What is promised of the published mart: in `objective` of the time, over the last `window_days`, it is younger than `within_hours`.

    The page, the doctor, the metrics and the alert rules all read it here. Age counts from the mart's as-of time.
    """

    within_hours: float = Field(default=24, gt=0, le=24 * 366)
    objective: float = Field(default=0.95, gt=0, lt=1)
    window_days: int = Field(default=28, ge=1, le=366)

    @property
    def within(self) -> timedelta:
        return timedelta(hours=self.within_hours)


class DeadlineRow(Row):
    """A DAG that should be done `minutes` after its run was queued, and the channels told once for each run that is not."""

    dag: str
    minutes: float = Field(gt=0, le=60 * 24 * 7)
    channels: tuple[str, ...] = ()


class PipelineFile(Row):
    """What is promised of the pipeline itself, and who hears when it is late. Nothing leaves the house without a channel that is `live`."""

    freshness: FreshnessRow = FreshnessRow()
    deadlines: tuple[DeadlineRow, ...] = (DeadlineRow(dag="refresh_warehouse", minutes=60),)
    channels: tuple[ChannelRow, ...] = ()

    @model_validator(mode="after")
    def _channels_are_declared(self) -> PipelineFile:
        known = {row.name: row for row in self.channels}
        for what, names in (("deadline of", [row.dag for row in self.deadlines]), ("channel", [row.name for row in self.channels])):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{what} {twice[0]!r} is declared twice")
        for deadline in self.deadlines:
            for name in deadline.channels:
                if name not in known:
                    raise ValueError(
                        f"deadline of {deadline.dag!r} goes through channel {name!r}, which is not declared{nearest(name, known)}"
                    )
                if not known[name].to and known[name].kind != "slack_webhook":
                    raise ValueError(f"deadline of {deadline.dag!r}: channel {name!r} says to nobody; give it `to`")
        return self


class NarrativeRow(Row):
    """A language model that retells drafts: an Airflow connection of type `pydanticai`, and the model unless the connection names one."""

    connection: str
    model: str | None = None
    timeout_seconds: float = Field(default=60, gt=0, le=600)


class PostmortemsFile(Row):
    """How postmortems are drafted and reviewed.

    `folder` is relative to AFTERCAST_HOME, or absolute; it may be a checkout of a repository. Incidents of `severities` that ended within
    `within_days` before the mart's as-of time are drafted. A review is due `due_days` after the incident ended, by severity. `reviewers`
    names for a team the users of Airflow who may answer once a draft is assigned to it; without them everybody may. `narrative` lets a
    language model retell drafts; without it none is asked.
    """

    folder: str = "postmortems"
    severities: tuple[Severity, ...] = ("sev1", "sev2")
    within_days: float = Field(default=14, gt=0, le=3_660)
    due_days: dict[str, float] = Field(default_factory=lambda: {"sev1": 3.0, "sev2": 5.0, "sev3": 10.0, "sev4": 20.0})
    reviewers: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    narrative: NarrativeRow | None = None

    @field_validator("due_days")
    @classmethod
    def _days_are_positive(cls, days: dict[str, float]) -> dict[str, float]:
        for severity, given in days.items():
            if severity not in get_args(Severity):
                raise ValueError(f"unknown severity {severity!r}{nearest(severity, get_args(Severity))}")
            if given <= 0:
                raise ValueError(f"{severity}: {given:g} days are none; give a number above zero")
        return days
