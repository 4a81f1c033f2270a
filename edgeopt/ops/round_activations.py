"""``edgeopt::round_activations``: activations in four-bit floats, as tensor cores that multiply them see them.

``kind`` is a block format (``nvfp4``, ``int4``, ...; see edgeopt.quant.blockwise), whose block scales along the last
axis are found as the network runs under the tensor's ``factor`` (float32, no dimensions); or an element (``e2m1``,
...), of which ``factor`` is the calibrated scale.
"""

from __future__ import annotations

import torch

from edgeopt.ops.dequantize_blocks import ELEMENTS
from edgeopt.ops.operator import Operator, register
from edgeopt.quant.blockwise import FORMATS, Blocks
from edgeopt.quant.fpq import Rounded


@torch.library.custom_op("edgeopt::round_activations", mutates_args=())
def round_activations(x: torch.Tensor, factor: torch.Tensor, kind: str) -> torch.Tensor:
    """Return ``x`` rounded to four bits, of the same shape."""
    form = FORMATS.get(kind)
    if form is None:
        return Rounded(ELEMENTS[kind], factor)(x)
    scale = form.scales(form.blocks(x).abs().amax(-1), factor)
    return Blocks.rounded(x, form, scale, factor).values


@round_activations.register_fake
def _shape(x: torch.Tensor, factor: torch.Tensor, kind: str) -> torch.Tensor:
    torch._check(kind in ELEMENTS or kind in FORMATS, lambda: f"there is no format '{kind}'")
    return torch.empty_like(x)


ROUND_ACTIVATIONS = torch.ops.edgeopt.round_activations.default

register(Operator("edgeopt::round_activations"))
