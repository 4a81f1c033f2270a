"""Tensors of four-bit elements with a scale for each block along the last axis: formats, scales, storage.

number = element * scale of the block * factor of the tensor
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from edgeopt.errors import UserError
from edgeopt.quant.float4 import E2M1, INT4, Element, pack, unpack

_CLIPS = (*torch.linspace(0.6, 1.2, 13).tolist(), 1.5)
_LEAST = 2.0**-100


@dataclass(frozen=True)
class BlockFormat:
    """An element, how many of them share a scale (None: the whole last axis), and the scale's type."""

    name: str
    element: Element
    block: int | None
    scale: torch.dtype

    @property
    def is_float(self) -> bool:
        """Whether the elements are floats."""
        return self.element is not INT4

    def blocks(self, values: torch.Tensor) -> torch.Tensor:
        """Return values with the last axis split into blocks: (..., blocks, elements of one).

        Raises UserError where it does not divide into them.
        """
        size = self.block or values.shape[-1]
        if values.shape[-1] % size or values.shape[-1] % 2:
            raise UserError(
                f"{values.shape[-1]} values do not divide into blocks of {size}",
                f"choose another format than {self.name}",
            )
        return torch.unflatten(values, -1, (-1, size))

    def factor(self, values: torch.Tensor) -> torch.Tensor:
        """Return the factor of a tensor (float32, no dimensions): 1 unless the scales' type needs one."""
        if self.scale is not torch.float8_e4m3fn:
            return torch.tensor(1.0)
        return (values.abs().max() / (self.element.largest * torch.finfo(self.scale).max)).float().clamp_min(_LEAST)

    def scales(self, largest: torch.Tensor, factor: torch.Tensor, clip: float = 1.0) -> torch.Tensor:
        """Return the scales of blocks whose largest magnitude is given, in the scales' type.

        With a ``clip`` below 1 the largest saturate; powers of two are taken as the MX specification has it, where
        they may do so, and the next larger for a clip above 1.
        """
        if self.scale is torch.float8_e8m0fnu:
            emax = torch.tensor(self.element.largest).log2().floor()
            exponent = (largest * clip).clamp_min(_LEAST).log2().floor() - emax
            return torch.exp2(exponent.clamp(-127, 127)).to(self.scale)
        wanted = (largest * clip / (self.element.largest * factor)).float()
        return wanted.clamp(torch.finfo(self.scale).tiny, torch.finfo(self.scale).max).to(self.scale)

    def search(self, blocks: torch.Tensor, weights: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        """Return the scales of blocks (..., elements) under which the weighted squared error is least."""
        largest = blocks.abs().amax(-1)
        best = self.scales(largest, factor)
        least = self._error(blocks, weights, best, factor)
        for clip in _CLIPS:
            scale = self.scales(largest, factor, clip)
            error = self._error(blocks, weights, scale, factor)
            best = torch.where(error < least, scale.float(), best.float()).to(self.scale)
            least = torch.minimum(error, least)
        return best

    def _error(
        self, blocks: torch.Tensor, weights: torch.Tensor, scale: torch.Tensor, factor: torch.Tensor
    ) -> torch.Tensor:
        real = (scale.float() * factor).unsqueeze(-1)
        return ((self.element.nearest(blocks / real) * real - blocks).square() * weights).sum(-1)


FORMATS = {
    one.name: one
    for one in (
        BlockFormat("fp4", E2M1, None, torch.float32),
        BlockFormat("mxfp4", E2M1, 32, torch.float8_e8m0fnu),
        BlockFormat("nvfp4", E2M1, 16, torch.float8_e4m3fn),
        BlockFormat("int4", INT4, 64, torch.float32),
    )
}
"""The formats by the names that ``--precision`` takes; ``fp4`` has a scale for each row."""


@dataclass(frozen=True)
class Blocks:
    """A stored tensor (..., K): codes two a byte (..., K / 2), scales (..., blocks), and the tensor's factor."""

    codes: torch.Tensor
    scale: torch.Tensor
    factor: torch.Tensor
    element: Element

    @classmethod
    def nearest(cls, values: torch.Tensor, kind: BlockFormat) -> Blocks:
        """Return values rounded to the nearest, every block's largest magnitude as large as it may be."""
        factor = kind.factor(values)
        blocks = kind.blocks(values)
        return cls.rounded(values, kind, kind.scales(blocks.abs().amax(-1), factor), factor)

    @classmethod
    def rounded(cls, values: torch.Tensor, kind: BlockFormat, scale: torch.Tensor, factor: torch.Tensor) -> Blocks:
        """Return values rounded to the nearest under given scales."""
        real = (scale.float() * factor).unsqueeze(-1)
        codes = kind.element.encode(kind.blocks(values) / real).flatten(-2)
        return cls(pack(codes), scale, factor, kind.element)

    @property
    def values(self) -> torch.Tensor:
        """The numbers (float32) that are stored."""
        codes = unpack(self.codes)
        real = (self.scale.float() * self.factor).unsqueeze(-1)
        blocks = torch.unflatten(self.element.decode(codes), -1, (self.scale.shape[-1], -1))
        return (blocks * real).flatten(-2)

    @property
    def nbytes(self) -> int:
        """Bytes stored."""
        return self.codes.nbytes + self.scale.nbytes + self.factor.nbytes
