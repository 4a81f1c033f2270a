"""Hash functions learned from which of an attention's own queries and keys are alike: EcoFormer's start, bit by bit.

Of a head, K [tokens, m] is the kernel of queries or keys at m anchors less its mean (see edgeopt.ops.hashed_attention),
and Y [queries, keys] in [-1, 1] how alike their codes of b signs shall be. Planes a_1 ... a_b, the same for queries and
keys, lower

    |H_q H_k^T / b - Y|^2,    H = [sign(K a_1), ..., sign(K a_b)]

one after another, each on what those before it left over:

    R_1 = Y,    a_r = argmax_a y_q^T R_r y_k,    y = sign(K a),    R_{r+1} = R_r - y_q y_k^T / b

``form`` says where Y comes from and how the maximum is looked for:

    ranks      the rank of a key among all of its query, by the scores q . k, from -1 to 1; spectral
    paper      1 for the ten keys of a query with the highest scores, -1 for the ten lowest, 0 between; spectral
    released   the same of cosines instead of scores; by descent from random planes, as the authors' code has it

Spectral: without the sign and for |K a|^2 = n it is the first eigenvector of  K_q^T R K_k a = lambda K^T K a,  scaled
to K a of mean square 1. Descent: 100 steps of Nesterov's on y = 2 sigmoid(K a) - 1; the better by its signs is kept,
start or end, head by head (the authors' code decides for all heads at once). Anchors are tokens drawn from all samples
(there, from the first). Equal data and seed give equal planes.

A bit that finds too little left raises the objective: its products are 1 or -1 where 0 would do. Of ``paper``, where
most pairs are to be at 0, more than every second bit does on a trained transformer; of ``ranks`` few.

Source: J. Liu et al., EcoFormer: Energy-Saving Attention with Linear Complexity, NeurIPS 2022, and its code; the
spectral start and the residual: W. Liu et al., Supervised Hashing with Kernels, CVPR 2012. Ranks are edgeopt's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.nn import functional

from edgeopt.ops.hashed_attention import EPSILON, kernel
from edgeopt.quant.binary import signs

_PAIRS = 10
"""Keys of a query that are labeled as most alike, and as many as least."""
_TOKENS = 256
"""Queries and keys of a sample that planes are learned from, at most; the kernel is of all."""
_RIDGE = 1e-3
"""Added to K^T K as part of its mean diagonal: kernels at neighboring anchors are nearly the same."""
_STEPS, _RATE, _MOMENTUM = 100, 5e-4, 0.9


class Hashing(NamedTuple):
    """``anchors`` [heads, m, d], ``offset`` [heads, m], ``planes`` [heads, bits, m], and ``objective`` [bits + 1,
    heads]: what is minimized, a mean over pairs, before the first bit and after each."""

    anchors: torch.Tensor
    offset: torch.Tensor
    planes: torch.Tensor
    objective: torch.Tensor


def degenerate(query: torch.Tensor, key: torch.Tensor) -> str | None:
    """Return why nothing can be learned of queries and keys [samples, heads, tokens, d], or None."""
    if not (query.isfinite().all() and key.isfinite().all()):
        return "queries or keys are not finite"
    if key.shape[-2] < 2:
        return f"{key.shape[-2]} key has none to be compared with"
    scores = _few(query) @ _few(key).mT
    count = _count(scores)
    high, low = (scores.topk(count, -1, largest).values[..., -1] for largest in (True, False))
    spread = (high - low).amax((0, 2)) <= EPSILON * scores.abs().amax((0, 2, 3))
    if spread.any():
        return f"to the queries of head {int(spread.nonzero()[0])} all keys are equally alike"
    return None


def learn(
    query: torch.Tensor, key: torch.Tensor, bits: int, points: int, form: str = "ranks", seed: int = 0
) -> Hashing:
    """Learn codes of ``bits`` signs at ``points`` anchors from queries and keys [samples, heads, tokens, d]."""
    query, key, generator = query.float(), key.float(), torch.Generator().manual_seed(seed)
    anchors = _anchors(query, key, points, generator)
    kernels = [kernel(x, anchors) for x in (query, key)]
    offset = torch.stack([of.mean((0, 2)) for of in kernels]).mean(0)
    kq, kk = (_few(of) - offset.unsqueeze(-2) for of in kernels)
    alike, search = _FORMS[form]
    residual = alike(_few(query), _few(key))
    planes, objective = [], [residual.square().mean((0, 2, 3))]
    for _ in range(bits):
        planes.append(search(kq, kk, residual, generator))
        yq, yk = (_side(of, planes[-1]) for of in (kq, kk))
        residual = residual - yq.unsqueeze(-1) * yk.unsqueeze(-2) / bits
        objective.append(residual.square().mean((0, 2, 3)))
    return Hashing(anchors, offset, torch.stack(planes, 1), torch.stack(objective))


def _few(x: torch.Tensor) -> torch.Tensor:
    """Return some of the tokens of [samples, heads, tokens, ...]: the same of queries, of keys and of their kernels."""
    return x[:, :, torch.randperm(x.shape[2], generator=torch.Generator().manual_seed(0))[:_TOKENS]]


def _anchors(query: torch.Tensor, key: torch.Tensor, points: int, generator: torch.Generator) -> torch.Tensor:
    """Return [heads, points, d]: queries and keys of length 1, drawn from all samples; again where they are few."""
    tokens = torch.cat([query, key], 2).transpose(0, 1).flatten(1, 2)
    order = torch.randperm(tokens.shape[1], generator=generator)
    return functional.normalize(tokens[:, order[torch.arange(points) % len(order)]], dim=-1, eps=EPSILON)


# -- how alike -----------------------------------------------------------------------------------------


def _count(scores: torch.Tensor) -> int:
    return min(_PAIRS, scores.shape[-1] // 2)


def _extremes(scores: torch.Tensor) -> torch.Tensor:
    """Return 1 for the highest of each row, -1 for as many of the lowest, 0 between."""
    high, low = (scores.topk(_count(scores), -1, largest).indices for largest in (True, False))
    return torch.zeros_like(scores).scatter_(-1, high, 1.0).scatter_(-1, low, -1.0)


def _of_scores(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    return _extremes(query @ key.mT)


def _of_cosines(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    return _extremes(functional.normalize(query, dim=-1) @ functional.normalize(key, dim=-1).mT)


def _of_ranks(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    ranks = (query @ key.mT).argsort(-1).argsort(-1)
    return 2 * ranks.to(query.dtype) / (key.shape[-2] - 1) - 1


# -- the next plane ------------------------------------------------------------------------------------


def _side(kernels: torch.Tensor, plane: torch.Tensor) -> torch.Tensor:
    """Return on which side of the planes [heads, m] the tokens are: [samples, heads, tokens]."""
    return signs((kernels @ plane.unsqueeze(-1)).squeeze(-1))


def _agreement(yq: torch.Tensor, residual: torch.Tensor, yk: torch.Tensor) -> torch.Tensor:
    """Return y_q^T R y_k of each head, summed over the samples."""
    return (yq.unsqueeze(-2) @ residual @ yk.unsqueeze(-1)).sum((0, 2, 3))


def _spectral(kq: torch.Tensor, kk: torch.Tensor, residual: torch.Tensor, _: torch.Generator) -> torch.Tensor:
    """Return the planes [heads, m] by the first eigenvector."""
    gram = torch.stack([(of.mT @ of / of.shape[-2]).mean(0).double() for of in (kq, kk)]).mean(0)
    ridge = (_RIDGE * gram.diagonal(dim1=-2, dim2=-1).mean(-1)).clamp_min(EPSILON)
    root = torch.linalg.cholesky(gram + torch.diag_embed(ridge.unsqueeze(-1).expand(gram.shape[:-1])))
    pull = (kq.mT @ residual @ kk).sum(0).double()
    half = torch.linalg.solve_triangular(root, pull + pull.mT, upper=False)
    whitened = torch.linalg.solve_triangular(root, half.mT, upper=False)
    first = torch.linalg.eigh((whitened + whitened.mT) / 2).eigenvectors[..., -1:]
    planes: torch.Tensor = torch.linalg.solve_triangular(root.mT, first, upper=True)
    return planes.squeeze(-1).to(residual.dtype)


def _descended(kq: torch.Tensor, kk: torch.Tensor, residual: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return the planes [heads, m] by descent from random ones, or those where their signs are no worse."""
    start = torch.randn(kq.shape[1], kq.shape[-1], generator=generator)
    plane = start.clone().requires_grad_()
    optimizer = torch.optim.SGD([plane], _RATE, _MOMENTUM, nesterov=True)
    for _ in range(_STEPS):
        # 2 sigmoid(x) - 1 is tanh(x / 2).
        yq, yk = ((of @ plane.unsqueeze(-1)).squeeze(-1).div(2).tanh() for of in (kq, kk))
        optimizer.zero_grad()
        (-_agreement(yq, residual, yk).sum() / (residual.shape[0] * residual.shape[2])).backward()
        optimizer.step()
    end = plane.detach()
    before, after = (_agreement(_side(kq, at), residual, _side(kk, at)) for at in (start, end))
    return torch.where((after > before).unsqueeze(-1), end, start)


_Alike = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
_Search = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Generator], torch.Tensor]
_FORMS: dict[str, tuple[_Alike, _Search]] = {
    "ranks": (_of_ranks, _spectral),
    "paper": (_of_scores, _spectral),
    "released": (_of_cosines, _descended),
}
FORMS = tuple(_FORMS)
