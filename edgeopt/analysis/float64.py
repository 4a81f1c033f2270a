"""A program in double precision: the same graph, every floating-point type in it float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import fx
from torch.fx.node import map_aggregate

from edgeopt.program import Program, dtype_name, op_name

_NARROWER = (torch.float16, torch.bfloat16, torch.float32)


class NotInFloat64(Exception):
    """An operator does not compute in float64; the message names it."""


def in_float64(program: Program) -> Program:
    """Return a copy whose constants, inputs and operators are in float64.

    Raises NotInFloat64 where an operator does not take float64, or returns another type nevertheless.
    """
    copy = program.clone()
    copy.constants = {name: _widened(tensor) for name, tensor in copy.constants.items()}
    mode = copy.fake_mode
    for node in copy.graph.nodes:
        if node.op == "placeholder":
            with mode:
                node.meta["val"] = _widened(node.meta["val"])
        elif node.op == "call_function":
            node.args, node.kwargs = map_aggregate((node.args, node.kwargs), _widened_type)  # type: ignore[assignment]
            node.meta["val"] = _inferred(copy, node)
    return copy


def sample_in_float64(sample: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return arrays with floats in float64, the others as they are."""
    return {name: array.astype(np.float64) if array.dtype.kind == "f" else array for name, array in sample.items()}


def _widened(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.double() if tensor.dtype in _NARROWER else tensor


def _widened_type(argument: Any) -> Any:
    return torch.float64 if isinstance(argument, torch.dtype) and argument in _NARROWER else argument


def _inferred(program: Program, node: fx.Node) -> Any:
    try:
        value = program.infer(node)
    except Exception as error:
        raise NotInFloat64(f"{node.name} ({op_name(node)}) does not run in float64") from error
    if isinstance(value, torch.Tensor) and value.dtype in _NARROWER:
        raise NotInFloat64(f"{node.name} ({op_name(node)}) computes in {dtype_name(value.dtype)}")
    return value
