"""The `stripe` kind: buckets complete or not at all, refunds, currencies without cents, pages that move."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from aftercast.errors import ConfigError, SourceRejected
from aftercast.sources.stripe_money import hundredths
from aftercast.window import Window
from tests.answering import Answer, Asked, serve
from tests.unit.tracker_fixture import HOUR, NEXT, START, Tracker, utc


def transaction(id_: str, minutes: float, amount: Any = 1000, category: str = "charge", **given: Any) -> dict[str, Any]:
    return {
        "id": f"txn_{id_}",
        "object": "balance_transaction",
        "amount": amount,
        "available_on": int(utc(minutes).timestamp()) + 86_400,
        "created": int(utc(minutes).timestamp()),
        "currency": "gbp",
        "description": "Order of jane@example.org",
        "fee": 30,
        "net": 970,
        "reporting_category": category,
        "source": f"ch_{id_}",
        "status": "pending",
        "type": category,
    } | given


@dataclass
class Account:
    """Lists newest first, from a time to a time, after an id."""

    known: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, asked: Asked) -> Answer:
        if asked.headers.get("authorization") != "Bearer sk_live_k3y":
            return Answer({"error": {"type": "invalid_request_error", "message": "Invalid API Key provided: sk_live_****y"}}, status=401)
        since, until = int(asked.param("created[gte]") or 0), int(asked.param("created[lt]") or 0)
        found = sorted((one for one in self.known if since <= one["created"] < until), key=lambda one: one["created"], reverse=True)
        ids = [one["id"] for one in found]
        begin = ids.index(asked.param("starting_after")) + 1 if asked.param("starting_after") else 0
        end = begin + int(asked.param("limit") or 10)
        if asked.param("expand[]") is None:
            found = [{**one, "source": "ch_1"} for one in found]
        return Answer({"object": "list", "url": asked.path, "has_more": end < len(found), "data": found[begin:end]})


@pytest.fixture
def tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    return Tracker(tmp_path, monkeypatch, "stripe", ("journey_kpis",), password="sk_live_k3y")


def sums(tracker: Tracker, *more: str) -> list[tuple[Any, ...]]:
    names = ("attempts", "revenue_minor", *more)
    rows = sorted(tracker.landed("journey_kpis"), key=lambda row: (row["ts"], row["step"], *(row[name] for name in more)))
    return [((row["ts"] - START) / timedelta(minutes=1), *(row[name] for name in names)) for row in rows]


def test_pages_are_summed_into_whole_buckets_and_nothing_is_counted_twice(tracker: Tracker):
    many = [transaction(str(number), minutes=number / 10, amount=7) for number in range(450)]
    with serve(Account(many)) as server:
        found = tracker.extract(server.url, journey="checkout")["journey_kpis"]
        pages = [asked.param("starting_after") for asked in server.asked]
        before = tracker.everything()
        tracker.extract(server.url, journey="checkout")
    assert pages == [None, "txn_350", "txn_250", "txn_150", "txn_50"]
    assert sums(tracker) == [(5.0 * bucket, 50, 350) for bucket in range(9)]
    assert found.reasons == {}
    assert tracker.everything().replace("'", "") == before.replace("'", "")
    (kpi, *_) = tracker.landed("journey_kpis")
    assert (kpi["journey"], kpi["step"], kpi["successes"], kpi["currency"]) == ("checkout", "pay", 50, "GBP")
    assert "example.org" not in tracker.everything()


def test_a_transaction_that_is_listed_late_is_found_by_looking_back(tracker: Tracker):
    account = Account([transaction("a", 56)])
    with serve(account) as server:
        tracker.extract(server.url, HOUR, journey="checkout")
        account.known.append(transaction("late", 58))
        found = tracker.extract(server.url, NEXT, journey="checkout")["journey_kpis"]
    assert sums(tracker) == [(55, 2, 2000)]
    assert found.late == 1


def test_a_window_that_cuts_a_bucket_leaves_it_to_the_next(tracker: Tracker):
    account = Account([transaction("a", 1), transaction("b", 4), transaction("c", 6)])
    with serve(account) as server:
        tracker.extract(server.url, Window(START, utc(3)), journey="checkout")
        assert sums(tracker) == []
        tracker.extract(server.url, Window(utc(3), utc(7)), journey="checkout")
        assert sums(tracker) == [(0, 2, 2000)]
        tracker.extract(server.url, Window(utc(7), utc(60)), journey="checkout")
    assert sums(tracker) == [(0, 2, 2000), (5, 1, 1000)]


def test_what_goes_back_lowers_revenue_or_is_a_journey_of_its_own(tracker: Tracker):
    account = Account(
        [
            transaction("a", 1, 5000),
            transaction("b", 2, -2000, "refund"),
            transaction("c", 7, -500, "dispute"),
            transaction("d", 8, 500, "dispute_reversal"),
            transaction("e", 3, -9000, "payout"),
            transaction("f", 3, -10, "fee"),
        ]
    )
    with serve(account) as server:
        found = tracker.extract(server.url, journey="checkout")["journey_kpis"]
        assert sums(tracker) == [(0, 1, 3000), (5, 0, 0)]
        assert found.reasons == {"payout left out": 1, "fee left out": 1}
        tracker.extract(server.url, journey="checkout", returns={"journey": "refunds", "step": "refund"})
        assert sums(tracker, "journey") == [(0, 1, 5000, "checkout"), (0, 1, -2000, "refunds"), (5, 1, 0, "refunds")]
        tracker.extract(server.url, journey="checkout", returns="ignore")
    assert sums(tracker) == [(0, 1, 5000)]


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        (500, "JPY", 50_000),
        (500, "GBP", 500),
        (500, "UGX", 500),
        (5120, "KWD", 512),
        (5125, "KWD", 512),
        (5135, "KWD", 514),
        (-5125, "KWD", -512),
    ],
)
def test_every_currency_is_counted_in_hundredths(amount, currency, expected):
    assert hundredths(amount, currency) == expected


def test_money_of_another_currency_is_counted_as_left_out(tracker: Tracker):
    account = Account([transaction("a", 1, 500, currency="jpy"), transaction("b", 1)])
    with serve(account) as server:
        found = tracker.extract(server.url, journey="checkout")["journey_kpis"]
        assert (sums(tracker), found.reasons) == ([(0, 1, 1000)], {"transaction in JPY left out": 1})
        tracker.extract(server.url, journey="elsewhere", currency="JPY")
    assert sums(tracker) == [(0, 1, 50_000)]


def test_metadata_of_a_charge_is_a_segment_without_people_in_it(tracker: Tracker):
    def source(plan: str) -> dict[str, Any]:
        card = {"card": {"country": "FR"}}
        return {"source": {"id": "ch", "metadata": {"plan": plan}, "payment_method_details": card, "billing_details": {"name": "Jane Doe"}}}

    account = Account([transaction(str(n), 1, **source(plan)) for n, plan in enumerate(["gold", "gold", "jane@example.org"])])
    account.known.append(transaction("old", 1, source=None))
    with serve(account) as server:
        tracker.extract(
            server.url, journey="checkout", segments={"plan": "metadata.plan", "country": "payment_method_details.card.country"}
        )
        assert sums(tracker, "plan", "country") == [(0, 1, 1000, "", ""), (0, 1, 1000, "<email>", "FR"), (0, 2, 2000, "gold", "FR")]
        assert "Jane" not in tracker.everything()
        account.known = [transaction(str(n), 1, **source(f"order {n}")) for n in range(501)]
        with pytest.raises(SourceRejected, match=r"more than 500 combinations of metadata\.plan"):
            tracker.extract(server.url, journey="checkout", segments={"plan": "metadata.plan"})
    with pytest.raises(ConfigError, match=r"billing_details\.name"):
        tracker.extract("http://nowhere", journey="checkout", segments={"plan": "billing_details.name"})


def test_nothing_is_an_answer_and_takes_back_what_is_gone(tracker: Tracker):
    account = Account([transaction("a", 1)])
    with serve(account) as server:
        tracker.extract(server.url, journey="checkout")
        account.known.clear()
        found = tracker.extract(server.url, journey="checkout")["journey_kpis"]
    assert (found.received, sums(tracker)) == (0, [])


def test_records_that_cannot_be_counted_are_quarantined(tracker: Tracker):
    bad = [
        transaction("a", 1, "12.00"),
        transaction("b", 1, None),
        transaction("c", 1, True),
        transaction("d", 1, created="today"),
        {"id": "e"},
    ]
    data = {"object": "list", "has_more": False, "data": [*bad, transaction("f", 1, currency="gbp"), transaction("g", 10_000)]}
    with serve(lambda asked: Answer(data)) as server:
        found = tracker.extract(server.url, journey="checkout")["journey_kpis"]
    assert sums(tracker) == [(0, 1, 1000)]
    assert found.rejected == 5
    assert sorted(set(tracker.quarantined("journey_kpis"))) == [
        "amount: not a whole number",
        "created: not a whole number",
        "missing amount",
    ]
    assert found.reasons["transaction dated outside the window"] == 1, "a clock that is ahead"


def test_the_same_transaction_listed_twice_counts_once(tracker: Tracker):
    data = {"object": "list", "has_more": False, "data": [transaction("a", 1), transaction("a", 1)]}
    with serve(lambda asked: Answer(data)) as server:
        found = tracker.extract(server.url, journey="checkout")["journey_kpis"]
    assert (sums(tracker), found.reasons) == ([(0, 1, 1000)], {"transaction listed twice": 1})


def test_too_many_requests_are_waited_for(tracker: Tracker):
    account, answers = Account([transaction("a", 1)]), [Answer({}, status=429, headers={"retry-after": "0"})]
    with serve(lambda asked: answers.pop() if answers else account(asked)) as server:
        tracker.extract(server.url, journey="checkout")
    assert sums(tracker) == [(0, 1, 1000)]


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ({"has_more": True, "data": []}, "there is more, but not after what"),
        ({"has_more": True, "data": [transaction("a", 1)]}, "repeats|loops"),
        ({"has_more": False, "data": "none"}, "expected a list of objects at data"),
    ],
)
def test_a_list_that_cannot_be_trusted_lands_nothing(tracker: Tracker, page, said):
    with serve(lambda asked: Answer(page)) as server, pytest.raises(SourceRejected, match=said):
        tracker.extract(server.url, journey="checkout")
    assert sums(tracker) == []


def test_a_list_that_is_not_newest_first_is_refused(tracker: Tracker):
    def rule(asked: Asked) -> Answer:
        first = asked.param("starting_after") is None
        return Answer({"has_more": first, "data": [transaction("a", 1) if first else transaction("b", 30)]})

    with serve(rule) as server, pytest.raises(SourceRejected, match="not newest first"):
        tracker.extract(server.url, journey="checkout")


def test_a_wrong_key_and_a_key_of_test_mode_are_refused(tmp_path, monkeypatch):
    wrong = Tracker(tmp_path, monkeypatch, "stripe", ("journey_kpis",), password="rk_live_other")
    with serve(Account()) as server, pytest.raises(SourceRejected, match="401; check login"):
        wrong.extract(server.url, journey="checkout")
    test = Tracker(tmp_path, monkeypatch, "stripe", ("journey_kpis",), password="sk_test_k3y")
    with pytest.raises(ConfigError, match="money is not real"):
        test.extract("http://nowhere", journey="checkout")
    with pytest.raises(ConfigError, match="say which `currency`"):
        wrong.extract("http://nowhere", journey="subscriptions")
