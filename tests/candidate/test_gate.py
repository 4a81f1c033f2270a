"""The accuracy gate, alone and from end to end."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import edgeopt
from edgeopt.candidate.accuracy_gate import sensitivities
from edgeopt.candidate.gate import hold
from edgeopt.errors import UserError
from edgeopt.ir.pass_base import Pass, PassResult, Step
from edgeopt.records.quantization import GateAttempt
from edgeopt.targets.onnx import Onnx
from tests.passes.quantized import SCHEMES, quantized

HURTS = {f"layer_{index}": 10.0 + index for index in reversed(range(9))}


def judge_that_wants(least: Any, asked: Any) -> Any:
    def judge(kept: Any) -> Any:
        asked.append(len(kept))
        return GateAttempt(len(kept), len(kept) >= least, 0.0, None, 0, 0.0)

    return judge


@pytest.mark.parametrize("least", range(1, 10))
def test_the_fewest_layers_are_kept_worst_first(least: Any) -> None:
    asked: list[Any] = []
    held = hold(judge_that_wants(least, asked), lambda: HURTS)
    assert held.kept == tuple(f"layer_{index}" for index in range(least))
    assert list(held.hurts) == sorted(HURTS)
    assert len(asked) <= 6 and len(held.attempts) == len(asked)


def test_nobody_asks_what_hurts_where_all_may_stay() -> None:
    held = hold(judge_that_wants(0, []), lambda: pytest.fail("asked"))
    assert held.kept == () and len(held.attempts) == 1


def test_nothing_is_kept_where_it_would_not_help() -> None:
    assert hold(judge_that_wants(99, []), lambda: HURTS).kept == ()


def test_sensitivities_are_of_each_layer_alone() -> None:
    reference, _, data, _ = quantized(SCHEMES["int32 bias"])
    found = sensitivities(reference, SCHEMES["int32 bias"], list(data)[:3])
    assert set(found) == {n.name for n in reference.calls if n.name.startswith(("conv", "lin"))}
    assert all(15 < sqnr_db < 80 for sqnr_db in found.values())


class Fragile(nn.Module):
    """Two branches; one is multiplied by so much that its rounding is all the error there is."""

    def __init__(self) -> None:
        super().__init__()
        self.calm, self.fragile = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.calm(x) * 0.001, self.fragile(x) * 100.0 - self.fragile.bias * 100.0], 1) * 1.0


def export(folder: Path, **options: Any) -> Any:
    torch.manual_seed(0)
    x = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
    np.savez(folder / "calib.npz", x=x)
    given = {"precision": "int8", "baseline": False, "max_seconds": 0.05, "calib": str(folder / "calib.npz")}
    return edgeopt.export(Fragile().eval(), "onnx", folder / "out", inputs={"x": x[:1]}, **{**given, **options})


def test_the_layer_that_hurts_returns_to_float(tmp_path: Path) -> None:
    free = export(tmp_path)
    assert free.error.relative > 2e-4 and free.quantization.kept_float == ()
    run = export(tmp_path, max_error=2e-4)
    assert run.ok and run.error.relative <= 2e-4
    assert len(run.quantization.kept_float) < free.quantization.quantized
    worst = run.quantization.layers[0]
    assert worst.layer in run.quantization.kept_float and worst.sqnr_db < run.quantization.layers[-1].sqnr_db
    assert run.quantization.attempts[0].kept == 0 and not run.quantization.attempts[0].ok


def test_strict_gives_nothing_back_and_misses_the_limit(tmp_path: Path) -> None:
    run = export(tmp_path, max_error=2e-4, strict=True)
    assert not run.ok and run.exit_code == 1 and run.quantization.kept_float == ()


def test_layers_kept_on_request(tmp_path: Path) -> None:
    (worst,) = export(tmp_path, max_error=2e-4).quantization.kept_float[:1]
    free, run = export(tmp_path), export(tmp_path, keep_float=(worst,))
    assert run.quantization.kept_float == (worst,)
    assert run.quantization.quantized == free.quantization.quantized - 1
    with pytest.raises(UserError, match="no layer 'lineal'"):
        export(tmp_path, keep_float=("lineal",))


class Last(Pass):
    """A pass that leaves the program as it is."""

    name, stage = "last", "quantized"

    def run(self, program: Any, context: Any) -> Any:
        return PassResult(program.clone(), False)


def test_passes_after_quantization_run_with_and_without_layers_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = Onnx.pipeline
    monkeypatch.setattr(Onnx, "pipeline", lambda self, options: (*pipeline(self, options), Step(Last, "last")))
    for limits in ({}, {"max_error": 2e-4}):
        names = [record.name for record in export(tmp_path, **limits).passes]
        assert names.count("insert-qdq") == names.count("last") == 1 and names[-1] == "last"


def test_int8_without_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs calibration data"):
        export(tmp_path, calib=None)
