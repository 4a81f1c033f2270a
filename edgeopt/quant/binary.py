"""Numbers of one bit: signs +1 and -1, or 1 and 0, packed 32 to a word; their products are counts of bits.

    sign(x) = +1 where x >= 0, so of both zeros, and -1 elsewhere; a set bit is +1 (or 1), a clear bit -1 (or 0)

    signs . signs  =  n - 2 popcount(a xor b)
    bits  . bits   =  popcount(a and b)
    bits  . signs  =  2 popcount(a and b) - popcount(a)

Words are int32, the least bit first; what fills up the last word is clear in every operand, so it counts nowhere.

Sources: Rastegari et al., XNOR-Net: ImageNet Classification Using Binary Convolutional Neural Networks, ECCV 2016;
X. Xing et al., BiPFT: Binary Pre-trained Foundation Transformer, AAAI 2024, whose sign of 0 is 0.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn import functional

WORD = 32
"""Bits of a word."""


def signs(x: torch.Tensor) -> torch.Tensor:
    """Return +1 where ``x`` is not negative and -1 elsewhere, in the shape and dtype of ``x``."""
    return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)


def words(size: int) -> int:
    """Return how many words so many bits take."""
    return -(-size // WORD)


def pack(x: torch.Tensor) -> torch.Tensor:
    """Return the signs of ``x`` [..., n] as bits, int32 [..., words(n)]."""
    bits = torch.unflatten(functional.pad((x >= 0).long(), (0, -x.shape[-1] % WORD)), -1, (-1, WORD))
    return (bits << torch.arange(WORD)).sum(-1).to(torch.int32)


def unpack(packed: torch.Tensor, size: int) -> torch.Tensor:
    """Return the signs (float32, [..., size]) that words hold."""
    bits = packed.unsqueeze(-1) >> torch.arange(WORD, dtype=torch.int32) & 1
    return (2.0 * bits - 1.0).flatten(-2)[..., :size]


def popcount(packed: torch.Tensor) -> torch.Tensor:
    """Return how many bits of each word are set, int64 in the same shape."""
    x = packed.long() & 0xFFFFFFFF
    x = x - (x >> 1 & 0x55555555)
    x = (x & 0x33333333) + (x >> 2 & 0x33333333)
    x = x + (x >> 4) & 0x0F0F0F0F
    return (x * 0x01010101 & 0xFFFFFFFF) >> 24


def dot_signs(a: torch.Tensor, b: torch.Tensor, size: int) -> torch.Tensor:
    """Return the products of packed signs along the last axis, over ``size`` of them."""
    return size - 2 * popcount(a ^ b).sum(-1)


def dot_bits(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the products of packed ones and zeros along the last axis."""
    return popcount(a & b).sum(-1)


def dot_bits_signs(bits: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    """Return the products of packed ones and zeros with packed signs along the last axis."""
    return 2 * popcount(bits & sign).sum(-1) - popcount(bits).sum(-1)


def binarize(
    weight: torch.Tensor, per: Literal["channel", "tensor"] = "channel", centered: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the signs of a weight [outputs, ...] and their scale [outputs]: the mean magnitude.

    One scale a channel is XNOR-Net's; one for the tensor, of signs about the tensor's mean (``centered``), is BiPFT's.
    """
    magnitude = weight.abs().flatten(1).mean(1)
    scale = magnitude if per == "channel" else magnitude.mean().expand(len(weight)).contiguous()
    return signs(weight - weight.mean() if centered else weight), scale


def scaled_signs(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return the signs and scales [outputs] of a weight [outputs, ...] that is one magnitude a channel, else nothing.

    Magnitudes are one to 1e-5 of each other, as sums and products in float32 leave them.
    """
    rows = weight.abs().flatten(1).double()
    least, most = rows.aminmax(dim=1)
    if not bool((least > 0).all()) or bool((most - least > 1e-5 * most).any()):
        return None
    return signs(weight), rows.mean(1).to(weight.dtype)
