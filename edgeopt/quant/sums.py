"""Sums of products of integers that 32 bits hold.

Kernels add the products of a layer in int32, where what leaves it comes back with the other sign. For activations u in
0..255 around a zero point z, and weights w of which the positive ones come to P and the negative ones to -N,

    -255 max(P, N)  <=  sum (u - z) w  <=  255 max(P, N)

and activations in -128..127 that stand around 0 come to 128 (P + N) <= 256 max(P, N). Half of int32 is left to the bias
(see ``edgeopt.quant.qparams.fitting_bias``). Of up to 32,736 weights an output no 127s leave it.
"""

from __future__ import annotations

import torch

from edgeopt.quant.qparams import Affine

_LARGEST_ACTIVATION = 256
_LIMIT = (2**30 - 2**20) // _LARGEST_ACTIVATION
"""What the weights of one sign may come to."""

MOST_PRODUCTS = _LIMIT // 2
"""Products of an output above which a scale that lets them fit leaves too little of the weights."""


def fitting_sums(affine: Affine, weight: torch.Tensor) -> Affine:
    """Return the map of a weight (O, ...), coarser for outputs whose products may not fit, however it is rounded."""
    rows = weight.flatten(1).double()
    least = _one_sign(rows) / (_LIMIT - rows.shape[1])
    return Affine(torch.maximum(affine.scale, least.float()), affine.zero_point, affine.axis)


def largest_sum(integers: torch.Tensor, bias: torch.Tensor | None) -> int:
    """Return the largest magnitude of a sum of products and bias, of weights (O, ...) around 0 and a bias (O)."""
    largest = _LARGEST_ACTIVATION * _one_sign(integers.flatten(1).long())
    return int((largest if bias is None else largest + bias.long().abs()).max())


def _one_sign(rows: torch.Tensor) -> torch.Tensor:
    """Return what the weights of one sign come to, the larger of the two, in each output."""
    return torch.maximum(rows.clamp_min(0).sum(1), (-rows).clamp_min(0).sum(1))
