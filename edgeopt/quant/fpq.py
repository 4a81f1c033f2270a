"""FPQ: four-bit floats by search, for weights and for the activations that meet them.

Of a layer y = W x, with Q the rounding to a float of four bits under a scale (a bias b is the scale 2^-b):

* each output of W has a scale of its own, the tensor x one scale, the layer one format for W and one for x;
* an input channel j whose values are small is multiplied by 2^d[j] before it is rounded, and W's column divided by it:
  exact, and what makes x or reads it can take the factor.

Formats and scales are searched for the least squared error of y, in rounds: weights while activations are held, then
activations while weights are. The logarithm of the clip ratio is searched in equal steps, and what was best before is
always among the candidates: no round errs more than the one before it.

Source: S. Liu et al., LLM-FP4: 4-Bit Floating-Point Quantized Transformers, EMNLP 2023, section 3. The paper's released
code searches multiples of the bias, under which the clip ratio that is reached depends on the size of the weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from edgeopt.quant.fp4 import E1M2, E2M1, E3M0, Element

ELEMENTS = (E2M1, E1M2, E3M0)
ROUNDS = 3
_LOG_CLIPS = torch.linspace(-1.2, 0.2, 22).tolist()
_TRIED = 256
_MOST_SHIFT = 3
_LEAST = 1e-30


@dataclass(frozen=True)
class Rounded:
    """A float format and the scale that its magnitudes are multiplied by: one number, or one for each row."""

    element: Element
    scale: torch.Tensor

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        """Return ``values`` rounded."""
        return self.element.nearest(values / self.scale) * self.scale


@dataclass(frozen=True)
class Found:
    """What a search found: weights (outputs x inputs), activations or None for float ones, shifts (inputs), errors.

    ``weight`` rounds the shifted weight W 2^-d; ``errors`` are the mean squared errors of y, before any search and
    after each round.
    """

    weight: Rounded
    activation: Rounded | None
    shift: torch.Tensor
    errors: tuple[float, ...]

    def apply(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Return what the quantised layer makes of inputs (n x inputs)."""
        factor = torch.exp2(self.shift)
        shifted = x * factor
        return (shifted if self.activation is None else self.activation(shifted)) @ self.weight(weight / factor).T


def minmax(weight: torch.Tensor, x: torch.Tensor | None = None, element: Element = E2M1) -> Found:
    """Return the layer without a search: the largest magnitude of each row, and of x if given, is representable."""
    rows = weight.abs().amax(1, keepdim=True).clamp_min(_LEAST) / element.largest
    tensor = None if x is None else Rounded(element, x.abs().max().clamp_min(_LEAST) / element.largest)
    return Found(Rounded(element, rows), tensor, torch.zeros(weight.shape[1]), ())


def search(weight: torch.Tensor, x: torch.Tensor, activations: bool = False, rounds: int = ROUNDS) -> Found:
    """Search formats, scales and shifts of a layer (outputs x inputs) on inputs ``x`` (n x inputs)."""
    start = minmax(weight, x if activations else None)
    errors = [_error(start, x, weight)]
    shift = _shifts(x) if activations else start.shift
    found = replace(start, shift=shift)
    if activations:
        found = replace(minmax(weight / torch.exp2(shift), x * torch.exp2(shift)), shift=shift)
    best = start
    # Weights alone are settled in one round: there is nothing that they wait for.
    for _ in range(rounds if activations else 1):
        found = _search_weight(found, weight, x)
        if activations:
            found = _search_activation(found, weight, x)
        best = min(best, found, key=lambda one: _error(one, x, weight))
        errors.append(_error(best, x, weight))
    return replace(best, errors=tuple(errors))


def _shifts(x: torch.Tensor) -> torch.Tensor:
    """Return the whole powers of two by which small channels may grow to reach the largest."""
    channels = x.abs().amax(0).clamp_min(_LEAST)
    return (channels.max() / channels).log2().round().clamp(0, _MOST_SHIFT)


def _search_weight(found: Found, weight: torch.Tensor, x: torch.Tensor) -> Found:
    """Return the best format of W, each row at its best scale, while activations are held."""
    factor = torch.exp2(found.shift)
    target, shifted = x @ weight.T, x * factor
    inputs = shifted if found.activation is None else found.activation(shifted)
    # |X' w' - X w|^2 of a row is a quadratic form: two small products instead of one over all inputs.
    gram, cross, power = inputs.T @ inputs, inputs.T @ target, target.square().sum(0)
    real = weight / factor

    def errors(rounded: torch.Tensor) -> torch.Tensor:
        return ((rounded @ gram) * rounded).sum(1) - 2 * (rounded * cross.T).sum(1) + power

    options = [found.weight]
    for element in ELEMENTS:
        largest = real.abs().amax(1, keepdim=True).clamp_min(_LEAST) / element.largest
        before = found.weight.scale if element is found.weight.element else largest
        best, least = before, errors(Rounded(element, before)(real))
        for clip in _LOG_CLIPS:
            scale = largest * 2.0**clip
            error = errors(Rounded(element, scale)(real))
            best = torch.where((error < least).unsqueeze(1), scale, best)
            least = torch.minimum(least, error)
        options.append(Rounded(element, best))
    return replace(found, weight=min(options, key=lambda one: float(errors(one(real)).sum())))


def _search_activation(found: Found, weight: torch.Tensor, x: torch.Tensor) -> Found:
    """Return the best format and scale of x while weights are held, tried on some of the inputs."""
    x = x[:: -(-len(x) // _TRIED)]
    largest = (x * torch.exp2(found.shift)).abs().max().clamp_min(_LEAST)
    options = [
        Rounded(element, largest / element.largest * 2.0**clip) for element in ELEMENTS for clip in (*_LOG_CLIPS, 0.0)
    ]
    candidates = [found, *(replace(found, activation=option) for option in options)]
    return min(candidates, key=lambda one: _error(one, x, weight))


def _error(found: Found, x: torch.Tensor, weight: torch.Tensor) -> float:
    return float((found.apply(x, weight) - x @ weight.T).double().square().mean())
