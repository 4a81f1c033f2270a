"""Rounding a weight with error compensation: what one column loses, the columns not yet rounded make good.

The error of a layer y = W x over data with second moments H = E[x x^T] is the sum over the rows e of W' - W of e H e^T.
Columns are rounded one after another; with U the upper Cholesky factor of the inverse of H, the error of column k is
taken from the columns j after it by U[k, j] / U[k, k], which is their best answer to it. A block's scale is searched
when its first column is reached. H gets 1 % of its mean diagonal added.

Source: E. Frantar et al., GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers, ICLR 2023.
"""

from __future__ import annotations

import torch

from edgeopt.quant.blocks import BlockFormat, Blocks
from edgeopt.quant.fp4 import pack

_DAMPING = 0.01
_COLUMNS = 128


def compensated(weight: torch.Tensor, second: torch.Tensor, kind: BlockFormat) -> Blocks:
    """Return ``weight`` (O x K) in a block format under the second moments (K x K) of its inputs."""
    moments = second.double() + _DAMPING * second.diagonal().mean().clamp_min(1e-30) * torch.eye(len(second))
    upper = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(moments)), upper=True).float()
    importance = moments.diagonal().float()
    factor = kind.factor(weight)
    work = weight.float().clone()
    scales = [kind.search(work.unsqueeze(1), importance, factor)] if kind.block is None else []
    codes = torch.empty(weight.shape, dtype=torch.uint8)
    size = kind.block or _COLUMNS
    kind.blocks(weight)  # refuses what does not divide
    for start in range(0, weight.shape[1], size):
        block = slice(start, start + size)
        if kind.block is not None:
            scales.append(kind.search(work[:, block].unsqueeze(1), importance[block], factor))
        real = (scales[-1].float() * factor).squeeze(1)
        codes[:, block], errors = _round_columns(work[:, block], upper[block, block], real, kind)
        work[:, block.stop :] -= errors @ upper[block, block.stop :]
    return Blocks(pack(codes), torch.cat([s.float() for s in scales], 1).to(kind.scale), factor, kind.element)


def _round_columns(
    columns: torch.Tensor, upper: torch.Tensor, scale: torch.Tensor, kind: BlockFormat
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the codes of some columns, and their errors as the columns after them take them over."""
    columns = columns.clone()
    codes = torch.empty(columns.shape, dtype=torch.uint8)
    errors = torch.empty_like(columns)
    for k in range(columns.shape[1]):
        codes[:, k] = kind.element.encode(columns[:, k] / scale)
        errors[:, k] = (columns[:, k] - kind.element.decode(codes[:, k]) * scale) / upper[k, k]
        columns[:, k + 1 :] -= errors[:, k : k + 1] * upper[k, k + 1 :]
    return codes, errors
