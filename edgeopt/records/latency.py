"""Cost of an inference, as data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from edgeopt.records.form import Record
from edgeopt.records.layers import Layer

SAMPLES_KEPT = 500
"""Most single latencies that a record keeps for the plot of their distribution."""

Unit = Literal["ms", "instructions"]


@dataclass(frozen=True, kw_only=True)
class Latency(Record):
    """Cost of one inference over many runs."""

    unit: Unit
    """Unit of all costs."""
    runs: int
    """Number of runs measured."""
    warmup: int
    """Number of runs before, not counted."""
    threads: int
    """Threads of one inference."""
    min: float
    """Least cost."""
    mean: float
    """Mean cost."""
    median: float
    """Median cost."""
    p90: float
    """90th percentile."""
    p95: float
    """95th percentile."""
    p99: float
    """99th percentile."""
    max: float
    """Largest cost."""
    cv: float
    """Coefficient of variation: standard deviation over mean."""
    cpu_median: float | None = None
    """Median process CPU time of one inference; null where cost is not time."""
    samples: Annotated[tuple[float, ...], Field(max_length=SAMPLES_KEPT)] = ()
    """Single costs in rising order, evenly thinned, least and largest kept."""
    layers: tuple[Layer, ...] = ()
    """Executed layers in order, profiled in runs of their own."""

    @classmethod
    def of(cls, costs: Sequence[float], **facts: Any) -> Latency:
        """Return the statistics of single costs; ``facts`` are the fields that costs do not tell."""
        values = np.array(costs)
        p90, p95, p99 = (float(value) for value in np.percentile(values, (90, 95, 99)))
        return cls(
            runs=len(values),
            min=float(values.min()),
            mean=float(values.mean()),
            median=float(np.median(values)),
            p90=p90,
            p95=p95,
            p99=p99,
            max=float(values.max()),
            cv=float(values.std() / values.mean()) if values.mean() else 0.0,
            samples=_thinned(costs),
            **facts,
        )


def _thinned(costs: Iterable[float]) -> tuple[float, ...]:
    # Sorted first: every n-th run would favor what recurs with n, such as the order of alternate measuring.
    values = sorted(costs)
    if len(values) <= SAMPLES_KEPT:
        return tuple(values)
    return tuple(values[i * (len(values) - 1) // (SAMPLES_KEPT - 1)] for i in range(SAMPLES_KEPT))


@dataclass(frozen=True)
class Baseline(Record):
    """The plain export of the original model on the same target, measured alternately in the same run."""

    latency: Latency
    """Its latency."""
    speedup: float
    """Its median over the artifact's: above 1 the artifact is faster."""
