"""Reports reach a real mail server and Slack once for each period and address, whole, and what stands in the way is said by name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email import policy as policies
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast

import pytest
from aiosmtpd.smtp import Envelope, Session

from aftercast.acting.outbox import Outbox
from aftercast.errors import ConfigError, QualityError, SourceRejected, SourceUnavailable
from aftercast.settings import Settings, load_deployment
from aftercast.steps import reports
from tests.answering import Answer, in_turn, serve
from tests.unit import weekly_fixture as mart
from tests.unit.reports_fixture import CHAT, NOW, POST, deployment, longer_frames, publish
from tests.unit.test_channels import MailBox, connect, mail_server, slack
from tests.unit.test_weekly_page import EVIL
from tests.unit.weekly_fixture import WEEK, frames, incident

Declare = Callable[..., Settings]
WEEKLY = {"name": "weekly", "channels": ["file", "leads"]}


@pytest.fixture
def declare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Declare:
    def one(row: dict[str, Any] = WEEKLY, *channels: dict[str, Any], **more: Any) -> Settings:
        return deployment(tmp_path, monkeypatch, [row], list(channels) or [POST], **more)

    return one


class Box(MailBox):
    """A mail server that keeps messages as modern Python reads them, and refuses some addresses."""

    def __init__(self, refuses: dict[str, str] | None = None) -> None:
        super().__init__()
        self.refuses = refuses or {}

    async def handle_RCPT(self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:
        if address in self.refuses:
            return self.refuses[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:
        self.taken.append(message_from_bytes(envelope.content or b"", policy=policies.default))
        return "250 taken"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def tags(html: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(html)
    return parser.found


def body(mail: Any, kind: str) -> str:
    part = cast("EmailMessage", mail).get_body((kind,))
    assert part is not None
    return str(part.get_content())


def test_a_report_arrives_once_as_a_letter_that_needs_nothing_else(declare: Declare, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = declare(WEEKLY | {"pdf": True}, pages_at="https://reports.acme.example/a/")
    box = Box()
    with mail_server(box, monkeypatch):
        pages = [reports.send_report("weekly", now=NOW) for _ in range(3)]
    assert pages == [settings.reports / "2026-W45" / "weekly.html"] * 3
    (mail,) = box.taken
    headline = "One recurring fault cost EUR 203k, three-quarters of the week’s measured loss"
    assert (mail["To"], mail["Subject"]) == ("leads@acme.example", f"2026-W45: {headline}".replace("’", "'"))
    assert mail.get_content_type() == "multipart/mixed"
    text, html = body(mail, "plain"), body(mail, "html")
    assert headline in text
    assert headline in html[: html.index("<table")], "the hidden line before the letter says the finding"
    parts = {part["Content-ID"]: part for part in mail.walk() if part["Content-ID"]}
    shown = [attributes for tag, attributes in tags(html) if tag == "img"]
    assert [f"<{str(attributes['src']).removeprefix('cid:')}>" for attributes in shown] == list(parts)
    assert len(shown) == 2
    for part in parts.values():
        assert (part.get_content_type(), part.get_content_disposition()) == ("image/png", "inline")
        assert part.get_content().startswith(b"\x89PNG")
        assert int.from_bytes(part.get_content()[16:20]) == 2 * 576
    assert "2026-W45 EUR 271k" in str(shown[0]["alt"])
    assert 'href="https://reports.acme.example/a/2026-W45/weekly.html"' in html
    (document,) = mail.iter_attachments()
    assert (document.get_filename(), document.get_content()[:5]) == ("weekly-2026-W45.pdf", b"%PDF-")
    assert "2026-W45.pdf" in html


def test_a_letter_carries_its_styles_and_loads_nothing(declare: Declare, monkeypatch: pytest.MonkeyPatch) -> None:
    declare()
    box = Box()
    with mail_server(box, monkeypatch):
        reports.send_report("weekly", now=NOW)
    html = body(box.taken[0], "html")
    assert "<style" not in html
    assert "url(" not in html
    found = tags(html)
    assert {tag for tag, _ in found} & {"script", "link", "svg", "iframe", "form", "object"} == set()
    assert all(str(attributes["src"]).startswith("cid:") for tag, attributes in found if "src" in attributes)
    assert all("style" in attributes for tag, attributes in found if tag in ("h1", "h2", "img", "p", "ul"))
    assert 'width="640"' in html
    assert len(html) < 100_000, "mail programs cut longer letters"


def test_a_mail_server_that_refuses_is_named_and_a_later_try_sends(declare: Declare, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = declare()
    connect(monkeypatch, 9, host="localhost")
    with pytest.raises(SourceUnavailable, match=r"channel leads: no connection to mail server localhost:9 of connection 'post'"):
        reports.send_report("weekly", now=NOW)
    assert (settings.reports / "2026-W45" / "weekly.html").exists(), "the page is there all the same"
    box = Box()
    with mail_server(box, monkeypatch):
        for _ in range(2):
            reports.send_report("weekly", now=NOW + timedelta(minutes=10))
    assert len(box.taken) == 1


def test_a_message_that_is_refused_for_good_is_not_tried_by_itself(declare: Declare, monkeypatch: pytest.MonkeyPatch) -> None:
    declare()
    with (
        mail_server(MailBox(says=["554 no reports here"]), monkeypatch),
        pytest.raises(SourceRejected, match=r"mail server .+ of connection 'post' refused the message \(554\)"),
    ):
        reports.send_report("weekly", now=NOW)


def test_one_address_that_is_refused_holds_up_no_other_and_only_it_is_tried_again(
    declare: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(WEEKLY | {"recipients": ["a@acme.example", "b@acme.example", "c@acme.example"]})
    box = Box({"b@acme.example": "450 greylisted"})
    with mail_server(box, monkeypatch):
        with pytest.raises(SourceUnavailable, match="1 of 3 deliveries did not go through") as failed:
            reports.send_report("weekly", now=NOW)
        assert "report/weekly/2026-W45/leads/b@acme.example is planned" in str(failed.value)
        box.refuses = {}
        reports.send_report("weekly", now=NOW)
    assert [mail["To"] for mail in box.taken] == ["a@acme.example", "c@acme.example", "b@acme.example"]


def test_a_period_goes_out_once_and_a_correction_only_when_asked(declare: Declare, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = declare()
    box = Box()
    with mail_server(box, monkeypatch):
        reports.send_report("weekly", now=NOW)
        changed = frames([incident("INC-1", WEEK.start, 5_000.0)])
        publish(settings, changed, "aftercast-2")
        page = reports.send_report("weekly", now=NOW)
        assert "EUR 5.00k" in page.read_text(), "the page follows the mart"
        assert len(box.taken) == 1
        for _ in range(2):
            reports.send_report("weekly", now=NOW, again=True)
    assert [mail["Subject"][:30] for mail in box.taken] == ["2026-W45: One recurring fault ", "2026-W45: One incident cost EU"]
    assert len({mail["Message-ID"] for mail in box.taken}) == 2


def test_a_report_that_had_not_left_yet_leaves_as_it_is_now(declare: Declare, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = declare()
    connect(monkeypatch, 9)
    with pytest.raises(SourceUnavailable):
        reports.send_report("weekly", now=NOW)
    publish(settings, frames([incident("INC-1", WEEK.start, 5_000.0)]), "aftercast-2")
    box = Box()
    with mail_server(box, monkeypatch):
        reports.send_report("weekly", now=NOW)
    assert [mail["Subject"][:30] for mail in box.taken] == ["2026-W45: One incident cost EU"]
    assert Outbox(settings.outbox).rows()["state"].to_list() == ["sent"]


def test_what_may_have_arrived_is_left_to_a_person(declare: Declare, monkeypatch: pytest.MonkeyPatch) -> None:
    declare()
    box = MailBox(says=["hang up"])
    with mail_server(box, monkeypatch):
        for _ in range(2):
            with pytest.raises(SourceRejected, match=r"aftercast outbox settle report/weekly/2026-W45/leads/leads@acme\.example sent"):
                reports.send_report("weekly", now=NOW)
    assert len(box.taken) == 1


def test_a_channel_that_is_not_live_asks_for_nothing_and_sends_nothing(declare: Declare) -> None:
    settings = declare(WEEKLY, POST | {"live": False, "connection": "not_there"})
    reports.send_report("weekly", now=NOW)
    (row,) = Outbox(settings.outbox).rows().iter_rows(named=True)
    assert (row["state"], json.loads(row["payload"])["to"]) == ("dry_run", "leads@acme.example")


def test_a_connection_that_is_not_there_is_named(declare: Declare) -> None:
    declare(WEEKLY, POST | {"connection": "not_there"})
    with pytest.raises(SourceRejected, match="not_there"):
        reports.send_report("weekly", now=NOW)


def test_slack_gets_the_finding_its_lines_and_the_page(declare: Declare, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = declare({"name": "weekly", "channels": ["chat"]}, CHAT, pages_at="https://reports.acme.example")
    with serve(in_turn(Answer({"ok": True, "channel": "C1", "ts": "1"}))) as server:
        slack(monkeypatch, server)
        for _ in range(2):
            reports.send_report("weekly", now=NOW)
        (asked,) = server.asked
    blocks = asked.body["blocks"]
    assert asked.body["channel"] == "#reliability"
    assert blocks[0]["text"]["text"].startswith("One recurring fault cost EUR 203k")
    told = next(block["text"]["text"] for block in blocks if block["type"] == "section")
    assert len(told.splitlines()) == 5
    assert "missed: Checkout in Europe" in told.splitlines()[2], "an objective that is missed has a line of its own"
    assert "<https://reports.acme.example/2026-W45/weekly.html|Read the page>" in json.dumps(blocks)
    assert blocks[-1]["elements"][0]["text"].endswith("as of 2026-11-09 00:00 UTC · code 0.1.0+1f3a9c0d2b4e")
    assert Outbox(settings.outbox).rows()["reference"].to_list() == ["C1/1"]


def test_hostile_titles_stay_text_in_letters_and_posts(declare: Declare, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = declare({"name": "weekly", "channels": ["leads", "chat"]}, POST, CHAT)
    evil = f"{EVIL} <!channel> <@U1>\r\nBcc: x@evil.test "
    rows = [
        incident(EVIL, WEEK.start, 12_345.0, title=evil * 20, url="javascript:alert(1)", top_candidate_id=evil, status=evil),
        incident("INC-2", WEEK.start, 100.0, title="تعذر الدفع في صفحة الدفع"),
        incident("INC-3", WEEK.start, 90.0, title="x" * 900),
    ]
    publish(settings, frames(rows), "aftercast-2")
    box = Box()
    with mail_server(box, monkeypatch), serve(in_turn(Answer({"ok": True, "channel": "C1", "ts": "1"}))) as server:
        slack(monkeypatch, server)
        reports.send_report("weekly", now=NOW)
        said = json.dumps(server.asked[0].body, ensure_ascii=False)
    (mail,) = box.taken
    assert mail["Bcc"] is None
    html = body(mail, "html")
    assert "<script" not in html
    assert [attributes for tag, attributes in tags(html) if tag == "a" and "javascript" in str(attributes.get("href"))] == []
    assert all(tag != "img" or str(attributes["src"]).startswith("cid:") for tag, attributes in tags(html))
    assert "<bdi>تعذر الدفع في صفحة الدفع</bdi>" in html
    assert "<!channel>" not in said
    assert "<@U1>" not in said


@pytest.mark.parametrize("kind", ["empty week", "a thousand", "nothing published", "no revenue"])
def test_every_state_is_a_readable_letter(declare: Declare, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    settings = declare({"name": "weekly", "channels": ["leads", "chat"]}, POST, CHAT)
    earlier = [row for row in mart._incidents() if row["started_at"] < WEEK.start]
    found = {
        "empty week": lambda: frames(earlier),
        "a thousand": lambda: frames([incident(f"INC-{n}", WEEK.start + timedelta(minutes=n), float(n + 1)) for n in range(1000)]),
        "nothing published": lambda: {"mart_run": frames()["mart_run"]},
        "no revenue": lambda: frames([*earlier, incident("INC-1", WEEK.start, None)]),
    }[kind]()
    publish(settings, found, "aftercast-2")
    box = Box()
    with mail_server(box, monkeypatch), serve(in_turn(Answer({"ok": True, "channel": "C1", "ts": "1"}))) as server:
        slack(monkeypatch, server)
        reports.send_report("weekly", now=NOW)
        said = json.dumps(server.asked[0].body, ensure_ascii=False)
    html, text = body(box.taken[0], "html"), body(box.taken[0], "plain")
    for told in (re.sub(r"style=\"[^\"]*\"", "", html), text, said):
        assert re.findall(r"\b(None|nan|NaN|Undefined|datetime)\b|\{\{", told) == []
    expected = {
        "empty week": "A week without incidents",
        "a thousand": "1,000 incidents cost",
        "nothing published": "The mart of incidents is not published",
        "no revenue": "One incident, cost not known",
    }[kind]
    assert all(expected in told for told in (html, text, said))
    assert len(html) < 100_000


def test_a_report_whose_figures_do_not_add_up_is_withheld_with_its_reason(declare: Declare, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = declare()
    broken = frames()
    broken["mart_incident_impact"] = broken["mart_incident_impact"].head(1)
    publish(settings, broken, "aftercast-2")
    box = Box()
    with mail_server(box, monkeypatch):
        for _ in range(2):
            with pytest.raises(QualityError, match="does not add up"):
                reports.send_report("weekly", now=NOW)
        folder = settings.reports / "2026-W45"
        assert sorted(path.name for path in folder.iterdir()) == ["weekly.withheld.html", "weekly.withheld.md"]
        assert "lost revenue of the week, by journey" in (folder / "weekly.withheld.html").read_text()
        publish(settings, frames(), "aftercast-3")
        reports.send_report("weekly", now=NOW)
    assert [mail["Subject"][:50] for mail in box.taken] == [
        "The weekly report of 2026-W45 is withheld",
        "2026-W45: One recurring fault cost EUR 203k, three",
    ]
    assert sorted(path.name for path in folder.iterdir()) == ["weekly.csv", "weekly.html", "weekly.md"]


def test_a_failed_gate_is_said_in_the_place_of_reports_that_are_due_and_of_no_other(declare: Declare) -> None:
    settings = declare({"name": "weekly", "channels": ["file"]})
    mart.write(settings.warehouse, frames())
    reason = "suite published__mart_incidents: <b>expect</b> failed (critical): 3 rows\n  e.g. a row\n" + "\n".join(
        f"line {n}" for n in range(40)
    )
    (notice,) = reports.withhold_reports(reason, NOW)
    assert notice == settings.reports / "2026-W45" / "weekly.withheld.html"
    told = notice.read_text()
    assert "suite published__mart_incidents: &lt;b&gt;expect&lt;/b&gt; failed" in told
    assert "and 30 more lines" in told
    assert "EUR" not in told, "a withheld report shows no figure"
    page = reports.send_report("weekly")
    assert not notice.exists()
    assert reports.withhold_reports(reason, NOW) == [], "a page made from a good mart stays as it is"
    assert page.exists()


def test_what_fails_before_there_are_figures_is_said_by_name_and_for_the_period_that_is_due(declare: Declare) -> None:
    settings = declare({"name": "weekly", "channels": ["file"]})
    (notice,) = reports.withhold_reports("model stg_x", NOW, task="stage")
    assert notice == settings.reports / "2026-W45" / "weekly.withheld.html", "nothing has landed: by the clock"
    told = notice.read_text()
    assert "stage failed: model stg_x" in told and "did not get to its end" in told and "Readers keep the last mart" in told
    assert "Data to" not in told, "nobody knows to where"
    assert reports.withhold_first_reports("no file", NOW, task="extract__x") == [], "there is a mart"
    settings.mart.unlink()
    (first,) = reports.withhold_first_reports("no file", NOW, task="extract__x", silently=True)
    assert "Nothing has been published yet" in first.read_text() and "extract__x failed: no file" in first.read_text()
    assert "week.\n\nWhat failed:\n\n- extract" in first.with_suffix(".md").read_text()


def test_a_report_by_the_clock_waits_for_a_mart_that_holds_its_period(declare: Declare) -> None:
    settings = declare({"name": "monthly", "cadence": "monthly", "schedule": "0 6 2 * *"}, POST)
    with pytest.raises(SourceUnavailable, match=r"'monthly' of 2026-11: the published mart reaches only to 2026-11-09 00:00 UTC"):
        reports.send_report("monthly", now=datetime(2026, 12, 2, 6, tzinfo=UTC))
    assert reports.send_report("monthly", now=datetime(2026, 11, 2, 6, tzinfo=UTC)) == settings.reports / "2026-10" / "monthly.html"
    with pytest.raises(ConfigError, match="say what time it is"):
        reports.send_report("monthly")


def test_a_period_that_is_not_over_is_written_and_not_sent(declare: Declare, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = declare({"name": "quarterly", "cadence": "quarterly", "channels": ["leads"]})
    publish(settings, frames() | longer_frames(), "aftercast-2")
    connect(monkeypatch, 9)
    page = reports.send_report("quarterly", now=NOW)
    assert "This quarter is not over" in page.read_text()
    assert Outbox(settings.outbox).rows().is_empty()
    with pytest.raises(SourceUnavailable, match="no connection"):
        reports.send_report("quarterly", "2026-Q4", now=NOW)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            "reports: [{name: w, channels: [leeds]}]\nchannels: [{name: leads, kind: email, connection: c, to: a@b.c}]",
            "did you mean 'leads'",
        ),
        ("reports: [{name: w, channels: [file], recipients: [a@b.c]}]", "has recipients but no e-mail channel"),
        ("reports: [{name: w, channels: [chat]}]\nchannels: [{name: chat, kind: slack, connection: c}]", "says to nobody"),
        ("reports: [{name: w}, {name: w}]", "report 'w' is declared twice"),
        ("reports: [{name: w, schedule: weekly}]", "neither after_refresh nor a cron line"),
        ("reports: [{name: w, cadence: yearly}]", "cadence"),
        ("reports: [{name: w}]\npages_at: reports.example", "pages_at"),
        ("channels: [{name: file, kind: slack, connection: c}]", "cannot be called 'file'"),
    ],
)
def test_a_row_that_cannot_be_meant_is_named(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "sources.yml").write_text("history: {start: '2026-09-07', end: '2026-11-09'}\nsources: []\n")
    (tmp_path / "reports.yml").write_text(content)
    with pytest.raises(ConfigError, match=r"reports\.yml") as raised:
        load_deployment(tmp_path)
    assert told in str(raised.value)
