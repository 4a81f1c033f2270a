"""Weights that are one of sixteen integers: four bits a weight for whoever looks them up and multiplies integers.

Sixteen times the numbers of E2M1 are 0, 8, 16, 24, 32, 48, 64, 96 and their negatives, those of INT4 reach 112: exact
in int8, and as large as its weights, so that scales stay in the range of its multipliers. Each output channel has one
scale, searched for the least squared error of its weights: products of int8 and a multiplication at their end compute
just what the four bits stand for.

Sources: the formats' are named in edgeopt.quant.float4; the search's in edgeopt.quant.blockwise.
"""

from __future__ import annotations

import torch

from edgeopt.quant.blockwise import BlockFormat
from edgeopt.quant.float4 import E2M1, INT4, Element
from edgeopt.quant.qparams import Affine

CODEBOOKS = {
    name: Element(element.name, tuple(16 * magnitude for magnitude in element.magnitudes))
    for name, element in {"fp4": E2M1, "int4": INT4}.items()
}
"""The integers by the name of the precision."""

ELEMENTS = {element.name: element for element in CODEBOOKS.values()}
"""The integers by the name that a program says them by."""


def for_weight(weight: torch.Tensor, element: Element) -> Affine:
    """Return the map of each output channel (axis 0) of ``weight`` onto an element's integers."""
    rows = weight.flatten(1)
    if rows.shape[1] % 2:
        rows = torch.nn.functional.pad(rows, (0, 1))
    kind = BlockFormat(element.name, element, None, torch.float32)
    scale = kind.search(kind.blocks(rows), torch.ones(()), torch.ones(())).flatten()
    return Affine(scale, torch.zeros_like(scale, dtype=torch.int8))


def to_integers(values: torch.Tensor, affine: Affine, element: Element) -> torch.Tensor:
    """Return the integers (int8) of an element nearest to constant ``values``."""
    scale = affine.scale.view(-1, *[1] * (values.dim() - 1))
    return element.nearest(values / scale).to(torch.int8)


def neighbors(integers: torch.Tensor, element: Element) -> tuple[torch.Tensor, torch.Tensor]:
    """Return for each integer of an element the next below and the next above it; at the ends itself."""
    numbers = torch.tensor(sorted({*element.magnitudes, *(-m for m in element.magnitudes)}), dtype=integers.dtype)
    at = torch.searchsorted(numbers, integers.contiguous())
    return numbers[(at - 1).clamp_min(0)], numbers[(at + 1).clamp_max(len(numbers) - 1)]
