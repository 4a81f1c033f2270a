"""TensorRT-RTX: engines built ahead of time, without a GPU, each in a process of its own (see ``worker.py``)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edgeopt.errors import EdgeoptError, ToolchainMissing
from edgeopt.targets.tensorrt.profiles import Profile

INSTALL = "pip install 'edgeopt[rtx]'"
PACKAGES = ("tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu13-libs")

WORKER = Path(__file__).with_name("worker.py")


@dataclass(frozen=True)
class NetworkLayer:
    """A layer of the network that was built: its name, type, and the type of what it computes."""

    name: str
    type: str
    precision: str


@dataclass(frozen=True)
class Engine:
    """A serialized engine, the layers of its network, and how long the build took.

    A GPU is needed to see what the layers were fused to.
    """

    plan: bytes
    layers: tuple[NetworkLayer, ...]
    seconds: float


def versions() -> dict[str, str]:
    """Return the versions of TensorRT-RTX's packages, none where it is not installed."""
    try:
        return {package: version(package) for package in PACKAGES}
    except PackageNotFoundError:
        return {}


def build(path: Path, capabilities: Sequence[str], sizes: Sequence[Profile]) -> Engine:
    """Build an engine that holds code for every compute capability, such as ``8.6``; the same bytes each time.

    Raises ToolchainMissing without TensorRT-RTX, EdgeoptError with its words where it refuses the model.
    """
    if not versions():
        raise ToolchainMissing("TensorRT-RTX", INSTALL)
    request = {"model": path.name, "capabilities": list(capabilities), "profiles": [asdict(one) for one in sizes]}
    done = subprocess.run(
        [sys.executable, str(WORKER), json.dumps(request)],
        cwd=path.parent,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
    )
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise EdgeoptError(
            f"TensorRT-RTX ended with status {done.returncode} as it built the model: {last}", "report the model"
        )
    line, _, plan = done.stdout.partition(b"\n")
    told = json.loads(line)
    if told.get("failed") == "parse":
        raise EdgeoptError(f"TensorRT-RTX does not read the model: {told['why']}", "report the operator it names")
    if told.get("failed") == "build":
        places = ", ".join(capabilities)
        raise EdgeoptError(
            f"TensorRT-RTX refuses the model for compute capability {places}: {told['why']}",
            "choose another --precision",
        )
    return Engine(plan, tuple(NetworkLayer(**layer) for layer in told["layers"]), told["seconds"])


def check(path: Path, capability: str, sizes: Sequence[Profile]) -> str:
    """Say in a sentence whether TensorRT-RTX parses and builds the model: a check, not the device's engine."""
    if not versions():
        return f"TensorRT-RTX is not installed, the model was not built as a check ({INSTALL})"
    try:
        engine = build(path, [capability], sizes)
    except EdgeoptError as error:
        return f"check failed: {error.message}"
    return (
        f"checked: TensorRT-RTX parses the model and builds it for compute capability {capability} "
        f"({len(engine.layers)} layers); that engine is not the device's and was not kept"
    )
