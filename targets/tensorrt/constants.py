"""Constants of a model, of any element type that numpy knows by way of ml_dtypes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx_ir as ir


def constant(model: ir.Model, name: str, array: Any) -> ir.Value:
    """Add a constant to a model; its name has to be new there."""
    import onnx_ir as ir

    tensor = ir.tensor(np.asarray(array), name=name)
    shape = ir.Shape(np.shape(array))
    value = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=shape, const_value=tensor)
    model.graph.register_initializer(value)
    return value
