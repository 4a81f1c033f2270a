"""Dynamic dimensions made fixed, for targets that plan memory ahead: each takes the least size it may have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import fx
from torch._subclasses import FakeTensorMode
from torch.fx.node import map_arg

from edgeopt.frontend.load import Loaded, LoadOptions, load
from edgeopt.ir.nodes import run_node
from edgeopt.ir.program import Program
from edgeopt.plugins.target import Target


def load_for(target: Target, model: Any, options: LoadOptions) -> Loaded:
    """Load a model, with fixed shapes where the target needs them; the example is cut to fit."""
    loaded = load(model, replace(options, fixed=options.fixed or target.needs_fixed_shapes))
    if not (target.needs_fixed_shapes and loaded.program.is_dynamic):
        return loaded
    program = fix_shapes(loaded.program)
    shapes = {spec.name: spec.shape for spec in program.inputs}
    return replace(loaded, program=program, example={k: _cut(v, shapes[k]) for k, v in loaded.example.items()})


def fix_shapes(program: Program) -> Program:
    """Return a copy whose dynamic dimensions are their lower bounds; sizes in the graph become numbers."""
    program = program.clone()
    sizes = {symbol: _least(int(bounds.lower)) for symbol, bounds in program.range_constraints.items()}
    numbers: dict[fx.Node, int] = {}
    fake_mode = FakeTensorMode()
    for node in list(program.graph.nodes):
        if node.op == "placeholder":
            node.meta["val"] = _fake_placeholder(program, node, sizes, fake_mode)
        elif node.op == "call_function":
            _refresh(node, numbers, fake_mode)
    for node in reversed(list(numbers)):
        program.graph.erase_node(node)
    program.range_constraints = {}
    program.clean()
    return program


def _least(lower: int) -> int:
    # torch.export traces a dynamic dimension as if it were neither 0 nor 1 and states 2 where 1 was asked for.
    return 1 if lower <= 2 else lower


def _fake_placeholder(program: Program, node: fx.Node, sizes: Mapping[Any, int], mode: FakeTensorMode) -> torch.Tensor:
    if (tensor := program.constant(node)) is not None:
        return mode.from_tensor(tensor, static_shapes=True)
    value = node.meta["val"]
    shape = [d if isinstance(d, int) else max(1, int(d.node.expr.subs(sizes))) for d in value.shape]
    with mode:
        return torch.empty(shape, dtype=value.dtype)


def _refresh(node: fx.Node, numbers: dict[fx.Node, int], mode: FakeTensorMode) -> None:
    """Infer a call again, sizes among its arguments replaced by their numbers."""
    node.args, node.kwargs = map_arg((node.args, node.kwargs), lambda used: numbers.get(used, used))
    with mode:
        value = run_node(node, lambda used: used.meta["val"])
    if isinstance(value, int):
        numbers[node] = value
    node.meta["val"] = value


def _cut(array: np.ndarray, shape: tuple[int | str, ...]) -> np.ndarray:
    return array[tuple(slice(0, int(size)) for size in shape)]
