"""Which integers an input may hold, derived from what the graph does with it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import fx

from edgeopt.analysis.channels import moves
from edgeopt.analysis.walk import UNCHANGED, number
from edgeopt.ir.program import Program
from edgeopt.ir.rewrite import arguments
from edgeopt.ops.opsets import SUMS
from edgeopt.verification.sizes import Sizes, size_of

aten = torch.ops.aten

_EMBEDDING_BAGS = frozenset({aten.embedding_bag.default, aten.embedding_bag.padding_idx})
_INDEXED = frozenset(
    {
        *(aten.gather.default, aten.index_select.default, aten.index_add.default, aten.index_copy.default),
        *(aten.scatter.src, aten.scatter.value, aten.scatter_add.default, aten.scatter_reduce.two),
    }
)
"""Operators that take an index along ``dim`` of what they read."""
_SHAPES = frozenset(
    {aten.unsqueeze.default, aten.squeeze.dim, aten.squeeze.default, aten.expand.default, aten.view.default}
)
_PARTS = frozenset({aten.select.int, aten.slice.Tensor, aten.index_select.default, aten.repeat.default})

Range = tuple[int, int]
"""The least integer, and the first one too large."""


def legal_range(program: Program, node: fx.Node, sizes: Sizes) -> Range | None:
    """Return the integers that every operator that indexes by an input takes; None where none does."""
    found = list(_ranges(program, node, sizes, 0))
    if not found:
        return None
    return max(low for low, _ in found), min(high for _, high in found)


def bag_of(node: fx.Node) -> fx.Node | None:
    """Return the embedding bag that an input says the beginnings of bags for, rising numbers and 0 first; or None."""
    reads = ((value, reader) for value, reader in _reads(node) if reader.target in _EMBEDDING_BAGS)
    return next((reader for value, reader in reads if arguments(reader)["offsets"] is value), None)


def _reads(node: fx.Node) -> Iterator[tuple[fx.Node, fx.Node]]:
    """Yield an input's values as operators read them, with these: past casts, copies and what moves or picks values."""
    for reader in node.users:
        if _keeps_values(reader) and reader.args[0] is node:
            yield from _reads(reader)
        else:
            yield node, reader


def _keeps_values(node: fx.Node) -> bool:
    return node.target in UNCHANGED | _SHAPES | _PARTS or moves(node)


def _ranges(program: Program, node: fx.Node, sizes: Sizes, shift: int) -> Iterator[Range]:
    """Yield what each reader of ``input + shift`` takes, of the input."""
    for value, reader in _reads(node):
        added = _added(program, value, reader)
        if added is not None:
            yield from _ranges(program, reader, sizes, shift + added)
        elif (most := _most(value, reader, sizes)) is not None:
            yield -shift, most - shift


def _added(program: Program, value: fx.Node, reader: fx.Node) -> int | None:
    """Return the number that a reader adds to a value, or None where it does something else."""
    if reader.target not in SUMS or reader.args[0] is not value or reader.kwargs:
        return None
    other = number(program, reader.args[1])
    if other is None or other != int(other):
        return None
    return int(other) if reader.target is aten.add.Tensor else -int(other)


def _most(value: fx.Node, reader: fx.Node, sizes: Sizes) -> int | None:
    """Return the size of what a reader indexes by a value, or None where it does something else."""
    if reader.target is aten.one_hot.default:
        classes = arguments(reader)["num_classes"]
        return classes if isinstance(classes, int) and classes > 0 else None
    if reader.target is aten.embedding.default or reader.target in _EMBEDDING_BAGS:
        given = arguments(reader)
        return size_of(given["weight"].meta["val"].shape[0], sizes) if given["indices"] is value else None
    if reader.target is aten.index.Tensor:
        given = arguments(reader)
        shape = given["self"].meta["val"].shape
        axes = [axis for axis, index in enumerate(given["indices"]) if index is value]
        return min((size_of(shape[axis], sizes) for axis in axes), default=None)
    if reader.target in _INDEXED and (given := arguments(reader))["index"] is value:
        return size_of(given["self"].meta["val"].shape[given["dim"]], sizes)
    return None
