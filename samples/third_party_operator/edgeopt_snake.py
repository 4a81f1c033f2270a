"""``snake::snake``: the activation Snake, which learns periodic functions.

    y = x + sin(a x)^2 / a,    a = ``frequency`` > 0

As one operator it is one node of the graph, and one table of 256 bytes on a microcontroller, where it goes value by
value. Every other compiler gets it in standard operators: by ONNX, or by ``reference``.

Source: L. Ziyin, T. Hartwig, M. Ueda, Neural Networks Fail to Learn Periodic Functions and How to Fix It, NeurIPS 2020.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from edgeopt.ops.operator import Operator, register


def reference(x: torch.Tensor, frequency: float) -> torch.Tensor:
    """Compute the activation in torch's own operators."""
    return x + (frequency * x).sin().square() / frequency


snake = torch.library.custom_op("snake::snake", reference, mutates_args=(), tags=(torch.Tag.pointwise,))


@snake.register_fake
def _shape(x: torch.Tensor, frequency: float) -> torch.Tensor:
    torch._check(frequency > 0, lambda: f"the frequency is {frequency}, it must be positive")
    return torch.empty_like(x)


def _onnx() -> Callable:
    from onnxscript import opset20 as op

    def emitted(x: Any, frequency: float) -> Any:
        a = op.CastLike(frequency, x)
        wave = op.Sin(op.Mul(x, a))
        return op.Add(x, op.Div(op.Mul(wave, wave), a))

    return emitted


SNAKE = register(Operator("snake::snake", onnx=_onnx, reference=reference))
