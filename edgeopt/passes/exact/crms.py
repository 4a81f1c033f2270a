"""A stream of d channels whose mean is zero, kept in d - 1: the last channel is minus the sum of the others.

    writer      W x + b                       =>  the first d - 1 rows of C W and C b, with C = I - 11^T / d
    norm        (x - mean) / sqrt(var + eps)  =>  c / sqrt((sum(c^2) + sum(c)^2) / d + eps)            CRMSNorm
    reader      W y + b                       =>  (W[:, :d-1] - W[:, d-1:]) y' + b

Source: Jiang et al., Pre-RMSNorm and Pre-CRMSNorm Transformers, NeurIPS 2023, section 3.3.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx
from torch.fx.node import map_arg

from edgeopt.analysis.affine_folds import Affine, Fold, into_readers
from edgeopt.analysis.channels import carry, moves
from edgeopt.analysis.layers import describe, is_layer, layer_of
from edgeopt.analysis.norms import Norm
from edgeopt.analysis.residual_stream import Stream
from edgeopt.ir.nodes import aten, node_arg
from edgeopt.ir.program import Program, origin, redefine
from edgeopt.ir.rewrite import arguments, replace


def refuses(program: Program, stream: Stream) -> str | None:
    """Return why a stream whose mean may be taken out cannot be kept in one channel less, or None."""
    for source in stream.sources.values():
        return f"{describe(source.node)} is centered at run time, not by its weight"
    for norm in stream.norms:
        if norm.weight is not None or norm.bias is not None:
            return f"{describe(norm.root)} has a scale or shift (fold-affine first)"
        fold = _readers(program, norm)
        if isinstance(fold, str):
            return fold
        if grouped := [layer.node for layer in fold.layers if arguments(layer.node).get("groups", 1) != 1]:
            return f"{describe(grouped[0])} has groups, which would lose a channel each"
    return None


def compress(program: Program, stream: Stream) -> None:
    """Rewrite a stream that is not refused, from its writers to the layers that read its norms."""
    _Compression(program, stream).run()


def _readers(program: Program, norm: Norm) -> Fold | str:
    one, zero = torch.ones(norm.channels).double(), torch.zeros(1).double()
    return into_readers(program, Affine(norm.root, norm.root, one, zero, norm.input.meta["val"].dim() - 1))


class _Compression:
    """``new`` holds what stands for each value of d channels, ``axes`` where those are."""

    def __init__(self, program: Program, stream: Stream) -> None:
        self.program, self.stream = program, stream
        self.axes = dict(stream.axes)
        self.new: dict[fx.Node, fx.Node] = {}
        self.norms = {norm.root: norm for norm in stream.norms}
        self.channels = stream.norms[0].channels

    def run(self) -> None:
        for writer, axis in self.stream.writers.items():
            if writer.op == "placeholder":
                self.new[writer] = self._narrowed(writer, axis)
        for node in list(self.program.calls):
            if node in self.stream.writers:
                self.new[node] = self._writer(node)
            elif node in self.norms:
                self.new[node] = self._norm(self.norms[node])
                self.axes[node] = node.meta["val"].dim() - 1
            elif node in self.stream.axes:
                self.new[node] = self._moved(node)
            elif self._reads(node) and is_layer(node):
                replace(node, self._reader(node))
            elif self._reads(node) and moves(node):
                after = carry(node, self.axes[node_arg(node, 0)], False)
                assert isinstance(after, int)
                self.axes[node] = after
                self.new[node] = self._moved(node)

    def _reads(self, node: fx.Node) -> bool:
        """Return whether a node reads a norm, directly or moved."""
        first = node.args[0] if node.args else None
        return first in self.new and (first in self.norms or first not in self.stream.axes)

    def _narrowed(self, constant: fx.Node, axis: int) -> fx.Node:
        """Return a constant without its mean and last channel."""
        values = self.program.constants[constant.name]
        wide = values.double()
        less = (wide - wide.mean(axis, keepdim=True)).narrow(axis, 0, self.channels - 1)
        return self.program.add_constant(constant.name, less.to(values.dtype).contiguous())

    def _writer(self, node: fx.Node) -> fx.Node:
        given = arguments(node)
        axis = 1 if node.target is aten.embedding.default else 0
        for name in ("weight", "bias"):
            if given.get(name) is not None:
                given[name] = self._narrowed(given[name], axis)
        return self._insert(node, *given.values())

    def _norm(self, norm: Norm) -> fx.Node:
        """Insert c / sqrt((sum(c^2) + sum(c)^2) / d + eps)."""
        insert, root = self.program.insert, norm.root
        c = self.new[norm.input]
        squares = insert(root, aten.sum.dim_IntList, insert(root, aten.mul.Tensor, c, c), [-1], True)
        total = insert(root, aten.sum.dim_IntList, c, [-1], True)
        both = insert(root, aten.add.Tensor, squares, insert(root, aten.mul.Tensor, total, total))
        spread = insert(root, aten.add.Tensor, insert(root, aten.div.Tensor, both, norm.channels), norm.eps)
        node = insert(root, aten.mul.Tensor, c, insert(root, aten.rsqrt.default, spread))
        return _redefined(node, root)

    def _moved(self, node: fx.Node) -> fx.Node:
        """Insert a node of the stream once more, on what now stands for its operands."""
        args: list[Any] = list(map_arg(node.args, lambda used: self.new.get(used, used)))
        if node.target in (aten.reshape.default, aten.expand.default):
            sizes, axis = list(args[1]), self.axes[node]
            sizes[axis] = sizes[axis] if sizes[axis] == -1 else self.channels - 1
            args[1] = sizes
        return self._insert(node, *args, **node.kwargs)

    def _reader(self, node: fx.Node) -> fx.Node:
        layer = layer_of(self.program, node)
        assert not isinstance(layer, str)
        given = arguments(node)
        kept, last = layer.weight.double().split([self.channels - 1, 1], layer.weight_input_axis)
        less = (kept - last).to(layer.weight.dtype).contiguous()
        given["weight"] = self.program.add_constant(given["weight"].name, less)
        given["input"] = self.new[given["input"]]
        new = self.program.insert(node, node.target, *given.values())
        new.meta["origin"] = origin(node)
        return new

    def _insert(self, old: fx.Node, *args: Any, **kwargs: Any) -> fx.Node:
        return _redefined(self.program.insert(old, old.target, *args, **kwargs), old)


def _redefined(node: fx.Node, old: fx.Node) -> fx.Node:
    node.meta["origin"] = origin(old)
    redefine(node)
    return node
