"""fuse-token-linears: a linear of activations rounded by token and of an int8 weight becomes one product of integers.

Before => after, with s the scale of each token, q its integers, w the weight's and v their scale:

    linear(round_tokens(x), dequantize(w, v), b) = (s q) (v w)^T + b  =>  token_linear(x, w, v, b) = s v (q w^T) + b

Not when: the weight is not stored as symmetric int8 with a scale for each output.
"""

from __future__ import annotations

import torch
from torch import fx

from edgeopt.ir.context import Context
from edgeopt.ir.nodes import aten
from edgeopt.ir.pass_base import Note, Pass, PassResult
from edgeopt.ir.program import Program
from edgeopt.ir.rewrite import arguments, replace
from edgeopt.ops.quantize import DEQUANTIZE
from edgeopt.ops.token_linear import ROUND_TOKENS, TOKEN_LINEAR

_RULE = "fuse-token-linear"


class FuseTokenLinears(Pass):
    """Fuse what insert-qdq left for activations by token."""

    name = "fuse-token-linears"
    stage = "quantized"

    def run(self, program: Program, context: Context) -> PassResult:
        """Fuse in a copy of ``program``."""
        program = program.clone()
        linears = [node for node in program.calls if node.target is aten.linear.default]
        found = [node for node in linears if node.all_input_nodes[0].target is ROUND_TOKENS]
        notes = tuple(Note(_RULE, node.name, _fuse(program, node)) for node in found)
        program.clean()
        return PassResult(program, any(note.reason is None for note in notes), notes)


def _fuse(program: Program, node: fx.Node) -> str | None:
    """Fuse one linear, or return the reason not to."""
    given = arguments(node)
    stored = given["weight"]
    parts = [program.constant(part) for part in stored.args[:3]] if stored.target is DEQUANTIZE else []
    if not parts or any(part is None for part in parts):
        return "its weight is not stored as integers"
    weight, scale, zero_point = parts
    assert weight is not None and scale is not None and zero_point is not None
    if weight.dtype is not torch.int8 or scale.shape != weight.shape[:1] or zero_point.any():
        return "its weight is not symmetric int8 with a scale for each output"
    source, (integers, factors) = given["input"].args[0], stored.args[:2]
    replace(node, program.insert(node, TOKEN_LINEAR, source, integers, factors, given["bias"]))
    return None
