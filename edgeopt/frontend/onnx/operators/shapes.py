"""Operators that move elements and compute none."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from edgeopt.frontend.onnx.call import Call, translates
from edgeopt.frontend.onnx.dtypes import torch_dtype, torch_tensor
from edgeopt.frontend.onnx.values import Known, Value, known

_PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


@translates("Shape", raw=(0,))
def shape_of(call: Call, x: Value) -> Known:
    """Sizes, which are known as the model is traced."""
    shape = list(x.shape if isinstance(x, Tensor) else x.array.shape)
    return known(shape[call.get("start", 0) : call.get("end", len(shape))])


@translates("Size", raw=(0,))
def size_of(call: Call, x: Value) -> Known:
    """The number of elements."""
    return known(math.prod(x.shape if isinstance(x, Tensor) else x.array.shape))


@translates("Reshape", numbers=(1,))
def reshape(call: Call, x: Tensor, shape: list[int]) -> Tensor:
    """A size of 0 is that of the input, and one of -1 what is left."""
    if not call.get("allowzero", 0):
        shape = [x.shape[i] if isinstance(size, int) and size == 0 else size for i, size in enumerate(shape)]
    return x.reshape(shape)


@translates("Flatten")
def flatten(call: Call, x: Tensor) -> Tensor:
    """To two axes, split before ``axis``."""
    axis = call.get("axis", 1)
    axis = axis + x.dim() if axis < 0 else axis
    if axis == 1 and x.dim() > 1:
        return torch.flatten(x, 1)
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@translates("Transpose")
def transpose(call: Call, x: Tensor) -> Tensor:
    """Without ``perm`` the axes are reversed."""
    return x.permute(call.get("perm", list(range(x.dim()))[::-1]))


@translates("Squeeze", numbers=(1,))
def squeeze(call: Call, x: Tensor, axes: list[int] | None = None) -> Tensor:
    """Axes of size 1 go: those given, or all."""
    axes = axes if axes is not None else call.get("axes")
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


@translates("Unsqueeze", numbers=(1,))
def unsqueeze(call: Call, x: Tensor, axes: list[int] | None = None) -> Tensor:
    """Axes are places in the result."""
    places = axes if axes is not None else call.get("axes")
    for axis in sorted(axis % (x.dim() + len(places)) for axis in places):
        x = x.unsqueeze(axis)
    return x


@translates("Concat")
def concat(call: Call, *values: Tensor) -> Tensor:
    """Along one axis."""
    return torch.cat(values, call.get("axis"))


@translates("Split", numbers=(1,))
def split(call: Call, x: Tensor, sizes: list[int] | None = None) -> Any:
    """Into parts of given sizes, or as many equal ones as there are outputs, the last of which may be smaller."""
    axis = call.get("axis", 0)
    sizes = sizes if sizes is not None else call.get("split")
    if sizes is None:
        sizes = -(-x.shape[axis] // call.get("num_outputs", call.outputs))
    return tuple(torch.split(x, sizes, axis))


@translates("Slice", numbers=(1, 2, 3, 4))
def slice_(call: Call, x: Tensor, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Tensor:
    """Steps may be negative: those axes are turned first."""
    places = range(len(starts)) if axes is None else axes
    for place, start, end, step in zip(
        places, starts, ends, [1] * len(starts) if steps is None else steps, strict=True
    ):
        axis = place % x.dim()
        if step < 0:
            size = x.shape[axis]
            first, last = _from_the_end(start, size, size - 1), _from_the_end(end, size, -1)
            x, start, end, step = torch.flip(x, [axis]), size - 1 - first, size - 1 - last, -step
        x = torch.ops.aten.slice.Tensor(x, axis, start, end, step)
    return x


def _from_the_end(index: int, size: int, least: int) -> int:
    """Return an index as counted from the start, within what a slice toward the start may name."""
    index = index + size if index < 0 else index
    return max(min(index, size - 1), -1 if least < 0 else 0)


@translates("Expand", numbers=(1,))
def expand(call: Call, x: Tensor, shape: list[int]) -> Tensor:
    """Broadcast both ways."""
    missing = [1] * (x.dim() - len(shape))
    own = [1] * (len(shape) - x.dim()) + list(x.shape)
    wanted = [
        mine if isinstance(size, int) and size == 1 else size for mine, size in zip(own, missing + shape, strict=True)
    ]
    return x.expand(wanted)


@translates("Tile", numbers=(1,))
def tile(call: Call, x: Tensor, repeats: list[int]) -> Tensor:
    """Repeat along each axis."""
    return x.repeat(repeats)


@translates("Pad", numbers=(1, 2, 3))
def pad(call: Call, x: Tensor, pads: Any = None, value: Any = None, axes: Any = None) -> Tensor:
    """Begins of all axes, then ends; negative ones cut."""
    pads = pads if pads is not None else call.get("pads")
    mode = call.get("mode", "constant")
    call.require("mode", *_PAD_MODES)
    places = [axis % x.dim() for axis in axes] if axes is not None else list(range(x.dim()))
    before, after = dict(zip(places, pads, strict=False)), dict(zip(places, pads[len(places) :], strict=True))
    last_first = [side.get(axis, 0) for axis in reversed(range(x.dim())) for side in (before, after)]
    while last_first[-2:] == [0, 0]:
        last_first = last_first[:-2]
    if not last_first:
        return x
    if mode == "constant":
        return F.pad(x, last_first, value=value[0] if value else 0)
    return _pad_by_values(x, last_first, _PAD_MODES[mode])


def _pad_by_values(x: Tensor, pads: list[int], mode: str) -> Tensor:
    """Torch pads the last one to three axes by values, of tensors with two axes before them."""
    lacking = len(pads) // 2 + 2 - x.dim()
    for _ in range(max(lacking, 0)):
        x = x.unsqueeze(0)
    x = F.pad(x, pads, mode=mode)
    return x.reshape(x.shape[max(lacking, 0) :])


@translates("DepthToSpace")
def depth_to_space(call: Call, x: Tensor) -> Tensor:
    """Channels to blocks: ``CRD`` is torch's order, ``DCR`` the other."""
    size = call.get("blocksize")
    if call.get("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, size)
    n, c, h, w = x.shape
    blocks = x.reshape(n, size, size, c // size**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return blocks.reshape(n, c // size**2, h * size, w * size)


@translates("SpaceToDepth")
def space_to_depth(call: Call, x: Tensor) -> Tensor:
    """Blocks to channels."""
    size = call.get("blocksize")
    n, c, h, w = x.shape
    blocks = x.reshape(n, c, h // size, size, w // size, size).permute(0, 3, 5, 1, 2, 4)
    return blocks.reshape(n, c * size**2, h // size, w // size)


@translates("ConstantOfShape", numbers=(0,))
def constant_of_shape(call: Call, shape: list[int]) -> Tensor:
    """Filled by one value, 0.0 unless told otherwise."""
    value = call.get("value")
    if value is None:
        return torch.zeros(shape)
    fill = torch_tensor(value).reshape(-1)
    return torch.full(shape, fill.tolist()[0], dtype=fill.dtype)


@translates("Range", numbers=(0, 1, 2))
def range_(call: Call, start: list[Any], limit: list[Any], delta: list[Any]) -> Tensor:
    """From start to limit."""
    items = (start[0], limit[0], delta[0])
    dtype = torch.float32 if any(isinstance(item, float | torch.SymFloat) for item in items) else torch.int64
    return torch.arange(*items, dtype=dtype)


@translates("EyeLike")
def eye_like(call: Call, x: Tensor) -> Tensor:
    """Ones on a diagonal."""
    dtype = torch_dtype(call.get("dtype")) if call.get("dtype") else x.dtype
    rows, columns = (torch.arange(size) for size in x.shape)
    diagonal: Tensor = columns[None, :] - rows[:, None] == call.get("k", 0)
    return diagonal.to(dtype)


@translates("Trilu", numbers=(1,))
def triangle(call: Call, x: Tensor, k: list[int] | None = None) -> Tensor:
    """The upper or lower triangle."""
    return (torch.triu if call.get("upper", 1) else torch.tril)(x, k[0] if k else 0)
