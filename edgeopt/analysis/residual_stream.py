"""The residual stream: the sums that the branches of a pre-norm network add to, and that only norms read.

A stream is grown from the input of a LayerNorm, backwards to what writes it and forwards to what reads it,
through sums, common factors and movements of data. Taking the mean over channels out of every writer takes it out
of every value of the stream, and no LayerNorm sees a difference.

A concatenation along channels ends it: each part loses its own mean, the norm of the whole takes off only one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

from edgeopt.analysis.channels import carry, moves
from edgeopt.analysis.layers import describe, is_layer, layer_of
from edgeopt.analysis.norms import Norm, find_norms
from edgeopt.analysis.walk import UNCHANGED, before_moves
from edgeopt.ir.nodes import aten, node_arg, node_args, rank_of, shape_of
from edgeopt.ir.program import Program, dtype_name, same_size
from edgeopt.ir.rewrite import arguments
from edgeopt.ops.opsets import CONVOLUTIONS, FACTORS, SUMS

_COMPOSED = frozenset({*SUMS, *FACTORS, aten.cat.default, aten.embedding.default})
_EXACT_DTYPES = (torch.float32, torch.float64)


@dataclass(frozen=True)
class Obstacle:
    """A node that stands in the way, and why."""

    node: fx.Node
    reason: str


@dataclass(frozen=True)
class Source(Obstacle):
    """A value that brings a mean into the stream; its channels are ``axis``."""

    axis: int


@dataclass
class Stream:
    """``axes``: its values, with the axis of their channels. ``writers``: linears, convolutions, embeddings and
    constants whose mean can be taken out of their weights. ``sources``: what also writes it, and why that cannot
    be. ``norms``: the LayerNorms that read it. ``obstacles``: what reads it and would see a difference."""

    axes: dict[fx.Node, int] = field(default_factory=dict)
    writers: dict[fx.Node, int] = field(default_factory=dict)
    sources: dict[fx.Node, Source] = field(default_factory=dict)
    norms: list[Norm] = field(default_factory=list)
    obstacles: list[Obstacle] = field(default_factory=list)

    def obstruct(self, node: fx.Node, reason: str) -> None:
        """Note an obstacle, once."""
        if Obstacle(node, reason) not in self.obstacles:
            self.obstacles.append(Obstacle(node, reason))


def find_streams(program: Program) -> tuple[Stream, ...]:
    """Return the streams that LayerNorms read, each norm in one of them."""
    norms = find_norms(program)
    streams: list[Stream] = []
    for norm in norms:
        if norm.kind == "layer" and not any(norm in stream.norms for stream in streams):
            streams.append(_Growth(program, norms).grow(norm))
    return tuple(streams)


class _Growth:
    """Grows one stream; nodes are visited once, with the axis of their channels."""

    def __init__(self, program: Program, norms: tuple[Norm, ...]) -> None:
        self.program = program
        self.inside = {node: norm for norm in norms for node in norm.interior}
        self.by_root = {norm.root: norm for norm in norms}
        self.stream = Stream()
        self.pending: list[tuple[fx.Node, int]] = []

    def grow(self, norm: Norm) -> Stream:
        stream = self.stream
        self._enter(norm.input, rank_of(norm.input) - 1)
        if not self.pending:
            stream.norms.append(norm)
        while self.pending:
            node, axis = self.pending.pop()
            if node in stream.axes:
                continue
            stream.axes[node] = axis
            self._backward(node, axis)
            self._forward(node, axis)
        self._untie()
        return stream

    def _enter(self, node: fx.Node, axis: int) -> None:
        """Take in a value that writes the stream, unless its mean is zero already or cannot be taken out."""
        stream = self.stream
        if node in stream.axes or node in stream.writers:
            if {**stream.axes, **stream.writers}[node] != axis:
                stream.obstruct(node, f"its channels are two axes of {describe(node)}")
            return
        norm = self.by_root.get(node)
        if norm is not None and norm.kind == "layer" and norm.weight is None and norm.bias is None:
            return
        reason = self._refuses(node, axis)
        if reason is not None:
            stream.sources[node] = Source(node, reason, axis)
            return
        if self.program.constant(node) is not None:
            stream.writers[node] = axis
            return
        if _is_writer(node):
            stream.writers[node] = axis
        self.pending.append((node, axis))

    def _refuses(self, node: fx.Node, axis: int) -> str | None:
        """Return why the mean cannot be taken out of what makes a node, or None."""
        if (constant := self.program.constant(node)) is not None:
            return _dtype_refuses(node, constant)
        if is_layer(node):
            return self._layer_refuses(node, axis)
        if node.target is aten.embedding.default:
            return self._table_refuses(node, axis)
        if node.target in FACTORS:
            return _factor_refuses(node, axis)
        # A value that was only moved since is a source where it is read, not where it was made.
        return self._made_elsewhere(before_moves(node) or node)

    def _made_elsewhere(self, node: fx.Node) -> str | None:
        if self.program.constant(node) is not None or is_layer(node) or node.target in _COMPOSED:
            return None
        if node.op == "placeholder":
            return f"{node.name} is an input of the model and feeds the stream"
        if node in self.by_root:
            return f"the norm {describe(node)} feeds the stream with a mean of its own (scale and shift)"
        return f"{describe(node)} feeds the stream with a mean that no weight holds"

    def _layer_refuses(self, node: fx.Node, axis: int) -> str | None:
        layer = layer_of(self.program, node)
        if isinstance(layer, str):
            return layer
        if layer.output_axis != axis:
            return f"the channels of {describe(node)} are axis {layer.output_axis}, those of the stream {axis}"
        if node.target is not aten.linear.default and node.target not in CONVOLUTIONS:
            return f"{describe(node)} is a transposed convolution"
        if arguments(node).get("groups", 1) != 1:
            return f"{describe(node)} has groups, whose common mean none of them can hold"
        return None

    def _table_refuses(self, node: fx.Node, axis: int) -> str | None:
        table = self.program.constant(node.args[0])
        if table is None:
            return f"the table of {describe(node)} is computed at run time"
        if axis != rank_of(node) - 1:
            return f"the channels of {describe(node)} are its last axis, those of the stream {axis}"
        return _dtype_refuses(node_arg(node, 0), table)

    # -- what makes a value, what reads it -------------------------------------------------------------

    def _backward(self, node: fx.Node, axis: int) -> None:
        if node in self.stream.writers:
            return
        for operand, its_axis in self._operands(node, axis):
            if _is_common(operand, node, axis):
                self.stream.obstruct(node, f"{describe(node)} adds the same to all channels")
            else:
                self._enter(operand, its_axis)

    def _operands(self, node: fx.Node, axis: int) -> Iterator[tuple[Any, int]]:
        """Yield what a value of the stream is made of, with its axis of channels."""
        if node.target in SUMS:
            yield from ((operand, _aligned(node, operand, axis)) for operand in node.args[:2])
        elif node.target in FACTORS:
            operand = next(value for value in node.args[:2] if not _is_common(value, node, axis))
            yield operand, _aligned(node, operand, axis)
        elif node.target is aten.cat.default:
            yield from ((operand, axis) for operand in node_args(node, 0))
        elif node.target in UNCHANGED:
            yield node.args[0], axis
        else:
            source = node_arg(node, 0)
            found = [a for a in range(rank_of(source)) if carry(node, a, False) == axis]
            if found:
                yield source, found[0]
            else:
                self.stream.obstruct(node, f"{describe(node)} makes the channels of several axes")

    def _forward(self, node: fx.Node, axis: int) -> None:
        for reader in node.users:
            norm = self.inside.get(reader)
            if norm is not None and norm.kind == "layer" and norm.input is node:
                self._read_by_norm(norm, node, axis)
                continue
            after = self._carried(reader, node, axis)
            if isinstance(after, str):
                self.stream.obstruct(reader if reader.op != "output" else node, after)
            else:
                self.pending.append((reader, after))

    def _read_by_norm(self, norm: Norm, node: fx.Node, axis: int) -> None:
        if axis != rank_of(node) - 1:
            self.stream.obstruct(norm.root, f"{describe(norm.root)} norms an axis that is not a channel")
        elif norm not in self.stream.norms:
            self.stream.norms.append(norm)

    def _carried(self, reader: fx.Node, node: fx.Node, axis: int) -> int | str:
        """Return the axis of channels in what a reader makes of the stream, or why it would see a difference."""
        if reader.op == "output":
            return f"{describe(node)} is an output of the model"
        if reader.target in SUMS:
            return axis + rank_of(reader) - rank_of(node)
        if reader.target in UNCHANGED:
            return axis
        if reader.target in FACTORS:
            after = axis + rank_of(reader) - rank_of(node)
            return _factor_refuses(reader, after) or after
        if reader.target is aten.cat.default:
            dim: int = arguments(reader)["dim"] % rank_of(reader)
            return axis if dim != axis else f"{describe(reader)} joins channels of tokens that have means of their own"
        if moves(reader) and reader.args[0] is node:
            after_move = carry(reader, axis, False)
            assert after_move is not None
            return after_move
        kind = "the convolution" if is_layer(reader) and reader.target is not aten.linear.default else ""
        return f"{kind} {describe(reader)} reads the stream without a norm".lstrip()

    def _untie(self) -> None:
        """Make sources of the writers whose tables or constants something else reads too."""
        stream = self.stream
        for node, axis in list(stream.writers.items()):
            constant = node if node.op == "placeholder" else node_arg(node, 0)
            if node.target is not aten.embedding.default and constant is not node:
                continue
            others = [reader for reader in self.program.readers(constant) if reader not in stream.axes]
            if others and not all(self.inside.get(reader) in stream.norms for reader in others):
                names = ", ".join(describe(reader) for reader in others)
                stream.sources[node] = Source(node, f"{constant.name} is tied with {names}", axis)
                del stream.writers[node]


def _is_writer(node: fx.Node) -> bool:
    return is_layer(node) or node.target is aten.embedding.default


def _aligned(node: fx.Node, operand: Any, axis: int) -> int:
    """Return the axis of an operand that broadcasting lines up with an axis of the result."""
    if not isinstance(operand, fx.Node):
        return axis
    return axis - rank_of(node) + rank_of(operand)


def _is_common(value: Any, node: fx.Node, axis: int) -> bool:
    """Return whether an operand is the same for all channels of the result."""
    if not isinstance(value, fx.Node):
        return True
    own = _aligned(node, value, axis)
    return own < 0 or same_size(shape_of(value)[own], 1)


def _factor_refuses(node: fx.Node, axis: int) -> str | None:
    """Return why a product or quotient does not keep a mean of zero, or None."""
    common = [_is_common(value, node, axis) for value in node.args[:2]]
    if node.target is aten.div.Tensor and not common[1]:
        return f"{describe(node)} divides by what varies along channels"
    return None if any(common) else f"{describe(node)} scales each channel by another factor (fold-affine first)"


def _dtype_refuses(node: fx.Node, constant: torch.Tensor) -> str | None:
    if constant.dtype in _EXACT_DTYPES:
        return None
    return f"{node.name} is {dtype_name(constant.dtype)}, which would round the mean"
