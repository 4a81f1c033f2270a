"""Formats of one program do not disturb each other: every layer computes in its own, whatever the others are in."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt.calib.data import CALIBRATION, open_data
from edgeopt.candidate.quantize import QuantOptions, calibrated
from edgeopt.ir.context import EMPTY
from edgeopt.ir.metrics import compare
from edgeopt.passes.pipeline import Pipeline
from edgeopt.passes.quantization.insert_qdq import InsertQdq
from edgeopt.plugins.registry import resolve
from edgeopt.plugins.target import FLOATS
from edgeopt.plugins.testing import to_program
from edgeopt.search.mixed_precision import MixedPrecision

WIDTH = 64
BOUND = 3e-2
"""Relative error of an output: OpenVINO also rounds what layers in four bits read to eight."""


class Heads(nn.Module):
    """A layer for each format, side by side, an output for each.

    One weight of a row is four times the others, and meets a zero: in int8 no pair of products passes 16 bits, which
    OpenVINO sums them in where the processor has no VNNI.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        heads = [nn.Linear(WIDTH, WIDTH) for _ in range(count)]
        self.heads = nn.ModuleList(heads)
        for head in heads:
            head.weight.data[:, 0] = 4 * head.weight.data.abs().amax(1)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [head(x) for head in self.heads]


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_every_layer_keeps_its_format(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    target = resolve(name)
    if not (probe := target.probe()).found:
        pytest.skip(str(probe.install))
    options = target.Options(precision="auto")
    formats = ["fp32", *(format for format in target.mixes if format not in (*FLOATS, "binary"))]
    x = np.random.default_rng(0).standard_normal((8, WIDTH)).astype(np.float32)
    x[:, 0] = 0.0
    np.savez(tmp_path / "calib.npz", x=x)
    steps = [step.build() for step in target.pipeline(options)]
    (insert,) = [step for step in steps if isinstance(step, InsertQdq)]
    place = steps.index(insert)
    program = Pipeline(steps[:place])(to_program(Heads(2 * len(formats)), [torch.zeros(1, WIDTH)])).program
    quant = QuantOptions(calib=str(tmp_path / "calib.npz"), recover=())
    data = open_data(str(quant.calib), program.inputs, False)
    ready = calibrated(program, insert.scheme, quant, EMPTY.adding(CALIBRATION, data))
    configuration = MixedPrecision(ready, insert.scheme, quant, data, formats)
    # Once in order and once against it: whichever format comes first, it is not the others'.
    wanted = dict(zip(configuration.nodes, [*formats, *reversed(formats)], strict=True))
    mixed = Pipeline(steps[place + 1 :])(configuration.program(wanted)[0]).program
    (tmp_path / "artifact").mkdir()
    target.compile(mixed, tmp_path / "artifact", options)
    sample = {"x": x[:1]}
    with closing(target.open(tmp_path / "artifact", options)) as session:
        got, expected = session.run(sample), mixed.run(sample)
    for layer, format, output in zip(wanted, wanted.values(), expected, strict=True):
        error = compare({output: expected[output]}, {output: got[output]}).relative
        assert error <= BOUND, f"{layer} in {format} is off by {error:.1e}"
