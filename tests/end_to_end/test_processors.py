"""Artifacts are the same bytes on processors of different kinds, where they do not depend on the processor.

Torch is told to use another instruction set: its sums then run in another order, as they do on another processor.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgeopt.deploy.bundle import GOLDEN, read_manifest
from tests.models import mlperf_tiny

KINDS = {
    "without AVX": {
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
    },
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
}
EXPORTS = (
    ("onnx", {"precision": "fp32"}),
    ("openvino", {"precision": "fp32"}),
    ("onnx", {"precision": "int8", "calib": "calib.npz"}),
    ("host-c", {"calib": "calib.npz"}),
    ("jetson", {"precision": "fp16"}),
)

_SCRIPT = """
import json, sys, warnings
warnings.simplefilter("ignore")
import edgeopt
for number, (target, options) in enumerate(json.loads(sys.argv[1])):
    edgeopt.export("model.pt2", target, f"{sys.argv[2]}/{number}", baseline=False, max_seconds=0.02, **options)
"""


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The folder of each kind's bundles, numbered as ``EXPORTS``."""
    folder = tmp_path_factory.mktemp("processors")
    samples = np.ascontiguousarray(mlperf_tiny.kws01()[0][:16])
    exported = torch.export.export(mlperf_tiny.build("ds_cnn"), (torch.from_numpy(samples[:1]),))
    torch.export.save(exported, folder / "model.pt2")
    name = exported.graph_signature.user_inputs[0]
    np.savez(folder / "calib.npz", **{name: samples})
    for kind, variables in KINDS.items():
        environment = os.environ | variables | {"XDG_CACHE_HOME": str(folder / f"cache of {kind}")}
        command = [sys.executable, "-c", _SCRIPT, json.dumps(EXPORTS), kind]
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(EXPORTS)), ids=[f"{t}-{o.get('precision', 'int8')}" for t, o in EXPORTS])
def test_bytes_do_not_depend_on_the_processor(bundles: Any, number: int) -> None:
    first, second = (hashes(bundles / kind / str(number)) for kind in KINDS)
    assert first == second


def hashes(bundle: Path) -> dict[str, str]:
    """The files of a bundle but what its outputs are, which are computed where it was made."""
    return {entry["path"]: entry["sha256"] for entry in read_manifest(bundle)["files"] if entry["path"] != GOLDEN}
