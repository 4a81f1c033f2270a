"""Weights in four bits: kernels of codes, their bytes, their flash, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import edgeopt
from edgeopt.errors import UserError
from edgeopt.ir.program import Program
from edgeopt.ops.quantize import DEQUANTIZE
from edgeopt.plugins.registry import resolve
from edgeopt.quant.codebook import CODEBOOKS
from edgeopt.targets.mcu import LIBRARY, MicroOptions
from edgeopt.targets.mcu.lower.lower import SCHEME, lower_program
from edgeopt.targets.mcu.nodes.depthwise_conv2d import DepthwiseConv2d
from edgeopt.targets.mcu.plan.kernels import choose_kernels
from edgeopt.targets.mcu.runtime.core import read_core
from edgeopt.targets.mcu.runtime.network import Network
from tests.models import mlperf_tiny
from tests.models.mlperf_tiny import requires_shared
from tests.qemu import requires_qemu, skip_without_qemu
from tests.typed import some

from .quantized import quantize
from .test_target import Small, assert_equals_the_reference

X = np.random.default_rng(2).normal(size=(4, 3, 9, 8)).astype(np.float32)


def small(precision: str) -> Program:
    samples = np.random.default_rng(0).normal(size=(16, 3, 9, 8)).astype(np.float32)
    return quantize(Small(), samples, replace(SCHEME, codebook=CODEBOOKS[precision]))


@pytest.mark.parametrize("precision", CODEBOOKS)
@pytest.mark.parametrize("device", ["host-c", "cortex-m0plus", "cortex-m4", "cortex-m55"])
def test_library_equals_the_integer_reference(device: str, precision: str, tmp_path: Path) -> None:
    skip_without_qemu(device)
    assert_equals_the_reference(small(precision), device, X, tmp_path, MicroOptions(precision=precision))
    network = Network.read(tmp_path / LIBRARY)
    assert {layer.kernel.split("_")[1] for layer in network.layers if "conv2d" in layer.op} == {"w4", "s8"}


@pytest.mark.parametrize("precision", CODEBOOKS)
def test_weights_are_codes_but_for_those_of_depthwise_filters(precision: str) -> None:
    graph = lower_program(small(precision))[0]
    kinds = {node.op: node.dtype for node in graph.nodes}
    assert kinds["conv2d"] == kinds["linear"] == "w4"
    assert kinds["depthwise_conv2d"] == "s8"
    (depthwise,) = [node for node in graph.nodes if isinstance(node, DepthwiseConv2d)]
    assert np.abs(depthwise.weights.astype(int)).max() == 127


@pytest.mark.parametrize("precision", CODEBOOKS)
def test_a_layer_that_int8_takes_is_taken(precision: str) -> None:
    # A difference: outputs are finer than inputs, and steps of a seventh of the largest weight too coarse for them.
    layer = nn.Conv2d(2, 1, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, -1.0]).view(1, 2, 1, 1))
    ramp = np.linspace(-1, 1, 64, dtype=np.float32).reshape(4, 1, 4, 4)
    samples = np.concatenate([ramp, 0.9 * ramp], axis=1)
    graph, refused = lower_program(quantize(layer, samples, replace(SCHEME, codebook=CODEBOOKS[precision])))
    assert not refused and graph.nodes[0].op == "conv2d"


def test_the_format_of_weights_is_what_the_program_says() -> None:
    """Not what their values look like: weights of int8 that happen to be sixteen of its integers are no codes."""
    program = small("int4")
    for node in [node for node in program.calls if node.target is DEQUANTIZE]:
        node.args = node.args[:4]
    assert {node.dtype for node in lower_program(program)[0].nodes} == {"s8"}


class Heads(nn.Module):
    """A stem, and a head for each format."""

    def __init__(self, formats: Sequence[str]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 3)
        self.heads = nn.ModuleList(nn.Conv2d(8, 6, 1) for _ in formats)
        self.lines = nn.ModuleList(nn.Linear(6, 5) for _ in formats)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(image))
        pairs = zip(self.heads, self.lines, strict=True)
        return torch.cat([line(torch.relu(head(x)).mean((2, 3))) for head, line in pairs], 1)


@pytest.mark.parametrize(
    ("device", "formats"),
    [
        ("host-c", ("int8", "fp4", "int4")),
        ("host-c", ("int4", "fp4", "int8")),
        ("cortex-m4", ("fp4", "int4")),
        ("cortex-m55", ("fp4", "int4")),
    ],
)
def test_formats_share_a_library(device: str, formats: tuple[str, ...], tmp_path: Path) -> None:
    skip_without_qemu(device)
    samples = np.random.default_rng(0).normal(size=(16, 3, 9, 8)).astype(np.float32)
    layers = {f"linear_{i}" if i else "linear": name for i, name in enumerate(formats)}
    layers |= {f"conv2d_{i}": name for i, name in enumerate(formats, 1)}
    books = {layer: CODEBOOKS[name] for layer, name in layers.items() if name in CODEBOOKS}
    program = quantize(Heads(formats), samples, replace(SCHEME, codebooks=books))
    assert_equals_the_reference(program, device, X, tmp_path)
    coded = Network.read(tmp_path / LIBRARY).layers
    assert [layer.precision for layer in coded].count("w4a8") == 2 * len(CODEBOOKS)
    header = (tmp_path / LIBRARY / "network_weights.h").read_text()
    assert {name for name in ("e2m1", "int4") if f"codes_{name}_" in header} == {"e2m1", "int4"}


@requires_shared
@pytest.mark.parametrize("isas", [read_core("cortex-m4").isas, ("scalar",)], ids=["dsp", "scalar"])
def test_flash_of_weights_is_halved(isas: tuple[str, ...]) -> None:
    x = mlperf_tiny.example_inputs("fc_autoencoder", 4)
    model = mlperf_tiny.build("fc_autoencoder")
    schemes = (SCHEME, replace(SCHEME, codebook=CODEBOOKS["fp4"]))
    of_bytes, of_codes = (
        choose_kernels(lower_program(quantize(model, x, scheme))[0], isas, "size") for scheme in schemes
    )
    (tables,) = {table.name: table.words.nbytes for step in of_codes if (table := step.needs.table)}.values()
    codes, numbers = (sum(step.constant_bytes for step in steps) for steps in (of_codes, of_bytes))
    assert tables + codes < 0.53 * numbers


@requires_qemu
def test_export_stores_four_bits(tmp_path: Path) -> None:
    np.savez(tmp_path / "calib.npz", image=np.random.default_rng(0).normal(size=(16, 3, 9, 8)).astype(np.float32))
    run = edgeopt.export(
        Small(), "cortex-m4", tmp_path / "out", inputs={"image": X[:1]}, precision="fp4", max_seconds=1.0,
        calib=str(tmp_path / "calib.npz"), baseline=False, samples=1,
    )  # fmt: skip
    assert "eo_w4_conv2d__dsp" in {layer.type for layer in some(run.latency).layers}
    adapted = next(record for record in run.passes if record.name == "adaptive-rounding")
    assert adapted.applied
    network = (tmp_path / "out" / LIBRARY / "network_weights.h").read_text()
    assert "extern const uint32_t codes_e2m1_dsp[256];" in network


@pytest.mark.parametrize("precision", ["mxfp4", "nvfp4"])
def test_scales_along_a_row_are_refused_with_the_reason(precision: str) -> None:
    with pytest.raises(UserError, match="scales along a row") as refused:
        resolve("cortex-m4").check_options(MicroOptions(precision=precision))
    assert "fp4, int4" in str(refused.value.hint)
