"""A program in wider floats: the same graph, some of its floating-point types replaced by one that holds them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import fx
from torch.fx.node import map_aggregate

from edgeopt.errors import UserError
from edgeopt.ir.program import Program, dtype_name, op_name

OTHER_FLOATS = frozenset({torch.bfloat16, torch.float16, torch.float64})
"""Types in which people train or compute, and few targets do."""


class NotWidened(Exception):
    """An operator does not compute in the wider type; the message names it."""


def widened(program: Program, narrow: Collection[torch.dtype], wide: torch.dtype) -> Program:
    """Return a copy in which constants, inputs and operators of the ``narrow`` types are in ``wide``.

    Raises NotWidened where an operator does not take ``wide``, or returns a narrow type nevertheless.
    """

    def widen(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(wide) if tensor.dtype in narrow else tensor

    def widen_type(argument: Any) -> Any:
        return wide if isinstance(argument, torch.dtype) and argument in narrow else argument

    copy = program.clone()
    copy.constants = {name: widen(tensor) for name, tensor in copy.constants.items()}
    mode = copy.fake_mode
    for node in copy.graph.nodes:
        if node.op == "placeholder":
            with mode:
                node.meta["val"] = widen(node.meta["val"])
        elif node.op == "call_function":
            node.args, node.kwargs = (map_aggregate(given, widen_type) for given in (node.args, node.kwargs))
            node.meta["val"] = _inferred(copy, node, narrow, wide)
    return copy


def program_types(program: Program) -> set[torch.dtype]:
    """Return the types of all tensors of a program."""
    values = (node.meta.get("val") for node in program.graph.nodes)
    return {value.dtype for value in values if isinstance(value, torch.Tensor)}


def in_float32(program: Program, types: Collection[torch.dtype]) -> tuple[Program, tuple[str, ...]]:
    """Return the program with float32 wherever it has one of ``types``, for runtimes that do not compute in them, and
    a note that says so; the program itself and no note where it has none.

    Of types that float32 holds, inputs and weights are the same numbers; results are rounded less often than the
    original's. Raises UserError where an operator computes in such a type alone.
    """
    found = program_types(program).intersection(types)
    if not found:
        return program, ()
    names = " and ".join(sorted(map(dtype_name, found)))
    note = f"what is in {names} in the model, inputs and outputs among it, is in float32 here"
    try:
        return widened(program, found, torch.float32), (note,)
    except NotWidened as error:
        raise UserError(f"the model cannot be taken in float32: {error}", "cast it yourself: model.float()") from error


def _inferred(program: Program, node: fx.Node, narrow: Collection[torch.dtype], wide: torch.dtype) -> Any:
    try:
        value = program.infer(node)
    except Exception as error:
        raise NotWidened(f"{node.name} ({op_name(node)}) does not run in {dtype_name(wide)}") from error
    if isinstance(value, torch.Tensor) and value.dtype in narrow:
        raise NotWidened(f"{node.name} ({op_name(node)}) computes in {dtype_name(value.dtype)}")
    return value
