"""Cross entropy with probabilities for labels: ONNX has it for classes only.

cross_entropy(x, p)  =>  -sum(log_softmax(x) p w),  summed, or divided by the number of samples

Source: torch, aten/src/ATen/native/LossNLL.cpp, cross_entropy_loss_prob_target.
"""

from __future__ import annotations

import torch

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
