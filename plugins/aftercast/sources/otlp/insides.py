"""What happens inside a span: the time it spends in its own service, and the events that belong to it.

Own time of a request is its duration less the union of the calls made while serving it; of a call, what the answering service does not
account for: the way there and back, and waiting in line. Events of a span are the spans right below it and the log records that name it.
Of different hosts only durations are compared, never clocks, except where a request calls without a span for the call.
"""

from __future__ import annotations

import polars as pl

CLIENT, PRODUCER, CONSUMER = 3, 4, 5
SERVING, CALLING = (2, CONSUMER), (CLIENT, PRODUCER)
DEEPEST = 12  # doublings: 4,096 spans below each other
MOST_EVENTS = 50  # kinds of one operation and bucket
OTHER, ANY_LOG, AGAIN = "<other>", "log", " (again)"


def own_time(spans: pl.DataFrame) -> pl.Series:
    """Return nanoseconds per row; null for what is neither a request nor a call, and for calls whose other side has no spans.

    `spans` holds whole traces with `caller` (service of the parent, if another) and `caller_kind` (null without a parent).
    """
    rows = spans.with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
    arrives = pl.col("kind").is_in(SERVING) | pl.col("caller").is_not_null() | pl.col("caller_kind").is_null()
    parents = rows.group_by("trace", pl.col("span").alias("parent")).agg(
        pl.col("row").min().alias("above"), pl.col("kind").max().alias("how")
    )
    linked = rows.select("trace", "parent", "row", "kind", "start", "nanoseconds", arrives.alias("arrives")).join(
        parents, on=["trace", "parent"], how="left", maintain_order="left"
    )
    linked = linked.with_columns(_requests(linked), (pl.col("start") + pl.col("nanoseconds")).alias("end"))
    calls = linked.filter(pl.col("kind").is_in(CALLING) & ~pl.col("arrives")).select("home", "start", "end")
    answers = linked.filter(pl.col("arrives") & pl.col("above").is_not_null() & (pl.col("kind") != CONSUMER))
    direct = answers.filter(~pl.col("how").is_in(CALLING))
    direct = direct.select(linked["home"].gather(direct["above"]).alias("home"), "start", "end")
    away = _covered(pl.concat([calls, direct]).drop_nulls("home"), linked)
    served = answers.filter(pl.col("how") == CLIENT).group_by(pl.col("above").alias("row")).agg(pl.col("nanoseconds").sum().alias("served"))
    told = linked.join(away, left_on="row", right_on="home", how="left", maintain_order="left").join(
        served, on="row", how="left", maintain_order="left"
    )
    return told.select(
        pl.when(pl.col("kind") == CLIENT)
        .then((pl.col("nanoseconds") - pl.col("served")).clip(0))
        .when(pl.col("arrives") & (pl.col("kind") != PRODUCER))
        .then((pl.col("nanoseconds") - pl.col("away").fill_null(0)).clip(0))
        .alias("own")
    )["own"]


def _requests(spans: pl.DataFrame) -> pl.Series:
    """Row of the request each span belongs to: itself, or the nearest above it; null where parents go in a circle."""
    arrives = spans["arrives"]
    home = spans.select(pl.when(pl.col("arrives") | pl.col("above").is_null()).then("row").otherwise("above").alias("home"))["home"]
    for _ in range(DEEPEST):
        further = home.gather(home)
        if further.equals(home):
            break
        home = further
    return pl.select(pl.when(arrives.gather(home)).then(home).alias("home"))["home"]


def _covered(calls: pl.DataFrame, requests: pl.DataFrame) -> pl.DataFrame:
    """How much of each request its calls cover; calls at the same time count once."""
    within = calls.join(
        requests.select(pl.col("row").alias("home"), pl.col("start").alias("first"), pl.col("end").alias("last")), on="home"
    )
    clipped = within.select("home", pl.max_horizontal("start", "first").alias("start"), pl.min_horizontal("end", "last").alias("end"))
    ordered = clipped.filter(pl.col("end") > pl.col("start")).sort("home", "start", "end")
    before = ordered.with_columns(pl.col("end").cum_max().shift(1).over("home").alias("until"))
    return before.group_by("home").agg(
        (pl.col("end") - pl.max_horizontal("start", pl.col("until").fill_null(0))).clip(0).sum().alias("away")
    )


def events_of(spans: pl.DataFrame, logs: pl.DataFrame) -> pl.DataFrame:
    """Return (trace, span, event) once each: spans right below (`inside …`, `call service …`), log records (`log …`), and any log at all.

    What happens more than once in a span is an event of its own, too: a loop that ends early still begins. `spans` is as for `own_time`
    with `service` and `name`; `logs` has trace, span and pattern.
    """
    below = spans.filter(pl.col("caller_kind").is_not_null()).select(
        "trace",
        pl.col("parent").alias("span"),
        pl.when(pl.col("caller").is_null())
        .then(pl.lit("inside ") + pl.col("name"))
        .otherwise(pl.lit("call ") + pl.col("service") + pl.lit(" ") + pl.col("name"))
        .alias("event"),
    )
    said = logs.select("trace", "span", (pl.lit("log ") + pl.col("pattern")).alias("event"))
    happened = pl.concat([below, said]).group_by("trace", "span", "event").agg(pl.len().alias("times"))
    again = happened.filter(pl.col("times") > 1).with_columns(pl.col("event") + AGAIN)
    any_of_them = logs.select("trace", "span", pl.lit(ANY_LOG).alias("event")).unique()
    return pl.concat([happened.drop("times"), again.drop("times"), any_of_them])


def at_most(counted: pl.DataFrame, keys: tuple[str, ...]) -> pl.DataFrame:
    """Keep the most frequent events of each operation and bucket; the others count together."""
    ranked = counted.sort(*keys, "count", "event", descending=[*[False] * len(keys), True, False]).with_columns(
        pl.int_range(pl.len()).over(keys).alias("place")
    )
    named = ranked.with_columns(pl.when(pl.col("place") < MOST_EVENTS).then("event").otherwise(pl.lit(OTHER)).alias("event"))
    return named.group_by(*keys, "event").agg(pl.col("count").sum())
