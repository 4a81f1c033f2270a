"""The steps that store weights in blocks of four or eight bits, for the pipelines of targets."""

from __future__ import annotations

from functools import partial

from edgeopt.ir.pass_base import Step
from edgeopt.passes.quantization.fpq import FpqSearch
from edgeopt.passes.quantization.shift_channels import ShiftChannels
from edgeopt.passes.quantization.weight_only import WeightOnlyQuantization


def stored_steps(format: str, activations: bool = False) -> tuple[Step, ...]:
    """Return the steps that store weights in ``format``, with ``activations`` what layers read as well.

    E2M1 with a scale for each row, ``fp4``, is searched by FPQ, which finds that format and others, where there is
    data to search on.
    """
    if format == "fp4" and activations:
        return (
            Step(ShiftChannels, "first, for one scale has to suit all channels of an activation"),
            Step(partial(FpqSearch, activations=True), "last, on the weights as they are to be read"),
        )
    reason = "after the folds, which rewrite weights"
    stored = Step(partial(WeightOnlyQuantization, format, activations=activations), reason)
    if format == "fp4":
        return (Step(FpqSearch, f"{reason}; searched where there is data", optional=True), stored)
    return (stored,)
