from typing import Any

import pytest
import torch
from torch import nn

from edgeopt.calib.data import CALIBRATION, Function
from edgeopt.errors import UserError
from edgeopt.ir.context import EMPTY
from edgeopt.passes.pipeline import Pipeline
from edgeopt.passes.quantization.weight_only import WeightOnlyQuantization
from edgeopt.plugins.testing import to_program
from edgeopt.quant.blockwise import FORMATS
from tests.passes.quantized import sqnr


def case() -> Any:
    """Two linears on inputs that are correlated, as real ones are, and the program of them."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(128, 64), nn.GELU(), nn.Linear(64, 8))
    mixing = torch.randn(12, 128)
    x = (torch.randn(300, 12) @ mixing + 0.3 * torch.randn(300, 128)).numpy()
    program = to_program(module, [torch.from_numpy(x[:1])])
    return program, Function(lambda: ({program.inputs[0].name: row} for row in x), "memory", program.inputs)


@pytest.mark.parametrize("name", FORMATS)
def test_weights_are_stored_and_compensation_errs_less(name: str) -> None:
    program, data = case()
    plain, (record,) = Pipeline([WeightOnlyQuantization(name)]).run(program)
    assert record.changed and record.applied == 2
    assert plain.text().count("edgeopt.dequantize_blocks(") == 2
    compensated, _ = Pipeline([WeightOnlyQuantization(name)]).run(program, EMPTY.adding(CALIBRATION, data))
    assert sqnr(program, plain, data) > 8
    assert sqnr(program, compensated, data) > sqnr(program, plain, data) + 1
    _, (again,) = Pipeline([WeightOnlyQuantization(name)]).run(plain)
    assert not again.changed


def test_refusals() -> None:
    with pytest.raises(UserError, match="unknown format 'fp3'"):
        WeightOnlyQuantization("fp3")
    program = to_program(nn.Sequential(nn.Linear(24, 4)), [torch.zeros(1, 24)])
    result = WeightOnlyQuantization("mxfp4")(program)
    assert [note.reason for note in result.notes] == ["24 values do not divide into blocks of 32"]
    shared = nn.Linear(32, 32)
    result = WeightOnlyQuantization("nvfp4")(to_program(nn.Sequential(shared, nn.ReLU(), shared), [torch.zeros(1, 32)]))
    assert all("shared" in str(note.reason) for note in result.notes) and len(result.notes) == 2


def test_weights_take_four_bits_and_their_scales() -> None:
    program, _ = case()
    result, _ = Pipeline([WeightOnlyQuantization("nvfp4")]).run(program)
    before = sum(t.nbytes for t in program.constants.values() if t.dim() == 2)
    after = sum(t.nbytes for t in result.constants.values() if t.dim() != 1)
    assert after <= 0.142 * before
