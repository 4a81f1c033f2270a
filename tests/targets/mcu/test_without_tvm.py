"""The target without its folder ``tvm``: it imports, lowers what kernels and tables take, and refuses the rest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

PROGRAM = """
import json, sys
import numpy as np
from torch import nn
import edgeopt.targets.mcu
from edgeopt.targets.mcu.lower.lower import lower_program
from tests.targets.mcu.quantized import quantize

layers = nn.Conv2d(2, 4, 1), nn.GELU(), nn.GroupNorm(2, 4), nn.Conv2d(4, 2, 1)
samples = np.random.default_rng(0).normal(size=(2, 2, 4, 4)).astype(np.float32)
found = []
for kept in (layers[:2] + layers[3:], layers):
    graph, refused = lower_program(quantize(nn.Sequential(*kept), samples))
    found.append([[node.op for node in graph.nodes], [placement.reason for placement in refused]])
print(json.dumps([edgeopt.targets.mcu.__file__, any("mcu.tvm" in name for name in sys.modules), *found]))
"""


def _linked(source: Path, target: Path, *without: str) -> None:
    """Make a folder of links to all that another holds, or all but some."""
    target.mkdir(exist_ok=True)
    for path in source.iterdir():
        if path.name not in without:
            (target / path.name).symlink_to(path)


def test_the_target_works_without_the_folder_of_tvm(tmp_path: Path) -> None:
    package = tmp_path / "edgeopt"
    _linked(ROOT / "edgeopt", package, "targets", "kernels", "calib")
    for name in ("kernels", "calib"):
        (package / name).symlink_to(ROOT / name)
    _linked(ROOT / "targets", package / "targets", "mcu")
    _linked(ROOT / "targets" / "mcu", package / "targets" / "mcu", "tvm")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM], capture_output=True, text=True, cwd=tmp_path, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (tmp_path, ROOT)))},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    where, imported, (kernels, nothing), (_, refused) = json.loads(done.stdout.splitlines()[-1])
    assert where.startswith(str(tmp_path)) and not imported
    assert kernels == ["conv2d", "table", "conv2d"] and nothing == []
    lacks = "edgeopt is installed without its part for TVM, which would compile it"
    assert refused and lacks in refused[0]
