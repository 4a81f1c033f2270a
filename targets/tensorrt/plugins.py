"""What plug-ins take in one piece, as one operator of ours each: the program that their variant is written from.

    rms_norm(x, [width], weight, epsilon)         ->  edgeopt.rms_norm(x, weight, epsilon)
    linear(x, dequantize_blocks(E2M1 ...), bias)  ->  edgeopt.fp4_linear(x, codes, scales, bias, factor, ...)

Linear attention and layers of packed signs are such operators already; an attention with more features than a block
has shared memory for is written out.
"""

from __future__ import annotations

import torch
from torch import fx

from edgeopt.ir.nodes import aten, shape_of
from edgeopt.ir.program import Program
from edgeopt.ir.rewrite import Pattern, Rewrite, arguments, op
from edgeopt.ops.dequantize_blocks import DEQUANTIZE_BLOCKS
from edgeopt.ops.feature_maps import feature_count
from edgeopt.ops.fp4_linear import FP4_LINEAR, SCALES
from edgeopt.ops.linear_attention import LINEAR_ATTENTION
from edgeopt.ops.rms_norm import RMS_NORM
from edgeopt.passes.exact.expand_linear_attention import LinearAttentionAsProducts
from edgeopt.quant.float4 import E2M1

_WORD = 8
"""Elements that the kernel reads at a time: a group is a multiple of it."""
_SHARED_BYTES = 160 * 2**10
"""Shared memory that a block may have on the smallest of the GPUs, that of Orin (with room for statistics)."""
_TILE = 32
"""Tokens that the kernel of linear attention holds there at a time, beside its state."""


def with_plugin_operators(program: Program) -> Program:
    """Return the program with every norm and FP4 linear that a plug-in takes as that plug-in's operator."""
    program = _Fitting()(program).program
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


class _WideAttention(LinearAttentionAsProducts):
    """Linear attention whose state does not fit beside a tile of tokens => its body."""

    def pattern(self) -> Pattern:
        """Draw what does not fit."""
        return op(LINEAR_ATTENTION, where=lambda program, node: _shared_bytes(node) > _SHARED_BYTES)


class _Fitting(Rewrite):
    name = "fit-shared-memory"
    rules = (_WideAttention(),)


def _shared_bytes(node: fx.Node) -> int:
    """Return what a block of the kernel keeps in shared memory: a state, a tile of tokens and of their features."""
    given = arguments(node)
    size, values = shape_of(given["query"])[-1], shape_of(given["value"])[-1]
    weight = given["query_weight"]
    features = feature_count(given["feature_map"], size, 0 if weight is None else shape_of(weight)[-1])
    tail = _TILE * (features + _TILE) if given["causal"] else 0
    return 4 * (_TILE * (max(size, values) + features + 1) + features * (values + 1) + tail)
