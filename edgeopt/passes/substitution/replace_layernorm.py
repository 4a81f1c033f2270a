"""Replace LayerNorm and RMSNorm by a scale and shift per channel, which fold away into the layers after them.

Before => after:

    gamma * (x - mean(x)) / sqrt(var(x) + eps) + beta  =>  a * x + s,                          form "repbn"
                                                       =>  g * x / sqrt(v + eps) + b           form "un"

with one number a channel for a, s, g, b and v, the mean of x^2 over the samples. That is what RepBN, PRepBN and Unified
Normalization are in evaluation form; what they divide by is fixed, so that fold-affine takes them into the next
linears, and no norm is left. They start at the least-squares fit of the norm's output on the samples,

    a_c = cov(x_c, y_c) / var(x_c),    s_c = mean(y_c) - a_c * mean(x_c),    g = a * sqrt(v + eps),    b = s,

which no distillation of the norm alone can better; so edgeopt.distill matches the whole model to the original's
outputs.
The two forms start as one function and learn at different rates: g is of the size of gamma, a of gamma over x's.

With ``progressive`` above 0 the norm fades while the model is tuned, as PRepBN has it:

    lambda * norm(x) + (1 - lambda) * (a * x + s),    lambda falls from 1 to 0 over that part of stage 2's budget

Held-out samples are judged at lambda 0, which is what is left behind. It is for long runs.

Trained, not exact: its error is measured. Not when: the norm is over a value whose channels never vary.

Source: Guo et al., SLAB: Efficient Transformers with Simplified Linear Attention and Progressive Re-parameterized
Batch Normalization, ICML 2024; Yang et al., Unified Normalization, ACM MM 2022.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from edgeopt.analysis.norms import Norm, find_norms
from edgeopt.distill.swap import FittedSwapper, Swap, SwapResult, kept
from edgeopt.errors import UserError, nearest
from edgeopt.ir.context import Context
from edgeopt.ir.metrics import Sample
from edgeopt.ir.nodes import aten
from edgeopt.ir.pass_base import Note
from edgeopt.ir.program import Program, origin


@dataclass(frozen=True)
class ReplaceLayernorm(FittedSwapper["_Fit"]):
    """Swap every norm, fitted on samples.

    Raises UserError where ``form`` is neither "repbn" nor "un", or ``progressive`` is not part of a whole.
    """

    name = "replace-layernorm"

    form: str = "repbn"
    progressive: float = 0.0

    def __post_init__(self) -> None:
        if self.form not in _FORMS:
            raise UserError(f"norms are replaced by no form '{self.form}'", nearest(self.form, _FORMS))
        if not 0 <= self.progressive <= 1:
            part = f"a progressive part of {self.progressive}"
            raise UserError(part, "give 0 for none, or a part of the budget up to 1")

    def run(self, program: Program, context: Context) -> SwapResult:
        """Swap in a copy of ``program``; nothing is tuned yet."""
        swapped = program.clone()
        norms, fits = find_norms(swapped), self.known_fits(program, context)
        swaps, notes = [], []
        for norm in norms:
            if origin(norm.root) in self.keep:
                notes.append(kept(self.name, norm.root))
                continue
            fit = fits.by_node[norm.root.name]
            reason = None if fit.scale.isfinite().all() else "a channel of its input never varies on the samples"
            notes.append(Note(self.name, norm.root.name, reason))
            if reason is None:
                swaps.append(self._swap(swapped, norm, fit))
        swapped.clean()
        return SwapResult(swapped, bool(swaps), tuple(notes), fits, tuple(swaps))

    def fit(self, program: Program, samples: Sequence[Sample]) -> Mapping[str, _Fit]:
        """Return the least-squares fit of every norm, by the name of its root; one pass of the original a sample."""
        return _fit(program, find_norms(program), samples)

    def _swap(self, program: Program, norm: Norm, fit: _Fit) -> Swap:
        label, readers = origin(norm.root), list(norm.root.users)
        new, parameters = _FORMS[self.form](program, norm, fit)
        fades = None
        if self.progressive:
            new, name = _blend(program, norm, new)
            fades = name, self.progressive
        new.meta["origin"] = label
        for reader in readers:
            reader.replace_input_with(norm.root, new)
        return Swap(label, (origin(norm.input),), parameters, is_fitted=True, fades=fades)


@dataclass(frozen=True)
class _Fit:
    """Scale and shift of a norm's output by its input, infinite or NaN where a channel does not vary, and the mean
    square of the input; all of a channel, in float64."""

    scale: torch.Tensor
    shift: torch.Tensor
    square: torch.Tensor


class _Moments:
    """Running sums of a norm's input and output per channel, in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.x: Any = 0.0
        self.y: Any = 0.0
        self.xx: Any = 0.0
        self.xy: Any = 0.0

    def add(self, x: torch.Tensor, y: torch.Tensor) -> None:
        x, y = (t.double().reshape(-1, t.shape[-1]) for t in (x, y))
        self.count += len(x)
        self.x, self.y = self.x + x.sum(0), self.y + y.sum(0)
        self.xx, self.xy = self.xx + (x * x).sum(0), self.xy + (x * y).sum(0)

    def fit(self) -> _Fit:
        """Return the least-squares fit."""
        x, y, square = self.x / self.count, self.y / self.count, self.xx / self.count
        scale = (self.xy / self.count - x * y) / (square - x * x)
        return _Fit(scale, y - scale * x, square)


def _fit(program: Program, norms: tuple[Norm, ...], samples: Iterable[Sample]) -> dict[str, _Fit]:
    """Return the least-squares fit of every norm, by the name of its root; one pass of the original a sample."""
    moments = {norm.root.name: _Moments() for norm in norms}
    wanted = {name for norm in norms for name in (norm.input.name, norm.root.name)}
    for sample in samples:
        values = {name: torch.from_numpy(array) for name, array in sample.items() if name in wanted}

        def keep(node: fx.Node, value: Any, values: dict[str, torch.Tensor] = values) -> None:
            if node.name in wanted:
                values[node.name] = value

        program.run(sample, keep)
        for norm in norms:
            moments[norm.root.name].add(values[norm.input.name], values[norm.root.name])
    return {name: found.fit() for name, found in moments.items()}


# -- what takes a norm's place -------------------------------------------------------------------------


def _as_repbn(program: Program, norm: Norm, fit: _Fit) -> tuple[fx.Node, tuple[str, ...]]:
    """Insert a * x + s; return it with the names of what is tuned."""
    return _affine(program, norm, norm.input, fit.scale, fit.shift)


def _as_un(program: Program, norm: Norm, fit: _Fit) -> tuple[fx.Node, tuple[str, ...]]:
    """Insert g * (x / sqrt(v + eps)) + b; return it with the names of what is tuned, which v is not."""
    spread = (fit.square + norm.eps).sqrt()
    divisor = program.add_constant(f"{origin(norm.root)}_spread", spread.to(norm.root.meta["val"].dtype))
    x = program.insert(norm.root, aten.div.Tensor, norm.input, divisor)
    return _affine(program, norm, x, fit.scale * spread, fit.shift)


_FORMS = {"repbn": _as_repbn, "un": _as_un}


def _affine(
    program: Program, norm: Norm, x: fx.Node, scale: torch.Tensor, shift: torch.Tensor
) -> tuple[fx.Node, tuple[str, ...]]:
    dtype, label = norm.root.meta["val"].dtype, origin(norm.root)
    a = program.add_constant(f"{label}_scale", scale.to(dtype))
    s = program.add_constant(f"{label}_shift", shift.to(dtype))
    scaled = program.insert(norm.root, aten.mul.Tensor, x, a)
    return program.insert(norm.root, aten.add.Tensor, scaled, s), (a.name, s.name)


def _blend(program: Program, norm: Norm, new: fx.Node) -> tuple[fx.Node, str]:
    """Insert new + lambda * (norm - new) after the norm; return it with lambda's name, which is 0."""
    after = norm.root.next
    part = program.add_constant(f"{origin(norm.root)}_lambda", torch.zeros((), dtype=norm.root.meta["val"].dtype))
    rest = program.insert(after, aten.sub.Tensor, norm.root, new)
    return program.insert(after, aten.add.Tensor, new, program.insert(after, aten.mul.Tensor, rest, part)), part.name
