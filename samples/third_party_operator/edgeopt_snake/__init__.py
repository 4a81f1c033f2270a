"""``snake::snake``: the activation Snake, which learns periodic functions.

    y = x + sin(a x)^2 / a,    a = ``frequency`` > 0, one a channel: x [..., channels], frequency [channels]

Everything that edgeopt does with the operator is told here: ``SNAKE`` says what it is in ONNX and in torch's own
operators, and brings a kernel for OpenVINO (``snake.cpp``) and one for microcontrollers (``s8_snake/scalar.c``).

Source: L. Ziyin, T. Hartwig, M. Ueda, Neural Networks Fail to Learn Periodic Functions and How to Fix It, NeurIPS 2020.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import fx

from edgeopt.ir.rewrite import arguments
from edgeopt.kernels.mcu import Package
from edgeopt.kernels.mcu.reference import Clamp
from edgeopt.ops.operator import Operator, register
from edgeopt.targets.mcu.graph.strides import in_order
from edgeopt.targets.mcu.graph.tensor import Shape, Tensor
from edgeopt.targets.mcu.lower.state import Lowering, Refused, Value, shape_of
from edgeopt.targets.mcu.nodes.node import Needs, Node
from edgeopt.targets.mcu.nodes.site import Printed, Site
from edgeopt.targets.openvino.native_kernel import NativeKernel
from edgeopt.targets.openvino.native_node import emitter

FOLDER = Path(__file__).parent


# -- the operator --------------------------------------------------------------------------------------


def reference(x: torch.Tensor, frequency: torch.Tensor) -> torch.Tensor:
    """Compute the activation in torch's own operators."""
    return x + (frequency * x).sin().square() / frequency


snake = torch.library.custom_op("snake::snake", reference, mutates_args=())


@snake.register_fake
def _shape(x: torch.Tensor, frequency: torch.Tensor) -> torch.Tensor:
    channels = tuple(frequency.shape)
    torch._check(x.shape[-1:] == channels, lambda: f"frequencies {channels} for {x.shape[-1]} channels")
    return torch.empty_like(x)


def _onnx() -> Callable[..., Any]:
    """Return what emits the activation in standard operators."""
    from onnxscript import opset20 as op

    def emitted(x: Any, frequency: Any) -> Any:
        wave = op.Sin(op.Mul(x, frequency))
        return op.Add(x, op.Div(op.Mul(wave, wave), frequency))

    return emitted


# -- OpenVINO: a node of the library that snake.cpp is built into --------------------------------------


def _openvino() -> Callable[..., Any]:
    """Return what emits the activation as one node."""
    return emitter("Snake", domain="snake")


# -- microcontrollers: a node of the integer graph, computed by s8_snake/scalar.c ----------------------

SQUARES = np.round(65535 * np.sin(np.pi * np.arange(256) / 256) ** 2).astype(np.uint16)
"""One period of the sine squared."""


@dataclass(frozen=True, eq=False)
class Snake(Node):
    """The activation over the channels: ``slope``, ``phase`` and ``height`` (one a channel) as scalar.c has them."""

    package: ClassVar[Package] = Package("snake", FOLDER)
    op: ClassVar[str] = "snake"
    slope: int
    phase: np.ndarray
    height: np.ndarray
    in_zero: int
    clamp: Clamp

    @property
    def is_pointwise(self) -> bool:
        """It is, so that several positions can be computed at a time."""
        return True

    def run(self, *operands: np.ndarray) -> np.ndarray:
        """Compute (H, W, channels) int8, as the kernel does."""
        q = operands[0].astype(np.int64) - self.in_zero
        phase = (q * self.phase + 2**23) % 2**32
        steps = q * self.slope + SQUARES[phase >> 24].astype(np.int64) * self.height
        found: np.ndarray = np.clip((steps + 2**23 >> 24) + self.clamp.zero, self.clamp.low, self.clamp.high).astype(
            np.int8
        )
        return found

    def needs(self, isa: str, x: Shape, y: Shape) -> Needs:
        """The constants; the output may be written over the input."""
        factors = np.stack([self.phase, self.height], axis=1).astype(np.uint32).reshape(-1)
        return Needs(np.concatenate([SQUARES.view(np.int32), factors.view(np.int32)]), sharings=self.shares(exact=True))

    def printed(self, site: Site) -> Printed:
        """``(x, constants, y, rows, channels, slope, in_zero, out_zero, low, high)``."""
        x, y = site.at(self.inputs[0]), site.at(self.output)
        ends = (self.slope, self.in_zero, self.clamp.zero, self.clamp.low, self.clamp.high)
        return Printed([], [[x, site.words, y, site.rows, str(site.x.shape[2]), *map(str, ends)]])


def _lowered(state: Lowering, node: fx.Node, y: Tensor, clamp: Clamp) -> Value:
    """Add the activation's node to the integer graph; ``y`` is its result, quantized."""
    found, shape = arguments(node), shape_of(node)
    frequency = state.program.constant(found["frequency"])
    if frequency is None or not bool((frequency > 0).all()):
        raise Refused("its frequencies are computed at run time, or are not positive")
    x = state.plain(state.operand(found["x"]), rows=True)
    a = frequency.double().numpy()
    slope, height = round(2**24 * x.scale / y.scale), np.round(2**24 / (65535 * a * y.scale))
    if max(slope, height.max()) >= 2**31:
        raise Refused(f"frequencies from {a.min():g} at scales {x.scale:g} and {y.scale:g} leave 32 bits")
    phase = np.round(2**32 * (a * x.scale / math.pi % 1)).astype(np.int64) % 2**32
    lowered = Snake(node.name, (x.name,), y.name, slope, phase, height.astype(np.int64), x.zero_point, clamp)
    return state.add(lowered, replace(y, shape=x.shape), shape, in_order(shape))


SNAKE = register(
    Operator(
        "snake::snake",
        onnx=_onnx,
        reference=reference,
        kernels={"openvino": NativeKernel(_openvino, FOLDER), "mcu": _lowered},
    )
)
