"""The language in which operators are written for ONNX: onnxscript, imported where a function is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Function = Callable[..., Any]
"""A function of an operator's arguments that emits nodes of ONNX."""


def scripting() -> tuple[Any, Callable[[Function], Function]]:
    """Return ONNX's standard operators, of opset 20, and what makes a Python function one of the domain ``edgeopt``.

    The operators come untyped: what onnxscript declares of their operands is narrower than what they take.
    """
    from onnxscript import opset20, script
    from onnxscript.values import Opset

    return opset20, script(Opset("edgeopt", 1))
