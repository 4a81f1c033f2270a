import numpy as np
import pytest
import torch
from torch import nn

from edgeopt.calib.data import Function
from edgeopt.passes.migrate_scales import MigrateScales
from edgeopt.testing import assert_pass, to_program


def samples(program, x):
    name = program.inputs[0].name
    return Function(lambda: ({name: row} for row in x.numpy()), "memory", program.inputs)


def migrate(module, x, changes=True):
    program = to_program(module, [x[:1]])
    return assert_pass(MigrateScales(samples(program, x)), program, [x[:1]], changes=changes)


def outliers(*shape):
    torch.manual_seed(0)
    x = torch.randn(*shape)
    x[:, 1] *= 50
    return x


class PostNorm(nn.Module):
    """A layer norm whose result two linears and a residual connection read."""

    def __init__(self):
        super().__init__()
        self.norm, self.a, self.b = nn.LayerNorm(6), nn.Linear(6, 6), nn.Linear(6, 6)
        with torch.no_grad():
            self.norm.weight[2] = 40

    def forward(self, x):
        y = self.norm(x)
        return y + self.a(y) * torch.sigmoid(self.b(y))


def test_behind_a_norm_one_multiplication_serves_all_layers():
    result = migrate(PostNorm(), torch.randn(4, 6))
    assert result.program.text().count("_migrated)") == 1
    assert "aten.add.Tensor(%layer_norm," in result.program.text(), "the residual connection reads the value itself"


def test_between_layers_the_scale_is_folded():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=6), nn.Conv2d(6, 4, 1))
    with torch.no_grad():
        model[0].weight[3] *= 30
        model[2].weight[1] *= 30
    text = migrate(model, torch.randn(3, 3, 9, 9)).program.text()
    assert "aten.mul" not in text


def test_an_input_is_multiplied():
    assert "aten.mul" in migrate(nn.Sequential(nn.Linear(4, 3)), outliers(5, 4)).program.text()


def test_refusals():
    result = migrate(nn.Sequential(nn.Linear(4, 3)), torch.ones(2, 4), changes=False)
    assert [note.reason for note in result.notes] == ["its channels are alike"]
    shared = nn.Linear(4, 4)
    result = migrate(nn.Sequential(shared, nn.GELU(), shared), outliers(5, 4), changes=False)
    assert all("shared" in note.reason for note in result.notes) and result.notes


@pytest.mark.parametrize("strength", [0.3, 0.8])
def test_activations_are_levelled(strength):
    x = outliers(20, 4)
    program = to_program(nn.Sequential(nn.Linear(4, 3)), [x[:1]])
    result = MigrateScales(samples(program, x), strength)(program).program
    seen = []
    for row in x.numpy():
        result.run(
            {program.inputs[0].name: row[None]}, lambda n, v: seen.append(v) if n.name.startswith("mul") else None
        )
    levelled = torch.cat(seen).abs().amax(0)
    before = x.abs().amax(0)
    assert levelled.max() / levelled.min() < float((before.max() / before.min()) ** (1.1 - strength)) * 5
    assert np.isfinite(levelled.numpy()).all()
