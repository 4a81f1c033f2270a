"""``edgeopt::agent_attention``: a few agent tokens gather the values, and the queries read from the agents.

    query [batch, heads, tokens, d], key [batch, heads, keys, d], value [batch, heads, keys, e]
                                                                  ->  [batch, heads, tokens, e]

    A = P Q,    out = softmax(s Q A^T + B_2) [softmax(s A K^T + B_1) V]

P averages the queries, seen as an image of ``grid`` = (height, width), into ``agents`` = (rows, columns) cells, as
adaptive pooling does; tokens before the grid, such as a class token, are in no cell. ``agent_bias`` B_1 broadcasts to
[heads, agents, keys], ``query_bias`` B_2 to [heads, tokens, agents]. Time and memory are linear in the tokens. The
depthwise convolution of the values that the paper adds to the result is a layer of its own.

Source: Han et al., Agent Attention: On the Integration of Softmax and Linear Attention, ECCV 2024.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from edgeopt.ops.operator import Arguments, Operator, register
from edgeopt.ops.recompute import register_gradients
from edgeopt.ops.scripting import Function, scripting


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    agents: Sequence[int],
    grid: Sequence[int],
    scale: float,
    agent_bias: torch.Tensor | None = None,
    query_bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """Compute what the operator does in torch's own operators."""
    pooled = pooling(query.shape[2], agents, grid).to(query) @ query
    gathered = functional.scaled_dot_product_attention(pooled, key, value, agent_bias, scale=scale)
    return functional.scaled_dot_product_attention(query, pooled, gathered, query_bias, scale=scale)


agent_attention = torch.library.custom_op("edgeopt::agent_attention", attend, mutates_args=())
AGENT_ATTENTION = torch.ops.edgeopt.agent_attention.default

register_gradients(agent_attention, attend)


def pooling(tokens: int, agents: Sequence[int], grid: Sequence[int]) -> torch.Tensor:
    """Return the matrix [agents, tokens] that averages the tokens of each cell, in float64."""
    cells, (rows, columns) = math.prod(grid), agents
    images = torch.eye(cells, dtype=torch.float64).reshape(cells, 1, *grid)
    matrix = functional.adaptive_avg_pool2d(images, (rows, columns)).reshape(cells, -1).T
    return functional.pad(matrix, (tokens - cells, 0))


@agent_attention.register_fake
def _shape(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    agents: Sequence[int],
    grid: Sequence[int],
    scale: float,
    agent_bias: torch.Tensor | None = None,
    query_bias: torch.Tensor | None = None,
) -> torch.Tensor:
    torch._check(query.dim() == key.dim() == value.dim() == 4, lambda: "query, key and value have four dimensions")
    torch._check(
        len(agents) == len(grid) == 2, lambda: f"agents {tuple(agents)} and grid {tuple(grid)}: two sizes each"
    )
    torch._check(math.prod(grid) <= query.shape[2], lambda: f"a grid of {tuple(grid)} for {query.shape[2]} tokens")
    torch._check(math.prod(agents) > 0, lambda: f"{tuple(agents)} agents")
    return query.new_empty((*query.shape[:3], value.shape[-1]))


def _onnx() -> Function:
    op, script = scripting()

    @script
    def AgentAttention(q: Any, k: Any, v: Any, pool: Any, agent_bias: Any, query_bias: Any, scale: float) -> Any:  # noqa: N802
        pooled = op.MatMul(pool, q)
        s = op.CastLike(scale, q)
        gathering = op.MatMul(op.Mul(pooled, s), op.Transpose(k, perm=[0, 1, 3, 2]))
        gathered = op.MatMul(op.Softmax(op.Add(gathering, agent_bias), axis=-1), v)
        reading = op.MatMul(op.Mul(q, s), op.Transpose(pooled, perm=[0, 1, 3, 2]))
        return op.MatMul(op.Softmax(op.Add(reading, query_bias), axis=-1), gathered)

    def agent_attention(
        query: Any,
        key: Any,
        value: Any,
        agents: Any,
        grid: Any,
        scale: Any,
        agent_bias: Any = None,
        query_bias: Any = None,
    ) -> Any:
        matrix = pooling(query.shape[2], agents, grid)
        pool = op.CastLike(_constant(matrix), query)
        first, second = (op.CastLike(0.0, query) if bias is None else bias for bias in (agent_bias, query_bias))
        return AgentAttention(query, key, value, pool, first, second, scale=scale)

    return agent_attention


def _constant(matrix: torch.Tensor) -> object:
    import onnx

    op, _ = scripting()

    return op.Constant(value=onnx.numpy_helper.from_array(matrix.float().numpy()))


def _macs(a: Arguments) -> int:
    """Return what agents are averaged by, and both products of both attentions."""
    images, (tokens, size), (keys, values) = math.prod(a["query"][:2]), a["query"][2:], a["value"][2:]
    return int(images * math.prod(a["agents"]) * (tokens * size + (keys + tokens) * (size + values)))


register(Operator("edgeopt::agent_attention", onnx=_onnx, reference=attend, macs=_macs))
