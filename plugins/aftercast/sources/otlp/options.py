"""Options of an `otlp` source."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from aftercast.declarations import Row

Signal = Literal["metrics", "logs", "traces"]
MINUTE = 60


class Options(Row):
    """Options of an `otlp` source.

    `service`, `environment` and `region` are resource attributes, the first that is there counts. `metrics` and `attributes` are names with
    `*`; without `attributes` all land but those that say who or from where. `lookback_minutes` is how far outside of a window points and
    spans are read: the last value of a counter before it, parents of its spans. `events` counts what happens inside spans.
    """

    inbox: str
    match: str = "*"
    signals: tuple[Signal, ...] = ("metrics", "logs", "traces")
    service: tuple[str, ...] = ("service.name",)
    with_namespace: bool = False
    environment: tuple[str, ...] = ("deployment.environment.name", "deployment.environment")
    default_environment: str | None = None
    region: tuple[str, ...] = ("cloud.region",)
    metrics: tuple[str, ...] = ("*",)
    attributes: tuple[str, ...] | None = None
    resource_attributes: tuple[str, ...] = ()
    quantiles: tuple[float, ...] = (0.5, 0.95, 0.99)
    step_seconds: int = Field(default=60, ge=1, le=3600)
    bucket_seconds: int = Field(default=300, ge=1, le=3600)
    lookback_minutes: int = Field(default=10, ge=0, le=1440)
    most_series: int = Field(default=100_000, ge=1)
    events: bool = False
    deployments: bool = False

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if not all(0 < one < 1 for one in self.quantiles):
            raise ValueError("quantiles lie between 0 and 1, such as [0.5, 0.95]")
        if not self.signals:
            raise ValueError("nothing to extract: signals is empty")
        return self
