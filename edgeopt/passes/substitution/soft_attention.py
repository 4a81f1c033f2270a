"""Replace softmax attention by SOFT, a Gaussian kernel of low rank, to be distilled from the original.

Before => after, with x = sqrt(s) Q, which is query and key in one, and landmarks L:

    softmax(s Q K^T) V  =>  G(x, L) G(L, L)^-1 G(L, x) V + conv(V),    G(a, b) = exp(-|a - b|^2 / 2),    L = conv(x)

in time and memory linear in the tokens, and without a softmax. The landmarks are a convolution of x, seen as an image,
whose stride leaves ``landmarks`` of them on a side at most; it starts as the average of what it covers. The paper's
norm and GELU behind it are left out: at the start, landmarks are to lie among the queries. The inverse takes
``iterations`` steps of Newton's; ``normalized`` divides by the roots of the kernel's row sums on both sides. The
convolution of the values, one filter a head, starts at zero. All is tuned with the projections to Q and V. The
projection to K is no longer read. See edgeopt.ops.soft_attention.

Trained, not exact: edgeopt.distill tunes it and its error is measured. Not when: there is a mask or bias; the tokens
are no square grid, perhaps after a class token; keys are others than the queries' tokens; several query heads share a
key; the tokens are cut into windows; or it would not pay at this number of tokens, which ``force`` overrules.

Source: Lu et al., SOFT: Softmax-free Transformer with Linear Complexity, NeurIPS 2021; Softmax-free Linear
Transformers, IJCV 2024, for the normalized form.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import fx

from edgeopt.analysis.attention import Attention
from edgeopt.analysis.masks import Mask
from edgeopt.errors import UserError
from edgeopt.ir.nodes import aten
from edgeopt.ir.program import Program, origin
from edgeopt.ops.soft_attention import SOFT_ATTENTION
from edgeopt.passes.substitution.attention_swap import AttentionSwap, Inserted, grid_of
from edgeopt.passes.substitution.value_convolution import add_convolution

_KERNEL = 5


@dataclass(frozen=True)
class SoftAttention(AttentionSwap):
    """Swap softmax attention for SOFT, with ``landmarks`` on a side at most."""

    name = "soft-attention"

    landmarks: int = 7
    iterations: int = 20
    normalized: bool = True

    def __post_init__(self) -> None:
        if self.landmarks < 1 or self.iterations < 1:
            found = f"{self.landmarks} landmarks on a side, {self.iterations} iterations"
            raise UserError(found, "give one or more of each")

    def refuses(self, program: Program, attention: Attention) -> str | None:
        """Refuse masks, and tokens that are no image."""
        if attention.mask != Mask():
            return f"its kernel is of all tokens, and there is a mask: {attention.mask}"
        if attention.keys != attention.tokens:
            return f"queries are keys too, and there are {attention.tokens} queries for {attention.keys} keys"
        if grid_of(attention.tokens) is None:
            return f"its {attention.tokens} tokens are no square grid, which landmarks are taken from"
        return None

    def multiplications(self, tokens: int, keys: int, size: int, values: int) -> int:
        """Return those of the kernels, Newton's steps, the products with the values and both convolutions."""
        side = grid_of(tokens) or 1
        stride = self._stride(side)
        marks = (side // stride) ** 2
        local = marks * (stride * size) ** 2 + _KERNEL**2 * tokens * values
        kernels = marks * (tokens + marks) * (size + values) + marks * tokens * values
        return kernels + 2 * self.iterations * marks**3 + local

    def insert(self, program: Program, attention: Attention, key: fx.Node) -> Inserted:
        """Insert scaled queries, landmarks, the operator and the convolution."""
        root, side = attention.root, grid_of(attention.tokens)
        assert side is not None
        x = program.insert(root, aten.mul.Tensor, attention.query, attention.scale**0.5)
        marks, matrix = self._landmarks(program, attention, x, side)
        operands = (x, marks, attention.value, self.iterations, self.normalized)
        new = program.insert(root, SOFT_ATTENTION, *operands)
        filters = torch.zeros(int(attention.heads), 1, _KERNEL, _KERNEL, dtype=x.meta["val"].dtype)
        new, weight = add_convolution(program, root, new, attention.value, filters, side)
        return new, (matrix, weight)

    def _stride(self, side: int) -> int:
        return -(-side // self.landmarks)

    def _landmarks(self, program: Program, attention: Attention, x: fx.Node, side: int) -> tuple[fx.Node, str]:
        """Insert the convolution [batch, heads, side^2, d] -> [batch, heads, landmarks, d], the same for all heads."""
        root, stride = attention.root, self._stride(side)
        heads, tokens, size = (int(n) for n in x.meta["val"].shape[1:])
        average = torch.eye(size, dtype=x.meta["val"].dtype)[:, :, None, None].repeat(1, 1, stride, stride)
        weight = program.add_constant(f"{origin(root)}_landmarks", average / stride**2)
        rows = program.insert(root, aten.slice.Tensor, x, 2, tokens - side * side, tokens)
        turned = program.insert(root, aten.permute.default, rows, [0, 1, 3, 2])
        images = program.insert(root, aten.reshape.default, turned, [-1, size, side, side])
        marks = program.insert(root, aten.conv2d.default, images, weight, None, [stride, stride])
        flat = program.insert(root, aten.reshape.default, marks, [-1, heads, size, (side // stride) ** 2])
        return program.insert(root, aten.permute.default, flat, [0, 1, 3, 2]), weight.name
