"""Whether a swapped attention is faster where it will run: both are compiled for the target and measured in turn."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgeopt.analysis.attention import Attention
from edgeopt.candidate.compile import compiled
from edgeopt.candidate.measure import MeasurePlan, measure
from edgeopt.errors import EdgeoptError
from edgeopt.ir.convert import from_exported
from edgeopt.ir.program import Program
from edgeopt.passes.substitution.attention_swap import AttentionSwap
from edgeopt.plugins.target import Session, Target, TargetOptions

_PLAN = MeasurePlan(min_runs=10, min_seconds=0.1, max_seconds=0.5)


class Profitability:
    """Measures each size of attention once on a target. ``figures`` tells what was measured.

    An attention that the target cannot run by itself is not judged.
    """

    def __init__(self, target: Target, options: TargetOptions) -> None:
        self.target, self.options = target, options
        self.figures: dict[tuple, str] = {}
        self._verdicts: dict[tuple, str | None] = {}

    def __call__(self, attention: Attention, swap: AttentionSwap) -> str | None:
        """Return the figures where the swap does not pay, else None."""
        shapes = tuple(tuple(node.meta["val"].shape[1:]) for node in (attention.query, attention.key, attention.value))
        form = (swap.name, *swap.settings.values())
        size = (*shapes, attention.key_is_transposed, attention.mask.causal, *form)
        if size not in self._verdicts:
            self._verdicts[size] = self._measure(size, attention, swap)
        return self._verdicts[size]

    def _measure(self, size: tuple, attention: Attention, swap: AttentionSwap) -> str | None:
        softmax = _alone(attention)
        linear = type(swap)(**swap.settings, force=True)(softmax).program  # type: ignore[arg-type]
        try:
            costs = self._costs({"softmax": softmax, "linear": linear})
        except EdgeoptError:
            return None
        unit = self.target.name
        before, after = (f"{costs[name][0]:.3g} {costs[name][1]}" for name in ("softmax", "linear"))
        figures = f"at {attention.tokens} tokens the softmax takes {before} on {unit} and the linear form {after}"
        self.figures[size] = figures
        return f"{figures}: it would not pay" if costs["linear"][0] >= costs["softmax"][0] else None

    def _costs(self, programs: dict[str, Program]) -> dict[str, tuple[float, str]]:
        """Return each program's median cost and its unit."""
        random = np.random.default_rng(0)
        specs = programs["softmax"].inputs
        sample = {spec.name: random.standard_normal(spec.shape, dtype=np.float32) for spec in specs}  # type: ignore[arg-type]
        sessions: dict[str, Session] = {}
        with tempfile.TemporaryDirectory(prefix="edgeopt-") as scratch:
            try:
                for name, program in programs.items():
                    folder = Path(scratch) / name
                    sessions[name] = compiled(program, folder, self.target, self.options, [sample]).open()
                timings = measure(sessions, dict.fromkeys(sessions, sample), _PLAN)
            finally:
                for session in sessions.values():
                    session.close()
        return {name: (float(np.median(timing.costs)), timing.unit) for name, timing in timings.items()}


class _Softmax(nn.Module):
    """Softmax attention of one sample, and nothing else."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal = causal

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return nn.functional.scaled_dot_product_attention(query, key, value, is_causal=self.causal)


def _alone(attention: Attention) -> Program:
    """Return a program that is an attention of the same size, in float32, and its three inputs."""
    sizes = [node.meta["val"].shape[1:] for node in (attention.query, attention.key, attention.value)]
    if attention.key_is_transposed:
        heads, channels, keys = sizes[1]
        sizes[1] = torch.Size((heads, keys, channels))
    inputs = tuple(torch.zeros(1, *map(int, size)) for size in sizes)
    with torch.no_grad():
        return from_exported(torch.export.export(_Softmax(attention.mask.causal), inputs))
