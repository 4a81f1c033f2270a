"""The estimators by name, as the command line and ``ranges.json`` spell them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from edgeopt.calib import entropy, minmax, moving_average, mse, percentile
from edgeopt.calib.statistics import Statistics
from edgeopt.errors import UserError

Estimator = Callable[[Statistics], tuple[float, float]]

METHODS = ("minmax", "moving-average", "percentile", "entropy", "mse")
"""Names of the estimators; ``percentile=99.9`` says the share that is kept."""


@dataclass(frozen=True)
class Method:
    """An estimator under its full name, and whether it needs a histogram (a second run over the samples)."""

    name: str
    estimate: Estimator
    needs_histogram: bool


def method(name: str) -> Method:
    """Return the estimator of that name.

    Raises UserError where there is none, or where the percentile is not between 50 and 100.
    """
    base, _, value = name.partition("=")
    if base == "percentile":
        return _percentile(name, value)
    plain: dict[str, tuple[Estimator, bool]] = {
        "minmax": (minmax.estimate, False),
        "moving-average": (moving_average.estimate, False),
        "entropy": (entropy.estimate, True),
        "mse": (mse.estimate, True),
    }
    if name not in plain:
        raise UserError(f"unknown calibration method '{name}'", f"choose one of: {', '.join(METHODS)}")
    return Method(name, *plain[name])


def _percentile(name: str, value: str) -> Method:
    try:
        keep = float(value) if value else percentile.DEFAULT_KEEP
    except ValueError:
        keep = -1.0
    if not 50 < keep <= 100:
        raise UserError(f"'{name}' keeps no sensible share", "write for example percentile=99.99")
    return Method(f"percentile={keep:g}", partial(percentile.estimate, keep=keep), True)
