from typing import Any

import pytest
import torch
from torch import nn

from edgeopt.passes.pipeline import Pipeline
from edgeopt.passes.quantization.unpack_blocks import UnpackBlocks
from edgeopt.passes.quantization.weight_only import WeightOnlyQuantization
from edgeopt.plugins.testing import to_program
from edgeopt.quant.blockwise import FORMATS


@pytest.mark.parametrize("name", FORMATS)
def test_not_a_bit_of_the_weights_changes(name: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(5, 128)
    program = to_program(nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 8)), [x])
    stored, _ = Pipeline([WeightOnlyQuantization(name)]).run(program)
    widened, (record,) = Pipeline([UnpackBlocks()]).run(stored)
    assert record.applied == 2 and "dequantize_blocks" not in widened.text()
    assert {t.dtype for t in widened.constants.values() if t.dim() == 3 and t.shape[-1] > 1} == {torch.int8}
    key = program.inputs[0].name
    expected, got = (one.run({key: x.numpy()})["output"] for one in (stored, widened))
    assert (expected == got).all()
    _, (again,) = Pipeline([UnpackBlocks()]).run(widened)
    assert not again.changed


def test_codes_computed_at_run_time_are_refused() -> None:
    class Stored(nn.Module):
        def forward(self, codes: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = torch.ops.edgeopt.dequantize_blocks(codes, torch.ones(2, 1), torch.tensor(1.0), "e2m1")
            return y

    result = UnpackBlocks()(to_program(Stored(), [torch.zeros(2, 8, dtype=torch.uint8)]))
    assert [note.reason for note in result.notes] == ["its codes or scales are computed at run time"]


@pytest.mark.parametrize(("scales", "groups"), [([1, 2, 8, 4, 1, 1, 2, 2], 2), ([1, 2, 1, 64, 4, 1, 1, 2], 8)])
def test_blocks_whose_scales_fit_become_one(scales: Any, groups: Any) -> None:
    class Stored(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.codes = nn.Buffer(torch.randint(256, (2, 128), dtype=torch.uint8))
            self.scales = nn.Buffer(torch.tensor([scales, scales]).float())
            self.factor = nn.Buffer(torch.tensor(0.5))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = x @ torch.ops.edgeopt.dequantize_blocks(self.codes, self.scales, self.factor, "e2m1").mT
            return y

    torch.manual_seed(0)
    program = to_program(Stored(), [torch.eye(256)])
    widened, _ = Pipeline([UnpackBlocks()]).run(program)
    (stored,) = [t for t in widened.constants.values() if t.dtype is torch.int8]
    assert stored.shape == (2, groups, 256 // groups)
    sample = {program.inputs[0].name: torch.eye(256).numpy()}
    assert (program.run(sample)["output"] == widened.run(sample)["output"]).all()
