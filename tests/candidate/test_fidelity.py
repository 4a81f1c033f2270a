"""An artifact against the program that it was compiled from, whatever the original's limits allow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import fx, nn

import edgeopt
from edgeopt.candidate.fidelity import STEPS, check_program, fidelity
from edgeopt.deploy.overrides import Overrides
from edgeopt.ir.program import Program
from edgeopt.ops.quantize import QUANTIZE
from edgeopt.plugins.testing import to_program
from edgeopt.targets.mcu import Mcu
from edgeopt.targets.reference import Reference
from tests.targets.mcu.quantized import quantize
from tests.typed import some

aten = torch.ops.aten
IMAGES = np.random.default_rng(0).standard_normal((16, 3, 9, 9)).astype(np.float32)


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(36, 5))


@pytest.fixture(scope="module")
def quantized() -> Program:
    return quantize(network(), IMAGES)


def step_aside(share: float) -> Callable[[fx.Node, torch.Tensor], torch.Tensor | None]:
    """Return an observer that moves a share of the rounded values up by a step."""

    def move(node: fx.Node, value: torch.Tensor) -> torch.Tensor | None:
        if node.target is not QUANTIZE:
            return None
        moved = torch.rand(value.shape) < share
        return (value.to(torch.int32) + moved).clamp(-128, 127).to(value.dtype)

    return move


def samples(program: Program) -> list[dict[str, np.ndarray]]:
    return [{program.inputs[0].name: IMAGES[i : i + 1]} for i in range(3)]


def test_values_that_round_to_the_step_beside_are_no_fault(quantized: Program) -> None:
    outputs = [quantized.run(sample, step_aside(0.05)) for sample in samples(quantized)]
    (one,) = fidelity(quantized, samples(quantized), outputs, STEPS)
    assert one.ok and one.error.relative > 0


def test_a_layer_that_is_computed_wrong_is_a_fault_in_integers_too(quantized: Program) -> None:
    wrong = quantized.clone()
    next(node for node in wrong.calls if node.name == "relu_1").target = aten.abs.default
    outputs = [wrong.run(sample) for sample in samples(quantized)]
    (checked,) = check_program(quantized, samples(quantized), outputs, STEPS)
    assert (checked.name, checked.ok, checked.is_default, checked.unit) == ("program-sqnr", False, True, "dB")
    assert some(checked.value) < 10 < some(checked.limit) < 40


def test_floats_are_held_to_the_relative_error() -> None:
    program = to_program(network(), (torch.from_numpy(IMAGES[:1]),))
    exact = [program.run(sample) for sample in samples(program)]
    for factor, ok in ((1 + 1e-5, True), (1 + 1e-3, False)):
        outputs = [{name: (array * factor).astype(np.float32) for name, array in one.items()} for one in exact]
        (checked,) = check_program(program, samples(program), outputs, 1e-4)
        assert (checked.name, checked.ok, checked.limit) == ("program-error", ok, 1e-4)


def test_where_a_target_rounds_by_itself_nothing_is_checked(quantized: Program) -> None:
    assert check_program(quantized, samples(quantized), [], None) == ()


def wrong_at(name: str, change: Callable[[Program, fx.Node], None], lower: Callable[..., Any]) -> Callable[..., Any]:
    """Return a target's way to lower programs, with a fault at the node of that name."""

    def lowered(self: object, program: Program, options: object) -> object:
        copy = program.clone()
        for node in copy.calls:
            if node.name == name:
                change(copy, node)
        return lower(self, copy, options)

    return lowered


def to_abs(program: Program, node: fx.Node) -> None:
    node.target = aten.abs.default


def to_negative(program: Program, node: fx.Node) -> None:
    """Turn the sign of a layer's scales."""
    scales = node.all_input_nodes[1].all_input_nodes[1]
    program.constants[scales.name] = -program.constants[scales.name]


QUICK: Overrides = {"warmup": 1, "max_seconds": 0.05, "baseline": False}


def test_an_export_that_is_compiled_wrong_names_the_layer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Reference, "lower", wrong_at("relu_1", to_abs, Reference.lower))
    run = edgeopt.export(network(), "reference", tmp_path / "out", **QUICK | {"inputs": {"input": IMAGES[:1]}})
    assert (run.verdict, run.ok, run.exit_code) == ("differs", False, 1)
    assert next(limit for limit in run.limits if limit.name == "program-error").ok is False
    assert "first at relu_1 (aten.relu) in 3" in (run.cause or "")


@pytest.mark.slow
def test_a_microcontroller_that_computes_a_layer_wrong_names_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    np.savez(tmp_path / "data.npz", input=IMAGES)
    given: Overrides = {**QUICK, "inputs": {"input": IMAGES[:1]}, "calib": str(tmp_path / "data.npz")}
    right = edgeopt.export(network(), "host-c", tmp_path / "right", **given)
    assert right.ok and next(limit for limit in right.limits if limit.name.startswith("program-")).ok
    monkeypatch.setattr(Mcu, "lower", wrong_at("conv2d_1", to_negative, Mcu.lower))
    run = edgeopt.export(network(), "host-c", tmp_path / "out", **given)
    assert run.verdict == "differs" and "first at conv2d_1 (aten.conv2d) in 2" in (run.cause or "")
