"""Replace softmax attention by EcoFormer's, which counts the bits in which hash codes of tokens agree.

Before => after, with codes h of ``bits`` signs and c = bits + 1:

    softmax(s Q K^T) V  =>  [h_q (h_k^T V) + c sum_j V_j] / [h_q . sum_j h_kj + N c]        ``form`` paper
                            [h_q (h_k^T V) + c V_i] / [h_q . sum_j h_kj + N c]              ``form`` released

in time and memory linear in the tokens, products with codes being sums and differences. Codes are hash functions:
planes over a kernel at ``anchors`` points a head, from which an offset is taken (see edgeopt.ops.hashed_attention).
``start`` says where they come from before they are tuned with the projections, gradients passing straight through the
signs:

    ranks, paper, released   learned of the original's own queries and keys, see the module supervised_hashing
    random                   random planes and points of the sphere, the offset at the kernel's value at mean distance

``ranks`` is the default because it measured best (see docs/substitution.md). The paper has one projection for queries
and keys: here both stay as they are.

Trained, not exact: edgeopt.distill tunes it and its error is measured. Not when: there is a mask or bias, for a code
gathers all keys; form ``released`` has other keys than the queries' tokens; several query heads share a key; the tokens
are cut into windows; or it would not pay at this number of tokens, which ``force`` overrules.

Source: J. Liu et al., EcoFormer: Energy-Saving Attention with Linear Complexity, NeurIPS 2022.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import fx
from torch.nn import functional

from edgeopt.analysis.attention import Attention
from edgeopt.analysis.masks import Mask
from edgeopt.distill.swap import Start
from edgeopt.errors import UserError, nearest
from edgeopt.ir.program import Program, origin
from edgeopt.ops.hashed_attention import FORMS, HASHED_ATTENTION
from edgeopt.passes.substitution import supervised_hashing
from edgeopt.passes.substitution.attention_swap import AttentionSwap, Inserted

STARTS = (*supervised_hashing.FORMS, "random")


@dataclass(frozen=True)
class HashedAttention(AttentionSwap):
    """Swap softmax attention for codes of ``bits`` signs, hashed by ``anchors`` points a head; ``seed`` draws these."""

    name = "hashed-attention"

    bits: int = 16
    anchors: int = 25
    form: str = "paper"
    start: str = "ranks"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.bits < 1 or self.anchors < 1:
            raise UserError(f"codes of {self.bits} bits from {self.anchors} anchors", "give one or more of each")
        if self.form not in FORMS:
            raise UserError(f"unknown form '{self.form}'", nearest(self.form, FORMS))
        if self.start not in STARTS:
            raise UserError(f"unknown start '{self.start}'", nearest(self.start, STARTS))

    def refuses(self, program: Program, attention: Attention) -> str | None:
        """Refuse masks, and keys that are no queries where each adds its own value."""
        if attention.mask != Mask():
            return f"a code gathers all keys, and there is a mask: {attention.mask}"
        if self.form == "released" and attention.keys != attention.tokens:
            return f"each query adds its own value, and there are {attention.keys} keys for {attention.tokens}"
        return None

    def multiplications(self, tokens: int, keys: int, size: int, values: int) -> int:
        """Return those of distances, planes, and both products with codes, though these only add."""
        return (tokens + keys) * (self.anchors * (size + self.bits) + self.bits * values) + tokens * self.bits

    def insert(self, program: Program, attention: Attention, key: fx.Node) -> Inserted:
        """Insert the operator with anchors, offset and planes."""
        root, like = attention.root, attention.query.meta["val"]
        heads, size = int(attention.heads), int(like.shape[-1])
        generator = torch.Generator().manual_seed(self.seed)
        points = torch.randn(heads, self.anchors, size, generator=generator)
        drawn = {
            "anchors": functional.normalize(points, dim=-1),
            "offset": torch.full((heads, self.anchors), math.exp(-0.5)),
            "planes": torch.randn(heads, self.bits, self.anchors, generator=generator),
        }
        added = [program.add_constant(f"{origin(root)}_{name}", value.to(like.dtype)) for name, value in drawn.items()]
        new = program.insert(root, HASHED_ATTENTION, attention.query, key, attention.value, *added, self.form)
        return new, tuple(constant.name for constant in added)

    def start_of(self, attention: Attention, added: tuple[str, ...]) -> Start | None:
        """Return how hash functions are learned, unless they start at random."""
        if self.start == "random":
            return None
        label = origin(attention.root)

        def learn(query: torch.Tensor, key: torch.Tensor) -> dict[str, torch.Tensor]:
            key = key.mT if attention.key_is_transposed else key
            if (reason := supervised_hashing.degenerate(query, key)) is not None:
                raise UserError(
                    f"no hash functions can be learned for '{label}': {reason}",
                    'give hashed-attention start = "random" in the recipe, or other samples to tune on',
                )
            found = supervised_hashing.learn(query, key, self.bits, self.anchors, self.start, self.seed)
            return {name: value.to(query.dtype) for name, value in zip(added, found[:3], strict=True)}

        return Start((origin(attention.query), origin(attention.key)), learn)
