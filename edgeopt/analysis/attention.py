"""Softmax attention, fused or written out.

    fused         scaled_dot_product_attention(q, k, v, mask, causal, scale, grouped)
    written out   matmul(softmax(q k^T [* scale] [+ bias] [masked]), v)

Written out, the scale may stand on the scores or on the query, masks may be added, filled in or chosen by
``where``, in any order, and scores may be reshaped between them (windows of Swin).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

from edgeopt.analysis.masks import Mask, Term, mask_of
from edgeopt.analysis.walk import UNCHANGED, before_moves, layer_after, layer_before, number, source
from edgeopt.ir.nodes import aten, dtype_of, node_arg, rank_of, shape_of
from edgeopt.ir.program import Program
from edgeopt.ir.rewrite import arguments
from edgeopt.ops.opsets import FACTORS, FILLS, PRODUCTS

_SCORE_PRODUCTS = frozenset({*PRODUCTS, aten.baddbmm.default})
_SOFTMAXES = frozenset({aten.softmax.int, aten._safe_softmax.default})
_RESHAPES = frozenset({aten.reshape.default, aten.expand.default, aten.unsqueeze.default, aten.squeeze.dim})

Size = int | str


@dataclass(frozen=True)
class Attention:
    """An attention whose result, [..., tokens, head size], is ``root``.

    ``query`` is [..., tokens, head size]; ``key`` [..., keys, head size], or its transpose where
    ``key_is_transposed``; ``value`` [..., keys, value size]. ``kv_heads`` differs from ``heads`` where several
    query heads share a key. ``windows`` counts the parts that one sample's tokens are cut into.
    """

    root: fx.Node
    query: fx.Node
    key: fx.Node
    value: fx.Node
    key_is_transposed: bool
    scale: float
    mask: Mask
    heads: Size
    kv_heads: Size
    windows: int

    @property
    def is_fused(self) -> bool:
        """Whether it is one operator."""
        return self.root.target is aten.scaled_dot_product_attention.default

    @property
    def tokens(self) -> Size:
        """Number of queries a window."""
        return _size(self.query, -2)

    @property
    def keys(self) -> Size:
        """Number of keys a window."""
        return _size(self.key, -1 if self.key_is_transposed else -2)

    @property
    def head_size(self) -> Size:
        """Channels of one head's query."""
        return _size(self.query, -1)


@dataclass
class _Scores:
    """What stands between the softmax and the product of query and key."""

    product: fx.Node
    scale: float = 1.0
    terms: list[Term] = field(default_factory=list)


def find_attentions(program: Program) -> tuple[Attention, ...]:
    """Return the attentions of a program in execution order."""
    found = (_fused(program, node) or _written_out(program, node) for node in program.calls)
    return tuple(attention for attention in found if attention is not None)


def _fused(program: Program, node: fx.Node) -> Attention | None:
    if node.target is not aten.scaled_dot_product_attention.default:
        return None
    given = arguments(node)
    query, key, value = given["query"], given["key"], given["value"]
    scale = given["scale"] if given["scale"] is not None else shape_of(query)[-1] ** -0.5
    terms = [] if given["attn_mask"] is None else [_added_or_allowed(given["attn_mask"])]
    mask = mask_of(program, terms, given["is_causal"])
    return _attention(node, (query, key, value), False, float(scale), mask)


def _written_out(program: Program, node: fx.Node) -> Attention | None:
    if node.target not in PRODUCTS:
        return None
    softmax = _behind(node.args[0], UNCHANGED | _RESHAPES)
    if softmax is None or softmax.target not in _SOFTMAXES or not _is_over_last(softmax):
        return None
    scores = _scores(program, softmax)
    if scores is None:
        return None
    key = node_arg(scores.product, -1)
    query, scale = _unscaled(program, node_arg(scores.product, -2))
    mask = mask_of(program, scores.terms)
    return _attention(node, (query, key, node_arg(node, 1)), True, scores.scale * scale, mask)


def _attention(
    root: fx.Node,
    operands: tuple[fx.Node, fx.Node, fx.Node],
    key_is_transposed: bool,
    scale: float,
    mask: Mask,
) -> Attention:
    query, key, value = operands
    heads, kv_heads = _count_heads(root, query, key)
    windows = _count_windows(query)
    return Attention(root, query, key, value, key_is_transposed, scale, mask, heads, kv_heads, windows)


def _added_or_allowed(node: fx.Node) -> Term:
    return Term(node, "allows" if dtype_of(node) == torch.bool else "added")


def _is_over_last(softmax: fx.Node) -> bool:
    return arguments(softmax)["dim"] in (-1, rank_of(softmax) - 1)


def _behind(node: Any, targets: frozenset[Any]) -> fx.Node | None:
    while isinstance(node, fx.Node) and node.target in targets:
        node = node.args[0]
    return node if isinstance(node, fx.Node) else None


def _scores(program: Program, softmax: fx.Node) -> _Scores | None:
    """Walk from the softmax back to the product of query and key."""
    scores = _Scores(softmax)
    node = softmax.args[0]
    while isinstance(node, fx.Node) and node.target not in _SCORE_PRODUCTS:
        node = _step(program, node, scores)
    # A query may be learned, as of a pooling token; scores against a constant are a gate, not attention.
    if not isinstance(node, fx.Node) or program.constant(node.args[-1]) is not None:
        return None
    if node.target is aten.baddbmm.default:
        _take_bias(node, scores)
    scores.product = node
    return scores


def _take_bias(node: fx.Node, scores: _Scores) -> None:
    """Note bias and scale of ``beta * bias + alpha * (q k^T)``; a bias of zero weight is none."""
    given = arguments(node)
    if given["beta"] != 0:
        scores.terms.append(Term(given["self"], "added"))
    scores.scale *= given["alpha"]


def _step(program: Program, node: fx.Node, scores: _Scores) -> Any:
    """Note what a node does to the scores and return the scores before it; None for what is not known."""
    if node.target in UNCHANGED | _RESHAPES:
        return node.args[0]
    if node.target in FACTORS:
        return _scaled(program, node, scores)
    if node.target is aten.add.Tensor:
        return _biased(node, scores)
    if node.target in FILLS:
        scores.terms.append(Term(node_arg(node, 1), "blocks"))
        return node.args[0]
    if node.target in (aten.where.self, aten.where.ScalarOther):
        scores.terms.append(Term(node_arg(node, 0), "allows"))
        return node.args[1]
    return None


def _scaled(program: Program, node: fx.Node, scores: _Scores) -> Any:
    for value, factor in (node.args[:2], node.args[1::-1]):
        if (by := number(program, factor)) is not None:
            if node.target is aten.div.Tensor:
                if value is not node.args[0]:
                    return None
                by = 1 / by
            scores.scale *= by
            return value
    return None


def _biased(node: fx.Node, scores: _Scores) -> Any:
    """Return the operand that leads to a product; the other one is a mask or bias."""
    for value, bias in (node.args[:2], node.args[1::-1]):
        if isinstance(bias, fx.Node) and _leads_to_product(value):
            scores.terms.append(Term(bias, "added"))
            return value
    return None


def _leads_to_product(node: Any) -> bool:
    known = UNCHANGED | _RESHAPES | {*FACTORS, aten.add.Tensor}
    while isinstance(node, fx.Node) and node.target in known:
        if node.target is aten.add.Tensor:
            return any(_leads_to_product(operand) for operand in node.args[:2])
        node = node.args[0]
    return isinstance(node, fx.Node) and node.target in _SCORE_PRODUCTS


def _unscaled(program: Program, query: fx.Node) -> tuple[fx.Node, float]:
    """Return the query and the factor that was multiplied into it."""
    node = source(query)
    if node is not None and node.target in FACTORS:
        scores = _Scores(node)
        value = _scaled(program, node, scores)
        if isinstance(value, fx.Node):
            return value, scores.scale
    return query, 1.0


def _count_heads(root: fx.Node, query: fx.Node, key: fx.Node) -> tuple[Size, Size]:
    """Return the heads of query and key; where they are one axis with the batch, the layer after tells them."""
    rank = rank_of(query)
    if rank >= 4:
        return _size(query, -3), _heads_before_repeat(key)
    after = layer_after(root)
    channels, size = (None if after is None else _size(node_arg(after, 0), -1)), _size(root, -1)
    heads = channels // size if rank == 3 and isinstance(channels, int) and isinstance(size, int) else 1
    return heads, heads


def _heads_before_repeat(key: fx.Node) -> Size:
    node: Any = key
    while isinstance(node, fx.Node) and node.target in UNCHANGED | _RESHAPES | {aten.permute.default}:
        if node.target is aten.expand.default and rank_of(node) == 5:
            return _size(node, -4)
        node = node.args[0]
    if isinstance(node, fx.Node) and node.target is aten.repeat_interleave.self_int:
        return _size(node_arg(node, 0), -3)
    return _size(key, -3)


def _count_windows(query: fx.Node) -> int:
    """Return into how many parts the tokens that were projected to the query are cut."""
    layer = layer_before(query)
    stream = None if layer is None else before_moves(node_arg(layer, 0))
    if stream is None or rank_of(query) < 4:
        return 1
    batch, *grid, _ = shape_of(stream)
    tokens, leading = shape_of(query)[-2], shape_of(query)[0]
    if not all(isinstance(size, int) for size in (batch, *grid, tokens, leading)):
        return 1
    windows = leading // batch
    # A map that its windows do not divide was padded.
    return windows if windows > 1 and math.prod(grid) <= windows * tokens else 1


def _size(node: fx.Node, axis: int) -> Size:
    size = shape_of(node)[axis]
    return size if isinstance(size, int) else str(size)
