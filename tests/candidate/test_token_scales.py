"""INT8 with a scale for each token, from export to artifact."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import edgeopt
from edgeopt.errors import UserError


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_small_tokens_beside_large_ones_keep_their_digits(target: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 32))
    x = torch.randn(20, 6, 64) * torch.tensor([200.0, 1, 1, 1, 1, 1]).view(6, 1)
    np.savez(tmp_path / "calib.npz", input=x.numpy())
    errors = []
    for activations in ("tensor", "token"):
        edgeopt.export(
            model,
            target,
            tmp_path / activations,
            activations=activations,
            inputs={"input": x[:1]},
            calib=str(tmp_path / "calib.npz"),
            precision="int8",
            recover=("adaptive-rounding", "bias-correction"),
            baseline=False,
            max_seconds=0.1,
        )
        with np.load(tmp_path / activations / "golden.npz") as golden:
            (got,) = (golden[name] for name in golden.files if name.endswith("output"))
        with torch.no_grad():
            expected = model(x[:1]).numpy()
        errors.append(np.abs(got - expected)[:, 1:].max() / np.abs(expected)[:, 1:].max())
    assert errors[1] < 0.05 < errors[0] / 5


def test_a_target_that_cannot_refuses(tmp_path: Path) -> None:
    model, inputs = nn.Sequential(nn.Linear(8, 4)), {"input": torch.zeros(1, 8)}
    with pytest.raises(UserError, match="activations is 'row'"):
        edgeopt.export(model, "onnx", tmp_path / "out", inputs=inputs, precision="int8", activations="row")
    with pytest.raises(UserError, match="has no option 'activations'"):
        edgeopt.export(model, "cortex-m4", tmp_path / "out", inputs=inputs, activations="token")
