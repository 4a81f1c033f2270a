"""Calibration data that is not prepared as the model's input is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt import export
from edgeopt.ir.program import Range
from edgeopt.verification import out_of_range

EXAMPLE = np.linspace(-2.5, 2.5, 64, dtype=np.float32)


@pytest.mark.parametrize("span", [(0, 255), (0, 0), (0.5, 0.5), (-1e-6, 1e-6), (0, 3)])
def test_an_example_that_the_ranges_do_not_fit_is_told(span: tuple[float, float]) -> None:
    low, high = map(float, span)
    (told,) = out_of_range({"x": EXAMPLE}, {"x": Range((low,), (high,))})
    assert told.startswith("the example of input 'x' lies in -2.5..2.5, and the calibration data in ")


@pytest.mark.parametrize("span", [(-2.4, 2.4), (-10, 30), (-2.5, 2.5)])
def test_an_example_within_the_ranges_is_not(span: tuple[float, float]) -> None:
    assert not list(out_of_range({"x": EXAMPLE}, {"x": Range((span[0],), (span[1],))}))
    assert not list(out_of_range({"ids": np.arange(3)}, {"ids": Range((0.0,), (1.0,))}))


def test_the_sample_that_is_given_is_judged(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)).eval()
    np.savez(tmp_path / "zeros.npz", input=np.zeros((8, 16), np.float32))
    x = torch.randn(1, 16)
    run = export(
        torch.export.export(net, (x,)),
        target="onnx",
        output=tmp_path / "out",
        precision="int8",
        calib=str(tmp_path / "zeros.npz"),
        sample={"input": x.numpy()},
        baseline=False,
        max_seconds=0.01,
    )
    assert run.verdict == "differs" and not run.ok
    assert any("the example of input 'input'" in text for text in run.warnings)
