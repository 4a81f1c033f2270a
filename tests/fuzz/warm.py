"""What every command does first, done once for all that are forked from the process that imports this.

It takes longer than most commands. No model is run: what its threads hold locked would stay locked in the forks.
"""

from __future__ import annotations

from importlib import import_module

import torch

from edgeopt.onnx import translate
from edgeopt.plugins.registry import pass_classes, target_classes
from edgeopt.plugins.testing import to_program
from tests import exporting

_IMPORTED_LATE = (
    "edgeopt.cli.calibrate",
    "edgeopt.cli.export",
    "edgeopt.deploy.export",
    "edgeopt.report.sections",
    "matplotlib.backends.backend_svg",
    "matplotlib.figure",
    "networkx",
    "onnxruntime",
    "torch._inductor.ir",
    "torch.onnx.ops",
)

for _name in _IMPORTED_LATE:
    import_module(_name)
target_classes()
pass_classes()
_often = exporting.often()
_often.__enter__()
translate(to_program(torch.nn.Linear(1, 1), [torch.zeros(1, 1)]))
