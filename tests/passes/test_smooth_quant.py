from typing import Any

import torch
from torch import nn

from edgeopt.calib.calibrate import calibrate
from edgeopt.calib.data import CALIBRATION, Function
from edgeopt.ir.context import EMPTY
from edgeopt.passes.quantization.insert_qdq import InsertQdq
from edgeopt.passes.quantization.smooth_quant import SmoothQuant
from edgeopt.plugins.testing import assert_pass, to_program
from tests.passes.quantized import SCHEMES, sqnr


def samples(program: Any, x: Any) -> Any:
    name = program.inputs[0].name
    return Function(lambda: ({name: row} for row in x.numpy()), "memory", program.inputs)


def given(data: Any) -> Any:
    return EMPTY.adding(CALIBRATION, data)


def migrate(module: Any, x: Any, changes: Any = True) -> Any:
    program = to_program(module, [x[:1]])
    return assert_pass(SmoothQuant(), program, [x[:1]], changes=changes, context=given(samples(program, x)))


def outliers(*shape: Any) -> Any:
    torch.manual_seed(0)
    x = torch.randn(*shape)
    x[:, 1] *= 50
    return x


class PostNorm(nn.Module):
    """A layer norm whose result two linears and a residual connection read."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.a, self.b = nn.LayerNorm(6), nn.Linear(6, 6), nn.Linear(6, 6)
        with torch.no_grad():
            self.norm.weight[2] = 40

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x)
        return y + self.a(y) * torch.sigmoid(self.b(y))


def test_behind_a_norm_one_multiplication_serves_all_layers() -> None:
    result = migrate(PostNorm(), torch.randn(20, 50, 6))
    assert result.program.text().count("_migrated)") == 1
    assert "aten.add.Tensor(%layer_norm," in result.program.text(), "the residual connection reads the value itself"


class PreNorm(nn.Module):
    """A layer norm that only linears read, whose weights are small where its second channel is large."""

    def __init__(self, affine: Any = True) -> None:
        super().__init__()
        self.norm, self.a, self.b = nn.LayerNorm(64, elementwise_affine=affine), nn.Linear(64, 64), nn.Linear(64, 64)
        with torch.no_grad():
            self.a.weight[:, 1] /= 50
            self.b.weight[:, 1] /= 50

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x)
        return x + self.a(y) * torch.sigmoid(self.b(y))


def test_a_norm_that_only_layers_read_takes_the_scale() -> None:
    torch.manual_seed(0)
    x = torch.randn(20, 50, 64)
    x[..., 1] *= 50
    text = migrate(PreNorm(), x).program.text()
    assert "migrated" not in text
    text = migrate(PreNorm(affine=False), x).program.text()
    assert text.count("_migrated)") == 1, "a norm without a weight has nothing to take it"


def test_between_layers_the_scale_is_folded() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=6), nn.Conv2d(6, 4, 1))
    with torch.no_grad():
        model.get_parameter("0.weight")[3] *= 30
        model.get_parameter("2.weight")[1] *= 30
    text = migrate(model, torch.randn(3, 3, 9, 9)).program.text()
    assert "aten.mul" not in text


def test_an_input_is_multiplied() -> None:
    assert "aten.mul" in migrate(nn.Sequential(nn.Linear(4, 3)), outliers(200, 4)).program.text()


def test_refusals() -> None:
    result = migrate(nn.Sequential(nn.Linear(4, 3)), torch.ones(2, 4), changes=False)
    assert [note.reason for note in result.notes] == ["no strength makes the layers err a tenth less"]
    result = migrate(nn.Sequential(nn.Conv2d(3, 2, 1)), outliers(4, 3, 5, 5), changes=False)
    assert [note.reason for note in result.notes] == ["its convolution would need a multiplication of the whole image"]
    x = outliers(5, 4)
    program = to_program(nn.Sequential(nn.Linear(4, 3)), [x[:1]])
    result = SmoothQuant(may_multiply=False)(program, given(samples(program, x)))
    assert [note.reason for note in result.notes] == [
        "no layer before it can take the scale, and the target multiplies in integers only"
    ]
    shared = nn.Linear(4, 4)
    result = migrate(nn.Sequential(shared, nn.GELU(), shared), outliers(5, 4), changes=False)
    assert all("shared" in note.reason for note in result.notes) and result.notes


def test_quantization_after_it_errs_less() -> None:
    torch.manual_seed(1)
    x = outliers(200, 8)
    module = nn.Sequential(nn.Linear(8, 8))
    program = to_program(module, [x[:1]])
    data = samples(program, x)
    migrated = SmoothQuant()(program, given(data)).program
    errors = []
    for one in (program, migrated):
        one.ranges = calibrate(one, data, "minmax").program_ranges()
        errors.append(sqnr(program, InsertQdq(SCHEMES["float bias"])(one).program, data))
    assert errors[1] > errors[0] + 1
