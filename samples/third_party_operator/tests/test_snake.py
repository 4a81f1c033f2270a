"""The operator is what its formula says, and is exported with its kernels: OpenVINO's and microcontrollers'."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from edgeopt_snake import SNAKE, snake
from torch import nn

import edgeopt

X = torch.linspace(-2, 2, 16 * 8).reshape(16, 8)
QUICK: dict[str, Any] = {"baseline": False, "max_seconds": 0.1}
TOOLS = {"host-c": ("gcc",), "cortex-m4": ("arm-none-eabi-gcc", "qemu-system-arm")}


class Periodic(nn.Module):
    """Two linear layers with a Snake between them, whose frequencies are learned."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(8, 32), nn.Linear(32, 4)
        self.frequency = nn.Parameter(torch.linspace(0.5, 6, 32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(snake(self.first(x), self.frequency))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model that calls the operator, as one node of its archive."""
    path = tmp_path / "model.pt2"
    exported = torch.export.export(Periodic().eval(), (X[:1],))
    assert SNAKE.overload in [node.target for node in exported.graph.nodes]
    torch.export.save(exported, path)
    return path


def test_formula() -> None:
    a = torch.linspace(0.5, 3, 8).double()
    torch.testing.assert_close(snake(X.double(), a), X.double() + torch.sin(a * X.double()) ** 2 / a)
    with pytest.raises(RuntimeError, match=r"frequencies \(3,\) for 8 channels"):
        snake(X.to("meta"), a[:3].to("meta"))


@pytest.mark.parametrize("target", ["reference", "onnx"])
def test_without_a_kernel_it_is_written_in_other_operators(target: str, model: Path, tmp_path: Path) -> None:
    record = edgeopt.export(model, target, tmp_path / "out", **QUICK)
    assert record.error is not None and record.error.relative < 1e-5


@pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler is installed")
def test_openvino_runs_the_kernel(model: Path, tmp_path: Path) -> None:
    record = edgeopt.export(model, "cpu", tmp_path / "out", **QUICK)
    assert record.error is not None and record.error.relative < 1e-5
    assert 'type="Snake" version="snake"' in (tmp_path / "out" / "model.xml").read_text()
    assert (tmp_path / "out" / "libsnake_openvino.so").is_file()
    assert any("load libsnake_openvino.so by core.add_extension()" in note for note in record.notes)


@pytest.mark.parametrize("device", TOOLS)
def test_microcontrollers_run_the_kernel(device: str, model: Path, tmp_path: Path) -> None:
    if absent := [tool for tool in TOOLS[device] if not shutil.which(tool)]:
        pytest.skip(f"{absent[0]} is not installed")
    np.save(tmp_path / "calib.npy", X.numpy())
    out = tmp_path / "out"
    record = edgeopt.export(model, device, out, calib=str(tmp_path / "calib.npy"), project="make", **QUICK)
    assert record.error is not None and record.error.relative < 0.03
    assert "    snake_s8_snake__scalar(" in (out / "network" / "network.c").read_text()
    # The example compares the library's outputs with those of the integer graph, byte by byte.
    ran = subprocess.run(["make", "-C", out / "project", "run"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0 and "golden outputs: equal" in ran.stdout + ran.stderr, ran.stderr
