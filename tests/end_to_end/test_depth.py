"""Networks are deeper than Python lets calls nest: nothing walks them by recursion."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import edgeopt
from edgeopt.analysis.affine_maps import compose
from edgeopt.ir.program import Program
from edgeopt.plugins.testing import to_program

DEPTH = 100
"""Layers, each of three operators one after another."""
CALLS = 250
"""Calls that may nest: more than torch needs, fewer than there are operators in a row."""


class Residual(nn.Module):
    """Residual layers, one after another: a linear, or halves of what comes in."""

    def __init__(self, layers: int, width: int = 0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(width, width) if width else nn.Identity() for _ in range(layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = x + 0.01 * layer(x)
        return x


@contextmanager
def few_calls() -> Iterator[None]:
    """Let at most ``CALLS`` calls nest from here on."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + CALLS)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def test_affine_maps_of_deep_sums_are_composed() -> None:
    program = to_program(Residual(150), [torch.ones(1, 4)])
    with few_calls():
        affine = compose(program, program.results[0])
    assert not isinstance(affine, str) and isinstance(program, Program)
    assert affine.scale.item() == pytest.approx(1.01**150)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"target": "onnx"}, {"target": "cpu"}, {"target": "cpu", "precision": "int8"}])
def test_deep_networks_are_exported(options: dict[str, Any], tmp_path: Path) -> None:
    import numpy as np

    x = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)
    np.savez(tmp_path / "calib.npz", x=x)
    if "precision" in options:
        options = {**options, "calib": str(tmp_path / "calib.npz"), "recover": ()}
    model = Residual(DEPTH, 4).eval()
    given = {"inputs": {"x": x[:1]}, "baseline": False, "samples": 1, "max_seconds": 0.05, **options}
    with few_calls():
        run = edgeopt.export(model, output=tmp_path / "out", **given)
    assert run.ok and run.error is not None  # int8 rounds the sum once a layer: its floor is what is promised of it
    assert "precision" in options or run.error.relative < 1e-4
