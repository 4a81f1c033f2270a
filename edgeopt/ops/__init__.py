"""Operators of our own, one file each: schema, torch reference, shape rule, ONNX function."""

from __future__ import annotations

from collections.abc import Callable

onnx_functions: dict[str, Callable[[], Callable]] = {}
"""What each operator is in ONNX, by its schema's name; filled by ``register_onnx``."""


def register_onnx(operator_name: str, build: Callable[[], Callable]) -> None:
    """Say what an operator of ours is in ONNX.

    ``operator_name`` is the schema's, such as ``edgeopt::quantize``. ``build`` imports onnxscript and returns a
    function of the operator's arguments: an onnxscript function in the domain ``edgeopt`` (kept as a
    model-local function, so that a native kernel can take its place), or a plain one that emits standard
    operators.
    """
    onnx_functions[operator_name] = build
