"""The target runs in double precision, keeps the original's dtypes, and lists what it cannot widen."""

from pathlib import Path

import numpy as np
import torch
from edgeopt_float64 import Float64
from torch import nn

from edgeopt.plugins.testing import TargetContract, to_program

X = torch.linspace(-3, 3, 2 * 64).reshape(2, 64)


class TestFloat64(TargetContract):
    target = "float64"
    bound = 1e-6


def run(module: nn.Module, folder: Path) -> np.ndarray:
    program, target = to_program(module, [X]), Float64(Float64.devices()[0])
    target.compile(program, folder, target.Options())
    (output,) = target.open(folder, target.Options()).run({program.inputs[0].name: X.numpy()}).values()
    found: np.ndarray = output
    return found


def test_is_nearer_to_the_truth_than_float32(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 8))
    narrow = model(X).detach().numpy()
    got = run(model, tmp_path)
    truth = model.double()(X.double()).detach().numpy()
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, truth.astype(np.float32))
    assert np.abs(narrow - truth).max() > np.abs(got - truth).max()


class Casts(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.half().sin().float()


def test_lists_every_node_it_cannot_widen() -> None:
    target = Float64(Float64.devices()[0])
    refused = target.lower(to_program(Casts(), [X]), target.Options()).unsupported
    reasons = [placement.reason for placement in refused]
    assert reasons == ["it asks for torch.float16", "it asks for torch.float32"]
