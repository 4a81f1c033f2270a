"""Scale migration: move the outlier channels of an activation into the weights that read it.

Before => after, for the layers that read x and any positive s per channel:

    W x + b  =>  (W diag(s)) (x / s) + b

s = a^p / w^(1 - p), with a the largest absolute value of the channel over the calibration data, w the largest weight
that it meets, and p the strength. Of several strengths the one is taken whose layers, quantized, err least on
samples held out: with the scales of those it has seen alone, full strength would look best and saturate on all others.

Where x is made by a layer (a ReLU between them or not) or a layer norm, and nothing else reads it, 1/s goes into the
weights there; elsewhere (behind GELUs, or where a residual connection also reads x) it stays a multiplication, which
runtimes merge with the quantization of x.

Not when: x would have to be multiplied for a convolution; a reader's weight is shared or computed at run time; fewer
than two samples were observed; no strength errs a tenth less than leaving x as it is.

Source: Xiao et al., SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models,
ICML 2023, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import fx

from edgeopt.analysis.layers import Layer, fold_after, fold_before, input_magnitudes, is_layer, layer_of, taps_of
from edgeopt.calib.data import CALIBRATION
from edgeopt.calib.moments import Channels, HeldOut, Identified
from edgeopt.calib.observe import observe
from edgeopt.ir.context import Context
from edgeopt.ir.nodes import aten
from edgeopt.ir.pass_base import Note, Pass, PassResult
from edgeopt.ir.program import Program, Range, redefine
from edgeopt.ir.rewrite import arguments
from edgeopt.ops.quantize import rounded_to
from edgeopt.quant.qparams import for_activation, for_weight
from edgeopt.quant.scheme import WEIGHTED

_RULE = "migrate-scale"
_STRENGTHS = torch.linspace(0, 0.7, 8).tolist()
"""Not above 0.7: nearer to 1 all channels get the same room, and one that reaches further on unseen data saturates."""
_WORTHWHILE = 0.9
_SAMPLES = 16
_ROWS = 1024
"""Samples held out, and at most how many of their positions linears are tried on."""
_REACH = 0.8
"""Part of the range that strengths are tried with: unseen data reaches further than what was seen."""


@dataclass(frozen=True)
class _Site:
    """An activation, its channel axis, and the layers that read it."""

    value: fx.Node
    axis: int
    readers: tuple[fx.Node, ...]


@dataclass(frozen=True)
class SmoothQuant(Pass):
    """Migrate the scales of activations into weights; ``may_multiply`` where no weight can take them."""

    name = "smooth-quant"
    needs = (CALIBRATION,)

    may_multiply: bool = True

    def run(self, program: Program, context: Context) -> PassResult:
        """Migrate the scales of a copy of ``program``."""
        if self.name in program.history:
            return PassResult(program, False, (Note(_RULE, "the program", "its scales have been migrated before"),))
        program = program.clone()
        sites, notes = _sites(program)
        samples = Identified(context[CALIBRATION])
        seen = {site.value.name: HeldOut(site.axis, _SAMPLES, samples) for site in sites}
        observe(program, samples, seen)
        rebuilt: dict[fx.Node, fx.Node] = {}
        for site in sites:
            name = site.value.name
            current = _Site(
                rebuilt.get(site.value, site.value), site.axis, tuple(rebuilt.get(node, node) for node in site.readers)
            )
            notes.append(Note(_RULE, name, _migrate(program, current, seen[name], rebuilt, self.may_multiply)))
        program.clean()
        return PassResult(program, any(note.reason is None for note in notes), tuple(notes))


def _sites(program: Program) -> tuple[list[_Site], list[Note]]:
    sites, notes = [], []
    for value in [*program.input_nodes, *program.calls]:
        found = [layer_of(program, n) for n in value.users if n.target in WEIGHTED and n.args[0] is value]
        layers = [layer for layer in found if isinstance(layer, Layer)]
        notes += [Note(_RULE, value.name, reason) for reason in found if isinstance(reason, str)]
        axes = {layer.input_axis for layer in layers}
        if layers and len(layers) == len(found) and len(axes) == 1:
            sites.append(_Site(value, axes.pop(), tuple(layer.node for layer in layers)))
    return sites, notes


def _migrate(
    program: Program, site: _Site, seen: HeldOut, rebuilt: dict[fx.Node, fx.Node], may_multiply: bool
) -> str | None:
    """Migrate the scale of one activation; return the reason where it is left.

    Layers are replaced by new ones on the way: ``rebuilt`` maps the original nodes to those that stand now.
    """
    layers = [_layer(program, node) for node in site.readers]
    producer, norm = _producer(program, site), _norm(program, site)
    absorbed = producer is not None or norm is not None
    if not absorbed and any(node.target is not aten.linear.default for node in site.readers):
        return "its convolution would need a multiplication of the whole image"
    if not absorbed and not may_multiply:
        return "no layer before it can take the scale, and the target multiplies in integers only"
    half, values = seen.split()
    if not values:
        return "fewer than two samples were observed"
    trial = _Trial(layers, site.axis, half, values)
    errors = {strength: trial.error(_scale(layers, half, strength)) for strength in _STRENGTHS}
    best = min(errors, key=errors.__getitem__)
    if not errors[best] < _WORTHWHILE * trial.error(torch.ones_like(half.magnitudes)):
        return "no strength makes the layers err a tenth less"
    scale = _scale(layers, seen.all, best)
    if norm is not None:
        _scale_norm(program, norm, 1 / scale)
    elif producer is None:
        _multiply(program, site, 1 / scale)
    zero = torch.zeros(1, dtype=torch.float64)
    for node in site.readers:
        _note(rebuilt, node, fold_before(program, _layer(program, node), scale, zero))
    if producer is not None:
        _note(rebuilt, producer.node, fold_after(program, producer, 1 / scale, zero))
        if site.value.target is aten.relu.default:
            redefine(site.value)
    return None


def _scale(layers: list[Layer], seen: Channels, strength: float) -> torch.Tensor:
    """Return the scale of each channel; one that is zero on either side keeps 1."""
    largest = seen.magnitudes.double()
    weights = torch.stack([input_magnitudes(layer) for layer in layers]).amax(0)
    used = (largest > 0) & (weights > 0)
    scale = torch.where(used, largest**strength / weights ** (1 - strength), 1.0)
    return _coarse(torch.where(used, scale / scale[used].log().mean().exp(), 1.0))


def _coarse(scale: torch.Tensor) -> torch.Tensor:
    """Round to ten bits: the last digits of what was observed depend on the processor, those of weights must not."""
    mantissa, exponent = torch.frexp(scale)
    return torch.ldexp((mantissa * 1024).round() / 1024, exponent)


class _Trial:
    """Layers on samples held out, to try scales on.

    ``seen``: channels of all other samples. ``axis``: of the channels, the same before the layers and after.
    """

    def __init__(self, layers: list[Layer], axis: int, seen: Channels, values: list[torch.Tensor]) -> None:
        self.layers, self.axis, self.seen = layers, axis, seen
        if all(layer.node.target is aten.linear.default for layer in layers):
            rows = torch.cat([value.reshape(-1, value.shape[-1]) for value in values])
            self.axis, values = 1, [rows[:: -(-len(rows) // _ROWS)]]
        self.values = values
        self.exact = [[_apply(layer, value, layer.weight) for value in values] for layer in layers]

    def error(self, scale: torch.Tensor) -> float:
        """Return the error of the layers where the scaled input and weights are quantized.

        Every position counts alike, by its error power over its power: what follows often normalizes each one.
        """
        assert self.seen.low is not None and self.seen.high is not None
        low, high = (_REACH * float(end) for end in ((self.seen.low / scale).min(), (self.seen.high / scale).max()))
        found = Range((low,), (high,))
        affine = for_activation(found, torch.uint8)
        shape = [-1 if dim == self.axis else 1 for dim in range(self.values[0].dim())]
        integers = [rounded_to(value / scale.float().view(shape), affine) for value in self.values]
        total = 0.0
        for layer, exact in zip(self.layers, self.exact, strict=True):
            taps = taps_of(layer)
            scaled = (taps * scale.view(taps.shape[0], 1, -1, 1)).reshape(layer.weight.shape).float()
            rounded = rounded_to(scaled, for_weight(scaled))
            for value, expected in zip(integers, exact, strict=True):
                total += _relative(_apply(layer, value, rounded), expected, self.axis)
        return total


def _apply(layer: Layer, value: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return what a layer with another weight and no bias makes of a value."""
    rest = list(arguments(layer.node).values())[3:]
    return layer.apply(value, weight, *rest)


def _relative(got: torch.Tensor, expected: torch.Tensor, axis: int) -> float:
    """Return the sum over all positions of error power over power."""
    power = expected.square().sum(axis).clamp_min(1e-12)
    return float(((got - expected).square().sum(axis) / power).sum())


def _layer(program: Program, node: fx.Node) -> Layer:
    layer = layer_of(program, node)
    assert isinstance(layer, Layer)
    return layer


def _note(rebuilt: dict[fx.Node, fx.Node], old: fx.Node, new: fx.Node) -> None:
    """Let every original that stood as ``old`` stand as ``new``."""
    rebuilt[old] = new
    rebuilt.update({original: new for original, node in rebuilt.items() if node is old})


def _producer(program: Program, site: _Site) -> Layer | None:
    """Return the layer that makes a value which nothing but the readers reads, or None."""
    value = site.value
    if len(value.users) != len(site.readers) or value.op != "call_function":
        return None
    source = value.args[0] if value.target is aten.relu.default else value
    assert isinstance(source, fx.Node)
    if not is_layer(source) or (source is not value and len(source.users) != 1):
        return None
    layer = layer_of(program, source)
    return layer if isinstance(layer, Layer) and layer.output_axis == site.axis else None


def _norm(program: Program, site: _Site) -> fx.Node | None:
    """Return the layer norm with a weight that makes a value which nothing but the readers reads, or None."""
    value = site.value
    if value.target is not aten.layer_norm.default or len(value.users) != len(site.readers):
        return None
    found = arguments(value)
    factors = [found["weight"], found["bias"]] if found["bias"] is not None else [found["weight"]]
    is_plain = len(found["normalized_shape"]) == 1 and len(set(factors)) == len(factors)
    return value if is_plain and all(program.constant(factor) is not None for factor in factors) else None


def _scale_norm(program: Program, norm: fx.Node, factor: torch.Tensor) -> None:
    """Scale the result of a layer norm by its weight and bias."""
    found = arguments(norm)
    for old in (found["weight"], found["bias"]):
        if old is not None:
            values = program.constants[old.name]
            norm.replace_input_with(old, program.add_constant(old.name, (values.double() * factor).to(values.dtype)))
    redefine(norm)


def _multiply(program: Program, site: _Site, factor: torch.Tensor) -> None:
    """Insert the multiplication that the readers read instead of the value."""
    shape = [1] * site.value.meta["val"].dim()
    shape[site.axis] = -1
    constant = program.add_constant(f"{site.value.name}_migrated", factor.float().view(shape))
    first = min(site.readers, key=list(program.graph.nodes).index)
    product = program.insert(first, aten.mul.Tensor, site.value, constant)
    for node in site.readers:
        node.replace_input_with(site.value, product)
