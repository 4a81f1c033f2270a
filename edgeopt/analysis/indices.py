"""Between which integers a value has to lie, because tensors are indexed by it: what lies outside fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import fx

from edgeopt.analysis.channels import moves
from edgeopt.analysis.intervals import Interval
from edgeopt.analysis.walk import UNCHANGED, number
from edgeopt.ir.nodes import aten, shape_of
from edgeopt.ir.program import Program
from edgeopt.ir.rewrite import arguments
from edgeopt.ops.opsets import SUMS

_EMBEDDING_BAGS = frozenset({aten.embedding_bag.default, aten.embedding_bag.padding_idx})
_INDEXED = frozenset(
    {
        *(aten.gather.default, aten.index_select.default, aten.index_add.default, aten.index_copy.default),
        *(aten.scatter.src, aten.scatter.value, aten.scatter_add.default, aten.scatter_reduce.two),
    }
)
"""Operators that take an index along ``dim`` of what they read."""
_WHOLE = frozenset(
    {
        *UNCHANGED,
        *(aten.unsqueeze.default, aten.squeeze.dim, aten.squeeze.default, aten.expand.default, aten.view.default),
        *(aten.reshape.default, aten.permute.default, aten.transpose.int, aten.flatten.using_ints),
    }
)
"""What hands on every number that it reads, if its type holds it."""
_PARTS = frozenset({aten.select.int, aten.slice.Tensor, aten.index_select.default, aten.repeat.default})
_NEVER_WRAPPED = (torch.int32, torch.int64)
"""Types that hold more than any size: what wraps in them is no index."""

Size = Callable[[int | torch.SymInt], int | None]
"""Returns a dimension's size, None where it is not known."""


def legal_indices(program: Program, node: fx.Node, size: Size, of_all: bool) -> Interval | None:
    """Return between which integers every operator that indexes by a value takes them; None where none does.

    ``of_all``: what all numbers of the value keep to in every run that does not fail. Otherwise what to draw: inside
    what any operator takes that indexes by a part of it, and not from the end.
    """
    found = list(_Indices(program, size, of_all).intervals(node, 0))
    return (max(low for low, _ in found), min(high for _, high in found)) if found else None


def static_size(dimension: int | torch.SymInt) -> int | None:
    """Return the size of a dimension that has one."""
    return dimension if isinstance(dimension, int) else None


def bag_of(node: fx.Node) -> fx.Node | None:
    """Return the embedding bag that an input says the beginnings of bags for, rising numbers and 0 first; or None."""
    reads = ((value, reader) for value, reader in _reads(node, of_all=False) if reader.target in _EMBEDDING_BAGS)
    return next((reader for value, reader in reads if arguments(reader)["offsets"] is value), None)


def _reads(node: fx.Node, of_all: bool) -> Iterator[tuple[fx.Node, fx.Node]]:
    """Yield a value as operators read it, with these: past casts, copies and what moves or, not ``of_all``, picks."""
    for reader in node.users:
        hands_on = _keeps_all(reader) if of_all else reader.target in _WHOLE | _PARTS or moves(reader)
        if hands_on and reader.args[0] is node:
            yield from _reads(reader, of_all)
        else:
            yield node, reader


def _keeps_all(reader: fx.Node) -> bool:
    if reader.target not in _WHOLE:
        return False
    held, read = reader.meta["val"].dtype, reader.all_input_nodes[0].meta["val"].dtype
    return torch.promote_types(held, read) == held and not held.is_floating_point


@dataclass(frozen=True)
class _Indices:
    """The search for what indexes by a value."""

    program: Program
    size: Size
    of_all: bool

    def intervals(self, node: fx.Node, shift: int) -> Iterator[Interval]:
        """Yield what each reader of ``value + shift`` takes, of the value."""
        for value, reader in _reads(node, self.of_all):
            added = self._added(value, reader)
            if added is not None:
                yield from self.intervals(reader, shift + added)
            elif (most := self._most(value, reader)) is not None:
                from_end = self.of_all and reader.target is aten.index.Tensor
                yield (-most if from_end else 0) - shift, most - 1 - shift

    def _added(self, value: fx.Node, reader: fx.Node) -> int | None:
        """Return the number that a reader adds to a value, or None where it does something else."""
        if reader.target not in SUMS or reader.args[0] is not value or reader.kwargs:
            return None
        if self.of_all and value.meta["val"].dtype not in _NEVER_WRAPPED:
            return None
        other = number(self.program, reader.args[1])
        if other is None or other != int(other):
            return None
        return int(other) if reader.target is aten.add.Tensor else -int(other)

    def _most(self, value: fx.Node, reader: fx.Node) -> int | None:
        """Return the size of what a reader indexes by a value, or None where it does something else."""
        if reader.target is aten.one_hot.default:
            classes = arguments(reader)["num_classes"]
            return classes if isinstance(classes, int) and classes > 0 else None
        if reader.target is aten.embedding.default or reader.target in _EMBEDDING_BAGS:
            given = arguments(reader)
            return self.size(shape_of(given["weight"])[0]) if given["indices"] is value else None
        if reader.target is aten.index.Tensor:
            given = arguments(reader)
            shape = shape_of(given["self"])
            sizes = [self.size(shape[axis]) for axis, index in enumerate(given["indices"]) if index is value]
            return min((size for size in sizes if size is not None), default=None)
        if reader.target in _INDEXED and (given := arguments(reader))["index"] is value:
            shape = shape_of(given["self"])
            # A number has no axis, and yet one place along the first or last.
            return self.size(shape[given["dim"]]) if shape else 1
        return None
