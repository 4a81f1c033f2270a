"""unpack-blocks: weights in four bits become grouped int8, for runtimes that compute on integers but not on four bits.

Before => after, for a weight of elements e with a scale s for each block and a factor f:

    dequantize_blocks(e, s, f)  =>  reshape(int8(m e) * (s f / m)),    m = 2 for E2M1, 4 for E1M2, 1 for E3M0 and INT4

Every multiple is an integer below 128, and dividing by a power of two is exact: no number changes. A runtime that
quantizes activations in groups multiplies the integers as they are, and is the faster the longer the groups: where the
scales of neighboring blocks differ by factors that the integers can take (powers of two, as in MXFP4), two or four
blocks become one, up to 128 elements, in all of the weight or not at all.

Not when: the codes are computed at run time.
"""

from __future__ import annotations

import torch
from torch import fx

from edgeopt.ir.context import Context
from edgeopt.ir.nodes import aten
from edgeopt.ir.pass_base import Note, Pass, PassResult
from edgeopt.ir.program import Program
from edgeopt.ir.rewrite import arguments, replace
from edgeopt.ops.dequantize_blocks import DEQUANTIZE_BLOCKS, ELEMENTS, real_scale
from edgeopt.quant.float4 import unpack

_RULE = "widen-to-int8"
_LONGEST, _LARGEST = 128, 127
_MULTIPLES = {"e2m1": 2, "e1m2": 4, "e3m0": 1, "int4": 1}


class UnpackBlocks(Pass):
    """Turn weights in four bits into grouped int8."""

    name = "unpack-blocks"
    stage = "quantized"

    def run(self, program: Program, context: Context) -> PassResult:
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
    elements = ELEMENTS[given["element"]].decode(unpack(codes)) * multiple
    elements, scales = _joined(elements.unflatten(-1, (scale.shape[-1], -1)), real_scale(scale, factor) / multiple)
    blocks = program.add_constant(f"{stem}_int8", elements.to(torch.int8))
    real = program.add_constant(f"{stem}_scale", scales.unsqueeze(-1))
    wide = program.insert(node, aten.to.dtype, blocks, torch.float32)
    product = program.insert(node, aten.mul.Tensor, wide, real)
    replace(node, program.insert(node, aten.reshape.default, product, list(elements.flatten(-2).shape)))
    return None


def _joined(blocks: torch.Tensor, scales: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return integers [.., blocks, length] and scales [.., blocks] of the longest groups that change no number."""
    count, length = blocks.shape[-2:]
    # The scale of a block of zeros is anything.
    known = scales.masked_fill((blocks == 0).all(-1), torch.inf)
    for joined in range(_LONGEST // length, 1, -1):
        if count % joined:
            continue
        least = known.unflatten(-1, (-1, joined)).amin(-1, keepdim=True)
        least = torch.where(least.isinf(), 1.0, least)
        wanted = torch.where(known.isinf(), 0.0, known).unflatten(-1, (-1, joined))
        factors = (wanted / least).round()
        integers = blocks.unflatten(-2, (-1, joined)) * factors.unsqueeze(-1)
        if torch.equal(factors * least, wanted) and integers.abs().max() <= _LARGEST:
            return integers.flatten(-2), least.squeeze(-1)
    return blocks, scales
