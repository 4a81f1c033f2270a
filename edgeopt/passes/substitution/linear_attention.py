"""Replace softmax attention by linear attention, to be distilled from the original on unlabeled data.

Before => after, with the feature map phi of choice:

    softmax(s * Q K^T) V  =>  phi(Q) (phi(K)^T V) / (phi(Q) sum_j phi(K)_j)

in time and memory linear in the tokens (see edgeopt.ops.linear_attention for the maps, among them forms that are
not normalized). A learned map reads Q W_q and K W_k, a matrix a head, which start as multiples of the identity;
with more ``features`` than channels the further columns start as random directions, the same for both. The
projections to Q, K and V are tuned with them, so that the other maps add nothing to compute. With ``relu`` and tokens
that are a square grid, perhaps after a class token, a depthwise convolution of the values is added, which starts at
zero: that is SLA. With a ``window`` the tokens nearby keep their softmax, the LoLCATs hybrid (see
edgeopt.ops.hybrid_attention). A padding mask m over keys is kept exactly: with V' = [m V, m] in V's place the result
is [sum_j m_j w_j v_j, sum_j m_j w_j], whose quotient is the attention over the keys that count.

Trained, not exact: edgeopt.distill tunes it and its error is measured. Not when: a mask or bias is added other than a
causal one or one over keys; several query heads share a key; the tokens are cut into windows; their number is
unknown; or it would not pay at this number of tokens, which ``force`` overrules. A linear attention is bound by
memory where a softmax is not, so it has to save half as many multiplications again (on a CPU, with 64 channels a
head, the crossover was measured between 64 and 144 tokens); where the target can run both, they are measured there.

Source: Zhang et al., The Hedgehog & the Porcupine, ICLR 2024; Zhang et al., LoLCATs, ICLR 2025, for the distillation;
Guo et al., SLAB, ICML 2024, for the convolution.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import fx
from torch.nn import functional

from edgeopt.analysis.attention import Attention
from edgeopt.analysis.masks import Mask
from edgeopt.analysis.walk import evaluate
from edgeopt.errors import UserError, nearest
from edgeopt.ir.nodes import aten, shape_of
from edgeopt.ir.program import Program, origin
from edgeopt.ir.rewrite import arguments
from edgeopt.ops.feature_maps import LEARNED, MAPS, feature_count
from edgeopt.ops.hybrid_attention import HYBRID_ATTENTION
from edgeopt.ops.linear_attention import KINDS, LINEAR_ATTENTION
from edgeopt.passes.substitution.attention_swap import AttentionSwap, Inserted, grid_of

_KERNEL, _SEED = 5, 0
_BLOCKED = -1e4
"""Additive masks write this or less where a key does not count."""


@dataclass(frozen=True)
class LinearAttention(AttentionSwap):
    """Swap softmax attention for a kind of linear attention.

    ``window``: tokens of a block of the hybrid form; 0 for linear attention alone. ``features``: columns of a learned
    map's matrices, each of which gives two features; 0 for as many as a head has channels.
    """

    name = "linear-attention"

    feature_map: str = "hedgehog-joint-softmax"
    window: int = 0
    features: int = 0

    def __post_init__(self) -> None:
        kind = f"feature map '{self.feature_map}'"
        if self.feature_map not in KINDS:
            raise UserError(f"{kind} is unknown", nearest(self.feature_map, KINDS))
        if self.window < 0 or (self.window and self.feature_map not in MAPS):
            raise UserError(f"{kind} with a window of {self.window}", f"choose of {sorted(MAPS)}, or 0")
        if self.features < 0 or (self.features and self.feature_map not in LEARNED):
            raise UserError(f"{kind} of {self.features} columns", f"choose of {sorted(LEARNED)}, or 0")

    def refuses(self, program: Program, attention: Attention) -> str | None:
        """Refuse masks that are more than causal or over keys."""
        mask = attention.mask
        if mask == Mask(padding=True):
            return _refuses_padding(program, attention, self.feature_map)
        if mask not in (Mask(), Mask(causal=True)):
            return f"its mask is more than causal or over keys: {mask}"
        if mask.causal and attention.tokens != attention.keys:
            return f"it is causal, with {attention.tokens} queries for {attention.keys} keys"
        return None

    def multiplications(self, tokens: int, keys: int, size: int, values: int) -> int:
        """Return those of maps, sums and what is nearby."""
        columns = (self.features or size) if self.feature_map in LEARNED else 0
        features = feature_count(self.feature_map, size, columns)
        near = tokens * min(3 * self.window, keys) * (size + values)
        return (tokens + keys) * (size * columns + features * values) + near

    def insert(self, program: Program, attention: Attention, key: fx.Node) -> Inserted:
        """Insert the operator, over the keys that count."""
        root, value = attention.root, attention.value
        if not attention.mask.padding:
            return self._operator(program, attention, key, value)
        value = _counted(program, root, value, _counts(program, attention))
        new, added = self._operator(program, attention, key, value)
        return _quotient(program, root, new), added

    def _operator(self, program: Program, attention: Attention, key: fx.Node, value: fx.Node) -> Inserted:
        """Insert the operator; return it with the names of the constants that it brings."""
        root, causal = attention.root, attention.mask.causal
        maps: list[fx.Node | None] = [None] * 4
        if self.feature_map in LEARNED:
            maps = [_start(program, attention, "q", self.features), None]
            maps += [_start(program, attention, "k", self.features), None]
        extra: fx.Node | None
        if self.window:
            extra = _gate(program, attention)
            near = (attention.query, key, value, extra, self.feature_map, self.window, attention.scale, causal)
            new = program.insert(root, HYBRID_ATTENTION, *near, *maps)
        else:
            extra, grid = self._depthwise(program, attention)
            operands = (attention.query, key, value, self.feature_map, causal)
            new = program.insert(root, LINEAR_ATTENTION, *operands, *maps, extra, None, grid)
        return new, tuple(node.name for node in (*maps, extra) if node is not None)

    def _depthwise(self, program: Program, attention: Attention) -> tuple[fx.Node | None, list[int] | None]:
        side = grid_of(attention.tokens)
        if self.feature_map != "relu" or attention.mask != Mask() or side is None:
            return None, None
        if attention.keys != attention.tokens:
            return None, None
        like = attention.value.meta["val"]
        weight = torch.zeros(like.shape[-1], 1, _KERNEL, _KERNEL, dtype=like.dtype)
        return program.add_constant(f"{origin(attention.root)}_depthwise", weight), [side, side]


def _start(program: Program, attention: Attention, side: str, features: int) -> fx.Node:
    """Add the matrix [heads, d, features] that a query or key is multiplied by, at half of the scale each."""
    size = shape_of(attention.query)[-1]
    columns = torch.eye(size, features or size)
    if features > size:
        further = torch.randn(size, features - size, generator=torch.Generator().manual_seed(_SEED))
        columns[:, size:] = functional.normalize(further, dim=0)
    matrix = (columns * attention.scale**0.5).to(attention.query.meta["val"].dtype)
    return program.add_constant(f"{origin(attention.root)}_{side}_map", matrix.repeat(int(attention.heads), 1, 1))


def _gate(program: Program, attention: Attention) -> fx.Node:
    """Add the number a head that weighs what is near against what is far, both alike at the start."""
    zeros = torch.zeros(int(attention.heads), 1, 1, dtype=attention.query.meta["val"].dtype)
    return program.add_constant(f"{origin(attention.root)}_gate", zeros)


# -- padding -------------------------------------------------------------------------------------------


def _refuses_padding(program: Program, attention: Attention, kind: str) -> str | None:
    if kind not in MAPS:
        return f"it has a padding mask, and the weights of '{kind}' are not normalized"
    if not attention.is_fused:
        return "its padding mask is part of a softmax that is written out"
    mask = arguments(attention.root)["attn_mask"]
    if len(mask.meta["val"].shape) != 4 or mask.meta["val"].shape[1] != 1:
        return "its padding mask differs between heads"
    if not _is_over_keys(program, mask):
        return "its padding mask differs between queries"
    return None


def _is_over_keys(program: Program, mask: fx.Node) -> bool:
    """Return whether all queries see the same keys; judged by the value, for a mask that is partly ones."""
    generator = torch.Generator().manual_seed(0)
    known = {}
    for node in program.input_nodes:
        sizes = [size if isinstance(size, int) else size.node.hint for size in node.meta["val"].shape]
        known[node] = torch.randint(0, 2, sizes, generator=generator).to(node.meta["val"].dtype)
    value = evaluate(program, mask, known)
    return bool((value == value[:, :, :1]).all())


def _counts(program: Program, attention: Attention) -> fx.Node:
    """Return 1 for keys that count and 0 for the others, [batch, 1, keys, 1]."""
    root, mask = attention.root, arguments(attention.root)["attn_mask"]
    row = program.insert(root, aten.slice.Tensor, mask, 2, 0, 1)
    if row.meta["val"].dtype != torch.bool:
        row = program.insert(root, aten.gt.Scalar, row, _BLOCKED)
    column = program.insert(root, aten.permute.default, row, [0, 1, 3, 2])
    return program.insert(root, aten._to_copy.default, column, dtype=attention.value.meta["val"].dtype)


def _counted(program: Program, root: fx.Node, value: fx.Node, counts: fx.Node) -> fx.Node:
    """Return [m V, m]: the last channel sums up the weights of the keys that count."""
    masked = program.insert(root, aten.mul.Tensor, value, counts)
    like = program.insert(root, aten.slice.Tensor, value, 3, 0, 1)
    ones = program.insert(root, aten.full_like.default, like, 1)
    return program.insert(root, aten.cat.default, [masked, program.insert(root, aten.mul.Tensor, ones, counts)], -1)


def _quotient(program: Program, root: fx.Node, sums: fx.Node) -> fx.Node:
    size = sums.meta["val"].shape[-1] - 1
    weighted = program.insert(root, aten.slice.Tensor, sums, 3, 0, size)
    return program.insert(root, aten.div.Tensor, weighted, program.insert(root, aten.slice.Tensor, sums, 3, size))
