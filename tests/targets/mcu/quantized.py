"""Quantized programs for the tests and benchmarks of this target: exact passes, min-max ranges, insert-qdq."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import fx, nn

from edgeopt.ir.program import Program, Range
from edgeopt.passes.pipeline import Pipeline
from edgeopt.passes.quantization.insert_qdq import InsertQdq
from edgeopt.plugins.target import Target
from edgeopt.plugins.testing import to_program
from edgeopt.quant.scheme import Scheme
from edgeopt.targets.mcu import PREPARE, MicroOptions
from edgeopt.targets.mcu.lower.lower import SCHEME
from edgeopt.targets.mcu.runtime.firmware import Firmware
from edgeopt.targets.mcu.runtime.session import MicroSession
from tests.models import mlperf_tiny


def quantize(module: nn.Module, samples: np.ndarray, scheme: Scheme = SCHEME) -> Program:
    """Quantize a module of one input over ``samples`` (along axis 0)."""
    return quantize_over(module, [x[None] for x in samples], scheme)


def quantize_over(module: nn.Module, inputs: Sequence[np.ndarray], scheme: Scheme = SCHEME) -> Program:
    """Quantize a module of one input over ``inputs``, each of them whole: a batch, or anything else."""
    program = to_program(module, (torch.from_numpy(inputs[0]),))
    program = Pipeline([step.build() for step in PREPARE])(program).program
    calibrate(program, [{program.inputs[0].name: x} for x in inputs])
    return InsertQdq(scheme)(program).program


def calibrate(program: Program, samples: Sequence[dict[str, np.ndarray]]) -> None:
    """Give ``program`` the least and largest value of everything that it computes."""
    ends: dict[str, tuple[float, float]] = {}

    def see(name: str, value: object) -> None:
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            low, high = ends.get(name, (0.0, 0.0))
            ends[name] = (min(low, float(value.min())), max(high, float(value.max())))

    def observe(node: fx.Node, value: object) -> None:
        see(node.name, value)

    for sample in samples:
        for name, array in sample.items():
            see(name, torch.from_numpy(array))
        program.run(sample, observe)
    program.ranges = {name: Range((low,), (high,)) for name, (low, high) in ends.items()}


def firmware_of(target: Target, folder: Path) -> Firmware:
    """Build what a microcontroller's target compiled into ``folder``; it takes and returns integers."""
    session = target.open(folder, MicroOptions())
    assert isinstance(session, MicroSession)
    return session.firmware


@cache
def mlperf(name: str) -> Program:
    """An MLPerf Tiny model, quantized over 64 of its inputs."""
    return quantize(mlperf_tiny.build(name), mlperf_tiny.example_inputs(name, 64))
