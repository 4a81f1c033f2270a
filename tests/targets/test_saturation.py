"""INT8 on processors whose products are summed in pairs in 16 bits, and on those that sum them in 32."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt.analysis.saturation import deployment, pair_costs, pair_sums
from edgeopt.calib.calibrate import calibrate
from edgeopt.calib.data import Function
from edgeopt.errors import UserError
from edgeopt.ir.metrics import compare_all
from edgeopt.ir.program import Program
from edgeopt.passes.pipeline import Pipeline
from edgeopt.passes.quantization.insert_qdq import InsertQdq
from edgeopt.plugins.registry import resolve
from edgeopt.plugins.testing import to_program
from tests import saturating

SHAPES = {
    "plain": (1, 4, 12, 12),
    "dilated": (1, 3, 14, 14),
    "grouped": (1, 8, 12, 12),
    "line": (1, 16, 32),
    "batch": (4, 3, 8, 8),
    "linear": (2, 5, 33),
}


class Networks(nn.Module):
    """Small networks side by side, each with an input of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Conv2d(4, 8, 3)
        self.dilated = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding="same"), nn.ReLU(), nn.Conv2d(8, 4, 3, padding="same", dilation=3)
        )
        self.grouped = nn.Sequential(nn.Conv2d(8, 18, 3, groups=2), nn.ReLU(), nn.Conv2d(18, 12, 3, groups=6))
        self.line = nn.Sequential(
            nn.Conv1d(16, 16, 3, padding=4, dilation=4, groups=16), nn.Conv1d(16, 32, 1), nn.ReLU(), nn.Conv1d(32, 8, 2)
        )
        self.batch = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10))
        self.linear = nn.Sequential(nn.Linear(33, 64), nn.GELU(), nn.Linear(64, 10))

    def forward(
        self,
        plain: torch.Tensor,
        dilated: torch.Tensor,
        grouped: torch.Tensor,
        line: torch.Tensor,
        batch: torch.Tensor,
        linear: torch.Tensor,
    ) -> dict[str, Any]:
        given = (plain, dilated, grouped, line, batch, linear)
        return {name: getattr(self, name)(x) for name, x in zip(SHAPES, given, strict=True)}


@pytest.fixture(scope="module")
def calibrated() -> tuple[Program, list[dict[str, np.ndarray]]]:
    torch.manual_seed(0)
    samples = [{name: torch.randn(shape).numpy() for name, shape in SHAPES.items()} for _ in range(4)]
    program = to_program(Networks(), [torch.from_numpy(samples[0][name]) for name in SHAPES])
    rows = [{name: array[0] for name, array in sample.items()} for sample in samples]
    data = Function(lambda: iter(rows), "memory", program.inputs)
    program.ranges = calibrate(program, data, "minmax").program_ranges()
    return program, samples


def quantized(program: Program, target: str, **options: bool) -> Program:
    chosen = resolve(target)
    steps = [step.build() for step in chosen.pipeline(replace(chosen.Options(), precision="int8", **options))]
    (place,) = (index for index, step in enumerate(steps) if isinstance(step, InsertQdq))
    return Pipeline(steps[place:]).run(program)[0]


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_either_arithmetic_gives_the_same_numbers(calibrated: Any, target: str) -> None:
    original, samples = calibrated
    program = quantized(original, target)
    for sample in samples[:2]:
        exact, pairs = (saturating.run(program, sample, saturates) for saturates in (False, True))
        told = program.run(sample)
        for name in SHAPES:
            assert np.array_equal(exact[name], pairs[name]), name
            assert compare_all([{name: told[name]}], [{name: exact[name]}]).sqnr_db > 60, name


def test_the_full_range_of_weights_saturates(calibrated: Any) -> None:
    original, samples = calibrated
    program = quantized(original, "openvino", only_vnni=True)
    exact, pairs = (saturating.run(program, samples[0], saturates) for saturates in (False, True))
    assert all(not np.array_equal(exact[name], pairs[name]) for name in SHAPES)


def test_the_promise_is_read_off_the_integers(calibrated: Any) -> None:
    original, _ = calibrated
    for target in ("onnx", "openvino"):
        program = quantized(original, target)
        assert len(pair_sums(program)) == 12 and not any(one.saturates for one in pair_sums(program))
        assert deployment(program) == {"processors": "portable"}
    costs = list(pair_costs(program, original))
    assert {"conv2d", "linear_1"} <= {one.layer for one in costs} and "conv1d" not in {one.layer for one in costs}
    assert all(one.sqnr_db > 30 for one in costs), costs
    facts = deployment(quantized(original, "openvino", only_vnni=True))
    assert facts["processors"] == "only-vnni" and all(largest > 128 for largest in facts["saturating"].values())
    assert deployment(original) == {}


def test_a_processor_without_vnni_refuses_what_it_computes_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = resolve("openvino")
    declared: dict[str, Any] = {"precision": "int8", "only_vnni": True}
    options = chosen.Options(**declared)
    monkeypatch.setattr("edgeopt.targets.openvino.lacks_vnni", lambda: True)
    with pytest.raises(UserError, match="no VNNI"):
        chosen.check_options(options)
    monkeypatch.setattr("edgeopt.targets.openvino.lacks_vnni", lambda: False)
    chosen.check_options(options)


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_the_runtime_computes_what_the_program_says(calibrated: Any, target: str, tmp_path: Path) -> None:
    original, samples = calibrated
    program, chosen = quantized(original, target), resolve(target)
    options = replace(chosen.Options(), precision="int8")
    chosen.compile(program, tmp_path, options)
    with closing(chosen.open(tmp_path, options)) as session:
        got = [session.run(sample) for sample in samples]
    for name in SHAPES:
        told, expected = ([{name: p.run(sample)[name]} for sample in samples] for p in (program, original))
        assert compare_all(told, ({name: outputs[name]} for outputs in got)).sqnr_db > 50, name
        assert compare_all(expected, ({name: outputs[name]} for outputs in got)).sqnr_db > 30, name


class Average(nn.Module):
    """The mean of many values that are near their largest: the products of 127 and 255 leave 32 bits."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.linear = nn.Linear(count, 2)
        nn.init.constant_(self.linear.weight, 1 / count)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_long_sums_stay_in_32_bits(target: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = torch.rand(1, 80_000) * 0.1 + 0.9
    original = to_program(Average(80_000), [x])
    sample = {original.inputs[0].name: x.numpy()}
    original.ranges = calibrate(
        original,
        Function(lambda: iter([{name: row[0] for name, row in sample.items()}]), "memory", original.inputs),
        "minmax",
    ).program_ranges()
    program, chosen = quantized(original, target), resolve(target)
    chosen.compile(program, tmp_path, chosen.Options(precision="int8"))
    with closing(chosen.open(tmp_path, chosen.Options(precision="int8"))) as session:
        assert compare_all([original.run(sample)], [session.run(sample)]).sqnr_db > 35
