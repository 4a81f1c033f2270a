"""Normalization by statistics that are stored, or of the tensor itself."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from edgeopt.frontend.onnx.call import MICROSOFT, Call, translates


@translates("BatchNormalization")
def batch_norm(call: Call, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    """By stored statistics."""
    call.require("training_mode", 0)
    return F.batch_norm(x, mean, var, scale, bias, False, 0.0, call.get("epsilon", 1e-5))


@translates("InstanceNormalization")
def instance_norm(call: Call, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Each plane by its own mean and variance: a group of each channel."""
    return F.group_norm(x, x.shape[1], scale, bias, call.get("epsilon", 1e-5))


@translates("GroupNormalization")
def group_norm(call: Call, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Scale and bias are one a group before opset 21, and one a channel since."""
    groups = call.get("num_groups")
    if call.opset < 21:
        repeats = x.shape[1] // groups
        scale, bias = scale.repeat_interleave(repeats), bias.repeat_interleave(repeats)
    return F.group_norm(x, groups, scale, bias, call.get("epsilon", 1e-5))


@translates("LayerNormalization")
def layer_norm(call: Call, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    """Over all axes from ``axis`` on."""
    if call.outputs > 1:
        raise call.refused("returns its mean or deviation")
    shape = list(x.shape[call.get("axis", -1) :])
    return F.layer_norm(x, shape, scale.expand(shape), None if bias is None else bias.expand(shape), _epsilon(call))


@translates("RMSNormalization")
def rms_norm(call: Call, x: Tensor, scale: Tensor) -> Tensor:
    """By the root of the mean of squares, over all axes from ``axis`` on."""
    shape = list(x.shape[call.get("axis", -1) :])
    return F.rms_norm(x, shape, scale.expand(shape), _epsilon(call))


@translates("SimplifiedLayerNormalization", domain=MICROSOFT)
def simplified_layer_norm(call: Call, x: Tensor, scale: Tensor) -> Tensor:
    """The same under its older name."""
    return rms_norm(call, x, scale)


@translates("SkipLayerNormalization", domain=MICROSOFT)
def skip_layer_norm(
    call: Call, x: Tensor, skip: Tensor, gamma: Tensor, beta: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """Layer normalization of a sum."""
    if call.outputs > 1:
        raise call.refused("returns more than its result")
    total = x + skip if bias is None else x + skip + bias
    return F.layer_norm(total, [x.shape[-1]], gamma, beta, call.get("epsilon", 1e-12))


@translates("LpNormalization")
def lp_norm(call: Call, x: Tensor) -> Tensor:
    """Divided by its norm along an axis."""
    norm: Tensor = torch.linalg.vector_norm(x, call.get("p", 2), call.get("axis", -1), keepdim=True)
    return x / norm


@translates("MeanVarianceNormalization")
def mean_variance(call: Call, x: Tensor) -> Tensor:
    """Zero mean and unit variance over axes."""
    axes = call.get("axes", [0, 2, 3])
    centered = x - x.mean(axes, keepdim=True)
    return centered / (torch.sqrt((centered * centered).mean(axes, keepdim=True)) + 1e-9)


@translates("LRN")
def local_response(call: Call, x: Tensor) -> Tensor:
    """By neighboring channels; torch's window of an even size stands one channel aside."""
    size = call.get("size")
    if size % 2 == 0:
        raise call.refused(f"has a window of {size} channels; supported: odd sizes")
    return F.local_response_norm(x, size, call.get("alpha", 1e-4), call.get("beta", 0.75), call.get("bias", 1.0))


def _epsilon(call: Call) -> float:
    epsilon: float = call.get("epsilon", 1e-5)
    return epsilon
