"""Replace LayerNorm and RMSNorm by a scale and shift per channel, which fold away into the layers after them.

Before => after:

    gamma * (x - mean(x)) / sqrt(var(x) + eps) + beta  =>  a * x + s,    a, s one number a channel

That is what RepBN, PRepBN and Unified Normalization are in evaluation form; what they divide by is fixed, so that
fold-affine takes a and s into the next linears, and no norm is left. They start at the least-squares fit of the
norm's output on the samples,

    a_c = cov(x_c, y_c) / var(x_c),    s_c = mean(y_c) - a_c * mean(x_c),

which no distillation of the norm alone can better; so edgeopt.tune matches the whole model to the original's outputs.

Trained, not exact: its error is measured. Not when: the norm is over a value whose channels never vary.

Source: Guo et al., SLAB: Efficient Transformers with Simplified Linear Attention and Progressive Re-parameterized
Batch Normalization, ICML 2024; Yang et al., Unified Normalization, ACM MM 2022.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import torch
from torch import fx

from edgeopt.pipeline import Kind, Note, PassResult
from edgeopt.program import Program, origin
from edgeopt.rewrite import replace
from edgeopt.structures.norms import Norm, find_norms
from edgeopt.tune.batches import Sample
from edgeopt.tune.swap import Swap, kept

aten = torch.ops.aten

Fits = dict[str, tuple[torch.Tensor, ...]]


class ReplaceLayernorm:
    """Swap every norm but those labelled in ``keep``, fitted on ``samples``."""

    name = "replace-layernorm"
    kind: Kind = "trained"

    def __init__(self, samples: Iterable[Sample], keep: Collection[str] = ()) -> None:
        self.samples, self.keep = list(samples), keep
        self.swaps: tuple[Swap, ...] = ()
        self._fitted: tuple[Program, Fits] | None = None

    def __call__(self, program: Program) -> PassResult:
        """Swap in a copy of ``program``; nothing is tuned yet."""
        swapped = program.clone()
        norms = find_norms(swapped)
        # The same program is swapped again and again while layers return to the original.
        if self._fitted is None or self._fitted[0] is not program:
            self._fitted = program, _fit(program, norms, self.samples)
        fits = self._fitted[1]
        swaps, notes = [], []
        for norm in norms:
            if origin(norm.root) in self.keep:
                notes.append(kept(self.name, norm.root))
                continue
            scale, shift = fits[norm.root.name]
            reason = None if scale.isfinite().all() else "a channel of its input never varies on the samples"
            notes.append(Note(self.name, norm.root.name, reason))
            if reason is None:
                swaps.append(_swap(swapped, norm, scale, shift))
        self.swaps = tuple(swaps)
        swapped.clean()
        return PassResult(swapped, bool(swaps), tuple(notes))


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

    def fit(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return scale and shift; infinite or NaN where a channel does not vary."""
        x, y = self.x / self.count, self.y / self.count
        scale = (self.xy / self.count - x * y) / (self.xx / self.count - x * x)
        return scale, y - scale * x


def _fit(program: Program, norms: tuple[Norm, ...], samples: list[Sample]) -> Fits:
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


def _swap(program: Program, norm: Norm, scale: torch.Tensor, shift: torch.Tensor) -> Swap:
    dtype, label = norm.root.meta["val"].dtype, origin(norm.root)
    a = program.add_constant(f"{label}_scale", scale.to(dtype))
    s = program.add_constant(f"{label}_shift", shift.to(dtype))
    scaled = program.insert(norm.root, aten.mul.Tensor, norm.input, a)
    new = program.insert(norm.root, aten.add.Tensor, scaled, s)
    new.meta["origin"] = label
    replace(norm.root, new)
    return Swap(label, (origin(norm.input),), (a.name, s.name), is_fitted=True)
