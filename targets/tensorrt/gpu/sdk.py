"""The one place that imports TensorRT, and what is known of the GPU beside it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeopt.errors import EdgeoptError, ToolchainMissing
from edgeopt.targets.tensorrt.profiles import Profile

INSTALL = "pip install tensorrt"
"""NVIDIA's package fetches the libraries from NVIDIA's own index."""

_NO_GPU = "an NVIDIA GPU and its driver (the targets jetson and rtx need none)"
_QUERY = ("name", "compute_cap", "clocks.sm", "driver_version")


@dataclass(frozen=True)
class Gpu:
    """A GPU: its name, compute capability, clock now, and driver."""

    name: str
    capability: str
    clock_mhz: str
    driver: str


def tensorrt() -> Any:
    """Return the module ``tensorrt``; raises ToolchainMissing."""
    try:
        import tensorrt
    except ImportError as error:
        raise ToolchainMissing("TensorRT", INSTALL) from error
    return tensorrt


def versions() -> dict[str, str]:
    """Return TensorRT's version; raises ToolchainMissing."""
    return {"tensorrt": tensorrt().__version__}


def gpu() -> Gpu:
    """Return the first GPU as its driver tells; raises ToolchainMissing."""
    command = ["nvidia-smi", f"--query-gpu={','.join(_QUERY)}", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
        name, capability, clock, driver = (part.strip() for part in told.splitlines()[0].split(","))
    except (OSError, subprocess.SubprocessError, IndexError, ValueError) as error:
        raise ToolchainMissing("an NVIDIA GPU with its driver", _NO_GPU) from error
    return Gpu(name, capability, clock, driver)


def build(path: Path, sizes: Sequence[Profile]) -> bytes:
    """Build an engine for the GPU that is here.

    Raises ToolchainMissing without TensorRT, EdgeoptError with its words where it refuses the model.
    """
    trt = tensorrt()
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    # From TensorRT 11 on every network is strongly typed and the flag is gone.
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if flag is None else 1 << int(flag))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(path)):
        errors = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise EdgeoptError(f"TensorRT does not read the model: {errors}", "report the operator it names")
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if sizes:
        profile = builder.create_optimization_profile()
        for one in sizes:
            profile.set_shape(one.name, one.least, one.usual, one.largest)
        config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EdgeoptError("TensorRT does not build the model", "see its messages above")
    return bytes(plan)
