"""A library against torch in float64, layer by layer, to within what the arithmetic of each kernel may err.

``layers_of`` makes every quantized value of a program an output. ``worst`` evaluates the program in float64, from the
stored integers and their scales alone, and holds each of these outputs against what float64 makes of the integers
before it, which then take its place: no error adds up, so that each bound is that of one kernel. Nothing of the
library's lowering, packing or numpy specification takes part in what is expected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import fx
from torch.fx.node import map_arg

from edgeopt.ir.program import Program
from edgeopt.ir.rewrite import arguments
from edgeopt.ops.binary_conv2d import BINARY_CONV2D
from edgeopt.ops.binary_linear import BINARY_LINEAR
from edgeopt.ops.quantize import DEQUANTIZE, QUANTIZE
from edgeopt.quant.scheme import RECTIFIERS

aten = torch.ops.aten
RANGE = 256
"""Steps that int8 has: what is beyond saturates here and there."""
MULTIPLIER = 2.0**-33
"""Half of the last place of a multiplier: products of accumulators and it err by so much of an accumulator."""
FLOAT32 = RANGE * 2.0**-18
"""Steps that an operator in float32 may err: 24 bits, less those that some dozens of operations lose."""


def layers_of(program: Program) -> Program:
    """Return the program with every quantized value as an output, named after the node that is quantized."""
    exposed = program.clone()
    values = [node for node in exposed.calls if node.target is QUANTIZE and _is_computed(exposed, node)]
    ends = {str(node.all_input_nodes[0]): next(iter(node.users)) for node in values}
    exposed.output_node.args = (tuple(ends.values()),)
    exposed.output_names = tuple(ends)
    exposed.clean()
    return exposed


def _is_computed(program: Program, node: fx.Node) -> bool:
    source = node.all_input_nodes[0]
    return source.op == "call_function" and source.target is not aten.pad.default


def worst(layers: Program, got: Mapping[str, np.ndarray], inputs: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return, by operator, how far from float64 the worst of its results is: 1 is what its arithmetic may lose.

    ``got`` are the outputs of ``layers``, real values by name.
    """
    run = _Run(layers, got)
    with torch.no_grad():
        run.evaluate({name: torch.from_numpy(array) for name, array in inputs.items()})
    return run.worst


@dataclass
class _Run:
    program: Program
    got: Mapping[str, np.ndarray]
    values: dict[fx.Node, Any] = field(default_factory=dict)
    worst: dict[str, float] = field(default_factory=dict)

    def evaluate(self, inputs: Mapping[str, torch.Tensor]) -> None:
        stored = {name: t.double() if t.is_floating_point() else t for name, t in self.program.constants.items()}
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = {**stored, **inputs}[node.name]
            elif node.target is QUANTIZE:
                self.values[node] = self._quantized(node)
            elif node.target is DEQUANTIZE:
                self.values[node] = self._real(node)
            elif node.op == "call_function":
                args, kwargs = map_arg((node.args, node.kwargs), self.values.__getitem__)
                self.values[node] = node.target(*args, **kwargs)

    def _real(self, node: fx.Node) -> torch.Tensor:
        found = arguments(node)
        q, scale, zero = (self.values[found[name]] for name in ("q", "scale", "zero_point"))
        shape = [-1 if scale.dim() and dim == found["axis"] else 1 for dim in range(q.dim())]
        y: torch.Tensor = (q.double() - zero.double().view(shape)) * scale.double().view(shape)
        return y

    def _quantized(self, node: fx.Node) -> torch.Tensor:
        """The library's integers where it has them, held against float64."""
        found = arguments(node)
        x, scale, zero = (self.values[found[name]] for name in ("x", "scale", "zero_point"))
        ends = torch.iinfo(found["dtype"])
        wanted = (x / scale.to(x.dtype) + zero).clamp(ends.min, ends.max)
        source = found["x"]
        if source.name not in self.got:  # an input, in float32 as the library's caller rounds it, or a padding
            exact: torch.Tensor = wanted.round().to(found["dtype"])
            return exact
        got = torch.from_numpy(self.got[source.name]).double() / scale + zero
        operator = source.args[0] if source.target in RECTIFIERS else source
        lost = float((got.round() - wanted).abs().max()) / (0.5 + self._allowed(operator, float(scale)))
        name = str(operator.target)
        self.worst[name] = max(lost, self.worst.get(name, 0.0))
        y: torch.Tensor = got.round().to(found["dtype"])
        return y

    def _allowed(self, node: fx.Node, step: float) -> float:
        """What a result of the operator may be off beyond half a step of it, in such steps."""
        if node.target not in ALLOWED:
            return FLOAT32
        scales = {operand: self._scale(operand) for operand in node.all_input_nodes}
        return max(ALLOWED[node.target](self, node, scales, step), FLOAT32)

    def _scale(self, operand: fx.Node) -> torch.Tensor | None:
        """The scale that an operand's integers have, through what only moves them."""
        while operand.op == "call_function" and operand.target is not DEQUANTIZE:
            operand = operand.all_input_nodes[0]
        return self.values[arguments(operand)["scale"]] if operand.op == "call_function" else None


Scales = Mapping[fx.Node, torch.Tensor | None]


def _of_products(run: _Run, node: fx.Node, scales: Scales, step: float) -> float:
    """A sum of products times a multiplier; a bias in float is rounded to the products' scale."""
    a, b, *rest = node.all_input_nodes
    factor = scales[a] * scales[b] / step  # type: ignore[operator]
    bias = 0.5 * factor if rest and rest[0].target is not DEQUANTIZE else torch.zeros(())
    return float((bias + RANGE * MULTIPLIER / factor).max())


def _of_sums(run: _Run, node: fx.Node, scales: Scales, step: float) -> float:
    """Two multipliers of 14 bits or more, the larger of them at least 2^13 after the last shift."""
    return RANGE * float(torch.stack([s for s in scales.values() if s is not None]).max()) / step * 2.0**-13


def _of_means(run: _Run, node: fx.Node, scales: Scales, step: float) -> float:
    """16 times a sum, times a multiplier."""
    (x,) = node.all_input_nodes
    count = run.values[x].numel() / run.values[node].numel()
    found: float = RANGE * MULTIPLIER * 16 * count * step / float(scales[x])  # type: ignore[arg-type]
    return found


def _of_softmax(run: _Run, node: fx.Node, scales: Scales, step: float) -> float:
    """Exponentials in steps of 1/65535, each off by half, over a sum of them that is one at least."""
    found: float = RANGE * 0.5 / 65535 * (1 + run.values[node].shape[-1])
    return found


def _of_norms(run: _Run, node: fx.Node, scales: Scales, step: float) -> float:
    """An inverse root of 15 bits, epsilon rounded to the squares' integers, and 16 bits of fraction for all else."""
    found = arguments(node)
    (x, *_), n = node.all_input_nodes, found["normalized_shape"][-1]
    rows = run.values[x].reshape(-1, n) / scales[x]
    mean = rows.mean(-1, keepdim=True) if node.target is aten.layer_norm.default else 0.0
    squares = n * (rows - mean).square().sum(-1)
    weight = run.values[found["weight"]].abs().max() if found.get("weight") is not None else 1.0
    root = RANGE * (1.5 * 2.0**-15 + 0.25 / float(squares.min().clamp(min=1)))
    result: float = root + 2.0**-17 * (float(weight) / step + n**0.5 + 1)
    return result


def _of_signs(run: _Run, node: fx.Node, scales: Scales, step: float) -> float:
    """A bias in 256ths of the scale, and a multiplier of 256 times the sum."""
    factor = run.values[arguments(node)["scale"]] / step
    return float((factor / 512 + RANGE * MULTIPLIER * 256 / factor).max())


ALLOWED: dict[Any, Callable[[_Run, fx.Node, Scales, float], float]] = {
    aten.conv2d.default: _of_products,
    aten.linear.default: _of_products,
    aten.matmul.default: _of_products,
    aten.bmm.default: _of_products,
    aten.add.Tensor: _of_sums,
    aten.avg_pool2d.default: _of_means,
    aten.adaptive_avg_pool2d.default: _of_means,
    aten.mean.dim: _of_means,
    aten.softmax.int: _of_softmax,
    BINARY_CONV2D: _of_signs,
    BINARY_LINEAR: _of_signs,
    aten.layer_norm.default: _of_norms,
    aten.rms_norm.default: _of_norms,
}
"""By operator; every other one is a table or C that was generated, in float32, or moves integers as they are."""
