"""unsigned-weights: int8 weights become uint8 around zero point 128, which x86 multiplies without saturation.

Before => after, for symmetric integers q in -127..127 with scale s:

    dequantize(q, s, 0)  =>  dequantize(uint8(q + 128), s, 128)

No number changes. x86 processors without VNNI multiply uint8 by int8 with VPMADDUBSW, which sums two neighboring
products in a saturating int16: 255 x 127 twice is 64,770, and 32,767 is what is left of it. There is no such
instruction for uint8 by uint8: there both operands are widened to 16 bits, and products are summed in 32 bits
(VPMADDWD). With VNNI one kernel runs both, on weights whose top bit it flips when the model is loaded.

Not when: the weight is not stored as int8, is read by anything but a layer, or its layer rounds activations by token.
"""

from __future__ import annotations

import torch
from torch import fx

from edgeopt.ir.context import Context
from edgeopt.ir.pass_base import Note, Pass, PassResult
from edgeopt.ir.program import Program
from edgeopt.ir.rewrite import arguments, replace
from edgeopt.ops.quantize import DEQUANTIZE
from edgeopt.ops.token_linear import ROUND_TOKENS
from edgeopt.quant.scheme import WEIGHTED

_RULE = "store-unsigned"
_OFFSET = 128


class UnsignedWeights(Pass):
    """Store the int8 weights of layers as uint8."""

    name = "unsigned-weights"
    stage = "quantized"

    def run(self, program: Program, context: Context) -> PassResult:
        """Store the weights of a copy of ``program`` anew."""
        program = program.clone()
        layers = [node for node in program.calls if node.target in WEIGHTED]
        stored = dict.fromkeys(arguments(node)["weight"] for node in layers)
        notes = tuple(Note(_RULE, node.name, _store(program, node)) for node in stored if node.target is DEQUANTIZE)
        program.clean()
        return PassResult(program, any(note.reason is None for note in notes), notes)


def _store(program: Program, node: fx.Node) -> str | None:
    """Store one weight, whose integers ``node`` turns to real values, or return the reason not to."""
    integers, _, zero_point = (program.constant(part) for part in node.args[:3])
    if integers is None or zero_point is None or integers.dtype is not torch.int8:
        return "it is not stored as int8"
    if any(reader.target not in WEIGHTED for reader in node.users):
        return "it is read by more than layers"
    if any(arguments(reader)["input"].target is ROUND_TOKENS for reader in node.users):
        return "its layer rounds activations by token"
    q, scale, zero, axis = node.args
    assert isinstance(q, fx.Node) and isinstance(zero, fx.Node)
    unsigned = program.add_constant(q.name, _unsigned(integers))
    center = program.add_constant(zero.name, _unsigned(zero_point))
    replace(node, program.insert(node, DEQUANTIZE, unsigned, scale, center, axis))
    return None


def _unsigned(values: torch.Tensor) -> torch.Tensor:
    return (values.to(torch.int16) + _OFFSET).to(torch.uint8)
