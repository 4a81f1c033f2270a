"""What a pass of your own is written with; part of the public interface.

A pass is a frozen dataclass that inherits ``Pass``, or ``Rewrite`` where it is made of rules over patterns. Its fields
are its settings. What it needs beside the program it declares, and finds in the context that ``run`` is given:

    @dataclass(frozen=True)
    class ClipOutliers(Pass):
        name = "clip-outliers"
        kind = "calibrated"             # numbers change; "exact" where they do not, which is checked
        needs = (CALIBRATION,)          # refused, with the remedy, where there is no calibration data
        requires = frozenset({BATCH_NORMS_FOLDED})

        percentile: float = 99.9

        def run(self, program: Program, context: Context) -> PassResult:
            data = context[CALIBRATION]

``stage`` says when it runs: on floats, to make the precision, or on what is quantized; ``--add-pass`` places it at the
end of its stage on every target. A pass whose layers are tuned afterwards inherits ``Swapper`` and runs in a recipe.
The entry-point group ``edgeopt.passes`` makes it known.
"""

from __future__ import annotations

from edgeopt.calib.data import CALIBRATION as CALIBRATION
from edgeopt.calib.data import CalibrationData as CalibrationData
from edgeopt.calib.moments import PATCHES as PATCHES
from edgeopt.distill.swap import FittedSwapper as FittedSwapper
from edgeopt.distill.swap import Swap as Swap
from edgeopt.distill.swap import Swapper as Swapper
from edgeopt.distill.swap import SwapResult as SwapResult
from edgeopt.ir.context import EMPTY as EMPTY
from edgeopt.ir.context import FLOAT_PROGRAM as FLOAT_PROGRAM
from edgeopt.ir.context import SAMPLES as SAMPLES
from edgeopt.ir.context import TIMER as TIMER
from edgeopt.ir.context import Context as Context
from edgeopt.ir.context import Cost as Cost
from edgeopt.ir.context import Need as Need
from edgeopt.ir.context import Timer as Timer
from edgeopt.ir.pass_base import AFFINE_FOLDED as AFFINE_FOLDED
from edgeopt.ir.pass_base import ATTENTION_EXPANDED as ATTENTION_EXPANDED
from edgeopt.ir.pass_base import BATCH_NORMS_FOLDED as BATCH_NORMS_FOLDED
from edgeopt.ir.pass_base import BLOCK_WEIGHTS as BLOCK_WEIGHTS
from edgeopt.ir.pass_base import CONSTANTS_FOLDED as CONSTANTS_FOLDED
from edgeopt.ir.pass_base import INTEGER_LAYERS as INTEGER_LAYERS
from edgeopt.ir.pass_base import Kind as Kind
from edgeopt.ir.pass_base import Note as Note
from edgeopt.ir.pass_base import Pass as Pass
from edgeopt.ir.pass_base import PassResult as PassResult
from edgeopt.ir.pass_base import Stage as Stage
from edgeopt.ir.pass_base import Step as Step
from edgeopt.ir.program import Program as Program
from edgeopt.ir.rewrite import Match as Match
from edgeopt.ir.rewrite import Pattern as Pattern
from edgeopt.ir.rewrite import Rewrite as Rewrite
from edgeopt.ir.rewrite import Rule as Rule
from edgeopt.ir.rewrite import any_ as any_
from edgeopt.ir.rewrite import arguments as arguments
from edgeopt.ir.rewrite import const as const
from edgeopt.ir.rewrite import op as op
from edgeopt.ir.selective import FITS as FITS
from edgeopt.ir.selective import FittedResult as FittedResult
from edgeopt.ir.selective import SelectivePass as SelectivePass
