"""Numbers of four bits: a sign and one of eight magnitudes, shared scales, two numbers a byte.

A float of E exponent and M mantissa bits (E + M = 3), bias b, without infinity or NaN, has the magnitudes

    p > 0:  2^(p - b) (1 + m / 2^M)        p = 0:  2^(1 - b) m / 2^M

A bias need not be an integer: it is a scale of 2^-b. Small tensors share one scale a block: in MXFP4 32 numbers a power
of two (E8M0), in NVFP4 16 numbers an E4M3 beside one float32 for the tensor. Magnitudes 0..7 are INT4 without -8.

Sources: OCP Microscaling Formats (MX) Specification 1.0, 2023; NVIDIA, Introducing NVFP4, 2025; S. Liu et al.,
LLM-FP4: 4-Bit Floating-Point Quantized Transformers, EMNLP 2023, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

_SIGN = 8


@dataclass(frozen=True)
class Element:
    """Sixteen numbers: codes 0..7 are the magnitudes, ascending from zero, codes 8..15 their negatives."""

    name: str
    magnitudes: tuple[float, ...]

    @property
    def largest(self) -> float:
        """The largest magnitude."""
        return self.magnitudes[-1]

    def encode(self, values: torch.Tensor) -> torch.Tensor:
        """Return the codes (uint8) nearest to ``values``; ties go to the even code, what is outside saturates."""
        return (self._index(values) + _SIGN * torch.signbit(values)).to(torch.uint8)

    def _index(self, values: torch.Tensor) -> torch.Tensor:
        """Return which magnitude is nearest to each value's."""
        middles = torch.tensor([(a + b) / 2 for a, b in zip(self.magnitudes, self.magnitudes[1:], strict=False)])
        # What lies on a boundary belongs below it; where the code below is odd, the boundary moves under the tie.
        under = torch.nextafter(middles, torch.zeros(()))
        odd = torch.arange(len(middles)) % 2 == 1
        return torch.bucketize(values.abs().float(), torch.where(odd, under, middles), out_int32=True)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Return the numbers (float32) that codes stand for."""
        return self.table()[codes.int()]

    def table(self) -> torch.Tensor:
        """Return the sixteen numbers by code."""
        positive = torch.tensor(self.magnitudes)
        return torch.cat([positive, -positive])

    def nearest(self, values: torch.Tensor) -> torch.Tensor:
        """Return the numbers (float32) nearest to ``values``: what their codes stand for, without the codes."""
        return torch.tensor(self.magnitudes)[self._index(values)].copysign(values.float())


def float4(exponent_bits: int, bias: float = 1.0) -> Element:
    """Return the float of 1 to 3 exponent bits; the rest are mantissa."""
    mantissa_bits = 3 - exponent_bits
    steps = 2**mantissa_bits
    codes = [divmod(code, steps) for code in range(_SIGN)]
    return Element(
        f"e{exponent_bits}m{mantissa_bits}",
        tuple(2.0 ** (max(p, 1) - bias) * ((p > 0) + m / steps) for p, m in codes),
    )


E1M2, E2M1, E3M0 = float4(1), float4(2), float4(3)
INT4 = Element("int4", tuple(map(float, range(_SIGN))))


def pack(codes: torch.Tensor) -> torch.Tensor:
    """Return codes two a byte along the last axis, which has an even length; the first is in the low half."""
    return codes[..., ::2] | codes[..., 1::2] << 4


def unpack(packed: torch.Tensor) -> torch.Tensor:
    """Return the codes of ``pack``."""
    return torch.stack([packed & 15, packed >> 4], -1).flatten(-2)
