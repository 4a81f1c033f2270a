"""Binary layers on OpenVINO's CPU against OpenVINO's INT8 of the same shape.

    python -m benchmarks.binary [--part layers|deit] [--seconds 2] [--json]

One thread, batch 1, one inference each in turn in one process, so that only ratios count.

``layers``  rows by inputs by outputs as M, K, N. Both take and give float32: the binary layer packs its signs and
            counts, the INT8 layer (edgeopt's, which is level with NNCF's) quantises its activations and multiplies;
            bf16 and float32 are measured too, each against the binary layer alone, as INT8 is. "MLP" is K -> N -> K
            with a GELU between, where signs pass from layer to layer as bits. About four minutes.
``deit``    DeiT-tiny's shape with random weights, images of 224 and of 512: norms folded, linear attention, and all but
            the first and last layers of signs, by edgeopt's passes without tuning. Against the same model in INT8, by
            edgeopt and by NNCF, the faster counts. All run what is left in float in OpenVINO's default, bf16 where the
            CPU has it. About ten minutes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import nn

import edgeopt
from benchmarks import binary_deit
from benchmarks.alternate import medians
from benchmarks.table import show
from edgeopt.ops.binary_linear import binary_linear
from edgeopt.quant.binary import binarize, pack
from edgeopt.registry import resolve
from edgeopt.testing import to_program

SHAPES = ((196, 192, 192), (196, 192, 768), (196, 768, 192), (196, 384, 384), (196, 768, 768), (196, 768, 3072))
MLPS = ((196, 192, 768), (196, 768, 3072))


class BinaryLinear(nn.Module):
    """A linear's signs and scales as a layer of ours."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        signs, scale = binarize(linear.weight.detach())
        self.register_buffer("shift", torch.zeros(linear.in_features))
        self.register_buffer("weight", pack(signs))
        self.register_buffer("scale", scale)
        self.register_buffer("bias", linear.bias.detach())

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the layer's output."""
        return binary_linear(input, self.shift, self.weight, self.scale, self.bias)


def _layer(inputs: int, outputs: int, is_binary: bool) -> nn.Module:
    linear = nn.Linear(inputs, outputs)
    return BinaryLinear(linear) if is_binary else linear


def _mlp(inputs: int, outputs: int, is_binary: bool) -> nn.Module:
    return nn.Sequential(_layer(inputs, outputs, is_binary), nn.GELU(), _layer(outputs, inputs, is_binary))


@click.command()
@click.option("--part", type=click.Choice(("layers", "deit")), default="layers", show_default=True)
@click.option("--seconds", default=2.0, show_default=True, help="Seconds of measuring a layer or model.")
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
def main(part: str, seconds: float, as_json: bool) -> None:
    """Measure every shape and print the table."""
    if part == "deit":
        show([binary_deit.row(side, seconds) for side in binary_deit.SIDES], as_json)
        return
    cases = [("linear", _layer, shape) for shape in SHAPES] + [("MLP", _mlp, shape) for shape in MLPS]
    show([_row(kind, build, shape, seconds) for kind, build, shape in cases], as_json)


def _row(kind: str, build: Callable, shape: tuple[int, int, int], seconds: float) -> dict[str, Any]:
    rows, inputs, outputs = shape
    x = torch.randn(1, rows, inputs, generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory(prefix="edgeopt-") as folder:
        binary, plain, int8 = (Path(folder) / name for name in ("binary", "plain", "int8"))
        _compile(build(inputs, outputs, True), x, binary)
        linear = build(inputs, outputs, False)
        _compile(linear, x, plain)
        _quantise(linear, x, int8)
        found: dict[str, float] = {}
        speedup: dict[str, float] = {}
        for name, folder_, hint in (("int8", int8, "bf16"), ("bf16", plain, "bf16"), ("fp32", plain, "f32")):
            # Two at a time: what others leave in the caches is no part of the comparison.
            pair = {"binary": (binary / "model.xml", "f32"), name: (folder_ / "model.xml", hint)}
            median = medians(pair, {"input": x.numpy()}, seconds)
            found = {**median, **found}
            speedup[f"speedup_over_openvino_{name}"] = median[name] / median["binary"]
    times = {f"{name}_us": found[name] for name in ("binary", "int8", "bf16", "fp32")}
    return {"kind": kind, "shape": list(shape), **times, **speedup}


def _compile(module: nn.Module, x: torch.Tensor, folder: Path) -> None:
    folder.mkdir()
    target = resolve("cpu")
    target.compile(to_program(module, [x]), folder, target.Options())


def _quantise(module: nn.Module, x: torch.Tensor, folder: Path) -> None:
    calibration = folder.with_suffix(".npz")
    np.savez(calibration, input=x.numpy())
    settings = {"precision": "int8", "calib": str(calibration), "baseline": False, "max_seconds": 0.1}
    edgeopt.export(module, "cpu", folder, inputs={"input": x}, **settings)


if __name__ == "__main__":
    main()
