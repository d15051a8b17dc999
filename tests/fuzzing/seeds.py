"""A whole and healthy payload for every kind of source, from the recorded ones of the unit tests.

A service is a rule that answers requests; an inbox is a set of files: a JSON document, a list of them (JSON lines), or text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aftercast.window import Window
from tests.answering import Answer, Asked, Rule
from tests.unit import otlp_fixture as otel
from tests.unit import test_files as drops
from tests.unit import test_source_alertmanager as alertmanager
from tests.unit import test_source_cdevents as cdevents
from tests.unit import test_source_github as github
from tests.unit import test_source_gitlab as gitlab
from tests.unit import test_source_incidentio as incidentio
from tests.unit import test_source_jira as jira
from tests.unit import test_source_jsm_ops as ops
from tests.unit import test_source_launchdarkly as launchdarkly
from tests.unit import test_source_loki as loki
from tests.unit import test_source_pagerduty as pagerduty
from tests.unit import test_source_postmortems as postmortems
from tests.unit import test_source_prometheus as prometheus
from tests.unit import test_source_slack as slack
from tests.unit import test_source_statuspage as statuspage
from tests.unit import test_source_stripe as stripe
from tests.unit import test_source_traces as traces
from tests.unit import test_source_unleash as unleash
from tests.unit import test_source_webhooks as webhooks
from tests.unit.landing_fixture import hours
from tests.unit.tracker_fixture import HOUR, clock

NO_INPUT = {"demo": "makes its rows itself and reads nothing; its options are checked with sources.yml"}
"""Kinds without a seed, and why."""


@dataclass(frozen=True)
class Seed:
    """One way to feed a kind.

    Attributes:
        kind: kind of source.
        entities: what its row declares.
        counted: the entity whose rows are counted when something might be lost; '' where rows are sums and cannot be counted.
        service: makes the rule that answers, for kinds that ask.
        files: makes the inbox, for kinds that read files.
        rows: the rows of the table `points`, for databases.
        uncounted: keys of a document that say whether and where a record belongs; what they say wrong may leave a record out.
    """

    kind: str
    entities: tuple[str, ...]
    counted: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    window: Window = HOUR
    connection: Mapping[str, Any] = field(default_factory=dict)
    service: Callable[[], Rule] | None = None
    files: Callable[[], dict[str, Any]] | None = None
    rows: Callable[[], list[dict[str, Any]]] | None = None
    uncounted: tuple[str, ...] = ()


def _pagerduty() -> Rule:
    service = pagerduty.PagerDuty()
    for number in range(3):
        entries = [pagerduty.entry(f"R{number}{step}", what, 5 + step) for step, what in enumerate(("trigger", "acknowledge", "resolve"))]
        service.add(pagerduty.resolved(f"PT{number}", 5 + number), *entries)
    service.changes.append({"id": "CH1", "timestamp": clock(7), "summary": "Deploy", "services": [pagerduty.reference("PCART", "cart")]})
    return service


def _github() -> Rule:
    return github.GitHub(deployments=[github.shipped(number, 5 * number) for number in range(1, 4)])


def _slack() -> Rule:
    replies = [slack.message(7, "Rolled back"), slack.message(8, "LESSON: watch the queue")]
    parent = slack.message(6, "Why?", thread_ts=slack.ts(6), reply_count=2, latest_reply=slack.ts(8))
    messages = [slack.message(5, "Checkout is down"), parent]
    return slack.workspace(*messages, threads={slack.ts(6): [one | {"thread_ts": slack.ts(6)} for one in replies]})


def _prometheus() -> Rule:
    return prometheus.promql((prometheus.CART, lambda at: "0.5"), ({"service": "pay", "region": "eu"}, lambda at: str(at % 7)))


def _alerts() -> Rule:
    listed = [alertmanager.alert(letter * 16, minute=number) for number, letter in enumerate("abc")]
    return lambda _: Answer(listed, headers={"Date": "Tue, 01 Sep 2026 01:02:00 GMT"})


def _jsm(service: str) -> Callable[[], Rule]:
    def make() -> Rule:
        alerts = [ops.closed("a1"), ops.alert("a2", 10), ops.alert("a3", 12, priority="P3")]
        logs = {"a1": [ops.line("Alert created via API", 5), ops.line("Alert acknowledged via web", 7)]}
        return ops.Ops(alerts, logs, service=service)

    return make


def _jaeger() -> Rule:
    told = [{"parent": "web", "child": "cart", "callCount": 4}, {"parent": "web", "child": "pay", "callCount": 2}]
    return traces.Jaeger([traces.trace(number, number * 5) for number in range(1, 4)], told)


def _loki() -> Rule:
    lines = [(loki.at(number * 60), "error", f"order {word} lost") for number, word in enumerate(("red", "blue", "green"))]
    return loki.Loki(lines)


def _incidentio() -> Rule:
    times = [incidentio.timestamp("Impact started", 2), incidentio.timestamp("Reported at", 10), incidentio.timestamp("Fixed at", 30)]
    fields = [incidentio.custom("Affected", {"value_option": {"id": "O", "value": "cart"}})]
    records = [incidentio.incident(f"0{letter}", incident_timestamp_values=times, custom_field_entries=fields) for letter in "123"]
    return incidentio.IncidentIo(records, [incidentio.update("U1", "01", 12, "We look")], [incidentio.follow_up("F1", 20)])


def _jira(edition: str) -> Callable[[], Rule]:
    def make() -> Rule:
        changes = {"10001": [jira.moved("101", 9, "Open", "Investigating"), jira.moved("104", 50, "Mitigated", "Resolved")]}
        return jira.Jira([jira.issue(f"INC-{number}", 4 + number) for number in range(1, 4)], changes, edition=edition)

    return make


def _statuspage() -> Rule:
    return statuspage.StatusPage([statuspage.resolved(f"p{number}", 5 + number) for number in range(3)])


def _launchdarkly() -> Rule:
    return launchdarkly.LaunchDarkly([launchdarkly.entry(number, 5 * number) for number in range(1, 4)])


def _unleash() -> Rule:
    return unleash.Unleash([unleash.event(number, 5 * number) for number in range(1, 4)])


def _stripe() -> Rule:
    return stripe.Account([stripe.transaction(str(number), 3 * number) for number in range(1, 5)])


def _otlp() -> dict[str, Any]:
    counts = [otel.point(60 * number, 0, asInt=str(10 * number)) for number in range(1, 5)]
    lines = [
        otel.metric("orders", otel.counter(*counts)),
        otel.metric("load", {"gauge": {"dataPoints": [otel.point(60, asDouble=0.5)]}}),
        otel.spans("cart", otel.span(1, 1, name="GET /cart"), otel.span(1, 2, 1, name="SELECT", kind=otel.CLIENT)),
        otel.records("order 7 lost", "order 8 lost"),
    ]
    return {"telemetry.jsonl": lines}


def _events() -> dict[str, Any]:
    incident = [cdevents.incident("detected", "i1", 5), cdevents.incident("reported", "i2", 6), cdevents.incident("resolved", "i3", 9)]
    return {"one.json": cdevents.deployed("e1"), "more.jsonl": [cdevents.deployed(f"e{number}", number) for number in (2, 3)] + incident}


def _hooks() -> dict[str, Any]:
    return {"ci/a.json": [webhooks.deploy(1), webhooks.deploy(2)], "ci/b.jsonl": [webhooks.deploy(3)]}


def _csv(rows: Iterable[tuple[Any, ...]]) -> str:
    return drops.HEADER + "".join(",".join(map(str, row)) + "\n" for row in rows)


def _dropped() -> dict[str, Any]:
    rows = [(f"2026-09-0{day}T10:00:00Z", 100, 99, 5000, "GBP", "UK") for day in range(1, 6)]
    return {"orders-1.csv": _csv(rows)}


def _dropped_lines() -> dict[str, Any]:
    names = [name.strip() for name in drops.HEADER.split(",")]
    values = [(f"2026-09-0{day}T10:00:00Z", 100, 99, 5000, "GBP", "UK") for day in range(1, 6)]
    return {"orders-1.jsonl": [dict(zip(names, row, strict=True)) for row in values]}


def _documents() -> dict[str, Any]:
    return {"a.md": postmortems.FRONT + postmortems.GOOGLE, "b.md": postmortems.FRONT.replace("INC-7", "INC-8") + postmortems.PAGERDUTY}


def _points() -> list[dict[str, Any]]:
    return [{"service": "cart", "metric": f"m{n}", "at": f"2026-09-01 00:{n:02d}:00", "value": n / 2, "kind": "gauge"} for n in range(5)]


SQL = "select service, metric, at as ts, value, kind from points where :start < :end"
WHERE = ("severity", "status", "state")


def _asked(rule: Callable[[], Rule]) -> Callable[[], Rule]:
    """A rule that answers 404 where the fake does not know what to say; what spoilt answers make a kind ask next is not foreseen."""

    def make() -> Rule:
        known = rule()

        def answer(asked: Asked) -> Answer:
            try:
                return known(asked)
            except (LookupError, ValueError, TypeError, AttributeError, AssertionError, StopIteration, RecursionError):
                return Answer({"message": "Not Found"}, status=404)

        return answer

    return make


SEEDS: dict[str, Seed] = {
    "alertmanager": Seed("alertmanager", ("alerts",), "alerts", window=hours(0, 1), service=_asked(_alerts)),
    "cdevents": Seed("cdevents", ("changes", "incidents", "incident_events"), "changes", {"inbox": "inbox"}, files=_events),
    "files": Seed("files", ("journey_kpis",), "journey_kpis", {"inbox": "inbox", "files": [drops.ORDERS]}, drops.WEEK, files=_dropped),
    "files (lines)": Seed(
        "files",
        ("journey_kpis",),
        "journey_kpis",
        {"inbox": "inbox", "files": [{**drops.ORDERS, "match": "orders*.jsonl"}]},
        drops.WEEK,
        files=_dropped_lines,
    ),
    "github": Seed(
        "github",
        ("changes",),
        "changes",
        github.OPTIONS,
        connection={"password": "t0ken", "conn_type": "github"},
        service=_asked(_github),
    ),
    "gitlab": Seed(
        "gitlab",
        ("changes", "incidents"),
        "changes",
        gitlab.OPTIONS | {"lookback": 0},
        connection={"password": "glt0ken"},
        service=_asked(lambda: gitlab.GitLab([gitlab.deployment(number, 5 * number) for number in range(1, 4)])),
    ),
    "incidentio": Seed(
        "incidentio",
        ("incidents", "incident_events", "action_items"),
        "incidents",
        {"services": "Affected"},
        connection={"password": "k3y"},
        service=_asked(_incidentio),
    ),
    "jaeger": Seed("jaeger", ("service_edges",), "service_edges", connection={"password": "k3y"}, service=_asked(_jaeger)),
    "jaeger (traces)": Seed(
        "jaeger", ("service_edges",), "", {"edges": "traces", "traffic": True}, connection={"password": "k3y"}, service=_asked(_jaeger)
    ),
    "jira": Seed("jira", (), "incidents", jira.INCIDENTS, connection={"login": "jane", "password": "k3y"}, service=_asked(_jira("cloud"))),
    "jira (data center)": Seed(
        "jira",
        (),
        "incidents",
        jira.INCIDENTS | {"edition": "datacenter"},
        connection={"login": "jane", "password": "k3y"},
        service=_asked(_jira("datacenter")),
    ),
    "jsm_ops": Seed(
        "jsm_ops", ("alerts",), "alerts", ops.JSM, connection={"login": "jane", "password": "k3y"}, service=_asked(_jsm("jsm"))
    ),
    "jsm_ops (opsgenie)": Seed(
        "jsm_ops", ("alerts",), "alerts", {"service": "opsgenie"}, connection={"password": "k3y"}, service=_asked(_jsm("opsgenie"))
    ),
    "launchdarkly": Seed("launchdarkly", ("changes",), "changes", connection={"password": "api-k3y"}, service=_asked(_launchdarkly)),
    "loki": Seed(
        "loki",
        (),
        "",
        {
            "queries": [loki.COUNTED],
            "lines": loki.LINES,
            "labels": {"service": "service_name", "attributes": ["level"]},
            "step_seconds": 300,
        },
        connection={"login": "me", "password": "k3y", "extra": {"headers": {"X-Scope-OrgID": "shop"}}},
        service=_asked(_loki),
    ),
    "otlp": Seed("otlp", (), "", {"inbox": "inbox"}, hours(0, 1), files=_otlp),
    "pagerduty": Seed(
        "pagerduty",
        ("incidents", "incident_events", "changes"),
        "incidents",
        connection={"password": "k3y"},
        service=_asked(_pagerduty),
    ),
    "postmortems": Seed("postmortems", postmortems.ENTITIES, "postmortems", {"inbox": "inbox"}, postmortems.LATER, files=_documents),
    "prometheus": Seed(
        "prometheus", ("metric_points",), "", {"queries": [prometheus.LEVEL]}, prometheus.ONE_HOUR, service=_asked(_prometheus)
    ),
    "slack": Seed(
        "slack",
        ("incident_events", "insights"),
        "incident_events",
        slack.OPTIONS,
        connection={"password": "xoxb-k3y", "conn_type": "slack"},
        service=_asked(_slack),
        uncounted=("name", "channels", "ts", "thread_ts", "latest_reply", "reply_count"),
    ),
    "sql": Seed(
        "sql",
        ("metric_points",),
        "metric_points",
        {"queries": [{"entity": "metric_points", "sql": SQL, "timezone": "UTC"}]},
        hours(0, 1),
        rows=_points,
    ),
    "statuspage": Seed(
        "statuspage",
        ("incidents", "incident_events"),
        "incidents",
        statuspage.OWN,
        connection={"password": "k3y"},
        service=_asked(_statuspage),
    ),
    "stripe": Seed(
        "stripe", ("journey_kpis",), "", {"journey": "checkout"}, connection={"password": "sk_live_k3y"}, service=_asked(_stripe)
    ),
    "tempo": Seed(
        "tempo", ("service_edges",), "", connection={"extra": {"headers": {"X-Scope-OrgID": "shop"}}}, service=_asked(traces.Tempo)
    ),
    "unleash": Seed("unleash", ("changes",), "changes", connection={"password": "*:*.t0ken"}, service=_asked(_unleash)),
    "webhooks": Seed("webhooks", ("changes",), "changes", {"inbox": "inbox", "rules": [webhooks.DEPLOYS]}, files=_hooks),
}
