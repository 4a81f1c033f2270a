from typing import Any

import pytest
import torch
from torch import nn

from edgeopt.calib.data import CALIBRATION, Function
from edgeopt.errors import UserError
from edgeopt.ir.context import EMPTY
from edgeopt.ir.pass_base import Pass
from edgeopt.passes.pipeline import Pipeline
from edgeopt.passes.quantization.fpq import FpqSearch
from edgeopt.passes.quantization.shift_channels import ShiftChannels
from edgeopt.passes.quantization.weight_only import WeightOnlyQuantization
from edgeopt.plugins.testing import to_program
from tests.passes.quantized import sqnr


def case(outlier: Any = 1) -> Any:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 16))
    x = torch.randn(200, 64) * torch.logspace(0, 1.2, 64, base=4)
    x[:, 5] *= outlier
    module.get_parameter("0.weight").data[:, 5] /= outlier
    program = to_program(module, [x[:1]])
    return program, Function(lambda: ({program.inputs[0].name: row} for row in x.numpy()), "memory", program.inputs)


def test_weights_alone() -> None:
    program, data = case()
    result, (record,) = Pipeline([FpqSearch()]).run(program, EMPTY.adding(CALIBRATION, data))
    assert all(note.rule in ("store-in-e1m2", "store-in-e2m1") for note in record.notes if note.reason is None)
    assert "round_activations" not in result.text()
    assert sqnr(program, result, data) > sqnr(program, WeightOnlyQuantization("fp4")(program).program, data) > 10
    _, (again,) = Pipeline([FpqSearch()]).run(result, EMPTY.adding(CALIBRATION, data))
    assert not again.changed


@pytest.mark.parametrize("name", ["search", "nvfp4", "mxfp4"])
def test_weights_and_activations(name: str) -> None:
    program, data = case()
    step = FpqSearch(True) if name == "search" else WeightOnlyQuantization(name, True)
    result, _ = Pipeline([step]).run(program, EMPTY.adding(CALIBRATION, data))
    assert result.text().count("edgeopt.round_activations(") == 2
    assert 8 < sqnr(program, result, data) < 30


def test_shifts_and_compensation_err_less() -> None:
    program, data = case(outlier=30)
    passes: dict[str, list[Pass]] = {
        "nearest": [FpqSearch(True, compensate=False)],
        "compensated": [FpqSearch(True)],
        "shifted": [ShiftChannels(), FpqSearch(True)],
    }
    context = EMPTY.adding(CALIBRATION, data)
    found = {name: sqnr(program, Pipeline(steps).run(program, context)[0], data) for name, steps in passes.items()}
    assert found["nearest"] < found["compensated"] < found["shifted"]


class Branches(nn.Module):
    """Two linears that read the same value; one has no bias."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(16, 6), nn.Linear(16, 4, bias=False)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.left(x), self.right(x)


def test_layers_that_read_the_same_value_read_it_rounded_once() -> None:
    torch.manual_seed(0)
    x = torch.rand(100, 16).numpy()
    program = to_program(Branches(), [torch.from_numpy(x[:1])])
    data = Function(lambda: ({program.inputs[0].name: row} for row in x), "memory", program.inputs)
    result, (record,) = Pipeline([FpqSearch(activations=True)]).run(program, EMPTY.adding(CALIBRATION, data))
    assert result.text().count("edgeopt.round_activations(") == 1
    assert [note.rule[:5] for note in record.notes if note.reason is None] == ["store", "store", "read-"]
    for name, expected in program.run({program.inputs[0].name: x}).items():
        lost = (expected - result.run({program.inputs[0].name: x})[name]).mean(0)
        assert abs(lost).max() < 1e-4


def test_refusals() -> None:
    program = to_program(nn.Sequential(nn.Linear(5, 4)), [torch.zeros(1, 5)])
    data = Function(lambda: iter([{program.inputs[0].name: torch.ones(5).numpy()}]), "memory", program.inputs)
    result = FpqSearch()(program, EMPTY.adding(CALIBRATION, data))
    assert [note.reason for note in result.notes] == ["its rows have 5 weights, which do not pair in bytes"]
    with pytest.raises(UserError, match="pass 'fpq-search' needs calibration data"):
        FpqSearch()(program)
