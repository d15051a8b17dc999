"""The `stripe` kind: money that came in and went back, from Stripe's balance transactions, summed into journey KPIs.

Balance transactions never change, so a bucket is right once its window was read late enough. They are listed newest first: a bucket
is complete when a page reaches beyond it, so no more than a page and its open buckets are held.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Self

import polars as pl
from pydantic import Field, model_validator

from aftercast.connections import Endpoint, resolve
from aftercast.declarations import Row, SourceRow
from aftercast.errors import ConfigError, SourceRejected
from aftercast.privacy import redact
from aftercast.settings import Settings, check_options, raw_folder
from aftercast.sources import Batch
from aftercast.sources.buckets import bucket_of, whole_buckets
from aftercast.sources.lifecycle import batch, hosted, nothing, text_at
from aftercast.sources.web import Page, Request, records, signed_in
from aftercast.window import Window

URL = "https://api.stripe.com"
PAGE = 100
MOST_SEGMENTS = 500
CHARGES = ("charge",)
RETURNS = ("refund", "refund_failure", "charge_failure", "dispute", "dispute_reversal", "partial_capture_reversal")
# ISK and UGX have no decimals either, but Stripe counts them in hundredths.
DECIMALS = dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"), 0)
DECIMALS |= dict.fromkeys(("BHD", "JOD", "KWD", "OMR", "TND"), 3)
COUNTRIES = ("payment_method_details.card.country", "billing_details.address.country")
Segment = Literal["region", "tier", "plan", "country"]
Key = tuple[datetime, str, str, tuple[str, ...]]


class Place(Row):
    """The journey and step some money belongs to."""

    journey: str
    step: str


class Options(Row):
    """Options of a `stripe` source. `currency` is that of the balance; without it, the one the journey declares."""

    journey: str
    step: str = "pay"
    currency: str | None = Field(default=None, pattern=r"^[A-Z]{3}$")
    returns: Literal["net", "ignore"] | Place = "net"
    segments: dict[Segment, str] = Field(default_factory=dict)
    bucket_minutes: int = Field(default=5, ge=1, le=1440)
    lookback_minutes: int = Field(default=5, ge=5, le=1440)
    test_mode: bool = False

    @model_validator(mode="after")
    def _segments_are_no_people(self) -> Self:
        for column, path in self.segments.items():
            if not path.startswith("metadata.") and path not in COUNTRIES:
                raise ValueError(f"segment {column!r} may come from metadata.<key>, {' or '.join(COUNTRIES)}, not from {path!r}")
        return self


@dataclass(slots=True)
class _Sums:
    """Counts and money of the buckets that are still open."""

    options: Options
    currency: str
    open: dict[Key, list[int]] = field(default_factory=dict)
    ids: dict[datetime, set[str]] = field(default_factory=dict)
    closed: datetime | None = None
    segments: set[tuple[str, ...]] = field(default_factory=set)

    def add(self, one: Mapping[str, Any], at: datetime, category: str) -> str | None:
        """Count a transaction; what is said about one that is not counted."""
        bucket = bucket_of(at, self.options.bucket_minutes)
        known = self.ids.setdefault(bucket, set())
        if one["id"] in known:
            return "transaction listed twice"
        known.add(one["id"])
        came = category in CHARGES
        place = self.options.returns if not came and isinstance(self.options.returns, Place) else self.options
        segment = tuple(redact(text_at(one, "source", *path.split(".")) or "") for path in self.options.segments.values())
        self.segments.add(segment)
        sums = self.open.setdefault((bucket, place.journey, place.step, segment), [0, 0])
        sums[0] += came or (place is not self.options and one["amount"] < 0)
        sums[1] += one["amount"]
        return None

    def close(self, before: datetime | None) -> list[dict[str, Any]]:
        """Return the rows of the buckets that begin after another (None: of all), and forget them."""
        done = sorted(key for key in self.open if before is None or key[0] > before)
        self.closed = before
        self.ids = {bucket: ids for bucket, ids in self.ids.items() if before is not None and bucket <= before}
        return [self._row(key, *self.open.pop(key)) for key in done]

    def _row(self, key: Key, count: int, amount: int) -> dict[str, Any]:
        bucket, journey, step, segment = key
        row = {"journey": journey, "step": step, "ts": bucket.isoformat(), "attempts": count, "successes": count}
        money = {"revenue_minor": hundredths(amount, self.currency), "currency": self.currency}
        return {**row, **money, **dict(zip(self.options.segments, segment, strict=True))}


def hundredths(amount: int, currency: str) -> int:
    """Return an amount of Stripe's in hundredths of the currency, as `revenue_minor` counts; thousandths are rounded half to even."""
    decimals = DECIMALS.get(currency, 2)
    if decimals <= 2:
        return amount * (100, 10, 1)[decimals]
    whole, rest = divmod(amount, 10)
    return whole + (rest > 5 or (rest == 5 and whole % 2 == 1))


@dataclass(frozen=True, slots=True)
class Stripe:
    """An account, and the journey its money belongs to."""

    row: SourceRow
    settings: Settings
    endpoint: Endpoint
    options: Options
    currency: str

    def extract(self, window: Window) -> Iterator[Batch]:
        """Yield the KPIs of the whole buckets of the window, newest first.

        Raises:
            SourceRejected: the key is refused, the list is out of order, or a segment has too many values.
        """
        options = self.options
        yield from nothing(f"GET {self.endpoint.base_url}/v1/balance_transactions", "journey_kpis")
        early = Window(window.start - timedelta(minutes=options.lookback_minutes), window.end)
        asked = whole_buckets(early, options.bucket_minutes)
        if asked is None:
            return
        params: dict[str, str | int | list[str]] = {"created[gte]": int(asked.start.timestamp()), "created[lt]": int(asked.end.timestamp())}
        if options.segments:
            params["expand[]"] = ["data.source"]
        sums = _Sums(options, self.currency)
        with signed_in(self.row.name, self.endpoint, keep=raw_folder(self.settings, self.row, window)) as web:
            for page in web.walk(Request("/v1/balance_transactions", {**params, "limit": PAGE}), self._following):
                yield self._page(page, asked, sums)
        yield batch("journey_kpis", sums.close(None), f"GET {self.endpoint.base_url}/v1/balance_transactions, the oldest bucket")

    def _following(self, page: Page) -> Request | None:
        found = records(page, "data", source=self.row.name)
        if not (isinstance(page.data, dict) and page.data.get("has_more")):
            return None
        last = text_at(found[-1], "id") if found else None
        if last is None:
            raise SourceRejected(f"source {self.row.name!r}: {page.origin} says that there is more, but not after what")
        return page.request.with_params(starting_after=last)

    def _page(self, page: Page, asked: Window, sums: _Sums) -> Batch:
        """Count a page; the rows of the buckets it completes."""
        notes: Counter[str] = Counter()
        bad: list[tuple[str, str]] = []
        oldest: datetime | None = None
        for one in records(page, "data", source=self.row.name):
            problem = _problem(one)
            if problem:
                bad.append((problem, json.dumps({name: one.get(name) for name in ("id", "amount", "created", "currency", "type")})))
                continue
            at, category = datetime.fromtimestamp(one["created"], UTC), str(one.get("reporting_category"))
            if not asked.contains(at):
                notes["transaction dated outside the window"] += 1
                continue
            if sums.closed is not None and bucket_of(at, self.options.bucket_minutes) > sums.closed:
                raise SourceRejected(
                    f"source {self.row.name!r}: {page.origin}: {one['id']} is newer than those before it; not newest first"
                )
            if one["currency"].upper() != self.currency:
                notes[f"transaction in {one['currency'].upper()} left out"] += 1
            elif category not in CHARGES and (category not in RETURNS or self.options.returns == "ignore"):
                notes[f"{category} left out"] += 1
            elif said := sums.add(one, at, category):
                notes[said] += 1
            oldest = at if oldest is None or at < oldest else oldest
        if len(sums.segments) > MOST_SEGMENTS:
            raise SourceRejected(
                f"source {self.row.name!r}: more than {MOST_SEGMENTS} combinations of {', '.join(self.options.segments.values())}; "
                f"take segments that have few values"
            )
        rows = sums.close(bucket_of(oldest, self.options.bucket_minutes)) if oldest else []
        found = batch("journey_kpis", rows, page.origin, notes=notes)
        rejected = pl.DataFrame(bad, schema={"reason": pl.String, "raw": pl.String}, orient="row") if bad else None
        return Batch("journey_kpis", found.frame, page.origin, rejected=rejected, notes=found.notes)


def _problem(one: Mapping[str, Any]) -> str | None:
    """Why a transaction cannot be counted."""
    for name, kind in (("id", str), ("amount", int), ("created", int), ("currency", str)):
        if not isinstance(one.get(name), kind) or isinstance(one.get(name), bool):
            return f"missing {name}" if one.get(name) is None else f"{name}: not {'text' if kind is str else 'a whole number'}"
    return None if 0 < one["created"] < 2**32 else "created: not a time in seconds"


def open(row: SourceRow, settings: Settings) -> Stripe:
    """Return the account a row of sources.yml declares.

    Raises:
        ConfigError: an option or the connection does not fit, no currency is known, or the key is one of test mode.
    """
    options = check_options(row, Options)
    declared = {journey.journey: journey.currency for journey in settings.deployment.journeys}
    currency = options.currency or declared.get(options.journey)
    if currency is None:
        raise ConfigError(f"source {row.name!r}: journey {options.journey!r} is not in journeys.yml; say which `currency` is counted")
    endpoint = hosted(resolve(row.name, row.connection), URL)
    if "_test_" in endpoint.secret()[:8] and not options.test_mode:
        raise ConfigError(
            f"source {row.name!r}: the key of connection {row.connection!r} is one of test mode, whose money is not real; "
            f"use a live key, or set test_mode: true"
        )
    return Stripe(row, settings, endpoint, options, currency)
