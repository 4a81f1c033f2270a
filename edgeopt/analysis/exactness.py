"""Whether a pass that is called exact is: the outputs stay, up to the rounding of float32.

What rounding may do depends on the model: its own noise can be above any fixed bound. There the pass runs once more, on
the program in float64, where rounding is out of the way and a tight bound tells a wrong pass from a noisy model. Where
float64 does not run, the change is held against the noise.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgeopt.analysis.accuracy_tracker import EXACT_BOUND, AccuracyTracker, changes, decides
from edgeopt.analysis.float64 import NotInFloat64, in_float64, sample_in_float64
from edgeopt.ir.context import Context
from edgeopt.ir.metrics import Reference
from edgeopt.ir.pass_base import Pass
from edgeopt.ir.program import Program

FLOAT64_BOUND = 1e-9
"""Largest relative change of the outputs, in float64, that a pass labeled exact may cause."""
NOISES = 10
"""How many times the model's noise the outputs may move where float64 does not run."""
NOISES_PROVEN = 100
"""The same where they stay in float64: weights that were rounded anew add to the noise, but not without end."""


def excessive_change(
    step: Pass, before: Program, after: Program, tracker: AccuracyTracker, context: Context
) -> float | None:
    """Return the relative change of the outputs by an exact pass where it is more than rounding does; None elsewhere.

    ``tracker`` measured ``before`` and ``after``, in this order; ``context`` is what the pass was given.
    """
    drift = tracker.drift
    if max(drift.values(), default=0.0) <= EXACT_BOUND:
        return None
    if decides(before) and tracker.stepwise(before, after).relative <= EXACT_BOUND:
        return None
    noise = tracker.noise.outputs
    try:
        proven = _holds_in_float64(step, before, tracker.samples[0], context)
    except NotInFloat64:
        allowed = {name: NOISES * noise.get(name, 0.0) for name in drift}
    else:
        # Outputs without noise of their own, such as indices, may turn wherever the values before them are noisy.
        allowed = {name: NOISES_PROVEN * noise.get(name, np.inf) if proven else 0.0 for name in drift}
    within = all(change <= max(EXACT_BOUND, allowed[name]) for name, change in drift.items())
    return None if within else max(drift.values())


def _holds_in_float64(step: Pass, before: Program, sample: Mapping[str, np.ndarray], context: Context) -> bool:
    """Whether the outputs stay where the pass is run on the program in float64.

    Raises NotInFloat64 where that does not run.
    """
    double, inputs = in_float64(before), sample_in_float64(sample)
    try:
        expected = double.run(inputs)
        after = step(double, context).program
        after.clean()
        outputs = after.run(inputs)
    except Exception as error:  # in float32 the same thing ran
        raise NotInFloat64(str(error)) from error
    return max(changes(Reference((expected,)), [outputs]).values(), default=0.0) <= FLOAT64_BOUND
