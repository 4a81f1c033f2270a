"""What stays in float between integers: the operators between dequantized values and one quantize node.

Where it is a function of single values it becomes a table of 256 bytes (GELU, sigmoid, hard swish,
``x * tanh(softplus(x))``: whatever the formula); everything else goes to TVM as a module with int8 at both ends.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import fx
from torch.fx.node import map_arg

from edgeopt.decompositions.pools import AVERAGE_POOLS, average_pool, is_unusual
from edgeopt.ir.program import Program
from edgeopt.ir.rewrite import arguments
from edgeopt.ops import agent_attention, hashed_attention, hybrid_attention, soft_attention
from edgeopt.ops.agent_attention import AGENT_ATTENTION
from edgeopt.ops.hashed_attention import HASHED_ATTENTION
from edgeopt.ops.hybrid_attention import HYBRID_ATTENTION
from edgeopt.ops.soft_attention import SOFT_ATTENTION
from edgeopt.passes.quantization.insert_qdq import DEQUANTIZE
from edgeopt.targets.mcu.graph.tensor import Tensor


def _one_hot(x: torch.Tensor, classes: int) -> torch.Tensor:
    """One where a class is the value: torch's own asks at run time whether all values are classes."""
    return (x[..., None] == torch.arange(classes)).to(torch.int64)


_UNTAGGED = frozenset({torch.ops.aten.hardswish.default})
"""Pointwise operators that torch does not tag as such."""
_BODIES: Mapping[Any, Any] = {
    HYBRID_ATTENTION: hybrid_attention.attend,
    AGENT_ATTENTION: agent_attention.attend,
    SOFT_ATTENTION: soft_attention.attend,
    HASHED_ATTENTION: hashed_attention.attend,
    torch.ops.aten.one_hot.default: _one_hot,
}
"""Operators that TVM does not know, and what they are in terms of those that it does."""


@dataclass(frozen=True)
class Region:
    """``nodes`` in order and the result, ``end``; ``sources``: quantized values read; ``constants``: the others."""

    end: fx.Node
    sources: tuple[fx.Node, ...]
    nodes: tuple[fx.Node, ...]
    constants: Mapping[fx.Node, torch.Tensor]

    @property
    def is_table(self) -> bool:
        """Whether the result is a function of single values of one tensor."""
        return (
            all(map(is_pointwise, self.nodes))
            and len(self.sources) == 1
            and all(c.numel() == 1 for c in self.constants.values())
        )


def is_pointwise(node: fx.Node) -> bool:
    """Whether an operator goes value by value."""
    return node.target in _UNTAGGED or torch.Tag.pointwise in getattr(node.target, "tags", ())


def collect(program: Program, end: fx.Node, quantized: Collection[fx.Node]) -> Region:
    """Return the region that ends with ``end``; ``quantized``: the values that are there as integers.

    Raises ValueError, with the reason, where it reads something else.
    """
    found: set[fx.Node] = set()
    sources: dict[fx.Node, None] = {}
    constants: dict[fx.Node, torch.Tensor] = {}
    pending = [end]
    while pending:
        node = pending.pop()
        if node in quantized:
            sources[node] = None
        elif (constant := _constant(program, node)) is not None:
            constants[node] = constant
        elif node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
            raise ValueError(f"it reads {node.name}, which is not quantized")
        elif node not in found:
            found.add(node)
            pending += reversed(node.all_input_nodes)
    order = {node: i for i, node in enumerate(program.graph.nodes)}
    return Region(end, tuple(sources), tuple(sorted(found, key=order.__getitem__)), constants)


def _constant(program: Program, node: fx.Node) -> torch.Tensor | None:
    """The value of a constant, dequantized where it was stored as integers."""
    if node.target is DEQUANTIZE and all(program.constant(used) is not None for used in node.all_input_nodes):
        return DEQUANTIZE(*map_arg(node.args, program.constant))
    return program.constant(node)


def tabulate(region: Region, x: Tensor, y: Tensor) -> np.ndarray:
    """Return a table region's 256 results, int8, for the values of ``x`` from -128 on, in the map of ``y``."""
    values: dict[fx.Node, Any] = {node: constant.reshape(()) for node, constant in region.constants.items()}
    values[region.sources[0]] = (torch.arange(-128, 128) - x.zero_point) * torch.tensor(x.scale)
    for node in region.nodes:
        values[node] = _call(node, values)
    q = torch.round(values[region.end] / torch.tensor(y.scale)) + y.zero_point
    return q.expand(256).clamp(-128, 127).to(torch.int8).numpy()


class RegionModule(torch.nn.Module):
    """A region from int8 (1, H, W, C) to int8 (1, H, W, C), for numpy through ``run`` and for TVM through export."""

    def __init__(self, region: Region, sources: list[Tensor], target: Tensor) -> None:
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
            return self(*(torch.from_numpy(np.ascontiguousarray(x))[None] for x in operands)).numpy().reshape(-1)


def _from_rows(x: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Maps (N, C, H, W) of what lies as (N, H, W, C)."""
    n, c, h, w = shape
    return x.reshape(n, h, w, c).permute(0, 3, 1, 2)


def _call(node: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
    if node.target is torch.ops.aten.group_norm.default:
        return _group_norm(node, values)
    if node.target in AVERAGE_POOLS.values() and is_unusual(given := arguments(node)):
        # TVM's importer leaves the divisor out.
        return average_pool(*(map_arg(value, values.__getitem__) for value in given.values()))  # type: ignore[arg-type]
    args: Any = map_arg(node.args, values.__getitem__)
    kwargs: Any = map_arg(node.kwargs, values.__getitem__)
    body: Any = _BODIES.get(node.target, node.target)
    return body(*args, **kwargs)


def _group_norm(node: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
    """A group norm with scale and shift, which TVM cannot do without."""
    found: Any = map_arg(arguments(node), values.__getitem__)
    channels = node.meta["val"].shape[1]
    scale = torch.ones(channels) if found["weight"] is None else found["weight"]
    shift = torch.zeros(channels) if found["bias"] is None else found["bias"]
    return torch.ops.aten.group_norm.default(found["input"], found["num_groups"], scale, shift, found["eps"])
