from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt.calib.data import CALIBRATION, open_data
from edgeopt.candidate.quantize import RECOVERIES, QuantOptions, calibrated, quantized
from edgeopt.ir.context import EMPTY
from edgeopt.ir.program import Program
from edgeopt.plugins.testing import to_program
from edgeopt.quant.scheme import WEIGHTED, Scheme
from tests.typed import savez

SCHEME = Scheme(torch.uint8, WEIGHTED, integer_bias=False, integer_results=False)


def network() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 4))
    with torch.no_grad():
        model.get_parameter("0.weight")[3] *= 30
    return model


def quantize(x: list[np.ndarray], folder: Path) -> Program:
    """Quantize with all recoveries; ``x`` is the calibration data in shards."""
    program = to_program(network(), [torch.from_numpy(x[0][:1])])
    folder.mkdir()
    for index, shard in enumerate(x):
        savez(folder / f"{index}.npz", {program.inputs[0].name: shard})
    options = QuantOptions(calib=str(folder), recover=RECOVERIES)
    context = EMPTY.adding(CALIBRATION, open_data(str(folder), program.inputs))
    ready = calibrated(program, SCHEME, options, context)
    return quantized(ready, SCHEME, options)[0]


def test_neither_order_nor_shards_change_a_bit_of_the_quantized_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    x = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)
    x[:, 5] *= 40
    shuffled = np.random.default_rng(1).permutation(x)
    one = quantize([x], tmp_path / "one")
    other = quantize([shuffled[:9], shuffled[9:10], shuffled[10:]], tmp_path / "other")
    assert {*RECOVERIES} <= {*one.history}
    assert one.text() == other.text()
    assert all(torch.equal(tensor, other.constants[name]) for name, tensor in one.constants.items())
