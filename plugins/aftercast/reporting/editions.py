"""For whom a report is made: an edition for an audience reads that audience's file and names nothing it may not see."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aftercast import narrowing
from aftercast.errors import SourceUnavailable
from aftercast.reporting.exceptions import Declared
from aftercast.settings import Settings

UNTOLD = "What failed may name what the readers of this edition may not see, so it stands in the log of the pipeline only."


@dataclass(frozen=True, slots=True)
class Edition:
    """Where a report reads and writes.

    Attributes:
        mart: the published file it is made of.
        folder: where its pages lie, by period.
        hidden: names that its readers may not see.
        is_whole: it is made of the whole mart.
    """

    mart: Path
    folder: Path
    hidden: frozenset[str] = frozenset()
    is_whole: bool = True

    def may_say(self, text: str) -> bool:
        """Whether a text names nothing that the readers may not see."""
        return not narrowing.names(text, self.hidden)

    def sources(self, settings: Settings) -> list[str]:
        """Return the names of the declared sources."""
        return [source.name for source in settings.deployment.sources if self.may_say(source.name)]

    def excepted(self, settings: Settings) -> Declared:
        """Return the rows in which exceptions stand, without those that concern what the readers may not see."""
        deployment = settings.deployment
        detectors = (
            row.model_copy(update={"masks": tuple(mask for mask in row.masks if self.may_say(mask.model_dump_json()))})
            for row in deployment.detectors
        )
        times = (row for row in deployment.calendar if self.may_say(row.model_dump_json()))
        return Declared(tuple(detectors), deployment.rankers, tuple(times))


def of(settings: Settings, audience: str | None) -> Edition:
    """Return the edition for an audience of `publishing.yml`; None: for who may read the whole mart."""
    if audience is None:
        return Edition(settings.mart, settings.reports)
    row = next(row for row in settings.publishing.audiences if row.name == audience)
    file = settings.audiences / f"{audience}.duckdb"
    return Edition(file, settings.reports / "audiences" / audience, narrowing.names_of(settings, row), is_whole=False)


def check(edition: Edition) -> None:
    """Refuse an edition whose file was not published yet.

    Raises:
        SourceUnavailable: the audience was declared after the last publish.
    """
    if not edition.is_whole and not edition.mart.exists():
        raise SourceUnavailable(
            f"audience {edition.mart.stem!r} has no published file yet ({edition.mart}); the next refresh that publishes makes it"
        )
