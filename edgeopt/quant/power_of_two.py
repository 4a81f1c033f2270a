"""Scales that are powers of two, so that every change of scale is a shift: integers with a common exponent a block.

    x = q 2^e,    e one for an activation, one for each block of a weight: the row of an output channel

An exponent is the least under which the block's values fit: a value is off by half a step at most, a step no more than
twice that of a free scale. Requantization is then (acc + 2^(s-1)) >> s with s the difference of the exponents. Zero
points stay as they are: the range that they were chosen for still fits, and they cost nothing where sums are shifted.

Source: G. Dong and W. Chen, Blockwise Compression of Transformer-based Models without Retraining, 2023.
"""

from __future__ import annotations

import torch

from edgeopt.quant.qparams import Affine


def to_powers(found: Affine) -> Affine:
    """Return a map with every scale at the next power of two, itself where it is one."""
    mantissa, exponent = torch.frexp(found.scale)
    exponent = torch.where(mantissa == 0.5, exponent - 1, exponent)
    return Affine(torch.ldexp(torch.ones_like(found.scale), exponent), found.zero_point, found.axis)
