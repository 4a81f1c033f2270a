"""Make layers of signs: weights and activations of one bit each, tuned by gradients passed straight through.

Before => after, for linears and convolutions in two dimensions:

    W x + b  =>  (scale * sign(V)) sign(x + move) + shift

``move`` has one number a channel of x, ``scale`` and ``shift`` one a channel of the output; V is tuned, its signs are
kept. In the graph a sign is written sign(y) = (sign(y) - c) + c with the difference detached, c = clamp(y / window),
so that its gradient is that of c; ``pack-binary`` and the exact folds leave one layer of packed signs of it.

The start: V = W by its channel's mean magnitude, move = -mean(x), window twice the mean magnitude of x + move, and
scale and shift at the least-squares fit of the layer's output on the samples.

Trained, not exact: its error is measured. The first and the last layers stay unless ``ends``; a layer stays too where
its convolution is grouped, its weight shared, or its output on the samples does not follow the signs at all.

Sources: Rastegari et al., XNOR-Net: ImageNet Classification Using Binary Convolutional Neural Networks, ECCV 2016;
X. Xing et al., BiPFT: Binary Pre-trained Foundation Transformer, AAAI 2024, for the learned shift.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from edgeopt.analysis.layers import Layer, is_layer, layer_of
from edgeopt.distill.swap import FittedSwapper, Swap, SwapResult, kept
from edgeopt.ir.context import Context
from edgeopt.ir.metrics import Sample
from edgeopt.ir.nodes import aten
from edgeopt.ir.pass_base import Note
from edgeopt.ir.program import Program, origin
from edgeopt.ir.rewrite import arguments, replace
from edgeopt.quant.binary import binarize, signs

_LAYERS = (aten.linear.default, aten.conv2d.default)
_OFF_ZERO = 1e-3
"""Part of the mean magnitude by which a constant channel lies off zero."""


@dataclass(frozen=True)
class Binarize(FittedSwapper["Fit"]):
    """Swap every layer within the network, fitted on samples.

    ``ends``: also the layers that no other comes before or after.
    """

    name = "binarize"

    ends: bool = False

    def run(self, program: Program, context: Context) -> SwapResult:
        """Swap in a copy of ``program``; nothing is tuned yet."""
        fits = self.known_fits(program, context)
        swapped = program.clone()
        swaps, notes = [], []
        for node in [node for node in swapped.calls if node.target in _LAYERS]:
            layer = layer_of(swapped, node)
            reason = self._refused(swapped, node, layer) or fits.by_node[node.name].refused
            if reason is None and origin(node) in self.keep:
                notes.append(kept(self.name, node))
                continue
            notes.append(Note(self.name, node.name, reason))
            if reason is None:
                assert isinstance(layer, Layer)
                swaps.append(_swap(swapped, layer, fits.by_node[node.name]))
        swapped.clean()
        return SwapResult(swapped, bool(swaps), tuple(notes), fits, tuple(swaps))

    def fit(self, program: Program, samples: Sequence[Sample]) -> Mapping[str, Fit]:
        """Return the start of every layer, by the name of its node."""
        return _fit(program, self._layers(program), samples)

    def _layers(self, program: Program) -> list[Layer]:
        found = [layer_of(program, node) for node in program.calls if node.target in _LAYERS]
        return [layer for layer in found if isinstance(layer, Layer) and not self._refused(program, layer.node, layer)]

    def _refused(self, program: Program, node: fx.Node, layer: Layer | str) -> str | None:
        if isinstance(layer, str):
            return layer
        if arguments(node).get("groups", 1) != 1:
            return f"{node.name} has {arguments(node)['groups']} groups"
        if not self.ends and not (_reaches_layer(node, "all_input_nodes") and _reaches_layer(node, "users")):
            return "it is the first or the last layer, where signs lose most"
        return None


def _reaches_layer(node: fx.Node, side: str) -> bool:
    """Return whether another layer lies on the side of the inputs (``all_input_nodes``) or of the ``users``."""
    pending, seen = list(getattr(node, side)), set()
    while pending:
        current = pending.pop()
        if is_layer(current):
            return True
        if current not in seen:
            seen.add(current)
            pending += getattr(current, side)
    return False


# -- where tuning starts -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fit:
    """``move`` and ``window`` of the activation, ``scale`` and ``shift`` of the output, in float64 by channel."""

    move: torch.Tensor
    window: float
    scale: torch.Tensor
    shift: torch.Tensor

    @property
    def refused(self) -> str | None:
        """Why it is not a start, if so."""
        fits = self.window > 0 and bool(self.scale.isfinite().all()) and bool(self.scale.any())
        return None if fits else "its signs never vary on the samples"


class _Moments:
    """Running sums per channel of pairs of values, in float64."""

    def __init__(self) -> None:
        self.sums: Any = 0.0

    def add(self, x: torch.Tensor, y: torch.Tensor, axis: int) -> None:
        x, y = (t.double().movedim(axis, -1).flatten(0, -2) for t in (x, y))
        parts = [torch.full_like(x[0], len(x)), x.sum(0), y.sum(0), (x * x).sum(0), (x * y).sum(0), x.abs().sum(0)]
        self.sums = self.sums + torch.stack(parts)

    def means(self) -> torch.Tensor:
        """Return the means of x, y, x², xy and |x|, [5, channels]."""
        sums: torch.Tensor = self.sums
        return sums[1:] / sums[0]


def _fit(program: Program, layers: list[Layer], samples: Iterable[Sample]) -> dict[str, Fit]:
    """Return the start of every layer, by the name of its node: three passes of the original over the samples."""
    moves = {name: _centered(found) for name, found in _observe(program, layers, samples, _inputs).items()}
    spread = _observe(program, layers, samples, lambda layer, x, y: (x + _along(moves[layer.node.name], layer),) * 2)
    outputs = _observe(program, layers, samples, lambda layer, x, y: (_signed(layer, moves, x), y), output=True)
    fits = {}
    for layer in layers:
        name = layer.node.name
        z, y, zz, zy, _ = outputs[name]
        variance = zz - z * z
        scale = torch.where(variance > 0, (zy - z * y) / variance, 0.0)
        fits[name] = Fit(moves[name], 2 * float(spread[name][4].mean()), scale, y - scale * z)
    return fits


def _centered(means: torch.Tensor) -> torch.Tensor:
    """Return what brings each channel's mean to zero; one that never varies goes below, for zero has no sign."""
    mean, square, magnitude = means[0], means[2], means[4].mean()
    is_constant = square - mean.square() <= 1e-10 * square
    return -mean - torch.where(is_constant, _OFF_ZERO * magnitude.clamp_min(_OFF_ZERO), 0.0)


def _inputs(layer: Layer, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x, x


def _observe(
    program: Program, layers: list[Layer], samples: Iterable[Sample], pair: Any, output: bool = False
) -> dict[str, torch.Tensor]:
    """Return by layer the means of what ``pair`` makes of its input and output."""
    moments = {layer.node.name: _Moments() for layer in layers}
    wanted = {node for layer in layers for node in (layer.input, layer.node)}
    for sample in samples:
        values = {node: torch.from_numpy(sample[node.name]) for node in wanted if node.name in sample}

        def keep(node: fx.Node, value: Any, values: dict[fx.Node, torch.Tensor] = values) -> None:
            if node in wanted:
                values[node] = value

        program.run(sample, keep)
        for layer in layers:
            axis = layer.output_axis if output else layer.input_axis
            first, second = pair(layer, values[layer.input], values[layer.node])
            moments[layer.node.name].add(first, second, axis)
    return {name: found.means() for name, found in moments.items()}


def _signed(layer: Layer, moves: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Return the layer's output of signs by signs, without a bias."""
    given = arguments(layer.node)
    settings = [given[name] for name in ("stride", "padding", "dilation") if name in given]
    active = signs(x + _along(moves[layer.node.name], layer).to(x.dtype))
    return layer.apply(active, signs(layer.weight), *settings)


def _along(values: torch.Tensor, layer: Layer) -> torch.Tensor:
    """Return one value a channel in the shape that broadcasts over the layer's input."""
    return values.reshape(-1, *[1] * (layer.weight.dim() - 2))


# -- the swap ------------------------------------------------------------------------------------------


def _swap(program: Program, layer: Layer, fit: Fit) -> Swap:
    node, label, dtype = layer.node, origin(layer.node), layer.weight.dtype
    magnitude = binarize(layer.weight)[1].reshape(-1, *[1] * (layer.weight.dim() - 1))
    values = {
        "move": _along(fit.move, layer),
        "latent": layer.weight / magnitude,
        "scale": fit.scale.reshape(magnitude.shape),
        "shift": fit.shift,
    }
    move, latent, scale, shift = (
        program.add_constant(f"{label}_{name}", value.to(dtype)) for name, value in values.items()
    )
    moved = program.insert(node, aten.add.Tensor, layer.input, move)
    within = program.insert(
        node, aten.clamp.default, program.insert(node, aten.mul.Tensor, moved, 1 / fit.window), -1, 1
    )
    weight = program.insert(node, aten.mul.Tensor, _straight_through(program, node, latent, latent), scale)
    operands = list(node.args)
    operands[:3] = [_straight_through(program, node, moved, within), weight, shift]
    new = program.insert(node, node.target, *operands)
    new.meta["origin"] = label
    swap = Swap(label, (origin(layer.input),), tuple(constant.name for constant in (move, latent, scale, shift)))
    replace(node, new)
    return swap


def _straight_through(program: Program, before: fx.Node, y: fx.Node, c: fx.Node) -> fx.Node:
    """Insert sign(y) with the gradient of ``c``."""
    sign = program.insert(before, aten.sign.default, y)
    rest = program.insert(before, aten.detach.default, program.insert(before, aten.sub.Tensor, sign, c))
    return program.insert(before, aten.add.Tensor, rest, c)
