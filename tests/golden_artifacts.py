"""Exports whose artifacts are known by their bytes: a change of the code's structure changes none of them.

``python -m tests.golden_artifacts`` makes all exports and compares the hashes of what they leave with
``tests/golden_artifacts.toml``; ``--record`` writes that file anew, which a change of the arithmetic calls for, and
nothing else. A hash stands for a file's bytes; ``resnet8 onnx`` or ``jetson``
chooses the exports with that in their name.
"""

from __future__ import annotations

import sys
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import edgeopt
from edgeopt.deploy.bundle import GOLDEN, read_manifest
from edgeopt.ops.linear_attention import linear_attention
from samples.digits_cnn import DigitsCnn
from samples.digits_vit import Attention, DigitsVit
from tests.models import minilm, mlperf_tiny
from tests.typed import savez

TABLE = Path(__file__).with_suffix(".toml")
Arrays = Mapping[str, np.ndarray]


def _filled(model: nn.Module) -> nn.Module:
    """A model whose parameters are the same on every processor: uniform numbers of one seed."""
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                low = 0.5 if "running_var" in name else -0.25
                value.copy_(torch.from_numpy(rng.uniform(low, low + 0.5, value.shape)))
    return model.eval()


def _images(count: int) -> Arrays:
    return {"images": np.random.default_rng(1).uniform(-1, 1, (count, 1, 8, 8)).astype(np.float32)}


class LinearAttention(Attention):
    """Attention linear in the tokens, in the feature map ReLU."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(linear_attention(query, key, value, "relu").transpose(1, 2).flatten(2))


class Binary(nn.Module):
    """Two convolutions that multiply signs by signs, between two of full precision."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 32, 3, padding=1), nn.Linear(32, 10)
        self.middle = nn.ModuleList(nn.Conv2d(32, 32, 3, bias=False) for _ in range(2))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.first(images)
        for layer in self.middle:
            weight = torch.where(layer.get_parameter("weight") >= 0, 1.0, -1.0)
            x = nn.functional.conv2d(torch.where(x >= 0, 1.0, -1.0), weight) * 0.1
        return self.last(x.mean((2, 3)))


def _linear_vit() -> nn.Module:
    model = DigitsVit()
    for block in model.blocks:
        block.attention = LinearAttention(48, 4)
    return _filled(model)


def _sentences(count: int) -> Arrays:
    return {name: array[:, :16] for name, array in minilm.tokens(minilm.SENTENCES[:count]).items()}


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Arrays]]] = {
    "resnet8": (
        lambda: mlperf_tiny.build("resnet8"),
        lambda count: {"x": mlperf_tiny.example_inputs("resnet8", count)},
    ),
    "ds_cnn": (lambda: mlperf_tiny.build("ds_cnn"), lambda count: {"x": mlperf_tiny.example_inputs("ds_cnn", count)}),
    "minilm": (minilm.build, _sentences),
    "digits_cnn": (lambda: _filled(DigitsCnn()), _images),
    "digits_vit": (lambda: _filled(DigitsVit()), _images),
    "linear_vit": (_linear_vit, _images),
    "binary": (lambda: _filled(Binary()), _images),
}
_SHIFT = {"requantization": "shift"}
EXPORTS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("digits_cnn", "reference", "fp32", {"recipe": "exact"}),
    ("digits_cnn", "reference", "fp4", {}),
    ("digits_vit", "reference", "int4", {}),
    ("digits_vit", "reference", "fp32", {"recipe": "exact"}),
    ("resnet8", "onnx", "int8", {}),
    ("ds_cnn", "onnx", "fp32", {}),
    ("digits_vit", "onnx", "int8", {}),
    ("linear_vit", "onnx", "fp32", {}),
    ("minilm", "onnx", "int4", {}),
    ("binary", "onnx", "fp32", {}),
    ("resnet8", "openvino", "fp32", {}),
    ("ds_cnn", "openvino", "int8", {}),
    ("digits_vit", "openvino", "nvfp4", {}),
    ("linear_vit", "openvino", "fp32", {}),
    ("minilm", "openvino", "int8", {}),
    ("binary", "openvino", "fp32", {}),
    ("resnet8", "jetson", "fp16", {}),
    ("ds_cnn", "jetson", "int8", {}),
    ("digits_vit", "jetson-thor", "nvfp4", {}),
    ("ds_cnn", "cortex-m0plus", "int8", {}),
    ("ds_cnn", "cortex-m4", "int8", {}),
    ("ds_cnn", "cortex-m4", "int4", {}),
    ("resnet8", "cortex-m4", "int8", _SHIFT),
    ("resnet8", "cortex-m7", "int8", {}),
    ("ds_cnn", "cortex-m55", "fp4", {}),
    ("digits_vit", "cortex-m55", "int8", {}),
    ("linear_vit", "host-c", "int8", {}),
    ("resnet8", "host-c", "int8", _SHIFT),
    ("binary", "host-c", "int8", {}),
)


def name_of(model: str, target: str, precision: str, options: Mapping[str, Any]) -> str:
    """Return what an export is called: ``resnet8 cortex-m4 int8 shift``."""
    return " ".join([model, target, precision, *map(str, options.values())])


@cache
def _model(name: str) -> tuple[nn.Module, Arrays]:
    build, inputs = MODELS[name]
    return build(), inputs(16)


def hashes(model: str, target: str, precision: str, options: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Make one export, and return the hash of each file that is deployed, by its path in the bundle."""
    module, samples = _model(model)
    given = {"precision": precision, "baseline": False, "samples": 2, "max_seconds": 0.02, **options}
    if precision not in ("fp32", "fp16"):
        savez(folder / "calib.npz", samples)
        given["calib"] = str(folder / "calib.npz")
    inputs = {key: array[:1] for key, array in samples.items()}
    edgeopt.export(module, target, folder / "out", inputs=inputs, accept_difference="the bytes are compared", **given)
    return {
        entry["path"]: entry["sha256"] for entry in read_manifest(folder / "out")["files"] if entry["path"] != GOLDEN
    }


def _write(table: Mapping[str, Mapping[str, str]]) -> None:
    lines = ["# The bytes of what exports deploy; made by python -m tests.golden_artifacts --record"]
    for name, files in table.items():
        lines += ["", f'["{name}"]', *(f'"{path}" = "{digest}"' for path, digest in sorted(files.items()))]
    TABLE.write_text("\n".join(lines) + "\n")


def main(arguments: list[str]) -> int:
    """Make the exports, say which differ from the table, and return 1 if any does."""
    recorded = tomllib.loads(TABLE.read_text()) if TABLE.exists() else {}
    chosen = " ".join(one for one in arguments if one != "--record")
    differing = 0
    for export in EXPORTS:
        if chosen not in (name := name_of(*export)):
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = hashes(*export, Path(folder))
        changed = sorted(path for path, _ in found.items() ^ recorded.get(name, {}).items())
        differing += bool(changed)
        print(f"{name:40} {'differs' if changed else 'same'}", *dict.fromkeys(changed), flush=True)
        if "--record" in arguments:
            recorded[name] = found
            _write(recorded)
    return int(differing > 0 and "--record" not in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
