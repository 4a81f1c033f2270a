"""Requantization by shifts: its bytes, its kernels, its cost, and where it is refused."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import edgeopt
from edgeopt.deploy.overrides import Overrides
from edgeopt.errors import UserError
from edgeopt.ir.program import Program
from edgeopt.plugins.registry import resolve
from edgeopt.quant.codebook import CODEBOOKS
from edgeopt.quant.float4 import Element
from edgeopt.targets.mcu import LIBRARY, MicroOptions
from edgeopt.targets.mcu.lower.lower import SCHEME, lower_program
from edgeopt.targets.mcu.lower.power_of_two import by_shifts
from edgeopt.targets.mcu.nodes.weighted import Weighted
from edgeopt.targets.mcu.runtime.network import Network
from tests.qemu import requires_qemu, skip_without_qemu
from tests.typed import some

from .quantized import quantize
from .test_target import Small, assert_equals_the_reference

X = np.random.default_rng(2).normal(size=(4, 3, 9, 8)).astype(np.float32)
SHIFT = MicroOptions(requantization="shift")


def small(shifts: bool = True, codebook: Element | None = None) -> Program:
    samples = np.random.default_rng(0).normal(size=(16, 3, 9, 8)).astype(np.float32)
    return quantize(Small(), samples, replace(SCHEME, shifts=shifts, codebook=codebook))


@pytest.mark.parametrize("codebook", [None, *CODEBOOKS.values()])
def test_every_scale_is_a_power_of_two(codebook: Element | None) -> None:
    program = small(codebook=codebook)
    scales = [values for name, values in program.constants.items() if name.endswith("_scale")]
    assert len(scales) > 12
    assert all(torch.all(torch.frexp(values)[0] == 0.5) for values in scales)
    layers = [node for node in lower_program(program)[0].nodes if isinstance(node, Weighted)]
    assert all(np.all(node.multiplier & (node.multiplier - 1) == 0) for node in layers)


@pytest.mark.parametrize("device", ["host-c", "cortex-m0plus", "cortex-m4", "cortex-m55"])
def test_library_equals_the_integer_reference(device: str, tmp_path: Path) -> None:
    skip_without_qemu(device)
    assert_equals_the_reference(small(), device, X, tmp_path, SHIFT)
    kinds = {layer.kernel.split("_")[1] for layer in Network.read(tmp_path / LIBRARY).layers if layer.macs}
    assert kinds == {"s8pow2" if device in ("host-c", "cortex-m0plus") else "s8"}


def test_a_layer_whose_scales_are_no_powers_keeps_its_multipliers() -> None:
    graph = by_shifts(lower_program(small(shifts=False))[0], ("scalar",))
    assert {node.dtype for node in graph.nodes} == {"s8"}


@requires_qemu
def test_a_core_without_long_multiplication_calls_none_and_takes_fewer_instructions(tmp_path: Path) -> None:
    target, costs = resolve("cortex-m0plus"), []
    for shifts in (False, True):
        folder = tmp_path / str(shifts)
        folder.mkdir()
        options = SHIFT if shifts else MicroOptions()
        target.compile(small(shifts), folder, options)
        session = target.open(folder, options)
        costs.append({layer.name: layer.median for layer in session.layers({"image": X[:1]}, 1)})
        session.close()
    for kernel in (tmp_path / "True" / LIBRARY).glob("s8pow2_*.c"):
        command = ["arm-none-eabi-gcc", "-mcpu=cortex-m0plus", "-mthumb", "-O2", f"-I{tmp_path / 'True' / LIBRARY}"]
        subprocess.run([*command, "-c", kernel, "-o", tmp_path / "k.o"], check=True)
        symbols = subprocess.run(
            ["arm-none-eabi-nm", "-u", tmp_path / "k.o"], capture_output=True, text=True, check=True
        )
        assert "lmul" not in symbols.stdout
    depthwise = next(name for name in costs[0] if "conv2d_3" in name)
    assert some(costs[1][depthwise]) < 0.9 * some(costs[0][depthwise])
    assert sum(map(some, costs[1].values())) < sum(map(some, costs[0].values()))


@pytest.mark.parametrize("device", ["host-c", pytest.param("cortex-m0plus", marks=requires_qemu)])
def test_weights_in_four_bits_are_shifted_too(device: str, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(16, 3, 9, 8)).astype(np.float32)
    np.savez(tmp_path / "calib.npz", image=x)
    given: Overrides = {
        "precision": "int4",
        "requantization": "shift",
        "calib": str(tmp_path / "calib.npz"),
        "inputs": {"image": x[:1]},
    }
    run = edgeopt.export(Small(), f"mcu:{device}", tmp_path / "out", **given)
    assert {layer.precision for layer in some(run.latency).layers if "conv" in layer.type} >= {"w4a8"}
    assert some(run.error).sqnr_db > 20


def test_unknown_requantizations_are_refused() -> None:
    target = resolve("cortex-m0plus")
    with pytest.raises(UserError, match="requantization is 'shifts'"):
        target.check_options(MicroOptions(requantization="shifts"))
