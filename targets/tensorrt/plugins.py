"""What plug-ins take in one piece, as one operator of ours each: the program that their variant is written from.

    rms_norm(x, [width], weight, epsilon)         ->  edgeopt.rms_norm(x, weight, epsilon)
    linear(x, dequantize_blocks(E2M1 ...), bias)  ->  edgeopt.fp4_linear(x, codes, scales, bias, factor, ...)

Linear attention and layers of packed signs are such operators already.
"""

from __future__ import annotations

import torch
from torch import fx

from edgeopt.ops.dequantize_blocks import DEQUANTIZE_BLOCKS
from edgeopt.ops.fp4_linear import FP4_LINEAR, SCALES
from edgeopt.ops.rms_norm import RMS_NORM
from edgeopt.program import Program
from edgeopt.quant.fp4 import E2M1
from edgeopt.rewrite import arguments

aten = torch.ops.aten

_WORD = 8
"""Elements that the kernel reads at a time: a group is a multiple of it."""


def with_plugin_operators(program: Program) -> Program:
    """Return the program with every norm and FP4 linear that a plug-in takes as that plug-in's operator."""
    program = program.clone()
    for node in list(program.calls):
        if node.target is aten.rms_norm.default:
            _replace_norm(program, node)
        elif node.target is aten.linear.default:
            _replace_linear(program, node)
    program.clean()
    return program


def _replace_norm(program: Program, node: fx.Node) -> None:
    given = arguments(node)
    x, weight = given["input"], given["weight"]
    width = x.meta["val"].shape[-1]
    if list(given["normalized_shape"]) != [width]:
        return
    if weight is None:
        weight = program.add_constant(f"{node.name}_weight", torch.ones(width))
    epsilon = given["eps"] if given["eps"] is not None else torch.finfo(x.meta["val"].dtype).eps
    node.replace_all_uses_with(program.insert(node, RMS_NORM, x, weight, epsilon))


def _replace_linear(program: Program, node: fx.Node) -> None:
    given = arguments(node)
    weight, bias = given["weight"], given["bias"]
    if weight.target is not DEQUANTIZE_BLOCKS:
        return
    stored = arguments(weight)
    codes, scale, factor = (program.constant(stored[name]) for name in ("codes", "scale", "factor"))
    if codes is None or scale is None or factor is None or stored["element"] != E2M1.name:
        return
    group = 2 * codes.shape[-1] // scale.shape[-1]
    # Powers of two are stored as plain bytes.
    kind = torch.float8_e8m0fnu if scale.dtype is torch.uint8 else scale.dtype
    if kind not in SCALES or group % _WORD:
        return
    parts = {"weight": codes.view(torch.int8), "scales": scale.view(torch.int8)}
    constants = [program.add_constant(f"{node.name}_{name}", tensor) for name, tensor in parts.items()]
    if bias is None:
        bias = program.add_constant(f"{node.name}_bias", torch.zeros(codes.shape[0]))
    operands = (given["input"], *constants, bias, float(factor), group, SCALES[kind])
    node.replace_all_uses_with(program.insert(node, FP4_LINEAR, *operands))
