"""float-weights: int8 weights whose products would leave a saturating sum of 16 bits are stored as floats.

Before => after, for integers q with scale s and zero point z:

    layer(dequantize(u), dequantize(q, s, z))  =>  layer(dequantize(u), w),    w = (q - z) s

No number changes, and the layer computes in float. It is for programs that were quantized elsewhere: their weights
cannot be rounded anew, as ``insert-qdq`` rounds its own (see ``edgeopt.quant.pairs``).

Not when: no pair of weights comes to more than 16 bits hold, the weights are uint8, or the layer reads floats.
"""

from __future__ import annotations

import torch

from edgeopt.analysis.saturation import pair_sums
from edgeopt.ir.context import Context
from edgeopt.ir.pass_base import Note, Pass, PassResult
from edgeopt.ir.program import Program
from edgeopt.ir.rewrite import arguments

_RULE = "store-as-float"


class FloatWeights(Pass):
    """Store the weights of layers that would saturate as floats."""

    name = "float-weights"
    stage = "quantized"

    def run(self, program: Program, context: Context) -> PassResult:
        """Store the weights of a copy of ``program`` anew."""
        program = program.clone()
        layers = [one.layer for one in pair_sums(program) if one.saturates]
        for name in layers:
            _store(program, name)
        program.clean()
        return PassResult(program, bool(layers), tuple(Note(_RULE, name) for name in layers))


def _store(program: Program, name: str) -> None:
    layer = program.node(name)
    assert layer is not None
    old = arguments(layer)["weight"]
    q, scale, zero_point = (program.constants[part.name] for part in old.args[:3])
    real: torch.Tensor = old.target(q, scale, zero_point, *old.args[3:])
    layer.replace_input_with(old, program.add_constant(f"{old.args[0].name}_float", real))
