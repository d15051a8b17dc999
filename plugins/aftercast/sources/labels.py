"""Labels of monitoring systems as ours: which label names the service, the environment and the region, and which make attributes.

`service=cart` in the labels of a series is the service of our row; a `{const: …}` is the same for all rows. Attributes are written
`name=value,name=value`, in the order of names, without those a series does not have, so that one series always is one text.
"""

from __future__ import annotations

from collections.abc import Mapping

from aftercast.declarations import Row


class Constant(Row):
    """A value that every row gets."""

    const: str


class Labels(Row):
    """Which label is what. `severity` is read for alerts only, `attributes` for points only."""

    service: str | Constant = "service"
    environment: str | Constant = "environment"
    region: str | Constant = "region"
    severity: str | Constant = "severity"
    attributes: tuple[str, ...] = ()

    @property
    def kept(self) -> tuple[str, ...]:
        """Labels that tell points apart."""
        named = [name for name in (self.service, self.environment, self.region) if isinstance(name, str)]
        return tuple(dict.fromkeys([*named, *self.attributes]))

    def read(self, labels: Mapping[str, str], *names: str) -> dict[str, str | None]:
        """Return the columns `names` (of service, environment, region, severity) of a series; None where it has no such label."""
        found: dict[str, str | None] = {}
        for name in names:
            given: str | Constant = getattr(self, name)
            found[name] = given.const if isinstance(given, Constant) else labels.get(given) or None
        return found

    def attributes_of(self, labels: Mapping[str, str]) -> str:
        """Return the attributes of a series as text."""
        return ",".join(f"{name}={labels[name]}" for name in sorted(self.attributes) if labels.get(name))
