"""Rows of sources into Parquet files, day by day: whole, once, and gated before they are seen.

A file holds what one extract found of one entity on one day: `landing/<entity>/source=<name>/date=<day>/<slice>.parquet`, where the
slice is the part of the window that falls on the day, or the dropped file the rows came from. Landing a slice again replaces it, and
leaves it untouched when its rows are the same. Rows that do not fit go to `quarantine/` with a reason; every extract leaves one row of
counts per entity under `landing/coverage/`. A crash leaves the old files, or old and new ones side by side, whose rows staging tells
apart by key.
"""

from aftercast.declared import declared_tables
from aftercast.landing.context import Gate, Landed
from aftercast.landing.coverage import arrived, covered, covered_until, covered_window, gaps
from aftercast.landing.extracts import Found, land
from aftercast.landing.preview import Preview, preview
from aftercast.landing.quarantine import quarantined
from aftercast.landing.replaying import replay
from aftercast.landing.retention import Outdated, keep_young, outdated, prune
from aftercast.landing.shared import area as area_of
from aftercast.landing.shared import (
    everybodys_turn,
    fetch_all,
    fetch_coverage,
    hand_over_all,
    know_forgotten,
    shop_of,
    tell_forgotten,
)
from aftercast.landing.slices import landed_days, landing_fingerprint
from aftercast.landing.storage import what_to_do
from aftercast.landing.tables import damaged, declared_path, derived_path, prepare, write_declared, write_derived
from aftercast.landing.verdicts import Subject, instead_of, record_verdicts, subject_of

__all__ = [
    "Found",
    "Gate",
    "Landed",
    "Outdated",
    "Preview",
    "Subject",
    "area_of",
    "arrived",
    "covered",
    "covered_until",
    "covered_window",
    "damaged",
    "declared_path",
    "declared_tables",
    "derived_path",
    "everybodys_turn",
    "fetch_all",
    "fetch_coverage",
    "gaps",
    "hand_over_all",
    "instead_of",
    "keep_young",
    "know_forgotten",
    "land",
    "landed_days",
    "landing_fingerprint",
    "outdated",
    "prepare",
    "preview",
    "prune",
    "quarantined",
    "record_verdicts",
    "replay",
    "shop_of",
    "subject_of",
    "tell_forgotten",
    "what_to_do",
    "write_declared",
    "write_derived",
]
