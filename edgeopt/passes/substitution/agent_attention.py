"""Replace softmax attention by agent attention, to be distilled from the original on unlabeled data.

Before => after:

    softmax(s Q K^T) V  =>  softmax(s Q A^T + B_2) [softmax(s A K^T + B_1) V] + conv(V),    A = P Q

in time and memory linear in the tokens: P averages the queries of each cell of a grid into one agent, ``agents`` on a
side. Tokens that are a square grid, perhaps after a class token, are averaged as images, and a depthwise convolution
of the values is added; any others stand in one row, in so many agents squared. The biases B_1 and B_2 [heads, agents,
keys] and the convolution start at zero and are tuned with the projections to Q, K and V; the paper interpolates its
biases from smaller tables, which at a fixed number of tokens are constants too. See edgeopt.ops.agent_attention.

Trained, not exact: edgeopt.distill tunes it and its error is measured. Not when: there is a mask or bias, for an agent
gathers all keys; the number of tokens or keys is unknown; several query heads share a key; the tokens are cut into
windows; or it would not pay at this number of tokens, which ``force`` overrules.

Source: Han et al., Agent Attention: On the Integration of Softmax and Linear Attention, ECCV 2024.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import fx

from edgeopt.analysis.attention import Attention
from edgeopt.analysis.masks import Mask
from edgeopt.errors import UserError
from edgeopt.ir.program import Program, origin
from edgeopt.ops.agent_attention import AGENT_ATTENTION
from edgeopt.passes.substitution.attention_swap import AttentionSwap, Inserted, grid_of
from edgeopt.passes.substitution.value_convolution import add_convolution

_KERNEL = 3


@dataclass(frozen=True)
class AgentAttention(AttentionSwap):
    """Swap softmax attention for agent attention; ``agents`` are on a side of their grid."""

    name = "agent-attention"

    agents: int = 7

    def __post_init__(self) -> None:
        if self.agents < 1:
            raise UserError(f"{self.agents} agents on a side", "give one or more")

    def refuses(self, program: Program, attention: Attention) -> str | None:
        """Refuse masks, and tokens whose number the biases cannot have."""
        if attention.mask != Mask():
            return f"an agent gathers all keys, and there is a mask: {attention.mask}"
        if not (isinstance(attention.tokens, int) and isinstance(attention.keys, int)):
            return "its number of tokens is known at run time only: agents and their biases have a fixed one"
        return None

    def multiplications(self, tokens: int, keys: int, size: int, values: int) -> int:
        """Return those of both attentions, of the averages and of the convolution."""
        agents = math.prod(_cells(self.agents, tokens)[0])
        local = _KERNEL**2 * tokens * values if grid_of(tokens) is not None and keys == tokens else 0
        return agents * ((tokens + keys) * (size + values) + tokens * size) + local

    def insert(self, program: Program, attention: Attention, key: fx.Node) -> Inserted:
        """Insert the operator and, where tokens are an image, the convolution."""
        root, tokens, keys = attention.root, attention.tokens, attention.keys
        assert isinstance(tokens, int) and isinstance(keys, int)
        agents, grid = _cells(self.agents, tokens)
        heads, count, like = int(attention.heads), math.prod(agents), attention.query.meta["val"]
        gathering, reading = (
            program.add_constant(f"{origin(root)}_{name}_bias", torch.zeros(heads, *shape, dtype=like.dtype))
            for name, shape in (("agent", (count, keys)), ("query", (tokens, count)))
        )
        operands = (attention.query, key, attention.value, agents, grid, attention.scale, gathering, reading)
        new = program.insert(root, AGENT_ATTENTION, *operands)
        added = [gathering.name, reading.name]
        if (side := grid_of(tokens)) is not None and keys == tokens:
            filters = torch.zeros(heads * int(attention.value.meta["val"].shape[-1]), 1, _KERNEL, _KERNEL)
            new, weight = add_convolution(program, root, new, attention.value, filters.to(like.dtype), side)
            added.append(weight)
        return new, tuple(added)


def _cells(agents: int, tokens: int) -> tuple[list[int], list[int]]:
    """Return rows and columns of the agents, and of the tokens."""
    side = grid_of(tokens)
    return ([min(agents, side)] * 2, [side] * 2) if side is not None else ([1, min(agents**2, tokens)], [1, tokens])
