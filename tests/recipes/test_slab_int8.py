"""Recipe ``slab`` and INT8 in one export: the tuned program is calibrated and quantized, on every target that can."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import onnx
import pytest
import torch

import edgeopt
from edgeopt.deploy.overrides import Overrides
from edgeopt.records.run import Run
from samples import digits
from samples.digits_vit import DigitsVit
from tests.qemu import HAS_QEMU
from tests.typed import some

MOST_LOST = {"onnx": 0.03, "openvino": 0.03, "cortex-m7": 0.04}
"""Of the accuracy; on the microcontroller the sums and quotients of attention leave and enter as int8 too."""
NORMS = {"LayerNormalization", "RMSNormalization", "Softmax"}
HAS_MICRO = bool(find_spec("tvm") and HAS_QEMU)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a vision transformer of 16 tokens trained on digits, and its data."""
    torch.manual_seed(0)
    data, model, folder = digits.load(), DigitsVit(), tmp_path_factory.mktemp("vit")
    digits.train(model, data, epochs=20, learning_rate=2e-3)
    digits.save(model, data, folder)
    return folder


def export(folder: Path, output: Path, target: str) -> Run:
    # Steps and seed are the same, so the first export tunes and the others take up what it left.
    tuned: Overrides = {"recipe": "slab", "tune": "120", "checkpoint": str(folder / "state"), "force": True}
    data: Overrides = {
        "tune_data": str(folder / "calib.npz"),
        "calib": str(folder / "calib.npz"),
        "data": str(folder / "eval.npz"),
    }
    options: Overrides = {**tuned, **data, "precision": "int8", "baseline": False, "max_seconds": 0.05}
    return edgeopt.export(str(folder / "model.pt2"), target, output, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    "target",
    [
        "onnx",
        "openvino",
        pytest.param("cortex-m7", marks=pytest.mark.skipif(not HAS_MICRO, reason="TVM or QEMU is not installed")),
    ],
)
def test_slab_in_int8(target: str, folder: Path, tmp_path: Path) -> None:
    run = export(folder, tmp_path / "out", target)
    print(f"{target}: {some(run.accuracy).original:.1%} before, {some(run.accuracy).exported:.1%} after")
    assert run.ok and some(run.accuracy).original >= 0.96
    assert some(run.accuracy).exported >= some(run.accuracy).original - MOST_LOST[target]
    assert some(some(run.accuracy).agreement) >= 0.98 - MOST_LOST[target]
    assert sorted({layer.by for layer in some(run.swaps).layers}) == ["linear-attention", "replace-layernorm"]
    assert not any(layer.kept for layer in some(run.swaps).layers)
    quantized = next(entry for entry in run.passes if entry.name == "insert-qdq")
    assert quantized.applied >= 12  # the linears of three blocks, at least
    if target == "onnx":
        kinds = {node.op_type for node in onnx.load(tmp_path / "out" / "model.onnx").graph.node}
        assert "QuantizeLinear" in kinds and not kinds & NORMS
