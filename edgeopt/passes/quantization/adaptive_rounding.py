"""Adaptive rounding: round each weight up or down so that the layer's output changes least, not the weight itself.

Before: ``W'`` is ``W`` rounded to the nearest integers. After: some of them are the other neighbor. Of all such
roundings, one is sought with the least mean squared output error over the calibration data,

    E |(W - W') x|^2  =  sum over rows e of W' - W:  e H e^T,    H = E[x x^T]

Weights are visited one by one, in all rows at once; one is turned to its other neighbor where that lowers the sum,
until a whole round turns none. H gets 1 % of its mean diagonal added, so that data too scarce to tell weights apart
turns none.

Where weights are the integers of a codebook, the scale of each row is sought together with them: weights are rounded
at scales around the first one, the best scale of what was rounded is that of least squares under H, and the pair with
the least sum is taken. Where scales are powers of two, the two beside the first one are tried, and none between.

Not when: the layer's patches were not observed, or have more than ``LONGEST`` values.

Source of the objective: Nagel et al., Up or Down? Adaptive Rounding for Post-Training Quantization, ICML 2020,
section 3; it is minimized by coordinate descent here, not by a relaxation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from edgeopt.analysis.quantized_layers import QuantizedLayer, quantized_layers
from edgeopt.calib.moments import LONGEST, PATCHES, Patches
from edgeopt.ir.context import FLOAT_PROGRAM, Context
from edgeopt.ir.pass_base import INTEGER_LAYERS, Note, Pass, PassResult
from edgeopt.ir.program import Program
from edgeopt.quant.codebook import neighbors, to_integers
from edgeopt.quant.float4 import Element
from edgeopt.quant.pairs import Order, magnitude_limits
from edgeopt.quant.scheme import Scheme

_RULE = "round-for-output"
_DAMPING = 0.01
_MOST_ROUNDS = 4
_BLOCK = 64
_SCALES = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2)
_POWERS = (0.5, 1.0, 2.0)


@dataclass(frozen=True)
class AdaptiveRounding(Pass):
    """Choose the rounding of weights of a quantized program; ``scheme`` is how it was quantized."""

    name = "adaptive-rounding"
    kind = "calibrated"
    stage = "quantized"
    needs = (FLOAT_PROGRAM, PATCHES)
    requires = frozenset({INTEGER_LAYERS})

    scheme: Scheme | None = None

    def run(self, program: Program, context: Context) -> PassResult:
        """Round the weights of a copy of ``program`` anew."""
        program = program.clone()
        layers, seen = list(quantized_layers(program, context[FLOAT_PROGRAM])), context[PATCHES]
        rounded = (self._round(program, layer, seen.get(layer.node.name)) for layer in layers)
        notes = [note for note in rounded if note is not None]
        return PassResult(program, any(note.reason is None for note in notes), tuple(notes))

    def _round(self, program: Program, layer: QuantizedLayer, seen: Patches | None) -> Note | None:
        """Round one layer's weights; say that it was done or why not, None where they already are the best."""
        if seen is None or (second := seen.second) is None:
            reason = "its patches were not observed" if seen is None else f"its patches have more than {LONGEST} values"
            return Note(_RULE, layer.node.name, reason)
        scale, element = None, self.scheme.codebook_of(layer.node) if self.scheme else None
        if element is None:
            order = self.scheme.order_of(layer.node) if self.scheme else "none"
            integers = round_for_output(layer, second, order=order)
        else:
            assert self.scheme is not None
            integers, scale = fit_for_output(layer, second, element, self.scheme.shifts)
        if scale is None and torch.equal(integers, layer.stored):
            return None
        layer.store(program, integers, scale)
        return Note(_RULE, layer.node.name)


def round_for_output(
    layer: QuantizedLayer, second: torch.Tensor, element: Element | None = None, order: Order = "none"
) -> torch.Tensor:
    """Return the layer's integers, rounded for the least output error under the input's second moments.

    ``element``: the integers that there are; None for all of int8, of which those that ``order`` adds fit 16 bits.
    """
    groups, size = second.shape[:2]
    real, stored = layer.weight / layer.scale, layer.stored.float()
    steps = _steps(real, stored, order) if element is None else _codebook_steps(real, stored, element)
    first, real, steps = (part.double().reshape(groups, -1, size) for part in (stored, real, steps))
    moments, integers = _damped(second), first.clone()
    for _ in range(_MOST_ROUNDS):
        if not _turn(real, integers, 2 * first + steps, moments):
            break
    return integers.reshape(layer.stored.shape).to(torch.int8)


def fit_for_output(
    layer: QuantizedLayer, second: torch.Tensor, element: Element, shifts: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a codebook's integers for a layer, and the scales of its rows, for the least output error.

    With ``shifts`` scales are what they were times a power of two.
    """
    weight, moments = layer.weight.flatten(1).double(), _damped(second)[0]
    stored, scale = layer.stored.flatten(1), layer.affine.scale
    least = torch.full((len(weight),), torch.inf, dtype=torch.float64)
    for factor in _POWERS if shifts else _SCALES:
        affine = replace(layer.affine, scale=layer.affine.scale * factor)
        tried = replace(layer, affine=affine, stored=to_integers(layer.weight, affine, element))
        integers = round_for_output(tried, second, element).flatten(1)
        products = integers.double() @ moments
        fitted = (products * weight).sum(1) / (products * integers).sum(1)  # nan where all integers are zero
        fitted = affine.scale.double() if shifts else torch.where(fitted > 0, fitted, affine.scale)
        errors = weight - integers * fitted.unsqueeze(1)
        error = (errors @ moments * errors).sum(1)
        better = error < least
        least = torch.where(better, error, least)
        scale = torch.where(better, fitted.float(), scale)
        stored = torch.where(better.unsqueeze(1), integers, stored)
    return stored.view(layer.stored.shape), scale


def _damped(second: torch.Tensor) -> torch.Tensor:
    diagonal = second.diagonal(dim1=1, dim2=2)
    return second + torch.diag_embed(_DAMPING * diagonal.mean(1, keepdim=True).expand_as(diagonal))


def _turn(real: torch.Tensor, integers: torch.Tensor, both: torch.Tensor, moments: torch.Tensor) -> bool:
    """Visit every weight once, in place; return whether one was turned. ``both``: the sums of the two choices."""
    gradient = (integers - real) @ moments
    any_turned = False
    # In blocks: what a turn does to the weights beyond its block is added up in one product.
    for start in range(0, real.shape[2], _BLOCK):
        block = slice(start, start + _BLOCK)
        turned = both[..., block] - 2 * integers[..., block]
        steps = _turn_block(turned, gradient[..., block], moments[:, block, block])
        if steps.any():
            any_turned = True
            integers[..., block] += steps
            gradient += steps @ moments[:, block]
    return any_turned


def _steps(real: torch.Tensor, integers: torch.Tensor, order: Order) -> torch.Tensor:
    """Return the step from each integer to the neighbor on the other side of the real value.

    An exact integer has none, and is left; so is one that may not become larger.
    """
    direction = torch.sign(real - integers)
    return torch.where((integers + direction).abs() <= magnitude_limits(real, order), direction, 0.0)


def _codebook_steps(real: torch.Tensor, integers: torch.Tensor, element: Element) -> torch.Tensor:
    """Return the same for the integers of a codebook."""
    direction = torch.sign(real - integers)
    below, above = neighbors(integers, element)
    return torch.where(direction > 0, above - integers, torch.where(direction < 0, below - integers, 0.0))


def _turn_block(steps: torch.Tensor, gradient: torch.Tensor, moments: torch.Tensor) -> torch.Tensor:
    """Return which of the steps of a block of weights to take, each decided after those before it."""
    gradient = gradient.clone()
    steps = steps.clone()
    for k in range(steps.shape[2]):
        step = steps[..., k]
        gain = 2 * step * gradient[..., k] + step.square() * moments[:, k, k].unsqueeze(1)
        step = torch.where(gain < 0, step, 0.0)
        steps[..., k] = step
        gradient += step.unsqueeze(-1) * moments[:, k].unsqueeze(1)
    return steps
