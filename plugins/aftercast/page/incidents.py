"""The list of incidents: what a reader may ask for, and the rows, sums and choices that answer it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from aftercast import warehouse
from aftercast.errors import ConfigError
from aftercast.page.reading import Mart
from aftercast.page.searching import LONGEST, Found, search
from aftercast.reporting import losses, wording
from aftercast.reporting.intervals import Range
from aftercast.reporting.periods import WEEKLY

PER_PAGE = 50
NO_POSTMORTEM = "none"

# What a column is sorted by, and which way comes first.
SORTS = {
    "found": ("", "asc"),  # the best match first, while a text is asked for
    "started": ("started_at", "desc"),
    "title": ("lower(title)", "asc"),
    "severity": ("coalesce(severity_rank, 99)", "asc"),
    "lasted": ("impact_minutes", "desc"),
    "lost": ("case when impact_status = 'quantified' then lost_revenue end", "desc"),
    "candidate": ("top_candidate_probability", "desc"),
    "family": ("lower(family_title)", "asc"),
}
FILTERS = ("week", "service", "severity", "family", "postmortem", "q")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the reader asked for; empty text asks for everything.

    Attributes:
        sort: a key of `SORTS`; order: asc or desc.
        page: from 1.
    """

    week: str = ""
    service: str = ""
    severity: str = ""
    family: str = ""
    postmortem: str = ""
    q: str = ""
    sort: str = "started"
    order: str = "desc"
    page: int = 1

    @property
    def is_filtered(self) -> bool:
        return any(getattr(self, name) for name in FILTERS)

    def address(self, **changes: Any) -> str:
        """Return the query string of this list with some of it changed; filters that change lead to the first page."""
        now = {name: getattr(self, name) for name in (*FILTERS, "sort", "order")} | {"page": self.page} | changes
        if now["sort"] == "found" and not now["q"]:
            now |= {"sort": "started", "order": "desc"}
        said = {name: value for name, value in now.items() if value and (name, value) != ("page", 1)}
        if said["sort"] == ("found" if now["q"] else "started") and said["order"] == SORTS[said["sort"]][1]:
            del said["sort"], said["order"]
        return f"?{urlencode(said)}" if said else "?"


def asked(given: Mapping[str, str]) -> Asked:
    """Return what a query string asks for; what it says of sorting and pages that makes no sense is as if it were not said."""
    usual = "found" if given.get("q", "").strip() else "started"
    sort = given.get("sort", usual)
    sort = sort if sort in SORTS and (sort != "found" or usual == "found") else usual
    order = given.get("order", SORTS[sort][1])
    page = given.get("page", "1")
    return Asked(
        **{name: given.get(name, "").strip()[:LONGEST] for name in FILTERS},
        sort=sort,
        order=order if order in ("asc", "desc") else SORTS[sort][1],
        page=min(max(1, int(page)), 1_000_000) if page.isascii() and page.isdigit() and len(page) < 8 else 1,
    )


def listed(mart: Mart, wish: Asked) -> dict[str, Any]:
    """Return what the list shows: lines, sums, choices, the pages there are, and notes on what could not be asked for."""
    notes: list[str] = []
    found = search(mart, wish.q)
    where, parameters = _where(wish, found, notes)
    sums = mart.row(
        f"""
        select count(*) as n, count(*) filter (where is_open) as n_open,
               count(*) filter (where exclude_from_metrics) as n_excluded,
               count(*) filter (where not coalesce(exclude_from_metrics, false) and impact_status = 'quantified') as n_quantified,
               count(*) filter (where not coalesce(exclude_from_metrics, false) and impact_status = 'below_noise') as n_below_noise
        from mart_incidents where {where}
        """,
        parameters,
    ) or {"n": 0, "n_open": 0, "n_excluded": 0, "n_quantified": 0, "n_below_noise": 0}
    lost = mart.rows(
        f"""
        select currency, sum(lost_revenue) as lost from mart_incidents
        where {where} and impact_status = 'quantified' and not coalesce(exclude_from_metrics, false)
        group by currency order by lost desc nulls last, currency
        """,
        parameters,
    )
    pages = max(1, -(-sums["n"] // PER_PAGE))
    page = min(wish.page, pages)
    by, way = SORTS[wish.sort][0], wish.order
    if wish.sort == "found":
        ids = ", ".join(warehouse.literal(one) for one in (found.incidents if found else ()))
        by = f"list_position([{ids}]::varchar[], incident_id)"
    rows = mart.rows(
        f"""
        with shown as (
            select *, row_number() over (order by {by} {way} nulls last, started_at desc, incident_id) as place
            from mart_incidents where {where}
            order by place limit {PER_PAGE} offset {(page - 1) * PER_PAGE}
        )
        select shown.*, candidates.title as top_title
        from shown
        left join mart_incident_candidates as candidates
            on candidates.incident_id = shown.incident_id and candidates.kind = shown.top_candidate_kind
            and candidates.candidate_id = shown.top_candidate_id
        order by shown.place
        """,
        parameters,
    )
    lines = [line(row) for row in {row["incident_id"]: row for row in rows}.values()]
    return {
        "asked": wish,
        "lines": lines,
        "sums": sums | {"n_unknown": sums["n"] - sums["n_excluded"] - sums["n_quantified"] - sums["n_below_noise"]},
        "lost": [(row["currency"] or "", row["lost"]) for row in lost],
        "most_lost": max((max(one["lost"].value or 0.0, one["lost"].high or 0.0) for one in lines), default=0.0),
        "page": page,
        "pages": pages,
        "first": (page - 1) * PER_PAGE + 1 if lines else 0,
        "choices": _choices(mart, wish),
        "notes": notes,
        "beside": found.beside if found else [],
        "any": bool(sums["n"]) or (mart.row("select count(*) as n from mart_incidents") or {"n": 0})["n"] > 0,
    }


def line(row: dict[str, Any]) -> dict[str, Any]:
    """Return an incident's row with what the pages say of it: loss, cause, and how far its postmortem is."""
    quantified = row["impact_status"] == "quantified" and row["lost_revenue"] is not None
    kind, confirmed = row["top_candidate_kind"], row["top_candidate_confirmed"]
    return row | {
        "title": " ".join((row["title"] or "").split()) or "(no title)",
        "lost": Range(row["lost_revenue"], row["lost_revenue_low"], row["lost_revenue_high"]) if quantified else Range(None, None, None),
        "loss_text": "" if quantified else losses.why_no_amount(row | {"impact_status": row["impact_status"] or "unknown"}),
        "cause": losses.candidate_words(kind, row["top_candidate_id"], row.get("top_title")) if kind else "no candidate",
        "review": "confirmed" if confirmed else "rejected" if confirmed is False else "not reviewed",
        "postmortem": postmortem(row),
        "url": safe_url(row["url"]),
        "postmortem_url": safe_url(row["postmortem_url"]),
    }


def postmortem(row: dict[str, Any]) -> str:
    """Return how far an incident's postmortem is, as the mart knows it."""
    if row["postmortem_status"]:
        return str(row["postmortem_status"]).replace("_", " ")
    return "not over yet" if row["is_open"] else "none yet"


def safe_url(url: str | None) -> str | None:
    """Return an address that is one of the web, and nothing else."""
    return url if url and url.startswith(("https://", "http://")) and not any(ord(letter) < 33 for letter in url) else None


def _where(wish: Asked, found: Found | None, notes: list[str]) -> tuple[str, list[Any]]:
    conditions: list[str] = ["true"]
    parameters: list[Any] = []
    if wish.week:
        try:
            week = WEEKLY.parse(wish.week)
        except ConfigError as error:
            notes.append(f"{error}. All weeks are shown.")
        else:
            conditions.append("started_at >= ? and started_at < ?")
            parameters += [week.start, week.end]
    if wish.service:
        conditions.append("(service_origin = ? or coalesce(list_contains(services_impacted, ?), false))")
        parameters += [wish.service, wish.service]
    for name, column in (("severity", "severity"), ("family", "family_id")):
        if getattr(wish, name):
            conditions.append(f"{column} = ?")
            parameters.append(getattr(wish, name))
    if wish.postmortem == NO_POSTMORTEM:
        conditions.append("postmortem_status is null")
    elif wish.postmortem:
        conditions.append("postmortem_status = ?")
        parameters.append(wish.postmortem)
    if found is not None:
        conditions.append("list_contains(?, incident_id)" if found.incidents else "false")
        parameters += [found.incidents] if found.incidents else []
    return " and ".join(conditions), parameters


def _choices(mart: Mart, wish: Asked) -> dict[str, list[tuple[str, str]]]:
    """Return what each filter offers: value and words; also a value asked for that nothing has."""
    count = wording.count
    found = {
        "week": [
            (WEEKLY.label(span), f"{WEEKLY.label(span)}, from {wording.day(span.start)} ({row['n']})")
            for row in mart.rows(
                "select date_trunc('week', started_at) as week, count(*) as n from mart_incidents where started_at is not null "
                "group by 1 order by 1 desc"
            )
            for span in (WEEKLY.of(row["week"]),)
        ],
        "service": [
            (row["service"], row["service"])
            for row in mart.rows(
                "select distinct service from (select service_origin as service from mart_incidents union all "
                "select unnest(services_impacted) from mart_incidents) where service <> '' order by 1"
            )
        ],
        "severity": [
            (row["severity"], row["severity"])
            for row in mart.rows("select severity from mart_incidents where severity <> '' group by 1 order by min(severity_rank), 1")
        ],
        "family": [
            (row["family_id"], f"{wording.shorten(row['title'] or row['family_id'], 60)} ({row['n']})")
            for row in mart.rows(
                "select family_id, any_value(family_title) as title, count(*) as n from mart_incidents where family_id is not null "
                "group by 1 order by n desc, 2"
            )
        ],
        "postmortem": [
            *(
                (row["status"], row["status"].replace("_", " "))
                for row in mart.rows(
                    "select distinct postmortem_status as status from mart_incidents where postmortem_status is not null order by 1"
                )
            ),
            (NO_POSTMORTEM, "none yet"),
        ],
    }
    for name, values in found.items():
        value = getattr(wish, name)
        if value and value not in {one for one, _ in values}:
            values.insert(0, (value, f"{wording.shorten(value, 60)} ({count(0, 'incident')})"))
    return found
