"""The four MLPerf Tiny reference models in torch, with real weights and evaluation data.

``build("resnet8")`` reads the list of layers and the weights from ``../shared/data/mlperf_tiny`` beside the
repository. Inputs are NCHW float32: resnet8 raw RGB 0..255, ds_cnn MFCC, mobilenet_v1_025 RGB in 0..1,
fc_autoencoder windows of log-mel frames.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "mlperf_tiny"
NAMES = ("resnet8", "ds_cnn", "mobilenet_v1_025", "fc_autoencoder")

ABSENT = "the MLPerf Tiny models are not there (../shared/data/mlperf_tiny)"
UNTESTED = (
    "Not tested for that: their published accuracy, in float and in INT8 on OpenVINO and ONNX, and that their libraries"
    " in C equal the specification; the models trained on digits and the small networks carry the same claims here."
)
requires_shared = pytest.mark.skipif(not FOLDER.is_dir(), reason=ABSENT)


class Add(nn.Module):
    """The sum of a residual connection."""

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a + b


class LayerList(nn.Module):
    """Layers run in the given order, each reading earlier ones (or ``input``) by name.

    Submodules sit at the layers' dotted names, so that the state dict has the names of the weight files.
    """

    def __init__(self, layers: list[dict[str, Any]]) -> None:
        super().__init__()
        self.wiring = [(layer["name"], tuple(layer["inputs"])) for layer in layers]
        for layer in layers:
            *folders, leaf = _path(layer["name"]).split(".")
            parent: nn.Module = self
            for folder in folders:
                if not hasattr(parent, folder):
                    parent.add_module(folder, nn.Module())
                parent = getattr(parent, folder)
            parent.add_module(leaf, _module(layer))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values = {"input": x}
        for name, inputs in self.wiring:
            values[name] = self.get_submodule(_path(name))(*(values[used] for used in inputs))
        return values[name]


def architecture(name: str) -> LayerList:
    """Return the untrained model, in evaluation mode."""
    return LayerList(_description(name)["layers"]).eval()


def build(name: str) -> LayerList:
    """Return the trained model, in evaluation mode."""
    model = architecture(name)
    model.load_state_dict(load_file(weights(name)))
    return model


def weights(name: str) -> Path:
    """Return the path of the trained weights."""
    return FOLDER / f"{name}.safetensors"


def example_inputs(name: str, batch: int = 1) -> np.ndarray:
    """Return a batch of inputs, float32: real ones for ds_cnn and fc_autoencoder, seeded noise for the others."""
    if name == "ds_cnn":
        return kws01()[0][:batch]
    if name == "fc_autoencoder":
        return autoencoder_windows()[:batch]
    peak = 255.0 if name == "resnet8" else 1.0
    shape = (batch, *_description(name)["input"]["shape"][1:])
    return np.random.default_rng(0).uniform(0.0, peak, shape).astype(np.float32)


def kws01() -> tuple[np.ndarray, np.ndarray]:
    """Return 1,000 utterances (float32, 1000x1x49x10) and their labels (int64, 12 classes)."""
    with np.load(FOLDER / "kws01.npz") as data:
        x = (data["x"].astype(np.float32) - int(data["zero_point"])) * np.float32(data["scale"])
        return np.ascontiguousarray(x.transpose(0, 3, 1, 2)), data["y"].astype(np.int64)


def autoencoder_windows() -> np.ndarray:
    """Return the 196 windows of the normal ToyCar clip (float32, 196x640): five log-mel frames each, stride one."""
    with np.load(FOLDER / "ad_sample.npz") as data:
        frames = data["x"][0].astype(np.float32)
    return np.stack([frames[start : start + 5].reshape(-1) for start in range(len(frames) - 4)])


# Factories without arguments: what ``--arch tests.models.mlperf_tiny:resnet8`` calls.


def resnet8() -> LayerList:
    return architecture("resnet8")


def ds_cnn() -> LayerList:
    return architecture("ds_cnn")


def mobilenet_v1_025() -> LayerList:
    return architecture("mobilenet_v1_025")


def fc_autoencoder() -> LayerList:
    return architecture("fc_autoencoder")


def _description(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return found


def _path(layer_name: str) -> str:
    return layer_name.replace("#", "_")


def _module(layer: dict[str, Any]) -> nn.Module:
    match layer["op"]:
        case "Conv2d":
            keys = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "groups")
            return nn.Conv2d(**{key: layer[key] for key in keys})
        case "Linear":
            return nn.Linear(layer["in_features"], layer["out_features"])
        case "BatchNorm1d" | "BatchNorm2d" as kind:
            found: nn.Module = getattr(nn, kind)(layer["num_features"], eps=layer["eps"])
            return found
        case "ZeroPad2d":
            return nn.ZeroPad2d(tuple(layer["padding_lrtb"]))
        case "AvgPool2d":
            return nn.AvgPool2d(layer["kernel_size"])
        case "Softmax":
            return nn.Softmax(dim=1)
        case "Add":
            return Add()
        case "ReLU" | "Flatten" as kind:
            plain: nn.Module = getattr(nn, kind)()
            return plain
        case unknown:
            raise ValueError(f"layer '{layer['name']}' has the unknown operator {unknown}")
