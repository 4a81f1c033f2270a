"""Operators of our own, one file each: schema, torch reference, shape rule, ONNX function."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from importlib import import_module

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


stored_weights: set[str] = set()
"""Operators whose constants are a packed weight, by their schema's names; filled by ``stores_weight``."""


def stores_weight(operator_name: str) -> None:
    """Say that an operator reads a weight in the form in which it is stored.

    What it computes of constants alone is the weight in a wider form: no pass may put that in the constants' place.
    """
    stored_weights.add(operator_name)


def register_all() -> None:
    """Make every operator known to torch, without which it reads no archive that calls one."""
    for module in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
