"""A quantized program with its float original and calibration data, for tests of what follows quantization."""

from typing import Any

import numpy as np
import torch
from torch import nn

from edgeopt.calib.calibrate import calibrate
from edgeopt.calib.data import Function
from edgeopt.calib.moments import PATCHES, observe_patches
from edgeopt.ir.context import EMPTY, FLOAT_PROGRAM
from edgeopt.ir.metrics import compare_all
from edgeopt.passes.pipeline import Pipeline
from edgeopt.passes.quantization.insert_qdq import InsertQdq
from edgeopt.plugins.testing import to_program
from edgeopt.quant.scheme import WEIGHTED, Scheme

SCHEMES = {
    "int32 bias": Scheme(torch.int8, WEIGHTED),
    "float bias": Scheme(torch.uint8, WEIGHTED, integer_bias=False, integer_results=False),
}


def network() -> Any:
    """A grouped convolution, a plain one and a linear, on inputs whose mean is far from zero."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2),
        nn.ReLU(),
        nn.Conv2d(8, 8, 1),
        nn.Flatten(),
        nn.Linear(8 * 16, 5),
    )


def quantized(scheme: Any, module: Any = None) -> Any:
    """Return the calibrated float program, the quantized one, the data, and the patches of the layers."""
    x = np.random.default_rng(0).standard_normal((30, 4, 8, 8)).astype(np.float32) + 1
    reference = to_program(module or network(), [torch.from_numpy(x[:1])])
    name = reference.inputs[0].name
    data = Function(lambda: ({name: row} for row in x), "memory", reference.inputs)
    reference.ranges = calibrate(reference, data, "minmax").program_ranges()
    program, _ = Pipeline([InsertQdq(scheme)]).run(reference)
    layers = [node for node in reference.calls if node.target in WEIGHTED]
    return reference, program, data, observe_patches(reference, data, layers)


def context(reference: Any, seen: Any) -> Any:
    """Return what recoveries need."""
    return EMPTY.adding(FLOAT_PROGRAM, reference).adding(PATCHES, seen)


def sqnr(reference: Any, program: Any, data: Any) -> Any:
    """Return the error of ``program`` over the data in dB."""
    return compare_all(map(reference.run, data), map(program.run, data)).sqnr_db
