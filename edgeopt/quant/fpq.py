"""FPQ: four-bit floats by search, for weights and for the activations that meet them.

Of a layer y = W x, with Q the rounding to a float of four bits under a scale (a bias b is the scale 2^-b), each output
of W has a scale of its own and the tensor x one scale; the layer has one format for W and one for x. Formats and scales
are searched for the least squared error of y, in rounds: weights while activations are held, then activations while
weights are. The logarithm of the clip ratio is searched in equal steps, and what was best before is always among the
candidates: no round errs more than the one before it. Last, the rounding of each column of W is made good by the
columns after it, in the rows where that errs less, and the mean of what is still lost is added.

Sources: S. Liu et al., LLM-FP4: 4-Bit Floating-Point Quantized Transformers, EMNLP 2023, section 3; its released code
searches multiples of the bias, under which the clip ratio that is reached depends on the size of the weights.
E. Frantar et al., GPTQ, ICLR 2023, for the rounding at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from edgeopt.quant.blockwise import Blocks
from edgeopt.quant.float4 import E1M2, E2M1, E3M0, Element, pack, unpack
from edgeopt.quant.gptq import round_columns

ELEMENTS = (E2M1, E1M2, E3M0)
ROUNDS = 3
_LOG_CLIPS = torch.linspace(-1.2, 0.2, 22).tolist()
_NEAR = torch.linspace(-0.25, 0.25, 45).tolist()
"""Logarithms of the clip ratios of every format, and around the best of the one that is chosen."""
_FEW = (-1.2, -0.9, -0.6, -0.3, 0.0)
_ROOM = (1.0, 1.08, 1.16)
_TRIED = 256
_LEAST = 1e-30


@dataclass(frozen=True)
class Rounded:
    """A float format and the scale that its magnitudes are multiplied by: one number, or one for each row."""

    element: Element
    scale: torch.Tensor

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        """Return ``values`` rounded."""
        return self.element.nearest(values / self.scale) * self.scale

    def of_columns(self, columns: torch.Tensor, block: slice) -> torch.Tensor:
        """Return the scale of each row, which is that of all its columns."""
        return self.scale.squeeze(1)

    def stored(self, values: torch.Tensor) -> Blocks:
        """Return ``values`` rounded, one block a row."""
        return self.of_codes(self.element.encode(values / self.scale))

    def of_codes(self, codes: torch.Tensor) -> Blocks:
        """Return codes under the scale."""
        return Blocks(pack(codes), self.scale, torch.tensor(1.0), self.element)


@dataclass(frozen=True)
class Found:
    """What a search found: the weight (outputs x inputs), how activations are rounded, or None for float ones.

    ``lost`` is the mean of W x less that of what is computed instead (outputs). ``errors`` are the mean squared errors
    of y: before any search, after each round, after compensation, and with what was lost added.
    """

    weight: Blocks
    activation: Rounded | None
    lost: torch.Tensor
    errors: tuple[float, ...] = ()

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the quantized layer makes of inputs (n x inputs)."""
        return (x if self.activation is None else self.activation(x)) @ self.weight.values.T + self.lost


@dataclass(frozen=True)
class _Seen:
    """A layer on inputs X' in place of X: |X' w' - X w|^2 of a row is a quadratic form.

    Two small products instead of one over all inputs.
    """

    gram: torch.Tensor
    cross: torch.Tensor
    power: torch.Tensor
    inputs: torch.Tensor
    outputs: torch.Tensor

    @classmethod
    def of(cls, weight: torch.Tensor, x: torch.Tensor, activation: Rounded | None) -> _Seen:
        inputs, target = x if activation is None else activation(x), x @ weight.T
        gram, cross = inputs.T @ inputs / len(x), target.T @ inputs / len(x)
        return cls(gram, cross, target.square().mean(0), inputs.mean(0), target.mean(0))

    def errors(self, values: torch.Tensor) -> torch.Tensor:
        """Return the mean squared error of each output under a rounded weight."""
        return ((values @ self.gram) * values).sum(1) - 2 * (values * self.cross).sum(1) + self.power

    def error(self, stored: Blocks) -> float:
        """Return the mean over the outputs."""
        return float(self.errors(stored.values).double().mean())

    def lost(self, stored: Blocks) -> torch.Tensor:
        """Return the mean of W x less that of W' X', for each output."""
        return self.outputs - stored.values @ self.inputs


def minmax(weight: torch.Tensor, x: torch.Tensor | None = None, element: Element = E2M1) -> Found:
    """Return the layer without a search: the largest magnitude of each row, and of x if given, is representable."""
    tensor = None if x is None else Rounded(element, x.abs().max().clamp_min(_LEAST) / element.largest)
    return Found(Rounded(element, _largest(weight, element)).stored(weight), tensor, torch.zeros(len(weight)))


def search(
    weight: torch.Tensor, x: torch.Tensor, activations: bool = False, rounds: int = ROUNDS, compensate: bool = True
) -> Found:
    """Search formats and scales of a layer (outputs x inputs, an even number) on inputs ``x`` (n x inputs)."""
    found = minmax(weight, x if activations else None)
    seen = _Seen.of(weight, x, found.activation)
    errors = [seen.error(found.weight)]
    # Weights alone are settled in one round: there is nothing that they wait for.
    for _ in range(rounds if activations else 1):
        found = _search_weight(found, weight, seen)
        if activations:
            tried = _search_activation(found, weight, x)
            after = _Seen.of(weight, x, tried.activation)
            if after.error(tried.weight) < seen.error(found.weight):
                found, seen = tried, after
        errors.append(seen.error(found.weight))
    if compensate:
        found = _compensate(found, weight, seen)
        errors.append(seen.error(found.weight))
    lost = seen.lost(found.weight)
    errors.append(errors[-1] - float(lost.double().square().mean()))
    return replace(found, lost=lost, errors=tuple(errors))


def trial(weight: torch.Tensor, x: torch.Tensor) -> float:
    """Return the error of a layer and its inputs in E2M1 under the best of a few scales: what shifts are judged by."""
    largest, target = x.abs().max().clamp_min(_LEAST) / E2M1.largest, x @ weight.T
    activation = _nearest([Rounded(E2M1, largest * 2.0**clip) for clip in _FEW], x, weight, target)
    seen = _Seen.of(weight, x, activation)
    rows = _best(weight, seen, E2M1, [_largest(weight, E2M1) * 2.0**clip for clip in _FEW])
    return float(seen.errors(rows(weight)).sum())


def _search_weight(found: Found, weight: torch.Tensor, seen: _Seen) -> Found:
    """Return the best format of W, each row at its best scale, while activations are held."""
    chosen, before = found.weight.element, found.weight.scale
    options = []
    for element in ELEMENTS:
        largest = _largest(weight, element)
        known = [before] if element is chosen else []
        options.append(_best(weight, seen, element, [*known, *(largest * 2.0**clip for clip in _LOG_CLIPS)]))
    best = min(options, key=lambda one: float(seen.errors(one(weight)).sum()))
    near = _best(weight, seen, best.element, [best.scale, *(best.scale * 2.0**clip for clip in _NEAR)])
    return min(found, replace(found, weight=near.stored(weight)), key=lambda one: seen.error(one.weight))


def _best(weight: torch.Tensor, seen: _Seen, element: Element, scales: Sequence[torch.Tensor]) -> Rounded:
    """Return each row's best of several scales."""
    best, least = scales[0], seen.errors(Rounded(element, scales[0])(weight))
    for scale in scales[1:]:
        errors = seen.errors(Rounded(element, scale)(weight))
        best = torch.where((errors < least).unsqueeze(1), scale, best)
        least = torch.minimum(least, errors)
    return Rounded(element, best)


def _search_activation(found: Found, weight: torch.Tensor, x: torch.Tensor) -> Found:
    """Return the best format and scale of x while weights are held, tried on some of the inputs."""
    x = x[:: -(-len(x) // _TRIED)]
    largest, target, values = x.abs().max().clamp_min(_LEAST), x @ weight.T, found.weight.values
    options = [
        Rounded(element, largest / element.largest * 2.0**clip) for element in ELEMENTS for clip in (*_LOG_CLIPS, 0.0)
    ]
    options += [found.activation] if found.activation is not None else []
    return replace(found, activation=_nearest(options, x, values, target))


def _nearest(options: Sequence[Rounded], x: torch.Tensor, values: torch.Tensor, target: torch.Tensor) -> Rounded:
    """Return the rounding of x under which a weight of these values comes nearest to the target."""
    return min(options, key=lambda one: float((one(x) @ values.T - target).square().sum()))


def _compensate(found: Found, weight: torch.Tensor, seen: _Seen) -> Found:
    """Return the weight with compensated rounding, in the rows and under the scales where it errs less.

    What a column takes over makes it larger: it may want a larger scale.
    """
    element, best = found.weight.element, found.weight.scale
    codes, least = unpack(found.weight.codes), seen.errors(found.weight.values)
    for room in _ROOM:
        rows = Rounded(element, found.weight.scale * room)
        rounded = round_columns(weight, seen.gram, element, rows.of_columns)
        errors = seen.errors(element.decode(rounded) * rows.scale)
        is_less = (errors < least).unsqueeze(1)
        codes, best = torch.where(is_less, rounded, codes), torch.where(is_less, rows.scale, best)
        least = torch.minimum(errors, least)
    return replace(found, weight=Rounded(element, best).of_codes(codes))


def _largest(weight: torch.Tensor, element: Element) -> torch.Tensor:
    """Return the scale of each row under which its largest magnitude is representable."""
    return weight.abs().amax(1, keepdim=True).clamp_min(_LEAST) / element.largest
