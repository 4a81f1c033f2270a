"""ONNX's types of elements in torch, and its tensors as torch's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from edgeopt.errors import UserError

if TYPE_CHECKING:
    import onnx

_NAMES = {
    **{1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool"},
    **{10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128", 16: "bfloat16"},
    **{17: "float8_e4m3fn", 19: "float8_e5m2"},
}
"""By the numbers of ``onnx.TensorProto.DataType``."""
_WITHOUT_NUMPY = {torch.bfloat16: np.uint16, torch.float8_e4m3fn: np.uint8, torch.float8_e5m2: np.uint8}


def torch_dtype(number: int) -> torch.dtype:
    """Return the type of torch; raises UserError where it has none: texts, and integers and floats of 4 bits."""
    if number not in _NAMES:
        from onnx import TensorProto

        known = number in TensorProto.DataType.values()
        what = TensorProto.DataType.Name(number) if known else f"number {number}"
        raise UserError(f"the model holds elements of type {what}", "give a model with numbers of 8 bits or more")
    found: torch.dtype = getattr(torch, _NAMES[number])
    return found


def torch_tensor(proto: onnx.TensorProto) -> torch.Tensor:
    """Return a tensor of ONNX, whose external data has been loaded.

    Raises UserError where the type is none of torch's, ValueError where its bytes are not as many as its shape says.
    """
    from onnx.numpy_helper import to_array

    dtype = torch_dtype(proto.data_type)
    array = to_array(proto)
    if bits := _WITHOUT_NUMPY.get(dtype):
        return torch.from_numpy(array.view(bits).copy()).view(dtype)
    return torch.from_numpy(np.array(array))
