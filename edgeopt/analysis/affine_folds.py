"""Folding y = scale * x + shift into the layer that makes x, or into all layers that read y."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import fx

from edgeopt.analysis.channels import carry, moves
from edgeopt.analysis.layers import Layer, describe, fold_after, fold_before, is_layer, layer_of
from edgeopt.ir.nodes import node_arg
from edgeopt.ir.program import Program, origin, redefine


@dataclass(frozen=True)
class Affine:
    """What ``node`` computes of ``x``: scale and shift in float64, with one element or one per channel of ``axis``.

    ``axis`` is None where each has one element only. ``interior`` are the nodes between x and the node, where it
    is several that compute the map.
    """

    node: fx.Node
    x: fx.Node
    scale: torch.Tensor
    shift: torch.Tensor
    axis: int | None
    interior: frozenset[fx.Node] = frozenset()

    @property
    def shifts(self) -> bool:
        """Whether there is a shift."""
        return bool(self.shift.any())


@dataclass(frozen=True)
class Fold:
    """Layers that an affine map can go into, and the nodes between them and it."""

    layers: list[Layer] = field(default_factory=list)
    between: list[fx.Node] = field(default_factory=list)


def is_beside_layer(node: fx.Node, x: fx.Node) -> bool:
    """Return whether a linear or convolution makes ``x`` or reads ``node``, values only moved between."""
    while moves(x, factor=True):
        x = node_arg(x, 0)
    return is_layer(x) or _reaches_layer(node)


def _reaches_layer(node: fx.Node) -> bool:
    return any(is_layer(reader) or (moves(reader) and _reaches_layer(reader)) for reader in node.users)


def into_producer(program: Program, affine: Affine) -> Fold | str:
    """Return the layer before the map that can take it, or the reason why it cannot."""
    factor = affine.axis is None and not affine.shifts
    between: list[fx.Node] = []
    inside = affine.interior | {affine.node}
    for part in affine.interior:
        if reason := _read_outside(part, inside):
            return reason
    node, known = affine.x, inside
    while True:
        if reason := _read_outside(node, known):
            return reason
        if not moves(node, factor):
            break
        between.append(node)
        node, known = node_arg(node, 0), inside | {node}
    layer = layer_of(program, node)
    if isinstance(layer, str):
        return layer
    axis = None if affine.axis is None else layer.output_axis
    for moved in reversed(between):
        after = carry(moved, axis, affine.shifts)
        if isinstance(after, str):
            return after
        axis = after
    if axis != affine.axis:
        return (
            f"the channels of {describe(layer.node)} are axis {axis} there, those of {affine.node.name} {affine.axis}"
        )
    return Fold([layer], between)


def _read_outside(node: fx.Node, known: frozenset[fx.Node]) -> str | None:
    others = [user.name for user in node.users if user not in known]
    return f"{describe(node)} is also read by {', '.join(others)}" if others else None


def into_readers(program: Program, affine: Affine) -> Fold | str:
    """Return the layers after the map that together can take it, or the reason why they cannot."""
    fold = Fold()
    reason = _collect(program, affine, affine.node, affine.axis, fold)
    return reason or fold


def fold_back(program: Program, affine: Affine, fold: Fold) -> fx.Node:
    """Fold into the producer; return the node that now has the map's value."""
    node = fold_after(program, fold.layers[0], affine.scale, affine.shift)
    for moved in fold.between:
        redefine(moved)
    result = fold.between[0] if fold.between else node
    result.meta["origin"] = origin(affine.node)
    return result


def fold_forward(program: Program, affine: Affine, fold: Fold) -> None:
    """Fold into the readers, which from then on expect ``affine.x`` in the place of ``affine.node``."""
    for layer in fold.layers:
        before = origin(layer.node)
        fold_before(program, layer, affine.scale, affine.shift).meta["origin"] = before
    for moved in fold.between:
        redefine(moved)


def _collect(program: Program, affine: Affine, node: fx.Node, axis: int | None, fold: Fold) -> str | None:
    for reader in node.users:
        if reader.op == "output":
            return f"{describe(node)} is an output of the model"
        if moves(reader):
            after = carry(reader, axis, affine.shifts)
            if isinstance(after, str):
                return after
            fold.between.append(reader)
            reason = _collect(program, affine, reader, after, fold)
        else:
            reason = _take(program, affine, node, reader, axis, fold)
        if reason:
            return reason
    return None


def _take(program: Program, affine: Affine, node: fx.Node, reader: fx.Node, axis: int | None, fold: Fold) -> str | None:
    layer = layer_of(program, reader)
    if isinstance(layer, str):
        return layer
    if layer.input is not node:
        return f"{describe(reader)} reads it as a weight"
    if axis is not None and axis != layer.input_axis:
        return (
            f"the input channels of {describe(reader)} are axis {layer.input_axis}, those of {affine.node.name} {axis}"
        )
    if affine.shifts and not layer.sums_all_taps:
        return f"{describe(reader)} pads with zeros, and the shift of {affine.node.name} is not zero"
    fold.layers.append(layer)
    return None
