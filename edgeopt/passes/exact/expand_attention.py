"""Write attention out as products and a softmax, so that each of them can be quantized, fused or folded.

Before => after, with s the scale (by default 1 / sqrt(channels of a head)):

    scaled_dot_product_attention(q, k, v)        =>  softmax((s * q) k^T) v
    scaled_dot_product_attention(q, k, v, mask)  =>  softmax((s * q) k^T + bias) v * any

``bias`` is a float mask itself, or of a boolean one 0 where it is true and the lowest float where it is false.
``any`` is 0 for rows that a boolean mask hides altogether, for which attention is defined as 0, and is left out
where no row is. A mask that is constant and true throughout is dropped. Several attentions under one mask share
its bias.

Not when: it drops values at random, shares keys between heads, or is causal over a length known only at run time.

Source: Vaswani et al., Attention Is All You Need, NeurIPS 2017, section 3.2.1.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import fx

from edgeopt.ir.nodes import aten
from edgeopt.ir.pass_base import ATTENTION_EXPANDED
from edgeopt.ir.program import Program
from edgeopt.ir.rewrite import Match, Pattern, Rewrite, Rule, arguments, op


class AttentionAsProducts(Rule):
    """attention(q, k, v, mask) => softmax((s * q) k^T + bias) v * any."""

    def pattern(self) -> Pattern:
        """Draw any fused attention."""
        return op(aten.scaled_dot_product_attention.default, name="attention")

    def check(self, program: Program, m: Match) -> str | None:
        """Refuse what is more than products and a softmax."""
        given = arguments(m["attention"])
        if given["dropout_p"]:
            return f"it drops values with probability {given['dropout_p']}"
        if given["enable_gqa"]:
            return "its heads share keys"
        lengths = [given[name].meta["val"].shape[-2] for name in ("query", "key")]
        if given["is_causal"] and not all(isinstance(length, int) for length in lengths):
            return "it is causal over a length known only at run time"
        return None

    def rewrite(self, program: Program, m: Match) -> fx.Node:
        """Build the products; a mask's bias is built once."""
        node = m["attention"]
        given = arguments(node)
        query, key = given["query"], given["key"]
        scale = given["scale"] or 1 / math.sqrt(query.meta["val"].shape[-1])
        rank = key.meta["val"].dim()
        swapped = [*range(rank - 2), rank - 1, rank - 2]
        scaled = program.insert(node, aten.mul.Tensor, query, scale)
        transposed = program.insert(node, aten.permute.default, key, swapped)
        scores = program.insert(node, aten.matmul.default, scaled, transposed)
        mask = _mask(program, node, given)
        if mask is not None:
            scores = program.insert(node, aten.add.Tensor, scores, _bias(program, node, mask))
        weights = program.insert(node, aten.softmax.int, scores, -1)
        result = program.insert(node, aten.matmul.default, weights, given["value"])
        if mask is not None and _may_hide_rows(program, mask):
            result = program.insert(node, aten.mul.Tensor, result, _any(program, node, mask))
        return result


class ExpandAttention(Rewrite):
    """Write attention out as products and a softmax."""

    name = "expand-attention"
    ensures = frozenset({ATTENTION_EXPANDED})
    rules = (AttentionAsProducts(),)


def _mask(program: Program, node: fx.Node, given: dict[str, Any]) -> fx.Node | None:
    """Return the mask's node; a causal one becomes a constant, one that hides nothing None."""
    if given["is_causal"]:
        rows, columns = (given[name].meta["val"].shape[-2] for name in ("query", "key"))
        return program.add_constant(f"{node.name}_causal", torch.ones(rows, columns, dtype=torch.bool).tril())
    constant = program.constant(given["attn_mask"])
    if constant is not None and constant.dtype == torch.bool and bool(constant.all()):
        return None
    mask: fx.Node | None = given["attn_mask"]
    return mask


def _bias(program: Program, node: fx.Node, mask: fx.Node) -> fx.Node:
    """Return what is added to the scores; nodes made for an earlier attention under the same mask are reused."""
    dtype = node.meta["val"].dtype
    if mask.meta["val"].dtype != torch.bool:
        return mask
    lowest = torch.finfo(dtype).min
    constant = program.constant(mask)
    if constant is not None:
        bias = torch.zeros_like(constant, dtype=dtype).masked_fill(~constant, lowest)
        return program.add_constant(f"{mask.name}_bias", bias)
    hidden = _shared(program, node, aten.logical_not.default, mask)
    return _shared(
        program, node, aten.mul.Tensor, _shared(program, node, aten._to_copy.default, hidden, dtype=dtype), lowest
    )


def _may_hide_rows(program: Program, mask: fx.Node) -> bool:
    if mask.meta["val"].dtype != torch.bool:
        return False
    constant = program.constant(mask)
    return constant is None or not bool(constant.any(-1).all())


def _any(program: Program, node: fx.Node, mask: fx.Node) -> fx.Node:
    """Return 1 for rows that the mask leaves something of, else 0."""
    seen = _shared(program, node, aten.any.dim, mask, -1, True)
    return _shared(program, node, aten._to_copy.default, seen, dtype=node.meta["val"].dtype)


def _shared(program: Program, node: fx.Node, target: Any, source: fx.Node, *args: Any, **kwargs: Any) -> fx.Node:
    """Return the reader of ``source`` that computes this already, or insert one."""
    for reader in source.users:
        if reader.target is target and reader.args == (source, *args) and reader.kwargs == kwargs:
            return reader
    return program.insert(node, target, source, *args, **kwargs)
