from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from edgeopt.calib.data import CALIBRATION, Function
from edgeopt.ir.context import EMPTY
from edgeopt.passes.pipeline import Pipeline
from edgeopt.passes.quantization.shift_channels import ShiftChannels, octaves
from edgeopt.plugins.testing import to_program

aten = torch.ops.aten


class Attention(nn.Module):
    """Attention and a perceptron, normalized after the residual connections or before them."""

    def __init__(self, before: bool, fused: bool = True, function: type[nn.Module] = nn.GELU) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.before, self.fused, self.function = before, fused, function()
        self.q, self.k, self.v, self.o = (nn.Linear(16, 16) for _ in range(4))
        self.up, self.down = nn.Linear(16, 24), nn.Linear(24, 16)
        self.first, self.second = nn.LayerNorm(16), nn.LayerNorm(16)
        for linear in (self.v, self.up):
            linear.weight.data *= torch.logspace(-4, 2, len(linear.weight), base=2).unsqueeze(1)

    def attend(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (one(x).view(*x.shape[:2], 4, 4).transpose(1, 2) for one in (self.q, self.k, self.v))
        if self.fused:
            heads = functional.scaled_dot_product_attention(q, k, v)
        else:
            heads = torch.matmul(torch.softmax(q @ k.transpose(2, 3) / 2, -1), v)
        return self.o(heads.transpose(1, 2).reshape(x.shape))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.before:
            x = x + self.attend(self.first(x))
            return x + self.down(self.function(self.up(self.second(x))))
        x = self.first(x + self.attend(x))
        return self.second(x + self.down(self.function(self.up(x))))


def shifted(model: nn.Module, *shape: int) -> Any:
    x = torch.randn(20, *shape) * torch.logspace(-3, 1, shape[-1], base=2)
    dynamic = ({0: torch.export.Dim("batch", max=9), **({1: torch.export.Dim("length", max=9)} if shape[1:] else {})},)
    program = to_program(model, [torch.stack([x[0], x[1]])], dynamic)
    name = program.inputs[0].name
    data = Function(lambda: ({name: row.numpy()} for row in x), "memory", program.inputs)
    result, (record,) = Pipeline([ShiftChannels()]).run(program, EMPTY.adding(CALIBRATION, data))
    for batch in (x[:1], x[1:4]):
        (before,), (after,) = (one.run({name: batch.numpy()}).values() for one in (program, result))
        assert np.array_equal(before, after)
    _, (again,) = Pipeline([ShiftChannels()]).run(result, EMPTY.adding(CALIBRATION, data))
    assert not again.changed
    return program, result, record


def reasons(record: Any) -> Any:
    return {note.node: note.reason for note in record.notes if note.rule == "fold-shift"}


@pytest.mark.parametrize("fused", [True, False])
def test_no_bit_changes_and_values_fold_into_their_projection(fused: Any) -> None:
    program, result, record = shifted(Attention(before=False, fused=fused), 5, 16)
    found = list(reasons(record).values())
    assert found[1] is None, "what the output projection reads is made by the projection of values"
    assert "also read by add" in found[2] and "gelu is not linear" in found[3].replace(" (aten.gelu)", "")
    assert result.text().count("aten.mul") == program.text().count("aten.mul") + 3
    name = next(name for name in result.constants if name.startswith("v_weight"))
    octave = (result.constants[name] / program.constants["v_weight"]).log2()
    assert torch.equal(octave, octave.round()) and set((octave[:, 0] - octave[:, 0].min()).tolist()) == {0, 1, 2, 3}


def test_norms_and_layers_before_relu_take_what_nothing_else_reads() -> None:
    program, result, record = shifted(Attention(before=True, function=nn.ReLU), 5, 16)
    assert list(reasons(record).values()) == [None, None, None, None]
    assert result.text().count("aten.mul") == program.text().count("aten.mul")


def test_a_norm_without_weight_gets_one() -> None:
    model = nn.Sequential(nn.Linear(16, 16), nn.LayerNorm(16, elementwise_affine=False), nn.Linear(16, 4))
    model.get_parameter("0.weight").data[3:] *= 40
    _, result, record = shifted(model, 16)
    assert "layer_norm_weight" in result.constants and reasons(record)["layer_norm"] is None


def test_refusals() -> None:
    shared = nn.Linear(16, 16)
    _, _, record = shifted(nn.Sequential(shared, nn.GELU(), shared), 16)
    assert all("shared" in note.reason for note in record.notes) and not record.changed
    alike = nn.Sequential(nn.Linear(2, 2))
    program = to_program(alike, [torch.ones(1, 2)])
    data = Function(lambda: iter([{program.inputs[0].name: np.ones(2, np.float32)}]), "memory", program.inputs)
    result = ShiftChannels()(program, EMPTY.adding(CALIBRATION, data))
    assert [note.reason for note in result.notes] == ["no shift errs less than none"]


def test_octaves() -> None:
    magnitudes = torch.tensor([8.0, 5.0, 2.0, 0.1, 0.0])
    assert octaves(magnitudes, 1.0, 3).tolist() == [0, 1, 2, 3, 3]
    assert octaves(magnitudes, 0.5, 9).tolist() == [0, 0, 1, 3, 9]
