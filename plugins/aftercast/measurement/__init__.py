"""Measurement: what incidents cost and whether fixes worked, from frames and the as-of time alone."""

from __future__ import annotations

from datetime import datetime

from aftercast.measurement.fixes import measure_fixes
from aftercast.measurement.inputs import MODEL_VERSION, Inputs, Measurement, as_derived
from aftercast.measurement.loss import measure_loss

__all__ = ["MODEL_VERSION", "Inputs", "Measurement", "measure"]


def measure(inputs: Inputs, as_of: datetime) -> Measurement:
    """Return the derived tables impact, incident_loss and fix_impact. Rows after `as_of` are not read; equal inputs give equal rows."""
    impact, totals = measure_loss(inputs, as_of)
    losses = as_derived("incident_loss", totals)
    return Measurement(
        impact=as_derived("impact", impact),
        incident_loss=losses,
        fix_impact=as_derived("fix_impact", measure_fixes(inputs, as_of, losses)),
    )
