"""What a target computes of a module, held against the module."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
import torch
from torch import nn

from edgeopt.ir.metrics import compare
from edgeopt.ir.program import to_numpy
from edgeopt.plugins.registry import resolve
from edgeopt.plugins.testing import to_program
from edgeopt.records.outputs import Error

NAMES = ("reference", "onnx", "openvino")


def error_on(name: str, module: nn.Module, operands: Sequence[torch.Tensor], folder: Path) -> Error:
    """Return the error of a module as the target of this name runs it; skips where that is not installed."""
    target = resolve(name)
    if not (probe := target.probe()).found:
        pytest.skip(str(probe.install))
    program = to_program(module, operands)
    options = target.Options(**target.device.options)
    target.compile(program, folder, options)
    sample = {spec.name: to_numpy(tensor) for spec, tensor in zip(program.inputs, operands, strict=True)}
    with closing(target.open(folder, options)) as session:
        return compare(program.run(sample), session.run(sample))
