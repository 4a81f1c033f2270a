from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt import onnx
from edgeopt.ops.token_linear import round_tokens, token_linear
from edgeopt.plugins.testing import to_program


def case() -> Any:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 5, 16, generator=generator) * torch.tensor([1.0, 100, 0.01, 3, 0]).view(1, 5, 1)
    weight = torch.randint(-127, 128, (6, 16), generator=generator).to(torch.int8)
    return x, weight, torch.rand(6, generator=generator), torch.randn(6, generator=generator)


def test_every_token_is_rounded_to_its_own_scale() -> None:
    x, *_ = case()
    error = (round_tokens(x) - x).abs()
    assert torch.all(error <= x.abs().amax(-1, keepdim=True) / 127 / 2 * 1.0001)
    assert torch.equal(round_tokens(round_tokens(x)), round_tokens(x))


def test_the_product_is_the_linear_layer_of_the_rounded_tokens() -> None:
    x, weight, scale, bias = case()
    for b in (bias, None):
        expected = nn.functional.linear(round_tokens(x).double(), weight.double() * scale.double().unsqueeze(1))
        got = token_linear(x, weight, scale, b) - (0 if b is None else b)
        assert torch.allclose(got.double(), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("biased", [True, False])
def test_onnx_computes_the_same_in_integers(biased: Any, tmp_path: Path) -> None:
    ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    x, weight, scale, bias = case()

    class Both(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = torch.ops.edgeopt.token_linear(x, weight, scale, bias if biased else None)
            out: torch.Tensor = torch.ops.edgeopt.round_tokens(y)
            return out

    program = to_program(Both(), [x])
    model = onnx.translate(program).model
    assert "MatMulInteger" in {node.op_type for node in model.graph.all_nodes()}
    onnx.save(model, tmp_path / "model.onnx")
    name = program.inputs[0].name
    (got,) = ort.InferenceSession(tmp_path / "model.onnx").run(None, {name: x.numpy()})
    expected = program.run({name: x.numpy()})["output"]
    assert np.abs(got - expected).max() <= 1e-5 * np.abs(expected).max()
