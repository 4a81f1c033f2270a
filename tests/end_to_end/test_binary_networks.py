"""A trained network becomes one of signs by the recipe, keeps its accuracy, and is packed in what is deployed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import edgeopt
from samples import digits
from tests.qemu import requires_qemu
from tests.typed import some

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(trained: Callable[[str], Path], tmp_path: Path) -> Path:
    """Return a folder with the trained CNN, its data, all its training images, and few to evaluate on."""
    folder = shutil.copytree(trained("digits_cnn"), tmp_path / "digits")
    data = digits.load()
    np.savez(folder / "tune.npz", images=data.train_images.numpy())
    np.savez(folder / "few.npz", images=data.test_images[:100].numpy(), labels=data.test_labels[:100].numpy())
    return folder


def test_digits_lose_at_most_two_points(folder: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    run = edgeopt.export(
        folder / "model.pt2",
        target="onnx",
        output=tmp_path / "out",
        recipe="binary",
        tune="1200",
        tune_data=str(folder / "tune.npz"),
        data=str(folder / "eval.npz"),
        baseline=False,
        max_seconds=0.1,
    )
    assert some(run.accuracy).exported >= some(run.accuracy).original - 0.02
    assert [entry.applied for entry in run.passes if entry.name == "pack-binary"] == [2]
    held = onnx.load(tmp_path / "out" / "model.onnx").graph.initializer
    packed = {tuple(tensor.dims): len(tensor.raw_data) for tensor in held if tensor.data_type == onnx.TensorProto.INT32}
    # One word for 32 channels: a float would take 32 times as much.
    assert packed == {(32, 3, 3, 1): 32 * 9 * 4, (64, 3, 3, 1): 64 * 9 * 4}
    assert run.fallbacks == ()


@requires_qemu
def test_digits_of_signs_run_on_a_microcontroller(folder: Path, tmp_path: Path) -> None:
    run = edgeopt.export(
        folder / "model.pt2",
        target="cortex-m4",
        output=tmp_path / "out",
        recipe="binary",
        tune="60",
        tune_data=str(folder / "tune.npz"),
        calib=str(folder / "calib.npz"),
        data=str(folder / "few.npz"),
        baseline=False,
    )
    assert run.fallbacks == ()
    assert some(run.accuracy).exported >= 0.5  # sixty steps: it has learned, in the emulator
    assert [(layer.type, layer.precision) for layer in some(run.latency).layers] == [
        ("eo_s8_conv2d__dsp16", "int8"), ("eo_b1_sign__dsp", "binary"), ("eo_b1_conv2d__dsp", "binary"),
        ("eo_b1_max_pool2d__scalar", "binary"), ("eo_b1_conv2d__dsp", "binary"), ("eo_s8_avg_pool2d__dsp", "int8"),
        ("eo_s8_linear__dsp16", "int8"),
    ]  # fmt: skip
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert sorted(manifest["deployment"]["precisions"].values()) == ["binary"] * 4 + ["int8"] * 3
    layers = json.loads((tmp_path / "out" / "network" / "network.json").read_text())["layers"]
    # A bit a weight, a word a channel for the comparison; two for int8.
    assert [layer["constant_bytes"] for layer in layers[2:5:2]] == [32 * (9 * 4 + 4), 64 * (9 * 4 + 8)]
