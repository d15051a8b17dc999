"""What each extract received, rejected and landed, kept as one small file per source, entity and window."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from aftercast import privacy
from aftercast.entities import COUNT, COVERAGE_SCHEMA, ENTITIES, TEXT, TIME, ColumnType
from aftercast.landing import storage
from aftercast.landing.slices import NOBODY, REPLAYED, entity_folder, superseded, window_of
from aftercast.settings import Settings
from aftercast.window import Window, parse_utc

HELD_BACK = ".held"
LONGEST_NOTE = 300
LONGEST_READ = 10_000
INBOX = "inbox"  # the label of what an inbox holds: read again and again, counted once


def kept_notes(notes: Mapping[str, int]) -> Counter[str]:
    """Return notes as they may be kept, whatever a system put into them: Unicode on one line, not long, without personal data."""
    found: Counter[str] = Counter()
    for note, n in notes.items():
        text = privacy.redact(" ".join(note[:LONGEST_READ].encode(errors="replace").decode().split()))
        found[text if len(text) <= LONGEST_NOTE else f"{text[:LONGEST_NOTE]} …"] += n
    return found


def _folder(settings: Settings, source: str) -> Path:
    return settings.landing / "coverage" / f"source={source}"


def _path(settings: Settings, source: str, entity: str, label: str) -> Path:
    return _folder(settings, source) / f"{entity}__{label}.parquet"


def record(
    settings: Settings,
    source: str,
    entity: str,
    window: Window,
    *,
    in_pieces: bool,
    counts: Mapping[str, int | None],
    watermark: datetime | None,
    reasons: Mapping[str, int],
) -> None:
    """Write the row of one extract. It replaces the rows of windows inside its own; an inbox has one row for all its windows."""
    target = _path(settings, source, entity, INBOX if in_pieces else window.label())
    if in_pieces and target.exists():
        earlier = storage.read(target).row(0, named=True)
        window = Window(
            min(window.start, parse_utc(earlier["window_start"].isoformat())), max(window.end, parse_utc(earlier["window_end"].isoformat()))
        )
    row = {
        "source": source,
        "entity": entity,
        "window_start": window.start,
        "window_end": window.end,
        **counts,
        "watermark": watermark,
        "reasons": _json(reasons),
    }
    storage.write(target, pl.DataFrame([row], schema=COVERAGE_SCHEMA))
    for marker in superseded(target.parent.glob(f"{entity}__*{HELD_BACK}"), window=window, pieces=()):
        marker.unlink(missing_ok=True)
    if not in_pieces:
        for old in superseded(target.parent.glob(f"{entity}__*.parquet"), window=window, pieces=()):
            if old != target:
                old.unlink(missing_ok=True)


def forget(settings: Settings, source: str) -> None:
    """Drop the coverage of a source that has no windows to be behind with."""
    for path in _folder(settings, source).glob("*.parquet"):
        path.unlink()


def cut(settings: Settings, source: str, entity: str, kept_from: datetime, *, going: Collection[Path]) -> None:
    """Make the coverage of an entity tell of what is left from a midnight on, before the files that go are deleted.

    A window that ended earlier is not told of any more, except the source's last one: the next extract goes on from there. One that began
    earlier begins then; what it landed is what is left of it, and as many rows fewer were received and expected. Doing it twice is doing
    it once.
    """
    files = {path: window for path in _folder(settings, source).glob(f"{entity}__*.parquet") if (window := _window_in(path)) is not None}
    last = max((window.end for window in files.values()), default=kept_from)
    landed = list(entity_folder(settings, entity, source).glob("date=*/*.parquet"))
    for path, window in sorted(files.items()):
        label = path.stem.rsplit("__", 1)[-1]
        its = [one for one in landed if _belongs(one, label, window, files.values())]
        if window.start >= kept_from and not any(one in going for one in its):
            continue
        if window.end <= kept_from and window.end < last:
            path.unlink()
            continue
        row = storage.read(path).row(0, named=True)
        left = sum(storage.rows(one) for one in its if one not in going)
        fewer = max(row["landed"] - left, 0)
        start = min(max(window.start, kept_from), window.end - timedelta(minutes=1))
        changed = {
            "window_start": start,
            "landed": row["landed"] - fewer,
            "received": row["received"] - fewer,
            "late": min(row["late"], row["landed"] - fewer),
            "expected": None if row["expected"] is None else max(row["expected"] - fewer, 0),
        }
        target = path if label == INBOX else _path(settings, source, entity, Window(start, window.end).label())
        storage.write(target, pl.DataFrame([{**row, **changed}], schema=COVERAGE_SCHEMA))
        if target != path:
            path.unlink()


def _window_in(path: Path) -> Window | None:
    row = storage.read(path).row(0, named=True)
    start, end = parse_utc(row["window_start"].isoformat()), parse_utc(row["window_end"].isoformat())
    return Window(start, end) if start < end else None


def _belongs(landed: Path, label: str, window: Window, all_windows: Collection[Window]) -> bool:
    """Whether a landed file is counted by the coverage of a window (or of the inbox): the one its slice lies in, else that ends with it."""
    slice_ = window_of(landed.stem.removesuffix(REPLAYED))
    if slice_ is None or label == INBOX:
        return slice_ is None and label == INBOX
    holding = [one for one in all_windows if one.start <= slice_.start and slice_.end <= one.end]
    return window in (holding or [one for one in all_windows if one.end == slice_.end])


def hold_back(settings: Settings, source: str, entity: str, window: Window) -> None:
    """Remember that a gate refused the rows of an entity in a window: until they land, the source is covered to its start only."""
    marker = _folder(settings, source) / f"{entity}__{window.label()}{HELD_BACK}"
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()


def amend(
    settings: Settings,
    source: str,
    entity: str,
    label: str,
    *,
    landed: int,
    duplicate: int,
    before: Counter[str],
    after: Counter[str],
) -> None:
    """Correct the row of the extract that a quarantine file belongs to, once some of its rejected rows have landed.

    Args:
        settings: where coverage lies.
        source: the source.
        entity: the entity.
        label: the slice the quarantine file is named by.
        landed: rows that fit now.
        duplicate: rows that fit now but are versions of another one.
        before: rejected rows by reason before.
        after: rejected rows by reason now.
    """
    path = _path(settings, source, entity, label if window_of(label) else INBOX)
    if not path.exists():
        return
    row = storage.read(path).row(0, named=True)
    reasons = Counter(json.loads(row["reasons"]))
    reasons.subtract(before)
    reasons.update(after)
    changed = {
        "landed": row["landed"] + landed,
        "duplicate": row["duplicate"] + duplicate,
        "rejected": row["rejected"] - before.total() + after.total(),
        "reasons": _json({reason: count for reason, count in reasons.items() if count > 0}),
    }
    storage.write(path, pl.DataFrame([{**row, **changed}], schema=COVERAGE_SCHEMA))


def _json(reasons: Mapping[str, int]) -> str:
    return json.dumps(dict(sorted(reasons.items())), ensure_ascii=False)


def _rows(settings: Settings, source: str = "*") -> pl.DataFrame:
    paths = sorted(path for path in settings.landing.glob(f"coverage/source={source}/*.parquet"))
    columns = ["source", "window_start", "window_end"]
    return pl.concat([storage.read(path).select(columns) for path in paths]) if paths else pl.DataFrame()


def covered(settings: Settings) -> dict[tuple[str, str], tuple[datetime, datetime]]:
    """Return the first and last covered moment of every source and entity that was extracted by windows."""
    paths = [path for path in settings.landing.glob("coverage/source=*/*.parquet") if window_of(path.stem.rsplit("__", 1)[-1])]
    if not paths:
        return {}
    rows = pl.concat([pl.read_parquet(path, hive_partitioning=False) for path in sorted(paths)])
    spans = rows.group_by("source", "entity").agg(pl.col("window_start").min(), pl.col("window_end").max())
    return {(source, entity): (begin, end) for source, entity, begin, end in spans.iter_rows()}


def arrived(settings: Settings) -> pl.DataFrame:
    """Return how many rows lie of every source, entity and hour, and the time of the last of them."""
    found = []
    for entity in ENTITIES.values():
        files = [path for path in settings.landing.glob(f"{entity.name}/source=*/date=*/*.parquet") if f"source={NOBODY}" not in path.parts]
        if files:
            scan = pl.scan_parquet(files, hive_partitioning=False, glob=False).select("source", pl.col(entity.time).alias("last"))
            by_hour = scan.group_by("source", pl.col("last").dt.truncate("1h").alias("hour")).agg(
                pl.len().alias("rows"), pl.col("last").max()
            )
            found.append(by_hour.collect().with_columns(pl.lit(entity.name).alias("entity")))
    schema: dict[str, ColumnType] = {"source": TEXT, "entity": TEXT, "hour": TIME, "rows": COUNT, "last": TIME}
    if not found:
        return pl.DataFrame(schema=schema)
    return pl.concat(found).select(pl.col(name).cast(kind) for name, kind in schema.items())


def covered_until(settings: Settings, source: str) -> datetime | None:
    """Return how far a source's extracts have landed; None before its first.

    That is the end of its last window, or the start of the first one of which a gate holds an entity back. Extracting an earlier window
    does not move it back, and a window that failed does not move it on: the next scheduled extract starts here.
    """
    rows = _rows(settings, source)
    if rows.is_empty():
        return None
    last = parse_utc(rows["window_end"].max().isoformat())  # type: ignore[union-attr]
    refused = [window_of(path.name.removesuffix(HELD_BACK).rsplit("__", 1)[-1]) for path in _folder(settings, source).glob(f"*{HELD_BACK}")]
    return min([last, *(window.start for window in refused if window is not None)])


def gaps(settings: Settings, source: str) -> list[Window]:
    """Return the windows between a source's first and last extract that none has covered."""
    rows = _rows(settings, source)
    found: list[Window] = []
    if rows.is_empty():
        return found
    reached: datetime | None = None
    for start, end in rows.sort("window_start", "window_end").select("window_start", "window_end").iter_rows():
        if reached is not None and start > reached:
            found.append(Window(parse_utc(reached.isoformat()), parse_utc(start.isoformat())))
        reached = end if reached is None else max(reached, end)
    return found


def covered_window(settings: Settings) -> Window | None:
    """Return the span from the first to the last covered moment of all sources; None before the first extract."""
    rows = _rows(settings)
    if rows.is_empty():
        return None
    start, end = rows["window_start"].min(), rows["window_end"].max()
    return Window(parse_utc(start.isoformat()), parse_utc(end.isoformat()))  # type: ignore[union-attr]


def totals(settings: Settings, source: str) -> dict[str, int]:
    """Return how many rows of a source's extracts were received, landed, rejected, versions of others, and late; zeros before the first."""
    outcomes = ("received", "landed", "rejected", "duplicate", "late")
    paths = sorted(_folder(settings, source).glob("*.parquet"))
    rows = [pl.read_parquet(path, columns=list(outcomes), hive_partitioning=False) for path in paths]
    return {name: sum(int(frame[name].sum()) for frame in rows) for name in outcomes}
