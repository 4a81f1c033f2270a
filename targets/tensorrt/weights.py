"""Small number formats of weights: int4, FP8 and FP4, as ONNX spells them for TensorRT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgeopt.target import Fallback

if TYPE_CHECKING:
    import onnx_ir as ir


def store_weights(model: ir.Model, precision: str, extremes: Mapping[str, float] | None) -> tuple[Fallback, ...]:
    """Store the weights as ``precision`` says; return the layers that stay as they are, with reasons."""
    return ()
