"""Rounding a weight with error compensation: what one column loses, the columns not yet rounded make good.

The error of a layer y = W x over data with second moments H = E[x x^T] is the sum over the rows e of W' - W of e H e^T.
Columns are rounded one after another; with U the upper Cholesky factor of the inverse of H, the error of column k is
taken from the columns j after it by U[k, j] / U[k, k], which is their best answer to it. A block's scale is searched
when its first column is reached. H gets 1 % of its mean diagonal added.

Source: E. Frantar et al., GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers, ICLR 2023.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from edgeopt.quant.blockwise import BlockFormat, Blocks
from edgeopt.quant.float4 import Element, pack

_DAMPING = 0.01
_COLUMNS = 128

ScaleOf = Callable[[torch.Tensor, slice], torch.Tensor]
"""Of some columns (O x n) as they stand when they are reached, and of where they lie: the scale of each row (O)."""


def compensated(weight: torch.Tensor, second: torch.Tensor, kind: BlockFormat) -> Blocks:
    """Return ``weight`` (O x K) in a block format under the second moments (K x K) of its inputs."""
    kind.blocks(weight)  # refuses what does not divide
    importance, factor = damped(second).diagonal().float(), kind.factor(weight)
    scales: list[torch.Tensor] = []

    def scale_of(columns: torch.Tensor, block: slice) -> torch.Tensor:
        scales.append(kind.search(columns.unsqueeze(1), importance[block], factor))
        return (scales[-1].float() * factor).squeeze(1)

    if kind.block is None:
        whole = scale_of(weight.float(), slice(None))
        codes = round_columns(weight, second, kind.element, lambda columns, block: whole, _COLUMNS)
    else:
        codes = round_columns(weight, second, kind.element, scale_of, kind.block)
    return Blocks(pack(codes), torch.cat([s.float() for s in scales], 1).to(kind.scale), factor, kind.element)


def damped(second: torch.Tensor) -> torch.Tensor:
    """Return second moments (float64) that have an inverse."""
    mean = second.diagonal().double().mean().clamp_min(1e-30)
    return second.double() + _DAMPING * mean * torch.eye(len(second), dtype=torch.float64)


def round_columns(
    weight: torch.Tensor, second: torch.Tensor, element: Element, scale_of: ScaleOf, size: int = _COLUMNS
) -> torch.Tensor:
    """Return the codes (O x K, uint8) of a weight, rounded ``size`` columns under one scale after another."""
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped(second)))
    upper = torch.linalg.cholesky(inverse, upper=True).float()
    work = weight.float().clone()
    codes = torch.empty(weight.shape, dtype=torch.uint8)
    for start in range(0, weight.shape[1], size):
        block = slice(start, start + size)
        scale = scale_of(work[:, block], block)
        codes[:, block], errors = _round_block(work[:, block], upper[block, block], scale, element)
        work[:, block.stop :] -= errors @ upper[block, block.stop :]
    return codes


def _round_block(
    columns: torch.Tensor, upper: torch.Tensor, scale: torch.Tensor, element: Element
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the codes of some columns, and their errors as the columns after them take them over."""
    columns = columns.clone()
    codes = torch.empty(columns.shape, dtype=torch.uint8)
    errors = torch.empty_like(columns)
    for k in range(columns.shape[1]):
        codes[:, k] = element.encode(columns[:, k] / scale)
        errors[:, k] = (columns[:, k] - element.decode(codes[:, k]) * scale) / upper[k, k]
        columns[:, k + 1 :] -= errors[:, k : k + 1] * upper[k, k + 1 :]
    return codes, errors
