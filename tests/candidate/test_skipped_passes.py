"""``--skip-pass`` means one thing: the pass runs nowhere; what a precision is made by cannot be skipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import edgeopt
from edgeopt.candidate.options import ExportOptions
from edgeopt.candidate.pass_list import build_passes
from edgeopt.candidate.quantize import RECOVERIES, QuantOptions
from edgeopt.candidate.stages import Request
from edgeopt.deploy.overrides import Overrides
from edgeopt.errors import UserError
from edgeopt.plugins.registry import resolve
from edgeopt.records.run import Run

X = np.random.default_rng(0).standard_normal((16, 8)).astype(np.float32)


def exported(folder: Path, target: str = "reference", **options: Any) -> Run:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4)).eval()
    return edgeopt.export(
        model, target, folder / "out", inputs={"input": torch.from_numpy(X[:1])}, baseline=False,
        max_seconds=0.02, samples=1, accept_difference="the passes alone are looked at", **options,
    )  # fmt: skip


@pytest.mark.parametrize("skipped", [(), RECOVERIES])
def test_recoveries_are_skipped(tmp_path: Path, skipped: tuple[str, ...]) -> None:
    np.savez(tmp_path / "calib.npz", input=X)
    options: Overrides = {"recover": RECOVERIES, "calib": str(tmp_path / "calib.npz"), "precision": "int8"}
    ran = {one.name for one in exported(tmp_path, "onnx", skip_passes=skipped, **options).passes}
    assert {*RECOVERIES} & ran == {*RECOVERIES} - {*skipped}


def test_steps_of_a_recipe_are_skipped(tmp_path: Path) -> None:
    assert "pre-rmsnorm" in {one.name for one in exported(tmp_path, recipe="exact").passes}
    ran = {one.name for one in exported(tmp_path, recipe="exact", skip_passes=("pre-rmsnorm",)).passes}
    assert "pre-rmsnorm" not in ran and "merge-low-rank" in ran


@pytest.mark.parametrize(
    ("name", "precision", "made_by"),
    [("onnx", "int8", "insert-qdq"), ("cpu", "int8", "insert-qdq"), ("host-c", "int8", "insert-qdq"),
     ("reference", "nvfp4", "weight-only-quantization"), ("onnx", "int4", "weight-only-quantization"),
     ("jetson", "int4", "weight-only-quantization")],
)  # fmt: skip
def test_what_makes_the_precision_cannot_be_skipped(name: str, precision: str, made_by: str) -> None:
    target = resolve(name)
    options = target.Options(**{**target.device.options, "precision": precision})
    with pytest.raises(UserError, match=f"pass '{made_by}' makes precision {precision} and cannot be skipped"):
        build_passes(Request(target, ExportOptions(skip_passes=(made_by,)), options))


def test_a_pass_is_added_or_skipped() -> None:
    with pytest.raises(UserError, match="pass 'fold-affine' is both added and skipped"):
        ExportOptions(add_passes=("fold-affine",), skip_passes=("fold-affine",))


def test_a_recovery_that_is_added_is_named_with_its_option() -> None:
    target = resolve("reference")
    request = Request(target, ExportOptions(add_passes=("bias-correction",)), target.Options())
    with pytest.raises(UserError) as caught:
        build_passes(request)
    assert caught.value.hint == "ask for it with --precision int8 --calib DATA --recover bias-correction"


@pytest.mark.parametrize(
    ("option", "value"), [("keep_float", ("0",)), ("recover", ("bias-correction",)), ("calib_method", "minmax")]
)
def test_what_only_quantization_reads_is_refused_without(option: str, value: Any, tmp_path: Path) -> None:
    flag = option.replace("_", "-")
    with pytest.raises(UserError, match=f"--{flag} is given with precision 'fp32'"):
        exported(tmp_path, **{option: value})


def test_options_without_skipped_recoveries_are_the_same() -> None:
    options = QuantOptions()
    assert options.without(("fold-affine",)) is options
