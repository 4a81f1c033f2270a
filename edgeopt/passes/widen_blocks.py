"""widen-blocks: weights in four bits become grouped int8, for runtimes that compute on integers but not on four bits.

Before => after, for a weight of elements e with a scale s for each block and a factor f:

    dequantize_blocks(e, s, f)  =>  reshape(int8(m e) * (s f / m)),    m = 2 for E2M1, 4 for E1M2, 1 for E3M0 and INT4

Every multiple is an integer below 128, and dividing by a power of two is exact: no number changes. A runtime that
quantises activations in groups multiplies the integers as they are.

Not when: the codes are computed at run time.
"""

from __future__ import annotations

import torch
from torch import fx

from edgeopt.ops.dequantize_blocks import DEQUANTIZE_BLOCKS, ELEMENTS, real_scale
from edgeopt.pipeline import Kind, Note, PassResult
from edgeopt.program import Program
from edgeopt.quant.fp4 import unpack
from edgeopt.rewrite import arguments, replace

aten = torch.ops.aten

_RULE = "widen-to-int8"
_MULTIPLES = {"e2m1": 2, "e1m2": 4, "e3m0": 1, "int4": 1}


class WidenBlocks:
    """Turn weights in four bits into grouped int8."""

    name = "widen-blocks"
    kind: Kind = "exact"

    def __call__(self, program: Program) -> PassResult:
        """Widen the weights of a copy of ``program``."""
        program = program.clone()
        found = [node for node in program.calls if node.target is DEQUANTIZE_BLOCKS]
        notes = tuple(Note(_RULE, node.name, _widen(program, node)) for node in found)
        program.clean()
        return PassResult(program, any(note.reason is None for note in notes), notes)


def _widen(program: Program, node: fx.Node) -> str | None:
    """Widen one weight, or return the reason not to."""
    given = arguments(node)
    codes, scale, factor = (program.constant(given[name]) for name in ("codes", "scale", "factor"))
    if codes is None or scale is None or factor is None:
        return "its codes or scales are computed at run time"
    multiple, stem = _MULTIPLES[given["element"]], given["codes"].name.removesuffix("_codes")
    integers = (ELEMENTS[given["element"]].decode(unpack(codes)) * multiple).to(torch.int8)
    blocks = program.add_constant(f"{stem}_int8", integers.unflatten(-1, (scale.shape[-1], -1)))
    real = program.add_constant(f"{stem}_scale", (real_scale(scale, factor) / multiple).unsqueeze(-1))
    wide = program.insert(node, aten.to.dtype, blocks, torch.float32)
    product = program.insert(node, aten.mul.Tensor, wide, real)
    replace(node, program.insert(node, aten.reshape.default, product, list(integers.shape)))
    return None
