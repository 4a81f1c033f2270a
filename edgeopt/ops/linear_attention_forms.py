"""The three kinds of linear attention, each over all tokens, over those before, and one token at a time.

    normalized   phi(q_i) S / (phi(q_i) . z + eps),              S = sum_j phi(k_j)^T v_j,  z = sum_j phi(k_j)
    inline       (c/n) q_i S + (1 - (c/n) q_i . sum_j k_j) v,    c = d^(-1/2),  v the mean of v_j; no division by data
    flow         a_i (q_i I_i) sum_j k_j^T (w_j v_j),            flows in and out conserved: see ``flow``

Queries, keys and values are [batch, heads, tokens, size]. The causal forms are written with the product of queries
and keys, below the diagonal: exact, and quadratic in the tokens; the steps are the same functions with a state of
constant size. The causal flow is an approximation of its own, not the last row of the bidirectional one.

Sources: Katharopoulos et al., Transformers are RNNs, ICML 2020; Han et al., Bridging the Divide: Reconsidering
Softmax and Linear Attention (InLine), NeurIPS 2024; Wu et al., Flowformer, ICML 2022.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

Tensors = tuple[torch.Tensor, ...]

_FLOW_EPSILON = 1e-6


# -- all tokens ----------------------------------------------------------------------------------------


def normalized(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Return the attention of features ``q`` and ``k``."""
    total = k.sum(-2, keepdim=True)
    return (q @ (k.mT @ v)) / ((q * total).sum(-1, keepdim=True) + epsilon)


def inline(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Return attention whose weights (c/n) q.k_j - (c/n) q.mean(k) + 1/n sum to 1 and may be negative."""
    scale: float = q.shape[-1] ** -0.5 / k.shape[-2]
    # The root on both factors keeps their product in the range of 16 bits.
    root: float = scale**0.5
    product = (k.mT * root) @ (v * root)
    rest = 1 - scale * (q * k.sum(-2, keepdim=True)).sum(-1, keepdim=True)
    return q @ product + rest * v.mean(-2, keepdim=True)


def flow(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Return attention by conserved flows: sinks compete for what sources give, sources for what sinks take."""
    q, k = q.sigmoid(), k.sigmoid()
    queries, keys = q.shape[-2], k.shape[-2]
    incoming = 1 / _flow(q, k.sum(-2, keepdim=True))
    outgoing = 1 / _flow(k, q.sum(-2, keepdim=True))
    conserved_sink = _flow(q, (k * outgoing).sum(-2, keepdim=True))
    conserved_source = _flow(k, (q * incoming).sum(-2, keepdim=True)).clamp(-1, 1)
    competition = conserved_source.softmax(-2) * keys
    allocation = (conserved_sink * (queries / keys)).sigmoid()
    return allocation * ((q * incoming) @ (k.mT @ (v * competition)))


def _flow(x: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
    return ((x + _FLOW_EPSILON) * (total + _FLOW_EPSILON)).sum(-1, keepdim=True)


# -- the tokens up to each -----------------------------------------------------------------------------


def causal_normalized(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Return ``normalized`` of the tokens up to each."""
    weights = (q @ k.mT).tril()
    return (weights @ v) / (weights.sum(-1, keepdim=True) + epsilon)


def causal_inline(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Return ``inline`` of the tokens up to each."""
    count = _counts(q)
    root: float = q.shape[-1] ** -0.5
    weights = (q @ k.mT).tril() * root / count
    return weights @ v + (1 - weights.sum(-1, keepdim=True)) * v.cumsum(-2) / count


def causal_flow(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Return the causal flow: running sums, divided by the number of tokens where the full form has none."""
    q, k = q.sigmoid(), k.sigmoid()
    count = _counts(q)
    incoming = count / _flow(q, k.cumsum(-2))
    outgoing = count / _flow(k, q.cumsum(-2))
    conserved_sink = _flow(q, (k * outgoing).cumsum(-2)) / count
    exponential = (_flow(k, (q * incoming).cumsum(-2)) / count).clamp(-1, 1).exp()
    competition = exponential / exponential.cumsum(-2) * count
    weights = (q * (incoming / count) @ k.mT).tril()
    return conserved_sink.sigmoid() * (weights @ (v * competition))


def _counts(q: torch.Tensor) -> torch.Tensor:
    return torch.arange(1, q.shape[-2] + 1, dtype=q.dtype, device=q.device)[:, None]


# -- one token at a time -------------------------------------------------------------------------------


def step_normalized(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, state: Tensors, epsilon: float) -> Tensors:
    """Return the output of one token [batch, heads, 1, size], then the new state: S and z."""
    product, total = state[0] + k.mT @ v, state[1] + k
    return (q @ product) / ((q * total).sum(-1, keepdim=True) + epsilon), product, total


def step_inline(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, state: Tensors) -> Tensors:
    """Return the output of one token, then the new state: S, the sums of keys and values, the count."""
    product, keys, values, count = state[0] + k.mT @ v, state[1] + k, state[2] + v, state[3] + 1
    scale = q.shape[-1] ** -0.5 / count
    rest = 1 - scale * (q * keys).sum(-1, keepdim=True)
    return scale * (q @ product) + rest * values / count, product, keys, values, count


def step_flow(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, state: Tensors) -> Tensors:
    """Return the output of one token, then the new state: S, four running sums of flows, of exponentials, the count."""
    q, k = q.sigmoid(), k.sigmoid()
    product, keys, queries, given, taken, exponentials, count = state
    keys, queries, count = keys + k, queries + q, count + 1
    incoming, outgoing = count / _flow(q, keys), count / _flow(k, queries)
    given, taken = given + k * outgoing, taken + q * incoming
    exponential = (_flow(k, taken) / count).clamp(-1, 1).exp()
    exponentials = exponentials + exponential
    product = product + k.mT @ (v * exponential / exponentials * count)
    out = (_flow(q, given) / count).sigmoid() * ((q * incoming / count) @ product)
    return out, product, keys, queries, given, taken, exponentials, count


def empty_state(kind: str, features: torch.Tensor, value: torch.Tensor) -> Tensors:
    """Return the state before the first token of a kind of attention, for one token's features and value."""
    row, product = torch.zeros_like(features), features.mT @ torch.zeros_like(value)
    one = torch.zeros_like(features[..., :1])
    states: dict[str, Callable[[], Tensors]] = {
        "normalized": lambda: (product, row),
        "inline": lambda: (product, row, torch.zeros_like(value), one),
        "flow": lambda: (product, row, row, row, row, one, one),
    }
    return states[kind]()
