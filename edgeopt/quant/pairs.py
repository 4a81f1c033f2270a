"""Pairs of int8 weights whose products with uint8 a saturating sum of 16 bits holds.

x86 processors without VNNI multiply with VPMADDUBSW: 32 activations (uint8) by 32 weights (int8), and what two
neighboring products come to is saturated to int16. Both products of a pair fit, whatever the activations are, where

    255 (max(w0, 0) + max(w1, 0)) <= 32767    and    255 (min(w0, 0) + min(w1, 0)) >= -32768

that is where weights of one sign come to ``LIMIT`` = 128 at most. Which weights meet is told by the kernel: those of
neighboring input channels (0 and 1, 2 and 3, ...) at one tap. Where a group of several has an odd number of them, pairs
go across taps, and no two weights of a row may exceed the limit. A depthwise convolution has one input channel an
output, and its kernels widen before they add.

Source of the instruction: Intel 64 and IA-32 Architectures Software Developer's Manual, PMADDUBSW.
"""

from __future__ import annotations

from typing import Literal

import torch

from edgeopt.quant.qparams import WEIGHT_LIMIT, Affine, for_weight, to_integers

LIMIT = 32767 // 255
"""What two weights of one sign may come to."""

Order = Literal["channels", "any", "none"]
"""Which weights of an output are added in pairs: neighboring input channels, any two, or none."""

_WIDER = 1.05


def order_of(shape: torch.Size, groups: int) -> Order:
    """Return which weights are added in pairs, of a linear (O, I) or a convolution (O, I / groups, ...)."""
    if groups == 1 or shape[1] % 2 == 0:
        return "channels"
    return "none" if shape[:2] == (groups, 1) else "any"


def largest_sums(weight: torch.Tensor, order: Order) -> torch.Tensor:
    """Return the largest magnitude that two weights of one sign come to, in each output (O)."""
    if order == "none":
        return weight.abs().flatten(1).amax(1)
    signs = (weight.clamp_min(0), (-weight).clamp_min(0))
    if order == "channels":
        return torch.maximum(*(_paired(side).sum(2).flatten(1).amax(1) for side in signs))
    return torch.maximum(*(side.flatten(1).topk(min(2, side[0].numel())).values.sum(1) for side in signs))


def for_paired_weight(weight: torch.Tensor, order: Order) -> Affine:
    """Return the symmetric int8 map of each output, with the scale of the least squared error of the weights.

    It is sought from the scale at which the largest weight becomes 127 to that at which no pair has to be cut.
    """
    full = for_weight(weight)
    if order == "none":
        return full
    widest = torch.maximum(full.scale, largest_sums(weight, order) / LIMIT)
    best, least, scale = widest, torch.full_like(widest, torch.inf, dtype=torch.float64), full.scale
    while bool((scale < widest).any()):
        best, least = _better(weight, order, torch.minimum(scale, widest), best, least)
        scale = scale * _WIDER
    best, _ = _better(weight, order, widest, best, least)
    return Affine(best, full.zero_point)


def _better(
    weight: torch.Tensor, order: Order, scale: torch.Tensor, best: torch.Tensor, least: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the better scale of each output and its squared error, having tried another one."""
    tried = Affine(scale, torch.zeros_like(scale, dtype=torch.int8))
    rounded = to_paired_integers(weight, tried, order) * scale.view(-1, *[1] * (weight.dim() - 1))
    error = (weight - rounded).double().square().flatten(1).sum(1)
    return torch.where(error < least, scale, best), torch.minimum(error, least)


def to_paired_integers(weight: torch.Tensor, affine: Affine, order: Order) -> torch.Tensor:
    """Return the integers (int8) nearest to a weight, of those that pairs of products leave room for."""
    limits = magnitude_limits(weight / affine.scale.view(-1, *[1] * (weight.dim() - 1)), order)
    return to_integers(weight, affine).clamp(-limits, limits).to(torch.int8)


def magnitude_limits(real: torch.Tensor, order: Order) -> torch.Tensor:
    """Return the largest magnitude of each weight's integer, for weights in units of their scale, of the same shape.

    Two that are added and have one sign share ``LIMIT``; what both lack of it, or have too much, is divided equally.
    """
    if order == "none":
        return torch.full_like(real, WEIGHT_LIMIT)
    if order == "any":
        return torch.where(real > 0, _beside_the_largest(real), _beside_the_largest(-real))
    first, second = _paired(real).unbind(2)
    shared = (first.abs() + (LIMIT - first.abs() - second.abs()) / 2).round().clamp(LIMIT - WEIGHT_LIMIT, WEIGHT_LIMIT)
    apart = first * second <= 0
    limits = [torch.where(apart, WEIGHT_LIMIT, limit) for limit in (shared, LIMIT - shared)]
    return torch.stack(limits, 2).flatten(1, 2)[:, : real.shape[1]]


def _beside_the_largest(real: torch.Tensor) -> torch.Tensor:
    """Return limits under which no two positive weights of a row exceed ``LIMIT``: the largest leaves the others the
    rest."""
    rows = real.clamp_min(0).flatten(1)
    (largest, second), at = torch.nn.functional.pad(rows, (0, 1)).topk(2).values.unbind(1), rows.argmax(1, keepdim=True)
    most = (largest + (LIMIT - largest - second) / 2).round().clamp(LIMIT // 2, WEIGHT_LIMIT).unsqueeze(1)
    return (LIMIT - most).expand_as(rows).scatter(1, at, most).view_as(real)


def _paired(weight: torch.Tensor) -> torch.Tensor:
    """Return weights (O, I, ...) as pairs of input channels (O, I / 2, 2, ...), zeros at the end where I is odd."""
    if weight.shape[1] % 2:
        weight = torch.cat([weight, torch.zeros_like(weight[:, :1])], 1)
    return torch.unflatten(weight, 1, (-1, 2))
