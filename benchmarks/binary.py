"""Binary layers on OpenVINO's CPU against OpenVINO's INT8 of the same shape.

    python -m benchmarks.binary [--part layers|products|deit] [--seconds 2] [--json]

One thread, batch 1, one inference each in turn in one process, so that only ratios count.

``layers``  rows by inputs by outputs as M, K, N. Both take and give float32: the binary layer packs its signs and
            counts, the INT8 layer (edgeopt's, which is level with NNCF's) quantizes its activations and multiplies;
            bf16 and float32 are measured too, each against the binary layer alone, as INT8 is. "MLP" is K -> N -> K
            with a GELU between, where signs pass from layer to layer as bits; of a convolution M is the pixels and K
            the channels by 9 taps. About six minutes.
``products``  heads by rows by inputs by outputs: queries by keys, and attention by values, of signs, against OpenVINO's
            own operators for the same ("composed"), its INT8 with the quantization of both operands, and bf16. About
            three minutes.
``deit``    DeiT-tiny's shape with random weights, images of 224 and of 512: norms folded, linear attention, and all but
            the first and last layers of signs, by edgeopt's passes without tuning. Against the same model in INT8, by
            edgeopt and by NNCF, the faster counts. All run what is left in float in OpenVINO's default, bf16 where the
            CPU has it. About ten minutes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch
from torch import nn

import edgeopt
from benchmarks import binary_deit, binary_products
from benchmarks.alternate import medians
from benchmarks.table import show
from edgeopt.deploy.overrides import Overrides
from edgeopt.ops.binary_conv2d import binary_conv2d
from edgeopt.ops.binary_linear import binary_linear
from edgeopt.plugins.registry import resolve
from edgeopt.plugins.testing import to_program
from edgeopt.quant.binary import binarize, pack
from tests.typed import some

SHAPES = ((196, 192, 192), (196, 192, 768), (196, 768, 192), (196, 384, 384), (196, 768, 768), (196, 768, 3072))
MLPS = ((196, 192, 768), (196, 768, 3072))
CONVOLUTIONS = ((64, 56), (128, 28), (256, 14))
"""Channels, and the side of the image."""


class Binary(nn.Module):
    """A layer's signs and scales as a layer of ours."""

    def __init__(self, layer: nn.Linear | nn.Conv2d) -> None:
        super().__init__()
        signs, scale = binarize(layer.weight.detach())
        self.register_buffer("shift", torch.zeros(layer.weight.shape[1]))
        self.register_buffer("weight", pack(signs.movedim(1, -1)))
        self.register_buffer("scale", scale)
        self.register_buffer("bias", some(layer.bias).detach())
        self.window = [layer.stride, layer.padding, layer.dilation] if isinstance(layer, nn.Conv2d) else []

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the layer's output."""
        function = binary_conv2d if self.window else binary_linear
        return function(input, self.shift, self.weight, self.scale, self.bias, *self.window)


def _layer(inputs: int, outputs: int, is_binary: bool) -> nn.Module:
    linear = nn.Linear(inputs, outputs)
    return Binary(linear) if is_binary else linear


def _mlp(inputs: int, outputs: int, is_binary: bool) -> nn.Module:
    return nn.Sequential(_layer(inputs, outputs, is_binary), nn.GELU(), _layer(outputs, inputs, is_binary))


def _convolution(inputs: int, outputs: int, is_binary: bool) -> nn.Module:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
    return Binary(convolution) if is_binary else convolution


@click.command()
@click.option("--part", type=click.Choice(("layers", "products", "deit")), default="layers", show_default=True)
@click.option("--seconds", default=2.0, show_default=True, help="Seconds of measuring a layer or model.")
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
def main(part: str, seconds: float, as_json: bool) -> None:
    """Measure every shape and print the table."""
    if part == "deit":
        show([binary_deit.row(side, seconds) for side in binary_deit.SIDES], as_json)
        return
    if part == "products":
        show(binary_products.rows(seconds), as_json)
        return
    rows = []
    for kind, build, shapes in (("linear", _layer, SHAPES), ("MLP", _mlp, MLPS)):
        for m, k, n in shapes:
            rows.append({"kind": kind, "shape": [m, k, n], **_measure(partial(build, k, n), (1, m, k), seconds)})
    for channels, side in CONVOLUTIONS:
        shape = [side * side, 9 * channels, channels]
        build = partial(_convolution, channels, channels)
        rows.append({"kind": "conv 3x3", "shape": shape, **_measure(build, (1, channels, side, side), seconds)})
    show(rows, as_json)


def _measure(build: Callable[[bool], nn.Module], size: tuple[int, ...], seconds: float) -> dict[str, float]:
    x = torch.randn(size, generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory(prefix="edgeopt-") as folder:
        binary, plain, int8 = (Path(folder) / name for name in ("binary", "plain", "int8"))
        _compile(build(True), x, binary)
        layer = build(False)
        _compile(layer, x, plain)
        _quantize(layer, x, int8)
        found: dict[str, float] = {}
        speedup: dict[str, float] = {}
        for name, folder_, hint in (("int8", int8, "bf16"), ("bf16", plain, "bf16"), ("fp32", plain, "f32")):
            # Two at a time: what others leave in the caches is not part of the comparison.
            pair = {"binary": (binary / "model.xml", "f32"), name: (folder_ / "model.xml", hint)}
            median = medians(pair, {"input": x.numpy()}, seconds)
            found = {**median, **found}
            speedup[f"speedup_over_openvino_{name}"] = median[name] / median["binary"]
    times = {f"{name}_us": found[name] for name in ("binary", "int8", "bf16", "fp32")}
    return {**times, **speedup}


def _compile(module: nn.Module, x: torch.Tensor, folder: Path) -> None:
    folder.mkdir()
    target = resolve("cpu")
    target.compile(to_program(module, [x]), folder, target.Options())


def _quantize(module: nn.Module, x: torch.Tensor, folder: Path) -> None:
    calibration = folder.with_suffix(".npz")
    np.savez(calibration, input=x.numpy())
    settings: Overrides = {"precision": "int8", "calib": str(calibration), "baseline": False, "max_seconds": 0.1}
    edgeopt.export(module, "cpu", folder, **settings | {"inputs": {"input": x}})


if __name__ == "__main__":
    main()
