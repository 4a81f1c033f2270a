"""Losses: ONNX has cross entropy for classes only, and the exporter's soft margin loses the digits of small losses.

cross_entropy(x, p)     =>  -sum(log_softmax(x) p w),   summed, or divided by the number of samples
soft_margin_loss(x, y)  =>  log1p(exp(-y x))

Source: torch, aten/src/ATen/native/LossNLL.cpp, cross_entropy_loss_prob_target; Loss.cpp, soft_margin_loss.
"""

from __future__ import annotations

import torch

from edgeopt.decompositions.logarithms import log1p
from edgeopt.decompositions.writing_out import decomposes
from edgeopt.ir.nodes import aten

_NONE, _MEAN = 0, 1


@decomposes(aten.cross_entropy_loss.default, where=lambda given: given["target"].is_floating_point())
def cross_entropy(
    x: torch.Tensor,
    probabilities: torch.Tensor,
    weight: torch.Tensor | None,
    reduction: int,
    _ignore_index: int,
    label_smoothing: float,
) -> torch.Tensor:
    """Return the loss of ``x`` and ``probabilities`` [N, C, ...] or [C]; ``reduction``: none, mean or sum."""
    axis = min(x.dim() - 1, 1)
    classes = x.shape[axis]
    if label_smoothing:
        probabilities = probabilities * (1.0 - label_smoothing) + label_smoothing / classes
    terms = torch.log_softmax(x, axis) * probabilities
    if weight is not None:
        terms = terms * weight.reshape(-1, *[1] * (x.dim() - 1 - axis))
    if reduction == _NONE:
        return -terms.sum(axis)
    return -terms.sum() / (x.numel() // classes if reduction == _MEAN else 1)


@decomposes(aten.soft_margin_loss.default)
def soft_margin_loss(x: torch.Tensor, target: torch.Tensor, reduction: int) -> torch.Tensor:
    """Return the loss of ``x`` and ``target`` [...], 1 or -1; ``reduction``: none, mean or sum."""
    terms = log1p(torch.exp(-target * x))
    if reduction == _NONE:
        return terms
    return terms.mean() if reduction == _MEAN else terms.sum()
