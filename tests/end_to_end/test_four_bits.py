"""Weights in four bits, from export to artifact."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from torch import nn

import edgeopt
from edgeopt.errors import UserError
from edgeopt.frontend.load import load
from edgeopt.ir.metrics import compare
from edgeopt.quant.blockwise import FORMATS

QUICK: dict[str, Any] = {"baseline": False, "max_seconds": 0.1}


def case(folder: Path) -> tuple[nn.Module, torch.Tensor]:
    """A network, an input, and ``calib.npz`` with more."""
    torch.manual_seed(0)
    x = torch.randn(40, 128) @ torch.randn(128, 128) / 10
    np.savez(folder / "calib.npz", input=x.numpy())
    return nn.Sequential(nn.Linear(128, 256), nn.GELU(), nn.Linear(256, 64)), x[:4]


def sqnr(model: nn.Module, x: torch.Tensor, got: np.ndarray) -> float:
    with torch.no_grad():
        return compare({"output": model(x).numpy()}, {"output": got}).sqnr_db


@pytest.mark.parametrize("precision", FORMATS)
def test_onnx_holds_four_bits_that_the_reference_runs(precision: str, tmp_path: Path) -> None:
    model, x = case(tmp_path)
    run = edgeopt.export(model, "onnx", tmp_path / "out", inputs={"input": x}, precision=precision, **QUICK)
    stored = onnx.load(tmp_path / "out" / "model.onnx")
    kind = onnx.TensorProto.FLOAT4E2M1 if FORMATS[precision].is_float else onnx.TensorProto.INT4
    assert sum(tensor.data_type == kind for tensor in stored.graph.initializer) == 2
    assert stored.opset_import[0].version == 23
    (got,) = ReferenceEvaluator(stored).run(None, {"input": x.numpy()})
    assert sqnr(model, x, np.asarray(got)) > 12
    if FORMATS[precision].is_float:
        advice = "export with --four-bits int8 to run it here"
        assert run.not_run == f"ONNX Runtime has no kernel for FP4 ({advice})"
    else:
        assert run.not_run is None


def test_scales_too_many_to_be_folded_are_computed(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = nn.Linear(1024, 1024), torch.randn(2, 1024)
    edgeopt.export(model, "onnx", tmp_path / "out", inputs={"input": x}, precision="int4", **QUICK)
    (got,) = ReferenceEvaluator(onnx.load(tmp_path / "out" / "model.onnx")).run(None, {"input": x.numpy()})
    assert sqnr(model, x, np.asarray(got)) > 12


@pytest.mark.parametrize("target", ["onnx", "openvino"])
@pytest.mark.parametrize("precision", FORMATS)
def test_grouped_int8_runs_and_data_helps(precision: str, target: str, tmp_path: Path) -> None:
    model, x = case(tmp_path)
    own = {"four_bits": "int8"} if target == "onnx" else {}
    errors = []
    for given in ({}, {"calib": str(tmp_path / "calib.npz")}):
        options = {**QUICK, **own, **given}
        run = edgeopt.export(model, target, tmp_path / "out", inputs={"input": x}, precision=precision, **options)
        assert run.not_run is None and run.error is not None
        errors.append(run.error.sqnr_db)
    assert errors[0] > 12 and errors[1] > errors[0] + 1


def test_an_unknown_form_is_refused(tmp_path: Path) -> None:
    model, x = case(tmp_path)
    with pytest.raises(UserError, match="four-bits is 'two'"):
        edgeopt.export(model, "onnx", tmp_path / "out", inputs={"input": x}, precision="fp4", four_bits="two")


def test_data_has_fp4_searched(tmp_path: Path) -> None:
    model, x = case(tmp_path)
    lines: list[str] = []
    options = {**QUICK, "precision": "fp4", "calib": str(tmp_path / "calib.npz"), "on_progress": lines.append}
    run = edgeopt.export(model, "onnx", tmp_path / "out", inputs={"input": x}, **options)
    (entry,) = (entry for entry in run.passes if entry.name == "fpq-search")
    assert entry.applied == 2 and all(rule.startswith("store-in-e") for rule in entry.rules)
    assert any(line.startswith("fpq-search: linear_1 in e") and "(2 of 2)" in line for line in lines)
    (got,) = ReferenceEvaluator(onnx.load(tmp_path / "out" / "model.onnx")).run(None, {"input": x.numpy()})
    assert sqnr(model, x, np.asarray(got)) > 15


@pytest.mark.parametrize("precision", FORMATS)
def test_the_reference_target_rounds_activations(precision: str, tmp_path: Path) -> None:
    model, x = case(tmp_path)
    options = {**QUICK, "precision": precision, "activations": "four-bits", "inputs": {"input": x}}
    with pytest.raises(UserError, match="data") as refused:
        edgeopt.export(model, "reference", tmp_path / "out", **options)
    assert "--calib" in str(refused.value.hint) and not (tmp_path / "out").exists()
    run = edgeopt.export(model, "reference", tmp_path / "out", calib=str(tmp_path / "calib.npz"), **options)
    names = {entry.name for entry in run.passes}
    assert ({"shift-channels", "fpq-search"} <= names) == (precision == "fp4")
    text = load(tmp_path / "out" / "model.pt2").program.text()
    assert text.count("edgeopt.round_activations(") == 2 and run.error is not None and run.error.sqnr_db > 8


def test_activations_of_the_reference_target_are_checked(tmp_path: Path) -> None:
    model, x = case(tmp_path)
    for activations, message in (("two", "is 'two'"), ("four-bits", "weights in fp32")):
        with pytest.raises(UserError, match=message):
            edgeopt.export(model, "reference", tmp_path / "out", inputs={"input": x}, activations=activations)
