import pytest
import torch
from torch import nn

from edgeopt.calib.data import Function
from edgeopt.compare import ErrorSum
from edgeopt.passes.quantise_weights import QuantiseWeights
from edgeopt.passes.search_floats import SearchFloats
from edgeopt.pipeline import Pipeline
from edgeopt.testing import to_program


def case():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 16))
    x = (torch.randn(200, 64) * torch.logspace(0, 1.2, 64, base=4)).numpy()
    program = to_program(module, [torch.from_numpy(x[:1])])
    return program, Function(lambda: ({program.inputs[0].name: row} for row in x), "memory", program.inputs)


def sqnr(program, result, data):
    total = ErrorSum()
    for sample in data:
        total.add(program.run(sample), result.run(sample))
    return total.result().sqnr_db


def test_weights_alone():
    program, data = case()
    result, (record,) = Pipeline([SearchFloats(data)]).run(program)
    assert len(record.applied) == 2 and "round_activations" not in result.text()
    assert sqnr(program, result, data) > sqnr(program, QuantiseWeights("fp4")(program).program, data) > 10
    _, (again,) = Pipeline([SearchFloats(data)]).run(result)
    assert not again.changed


@pytest.mark.parametrize("name", ["search", "nvfp4", "mxfp4"])
def test_weights_and_activations(name):
    program, data = case()
    step = SearchFloats(data, True) if name == "search" else QuantiseWeights(name, data, True)
    result, _ = Pipeline([step]).run(program)
    assert result.text().count("edgeopt.round_activations(") == 2
    assert 8 < sqnr(program, result, data) < 30


def test_refusals():
    program = to_program(nn.Sequential(nn.Linear(5, 4)), [torch.zeros(1, 5)])
    data = Function(lambda: iter([{program.inputs[0].name: torch.ones(5).numpy()}]), "memory", program.inputs)
    result = SearchFloats(data)(program)
    assert [note.reason for note in result.notes] == ["its rows have 5 weights, which do not pair in bytes"]
