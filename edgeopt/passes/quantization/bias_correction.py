"""Bias correction: take back the shift that rounding the weights gives to the mean of each output channel.

Before: ``y = W' x + b`` with W' the rounded weight.
After:  ``y = W' x + (b + (W - W') E[x])``, whose mean is that of ``W x + b``.

E[x] is the mean input (for a convolution the mean patch, padding included) over the calibration data, in the float
program. What the rounding of activations shifts is not corrected: its mean is close to zero.

Not when: a layer has no bias, or its data was not observed.

Source: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV 2019, section 4.2.
"""

from __future__ import annotations

import torch

from edgeopt.analysis.quantized_layers import QuantizedLayer, add_to_bias, quantized_layers
from edgeopt.calib.moments import PATCHES, Patches
from edgeopt.ir.context import FLOAT_PROGRAM, Context
from edgeopt.ir.pass_base import INTEGER_LAYERS, Note, Pass, PassResult
from edgeopt.ir.program import Program
from edgeopt.ir.rewrite import arguments

_RULE = "bias-correction"


class BiasCorrection(Pass):
    """Correct the biases of a quantized program."""

    name = "bias-correction"
    kind = "calibrated"
    stage = "quantized"
    needs = (FLOAT_PROGRAM, PATCHES)
    requires = frozenset({INTEGER_LAYERS})

    def run(self, program: Program, context: Context) -> PassResult:
        """Correct a copy of ``program``."""
        if self.name in program.history:
            return PassResult(program, False, (Note(_RULE, "the program", "it has been corrected before"),))
        program = program.clone()
        notes = [
            Note(_RULE, layer.node.name, _correct(program, layer, context[PATCHES].get(layer.node.name)))
            for layer in quantized_layers(program, context[FLOAT_PROGRAM])
        ]
        return PassResult(program, any(note.reason is None for note in notes), tuple(notes))


def _correct(program: Program, layer: QuantizedLayer, seen: Patches | None) -> str | None:
    """Correct one layer's bias, or return the reason not to."""
    if arguments(layer.node)["bias"] is None:
        return "it has no bias"
    if seen is None:
        return "its data was not observed"
    add_to_bias(program, layer, _lost(layer, seen))
    return None


def _lost(layer: QuantizedLayer, patches: Patches) -> torch.Tensor:
    """Return the mean that each output channel lost: (W - W') E[x]."""
    groups = patches.mean.shape[0]
    error = (layer.weight - layer.rounded).double().reshape(groups, -1, patches.mean.shape[1])
    return (error @ patches.mean.unsqueeze(-1)).flatten().float()
