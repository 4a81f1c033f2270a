"""Arithmetic of sizes: operators of ONNX over elements that are known, symbols among them.

Each function takes the call and NumPy arrays, and returns an array, or a tuple of arrays. Arrays of objects hold
symbols; Python's operators work on these as on numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from edgeopt.frontend.onnx.call import Call
from edgeopt.frontend.onnx.values import Array, Known, Value, known

_SYMBOLS = (torch.SymInt, torch.SymFloat, torch.SymBool)
_LARGEST = 4096
"""Most elements of a value that is folded: what is larger is a weight, and not a size."""


def folded(call: Call, values: Sequence[Value | None]) -> list[Value] | None:
    """Return what a node computes of elements that are known; None where it is to be computed by torch."""
    if call.domain:
        return None
    function = _FOLDED.get(call.op)
    given = [value for value in values if value is not None]
    if function is None or not all(isinstance(v, Known) and v.array.size <= _LARGEST for v in given):
        return None
    arrays = [value.array if isinstance(value, Known) else None for value in values]
    result = function(call, *arrays)
    results = [_array(item) for item in (result if isinstance(result, tuple) else (result,))]
    if any(array.size > _LARGEST for array in results):
        return None
    return [_known(array) for array in results]


def _array(result: Any) -> Array:
    """Return an array, of one element too, which NumPy hands out as the element itself."""
    return _objects([result], ()) if isinstance(result, _SYMBOLS) else np.asarray(result)


def _known(array: Array) -> Known:
    return known(array) if array.dtype == object and array.size else Known(array)


def _is_integer(*arrays: Array) -> bool:
    return all(array.dtype == object or array.dtype.kind in "iu" for array in arrays)


def _divide(call: Call, a: Array, b: Array) -> Any:
    if not _is_integer(a, b):
        return a / b
    if a.dtype == object or b.dtype == object:
        return a // b  # sizes are not negative
    return (np.abs(a) // np.abs(b) * np.sign(a) * np.sign(b)).astype(a.dtype)


def _cast(call: Call, a: Array) -> Any:
    from onnx.helper import tensor_dtype_to_np_dtype

    wanted = np.dtype(tensor_dtype_to_np_dtype(call.get("to")))
    if a.dtype != object:
        return a.astype(wanted)
    convert: Callable[[Any], Any] = torch.sym_int if wanted.kind in "iu" else torch.sym_float
    if wanted.kind == "b":
        return np.array([bool(item != 0) for item in a.flat]).reshape(a.shape)
    return _objects([convert(item) for item in a.flat], a.shape)


def _objects(items: Sequence[Any], shape: tuple[int, ...]) -> Array:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array.reshape(shape)


def _rounded(of_numbers: Callable[[Array], Any], of_symbol: Callable[[Any], Any]) -> Callable[[Call, Array], Any]:
    def rounded(call: Call, a: Array) -> Any:
        return of_numbers(a) if a.dtype != object else _objects([of_symbol(item) for item in a.flat], a.shape)

    return rounded


def _compared(compare: Callable[[Any, Any], Any]) -> Callable[[Call, Array, Array], Any]:
    def compared(call: Call, a: Array, b: Array) -> Any:
        result = compare(a, b)
        return np.array([bool(item) for item in np.asarray(result).flat], dtype=bool).reshape(np.shape(result))

    return compared


def axes_of(call: Call, given: Any) -> list[int] | None:
    """Return the axes of a node, an input since some opset and an attribute before; None: not given."""
    axes = given if given is not None else call.get("axes")
    return None if axes is None else [int(axis) for axis in np.asarray(axes).reshape(-1)]


def _unsqueeze(call: Call, a: Array, axes: Array | None = None) -> Any:
    wanted = axes_of(call, axes) or []
    return np.expand_dims(a, tuple(wanted))


def _squeeze(call: Call, a: Array, axes: Array | None = None) -> Any:
    wanted = axes_of(call, axes)
    return a.squeeze() if wanted is None else a.squeeze(tuple(wanted))


def _slice(call: Call, a: Array, starts: Array, ends: Array, axes: Any = None, steps: Any = None) -> Any:
    places = range(len(starts)) if axes is None else axes
    index: list[Any] = [slice(None)] * a.ndim
    for place, start, end, step in zip(
        places, starts, ends, [1] * len(starts) if steps is None else steps, strict=True
    ):
        last = None if step < 0 and end < -a.shape[place] else int(end)
        index[int(place)] = slice(int(start), last, int(step))
    return a[tuple(index)]


def _split(call: Call, a: Array, sizes: Array | None = None) -> Any:
    axis = call.get("axis", 0)
    given = sizes if sizes is not None else call.get("split")
    if given is None:
        return tuple(np.array_split(a, call.outputs, axis)) if a.shape[axis] % call.outputs == 0 else tuple()
    return tuple(np.split(a, np.cumsum(given)[:-1].astype(int), axis))


def _reduced(reduce: Callable[..., Any]) -> Callable[..., Any]:
    def reduced(call: Call, a: Array, axes: Array | None = None) -> Any:
        wanted = axes_of(call, axes)
        return reduce(a, axis=None if wanted is None else tuple(wanted), keepdims=bool(call.get("keepdims", 1)))

    return reduced


def _reshape(call: Call, a: Array, shape: Array) -> Any:
    wanted = [a.shape[i] if size == 0 and not call.get("allowzero", 0) else int(size) for i, size in enumerate(shape)]
    return a.reshape(wanted)


def _constant_of_shape(call: Call, shape: Array) -> Any:
    from onnx.numpy_helper import to_array

    value = call.get("value")
    fill = np.zeros(1, np.float32) if value is None else to_array(value)
    if shape.dtype == object or math.prod(int(size) for size in shape) > _LARGEST:
        return np.empty(_LARGEST + 1)  # too large to be folded
    return np.full([int(size) for size in shape], fill.reshape(-1)[0], fill.dtype)


def _range(call: Call, start: Array, limit: Array, delta: Array) -> Any:
    items = (start.item(), limit.item(), delta.item())
    if not all(isinstance(item, int | float) for item in items):
        return np.empty(_LARGEST + 1)
    return np.arange(*items, dtype=start.dtype)


def _where(call: Call, condition: Array, a: Array, b: Array) -> Any:
    return np.where(condition.astype(bool), a, b)


_FOLDED: dict[str, Callable[..., Any]] = {
    "Identity": lambda call, a: a,
    "Add": lambda call, a, b: a + b,
    "Sub": lambda call, a, b: a - b,
    "Mul": lambda call, a, b: a * b,
    "Div": _divide,
    "Mod": lambda call, a, b: np.fmod(a, b) if call.get("fmod", 0) else a % b,
    "Neg": lambda call, a: -a,
    "Min": lambda call, *arrays: _pairwise(arrays, np.minimum),
    "Max": lambda call, *arrays: _pairwise(arrays, np.maximum),
    "Floor": _rounded(np.floor, math.floor),
    "Ceil": _rounded(np.ceil, math.ceil),
    "Cast": _cast,
    "Equal": _compared(lambda a, b: a == b),
    "Greater": _compared(lambda a, b: a > b),
    "GreaterOrEqual": _compared(lambda a, b: a >= b),
    "Less": _compared(lambda a, b: a < b),
    "LessOrEqual": _compared(lambda a, b: a <= b),
    "Not": lambda call, a: np.logical_not(a),
    "And": lambda call, a, b: np.logical_and(a, b),
    "Or": lambda call, a, b: np.logical_or(a, b),
    "Where": _where,
    "Concat": lambda call, *arrays: np.concatenate(arrays, call.get("axis")),
    "Gather": lambda call, a, index: np.take(a, index.astype(np.int64), call.get("axis", 0)),
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Slice": _slice,
    "Split": _split,
    "Reshape": _reshape,
    "Transpose": lambda call, a: a.transpose(call.get("perm")),
    "ReduceProd": _reduced(np.prod),
    "ReduceSum": _reduced(np.sum),
    "ReduceMin": _reduced(np.min),
    "ReduceMax": _reduced(np.max),
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "Expand": lambda call, a, shape: a * np.ones([int(size) for size in shape], np.int64).astype(a.dtype),
}


def _pairwise(arrays: Sequence[Array], function: Callable[[Array, Array], Any]) -> Any:
    result = arrays[0]
    for array in arrays[1:]:
        result = function(result, array)
    return result
