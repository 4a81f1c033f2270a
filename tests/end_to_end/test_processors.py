"""Artifacts are the same bytes on processors of different kinds, where they do not depend on the processor.

Torch is told to use another instruction set: its sums then run in another order, as they do on another processor.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from edgeopt.deploy.bundle import GOLDEN, read_manifest
from tests.models import mlperf_tiny
from tests.typed import savez

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
target, options = json.loads(sys.argv[1])
edgeopt.export("model.pt2", target, sys.argv[2], baseline=False, max_seconds=0.02, **options)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model and its samples."""
    folder = tmp_path_factory.mktemp("processors")
    samples = np.ascontiguousarray(mlperf_tiny.kws01()[0][:16])
    exported = torch.export.export(mlperf_tiny.build("ds_cnn"), (torch.from_numpy(samples[:1]),))
    torch.export.save(exported, folder / "model.pt2")
    name = exported.graph_signature.user_inputs[0]
    savez(folder / "calib.npz", {name: samples})
    return folder


@pytest.mark.slow
@mlperf_tiny.requires_shared
@pytest.mark.parametrize("options", EXPORTS, ids=[f"{t}-{o.get('precision', 'int8')}" for t, o in EXPORTS])
def test_bytes_do_not_depend_on_the_processor(
    folder: Path, tmp_path: Path, options: tuple[str, dict[str, str]]
) -> None:
    for kind, variables in KINDS.items():
        environment = os.environ | variables | {"XDG_CACHE_HOME": str(tmp_path / f"cache of {kind}")}
        command = [sys.executable, "-c", _SCRIPT, json.dumps(options), str(tmp_path / kind)]
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    first, second = (hashes(tmp_path / kind) for kind in KINDS)
    assert first == second


def hashes(bundle: Path) -> dict[str, str]:
    """The files of a bundle but what its outputs are, which are computed where it was made."""
    return {entry["path"]: entry["sha256"] for entry in read_manifest(bundle)["files"] if entry["path"] != GOLDEN}
