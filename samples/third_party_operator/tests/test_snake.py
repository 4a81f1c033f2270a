"""The operator is what its formula says, and is exported: to ONNX, to OpenVINO, to C for microcontrollers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from edgeopt_snake import SNAKE, snake
from torch import nn

import edgeopt

X = torch.linspace(-2, 2, 16 * 8).reshape(16, 8)


class Periodic(nn.Module):
    """Two linear layers with a Snake between them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(8, 32), nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(snake(self.first(x), 2.0))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model that calls the operator, as one node of its archive."""
    path = tmp_path / "model.pt2"
    exported = torch.export.export(Periodic().eval(), (X[:1],))
    assert SNAKE.overload in [node.target for node in exported.graph.nodes]
    torch.export.save(exported, path)
    return path


def test_formula() -> None:
    expected = X.double() + torch.sin(3 * X.double()) ** 2 / 3
    torch.testing.assert_close(snake(X.double(), 3.0), expected)
    with pytest.raises(RuntimeError, match="must be positive"):
        snake(X.to("meta"), -1.0)


@pytest.mark.parametrize("target", ["reference", "onnx", "openvino"])
def test_export_in_float(target: str, model: Path, tmp_path: Path) -> None:
    record = edgeopt.export(model, target, tmp_path / "out", baseline=False, max_seconds=0.1)
    assert record.error is not None and record.error.relative < 1e-5


def test_a_table_on_a_microcontroller(model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "calib.npy", X.numpy())
    calib = str(tmp_path / "calib.npy")
    record = edgeopt.export(model, "host-c", tmp_path / "out", calib=calib, baseline=False, max_seconds=0.1)
    assert (tmp_path / "out" / "network" / "s8_table_scalar.c").exists()
    assert record.error is not None and record.error.relative < 0.03
