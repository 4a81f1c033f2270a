"""Kernels chosen for nodes, and what the planner is told of them."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from edgeopt.targets.mcu.graph.graph import IntegerGraph
from edgeopt.targets.mcu.lower.lower import lower_program
from edgeopt.targets.mcu.plan.arena import place
from edgeopt.targets.mcu.plan.kernels import choose_kernels
from edgeopt.targets.mcu.runtime.core import read_core

from .quantized import quantize


def graph(module: nn.Module, *shape: int) -> IntegerGraph:
    samples = np.random.default_rng(0).normal(size=(4, *shape)).astype(np.float32)
    return lower_program(quantize(module, samples))[0]


def symbols(network: IntegerGraph, core: str, mode: str, flash: int | None = None) -> list[str]:
    return [step.symbol for step in choose_kernels(network, read_core(core).isas, mode, flash)]


def test_each_core_gets_its_fastest_kernels() -> None:
    network = graph(nn.Sequential(nn.Conv2d(4, 8, 3), nn.Conv2d(8, 8, 3, groups=8)), 4, 8, 8)
    for core, isas in {
        "cortex-m0plus": ("scalar", "scalar"),
        "cortex-m4": ("dsp16", "dsp"),
        "cortex-m55": ("mve",) * 2,
    }.items():
        expected = [f"eo_s8_conv2d__{isas[0]}", f"eo_s8_depthwise_conv2d__{isas[1]}"]
        assert symbols(network, core, "speed") == expected


def test_shapes_that_a_fast_kernel_does_not_take_go_to_scalar_c() -> None:
    network = graph(nn.Sequential(nn.Conv2d(3, 5, 1), nn.Conv2d(5, 5, 3, groups=5)), 3, 8, 8)
    assert symbols(network, "cortex-m4", "speed")[1] == "eo_s8_depthwise_conv2d__scalar"
    assert symbols(network, "cortex-m55", "speed")[1] == "eo_s8_depthwise_conv2d__mve"


def test_balanced_expands_what_saves_most_instructions_a_byte() -> None:
    # The first layer multiplies each weight 36 times, the second once: flash for one of them goes to the first.
    network = graph(nn.Sequential(nn.Conv2d(4, 16, 3), nn.Flatten(), nn.Linear(16 * 36, 4)), 4, 8, 8)
    sizes = [
        sum(s.needs.packed.nbytes for s in choose_kernels(network, read_core("cortex-m4").isas, m))
        for m in ("size", "speed")
    ]
    assert symbols(network, "cortex-m4", "balanced", sizes[0]) == ["eo_s8_conv2d__dsp", "eo_s8_linear__dsp"]
    assert symbols(network, "cortex-m4", "balanced", sizes[1]) == ["eo_s8_conv2d__dsp16", "eo_s8_linear__dsp16"]
    between = sizes[0] + 600
    assert symbols(network, "cortex-m4", "balanced", between) == ["eo_s8_conv2d__dsp16", "eo_s8_linear__dsp"]


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m55"])
def test_reads_behind_the_end_of_a_tensor_stay_in_the_arena(core: str) -> None:
    modules = (
        nn.Conv2d(3, 4, 3),
        nn.Conv2d(3, 3, 3, groups=3),
        nn.AvgPool2d(2),
        nn.Sequential(nn.Flatten(), nn.Linear(75, 3)),
    )
    longest = 0
    for module in modules:
        network = graph(module, 3, 5, 5)
        steps = choose_kernels(network, read_core(core).isas)
        plan = place(network, steps)
        for step in steps:
            x = network.tensors[step.node.inputs[0]]
            assert plan.offsets[x.name] + x.size + step.overread <= plan.arena_bytes
            longest = max(longest, step.overread)
    assert longest > 0
