"""A region as a module of torch: what TVM compiles, and what its code is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import fx
from torch.fx.node import map_arg

from edgeopt.decompositions.pools import AVERAGE_POOLS, average_pool, is_unusual
from edgeopt.ir.rewrite import arguments
from edgeopt.ops.operator import operator_of
from edgeopt.targets.mcu.graph.tensor import Tensor
from edgeopt.targets.mcu.lower.region import Region


def _one_hot(x: torch.Tensor, classes: int) -> torch.Tensor:
    """One where a class is the value: torch's own asks at run time whether all values are classes."""
    return (x[..., None] == torch.arange(classes)).to(torch.int64)


_BODIES: Mapping[Any, Any] = {torch.ops.aten.one_hot.default: _one_hot}
"""Operators of torch that TVM does not know, and what they are in terms of those that it does."""


class RegionModule(torch.nn.Module):
    """A region from int8 (1, H, W, C) to int8 (1, H, W, C), for numpy through ``run`` and for TVM through export."""

    def __init__(self, region: Region, sources: Sequence[Tensor], target: Tensor) -> None:
        super().__init__()
        self.region, self.shapes = region, [tuple(node.meta["val"].shape) for node in region.sources]
        self.zeros = [tensor.zero_point for tensor in (*sources, target)]
        # Tensors of one value: TVM prints floats with seven digits, but tensors exactly.
        for i, tensor in enumerate((*sources, target)):
            self.register_buffer(f"scale_{i}", torch.tensor([tensor.scale]))
        for i, constant in enumerate(region.constants.values()):
            self.register_buffer(f"constant_{i}", constant)

    def forward(self, *operands: torch.Tensor) -> torch.Tensor:
        """Dequantize, compute, quantize."""
        values: dict[fx.Node, Any] = {
            node: getattr(self, f"constant_{i}") for i, node in enumerate(self.region.constants)
        }
        for i, (node, x) in enumerate(zip(self.region.sources, operands, strict=True)):
            shape = self.shapes[i]
            x = _from_rows(x, shape) if len(shape) == 4 else x.reshape(shape)
            values[node] = (x.float() - self.zeros[i]) * getattr(self, f"scale_{i}")
        for node in self.region.nodes:
            values[node] = _call(node, values)
        y = values[self.region.end]
        scale = getattr(self, f"scale_{len(operands)}")
        q = torch.clamp(torch.round(y / scale) + self.zeros[-1], -128, 127).to(torch.int8)
        return q.permute(0, 2, 3, 1) if q.dim() == 4 else q

    def run(self, *operands: np.ndarray) -> np.ndarray:
        """The result, flat, for operands (H, W, C)."""
        with torch.no_grad():
            result: torch.Tensor = self(*(torch.from_numpy(np.ascontiguousarray(x))[None] for x in operands))
            return result.numpy().reshape(-1)


def _from_rows(x: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Maps (N, C, H, W) of what lies as (N, H, W, C)."""
    n, c, h, w = shape
    return x.reshape(n, h, w, c).permute(0, 3, 1, 2)


def _call(node: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
    if node.target is torch.ops.aten.group_norm.default:
        return _group_norm(node, values)
    if node.target in AVERAGE_POOLS.values():
        # TVM's importer leaves the divisor out.
        found: Any = map_arg(arguments(node), values.__getitem__)
        if is_unusual(found):
            return average_pool(*found.values())
    args: Any = map_arg(node.args, values.__getitem__)
    kwargs: Any = map_arg(node.kwargs, values.__getitem__)
    return _body(node.target)(*args, **kwargs)


def _body(target: Any) -> Any:
    """Return what an operator is in terms of those that TVM knows: itself where nothing else is known of it."""
    operator = operator_of(target)
    known = operator.reference if operator is not None else _BODIES.get(target)
    return target if known is None else known


def _group_norm(node: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
    """A group norm with scale and shift, which TVM cannot do without."""
    found: Any = map_arg(arguments(node), values.__getitem__)
    channels = node.meta["val"].shape[1]
    scale = torch.ones(channels) if found["weight"] is None else found["weight"]
    shift = torch.zeros(channels) if found["bias"] is None else found["bias"]
    return torch.ops.aten.group_norm.default(found["input"], found["num_groups"], scale, shift, found["eps"])
