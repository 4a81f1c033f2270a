"""The original's outputs on the verification inputs, and which of them can be compared with another's, and how.

An index (of top-k, argmax, sort) is right where it points at the right value: where values tie, every runtime may
choose its own. Outputs of random operators say nothing. Integers and booleans that no float took part in have one right
value.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import fx

from edgeopt.ir.metrics import Arrays, Pointed, Reference
from edgeopt.ir.nodes import aten
from edgeopt.ir.program import Observer, Program, to_numpy
from edgeopt.ir.rewrite import arguments

_CHOOSERS = frozenset(
    {
        *(aten.topk.default, aten.sort.default, aten.sort.stable, aten.argsort.default, aten.argsort.stable),
        *(aten.max.dim, aten.min.dim, aten.argmax.default, aten.argmin.default, aten.kthvalue.default),
    }
)
"""Operators that return places of values: alone, or as the second of two results."""
_RESHAPES = frozenset(
    {
        *(aten.view.default, aten.reshape.default, aten.flatten.using_ints, aten.unsqueeze.default),
        *(aten.squeeze.default, aten.squeeze.dim, aten.squeeze.dims, aten.clone.default, aten.alias.default),
        *(aten.to.dtype, aten._to_copy.default, aten.contiguous.default, aten.detach.default),
    }
)
"""Operators that keep the elements and their order."""


def reference_of(program: Program, samples: Sequence[Arrays]) -> Reference:
    """Run the original on the samples; return its outputs and what is known of them."""
    choosers = {
        name: chooser
        for name, result in zip(program.output_names, program.results, strict=True)
        if (chooser := _chooser(result)) is not None
    }
    sources = {arguments(node)["self"].name for node in choosers.values()}
    outputs, pointed = [], []
    for sample in samples:
        # Inputs and constants are not seen by an observer.
        values = {name: to_numpy(constant) for name, constant in program.constants.items() if name in sources}
        values |= {name: array for name, array in sample.items() if name in sources}
        outputs.append(program.run(sample, _keeping(sources, values)))
        pointed.append({name: _pointed(node, values, outputs[-1][name]) for name, node in choosers.items()})
    random = dict.fromkeys(_random(program, samples, outputs), "it is random: the original gives other values each run")
    return Reference(tuple(outputs), random, tuple(pointed), frozenset(_decided(program)))


def _chooser(result: Any) -> fx.Node | None:
    """Return the operator that chose the places which an output holds, or None."""
    node = result
    while isinstance(node, fx.Node) and node.target in _RESHAPES:
        node = node.args[0]
    if isinstance(node, fx.Node) and node.target is operator.getitem and node.args[1] == 1:
        node = node.args[0]
    return node if isinstance(node, fx.Node) and node.target in _CHOOSERS else None


def _keeping(wanted: Collection[str], values: dict[str, np.ndarray]) -> Observer:
    """Return the observer that keeps the wanted nodes' values."""

    def keep(node: fx.Node, value: Any) -> None:
        if node.name in wanted:
            values[node.name] = to_numpy(value)

    return keep


def _pointed(node: fx.Node, values: Mapping[str, np.ndarray], indices: np.ndarray) -> Pointed:
    """Return the values that a node chose its places among."""
    given = arguments(node)
    array, dim = values[given["self"].name], given["dim"]
    if dim is None or not array.ndim:
        return Pointed(array, None, (indices.size,))
    axis = dim % array.ndim
    others = array.size // max(array.shape[axis], 1)
    shape = (*array.shape[:axis], indices.size // max(others, 1), *array.shape[axis + 1 :])
    return Pointed(array, axis, shape)


def _random(program: Program, samples: Sequence[Arrays], outputs: Sequence[Arrays]) -> Iterator[str]:
    """Yield the outputs that differ when the original runs again."""
    if not any(torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()) for node in program.calls):
        return
    again = [program.run(sample) for sample in samples]
    for name in program.output_names:
        pairs = ((one[name], other[name]) for one, other in zip(outputs, again, strict=True))
        if not all(np.array_equal(a, b, equal_nan=a.dtype.kind in "fc") for a, b in pairs):
            yield name


def _decided(program: Program) -> Iterator[str]:
    """Yield the outputs of integers or booleans that a float took part in."""
    for name, result in zip(program.output_names, program.results, strict=True):
        if isinstance(result, fx.Node) and not _is_float(result) and any(map(_is_float, _ancestors(result))):
            yield name


def _ancestors(node: fx.Node) -> Iterator[fx.Node]:
    """Yield the nodes whose values a node depends on: sizes are not values."""
    pending, seen = [node], {node}
    while pending:
        for one in pending.pop().all_input_nodes:
            if one not in seen and isinstance(one.meta.get("val"), torch.Tensor | tuple | list):
                seen.add(one)
                pending.append(one)
                yield one


def _is_float(node: fx.Node) -> bool:
    value = node.meta.get("val")
    tensors = value if isinstance(value, tuple | list) else (value,)
    return any(isinstance(one, torch.Tensor) and (one.is_floating_point() or one.is_complex()) for one in tensors)
