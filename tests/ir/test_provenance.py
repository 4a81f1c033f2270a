"""What the user is told of is called as the user's model calls it: by module, parameter and line of code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import edgeopt
from edgeopt.candidate.quantize import QuantOptions, keeps_float
from edgeopt.errors import Unsupported, UserError
from edgeopt.frontend.load import LoadOptions, load
from edgeopt.ir.provenance import module_path

SAMPLE = {"x": np.eye(4, dtype=np.float32)}


class Head(nn.Module):
    """Two linears and what no target has."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = torch.linalg.cholesky(self.layers(x) * 0 + x)
        return y


class Model(nn.Module):
    """A head that is not at the top."""

    def __init__(self) -> None:
        super().__init__()
        self.head = Head()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x)


@pytest.fixture
def model() -> Model:
    torch.manual_seed(0)
    return Model().eval()


def test_a_weight_is_called_by_its_path(model: Model) -> None:
    with torch.no_grad():
        model.get_parameter("head.layers.2.weight")[0] = torch.nan
    with pytest.raises(UserError, match=r"weight 'head\.layers\.2\.weight' holds 4 NaN of 16 values"):
        load(model, LoadOptions(sample=SAMPLE))


def test_a_node_that_is_not_placed_is_named_with_module_and_line(model: Model, tmp_path: Path) -> None:
    with pytest.raises(Unsupported) as caught:
        edgeopt.export(model, "onnx", tmp_path / "out", inputs=SAMPLE)
    where = r"linalg_cholesky \(aten\.linalg_cholesky\) in module 'head' \(.*test_provenance\.py:\d+: y: torch"
    assert caught.match(where)


@pytest.mark.parametrize(
    ("name", "kept"),
    [("head.layers.2", {"linear_1"}), ("head.layers", {"linear", "relu", "linear_1"}), ("linear", {"linear"})],
)
def test_layers_are_kept_in_float_by_path(model: Model, name: str, kept: set[str]) -> None:
    program = load(model, LoadOptions(sample=SAMPLE)).program
    assert {module_path(node) for node in program.calls} >= {"head", "head.layers.0", "head.layers.2"}
    assert keeps_float(program, QuantOptions(keep_float=(name,))) == kept


def test_an_unknown_layer_is_answered_with_paths(model: Model) -> None:
    program = load(model, LoadOptions(sample=SAMPLE)).program
    with pytest.raises(UserError, match=r"no layer 'head\.layer\.2'") as caught:
        keeps_float(program, QuantOptions(keep_float=("head.layer.2",)))
    assert "head.layers.2" in (caught.value.hint or "")
