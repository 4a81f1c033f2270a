"""Logarithms and exponentials near the point where a formula's terms cancel.

    log1p(x)        = log(u) * x / (u - 1),  u = 1 + x rounded;  x itself where u = 1
    expm1(x)        = (u - 1) * x / log(u),  u = exp(x) rounded; x itself where u = 1
    softplus(x)     = max(x, 0) + log1p(exp(-|x|))
    logsigmoid(x)   = min(x, 0) - log1p(exp(-|x|))
    logaddexp(a, b) = max(a, b) + log1p(exp(-|a - b|))
    elu(x)          = max(x, 0) + expm1(min(x, 0))
    mish(x)         = x ((1 + e)^2 - 1) / ((1 + e)^2 + 1),  e = exp(x), over e^2 above 0: no tanh of what is near 0
    erf(x)          = 2 / sqrt(pi) (x - x^3 / 3) near 0, where a polynomial in float32 has an absolute error of 1e-7

``log(1 + x)`` has lost all digits of an x of 1e-8; the factor x / (u - 1) undoes the rounding of 1 + x.

Source: N. Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, section 1.14.1 and problem 1.5 (the
method is W. Kahan's).
"""

from __future__ import annotations

import torch

from edgeopt.decompositions.writing_out import decomposes
from edgeopt.ir.nodes import aten


def _is_real(x: torch.Tensor) -> bool:
    return x.is_floating_point()


@decomposes(aten.log1p.default, where=lambda given: _is_real(given["self"]))
def log1p(x: torch.Tensor) -> torch.Tensor:
    """Return log(1 + x)."""
    u = x + 1.0
    return torch.where((u == 1.0) | (u == torch.inf), x, torch.log(u) * (x / (u - 1.0)))


@decomposes(aten.expm1.default, where=lambda given: _is_real(given["self"]))
def expm1(x: torch.Tensor) -> torch.Tensor:
    """Return exp(x) - 1."""
    u = torch.exp(x)
    # Above, u - 1 has lost nothing; below, log(u) is -inf.
    near = (u - 1.0) * (x / torch.log(u))
    return torch.where(u == 1.0, x, torch.where(torch.abs(x) < 1.0, near, u - 1.0))


@decomposes(aten.softplus.default, where=lambda given: _is_real(given["self"]))
def softplus(x: torch.Tensor, beta: float, threshold: float) -> torch.Tensor:
    """Return log(1 + exp(beta x)) / beta, and x itself where beta x is above the threshold."""
    scaled = x * beta
    return torch.where(scaled > threshold, x, (scaled.clamp(min=0.0) + _log1p_exp(scaled)) / beta)


@decomposes(aten.log_sigmoid.default, where=lambda given: _is_real(given["self"]))
def log_sigmoid(x: torch.Tensor) -> torch.Tensor:
    """Return log(1 / (1 + exp(-x)))."""
    return x.clamp(max=0.0) - _log1p_exp(x)


@decomposes(aten.elu.default, where=lambda given: _is_real(given["self"]))
def elu(x: torch.Tensor, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> torch.Tensor:
    """Return scale x above 0 and scale alpha (exp(input_scale x) - 1) below; alpha is the negative part's factor."""
    return torch.where(x > 0.0, x * scale, expm1(x.clamp(max=0.0) * input_scale) * (alpha * scale))


@decomposes(aten.selu.default, where=lambda given: _is_real(given["self"]))
def selu(x: torch.Tensor) -> torch.Tensor:
    """Return the exponential linear unit that keeps mean 0 and variance 1."""
    return elu(x, 1.6732632423543772, 1.0507009873554805)


@decomposes(aten.celu.default, where=lambda given: _is_real(given["self"]))
def celu(x: torch.Tensor, alpha: float) -> torch.Tensor:
    """Return x above 0 and alpha (exp(x / alpha) - 1) below."""
    return elu(x, alpha, 1.0, 1.0 / alpha)


@decomposes(aten.erf.default, where=lambda given: _is_real(given["self"]))
def erf(x: torch.Tensor) -> torch.Tensor:
    """Return the error function; near 0 by the first two terms of its series."""
    near = (x - x * x * x / 3.0) * 1.1283791670955126
    return torch.where(x.abs() < 0.01, near, torch.erf(x))


@decomposes(aten.mish.default, where=lambda given: _is_real(given["self"]))
def mish(x: torch.Tensor) -> torch.Tensor:
    """Return x tanh(softplus(x))."""
    e = torch.exp(-torch.abs(x))
    below = e * (e + 2.0)
    above = e * 2.0 + 1.0
    return x * torch.where(x > 0.0, above / (above + e * e * 2.0), below / (below + 2.0))


@decomposes(aten.logaddexp.default, where=lambda given: _is_real(given["self"]))
def logaddexp(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return log(exp(a) + exp(b))."""
    # Of equal infinities the difference would be NaN.
    return torch.where((a == b) & (a.abs() == torch.inf), a, torch.maximum(a, b) + _log1p_exp(a - b))


def _log1p_exp(x: torch.Tensor) -> torch.Tensor:
    """Return log(1 + exp(-|x|))."""
    return log1p(torch.exp(-torch.abs(x)))
