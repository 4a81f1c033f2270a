"""Adaptive rounding: round each weight up or down so that the layer's output changes least, not the weight itself.

Before: ``W'`` is ``W`` rounded to the nearest integers. After: some of them are the other neighbour. Of all such
roundings, one is sought with the least mean squared output error over the calibration data,

    E |(W - W') x|^2  =  sum over rows e of W' - W:  e H e^T,    H = E[x x^T]

Weights are visited one by one, in all rows at once; one is turned to its other neighbour where that lowers the sum,
until a whole round turns none. H gets 1 % of its mean diagonal added, so that data too scarce to tell weights apart
turns none.

Not when: the layer's patches were not observed.

Source of the objective: Nagel et al., Up or Down? Adaptive Rounding for Post-Training Quantization, ICML 2020,
section 3; it is minimised by coordinate descent here, not by a relaxation.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from edgeopt.calib.moments import Patches
from edgeopt.pipeline import Kind, Note, PassResult
from edgeopt.program import Program
from edgeopt.quant.affine import WEIGHT_LIMIT
from edgeopt.quant.codebook import neighbours
from edgeopt.quant.fp4 import Element
from edgeopt.quant.layers import QuantisedLayer, quantised_layers
from edgeopt.quant.scheme import Scheme

_RULE = "round-for-output"
_DAMPING = 0.01
_MOST_ROUNDS = 4
_BLOCK = 64


class AdaptRounding:
    """Choose the rounding of weights of a quantised program.

    ``reference`` is the float program that was quantised, ``seen`` the patches of its layers by name, ``scheme`` how it
    was quantised.
    """

    name = "adapt-rounding"
    kind: Kind = "calibrated"

    def __init__(self, reference: Program, seen: Mapping[str, Patches], scheme: Scheme | None = None) -> None:
        self.reference = reference
        self.seen = seen
        self.scheme = scheme

    def __call__(self, program: Program) -> PassResult:
        """Round the weights of a copy of ``program`` anew."""
        program = program.clone()
        notes = []
        for layer in quantised_layers(program, self.reference):
            if layer.node.name not in self.seen:
                notes.append(Note(_RULE, layer.node.name, "its patches were not observed"))
                continue
            element = self.scheme.codebook_of(layer.node) if self.scheme else None
            integers = round_for_output(layer, self.seen[layer.node.name].second, element)
            if not torch.equal(integers, layer.stored):
                layer.store(program, integers)
                notes.append(Note(_RULE, layer.node.name))
        return PassResult(program, any(note.reason is None for note in notes), tuple(notes))


def round_for_output(layer: QuantisedLayer, second: torch.Tensor, element: Element | None = None) -> torch.Tensor:
    """Return the layer's integers, rounded for the least output error under the input's second moments.

    ``element``: the integers that there are; None for all of int8.
    """
    groups, size = second.shape[:2]
    real = (layer.weight / layer.scale).double().reshape(groups, -1, size)
    diagonal = second.diagonal(dim1=1, dim2=2)
    moments = second + torch.diag_embed(_DAMPING * diagonal.mean(1, keepdim=True).expand_as(diagonal))
    integers = layer.stored.double().reshape(real.shape).clone()
    for _ in range(_MOST_ROUNDS):
        if not _turn(real, integers, moments, element):
            break
    return integers.reshape(layer.stored.shape).to(torch.int8)


def _turn(real: torch.Tensor, integers: torch.Tensor, moments: torch.Tensor, element: Element | None) -> bool:
    """Visit every weight once, in place; return whether one was turned."""
    gradient = (integers - real) @ moments
    any_turned = False
    # In blocks: what a turn does to the weights beyond its block is added up in one product.
    for start in range(0, real.shape[2], _BLOCK):
        block = slice(start, start + _BLOCK)
        turned = _steps(real[..., block], integers[..., block], element)
        steps = _turn_block(turned, gradient[..., block], moments[:, block, block])
        if steps.any():
            any_turned = True
            integers[..., block] += steps
            gradient += steps @ moments[:, block]
    return any_turned


def _steps(real: torch.Tensor, integers: torch.Tensor, element: Element | None) -> torch.Tensor:
    """Return the step from each integer to the neighbour on the other side of the real value.

    An exact integer has none, and is left; so is one at the end of the range.
    """
    direction = torch.sign(real - integers)
    if element is None:
        return torch.where((integers + direction).abs() <= WEIGHT_LIMIT, direction, 0.0)
    below, above = neighbours(integers, element)
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
