"""The one place that imports OpenVINO: without its telemetry, and with a clear error where it is missing."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

from edgeopt.errors import ToolchainMissing

INSTALL = "pip install 'edgeopt[openvino]'"


def openvino() -> Any:
    """Return the module ``openvino``.

    Its converter reports each import and conversion through the package ``openvino_telemetry`` where that is
    present, and does without where it is not: so it is made absent. Raises ToolchainMissing.
    """
    absent: Any = None
    sys.modules.setdefault("openvino_telemetry", absent)
    try:
        import openvino
        import openvino.frontend
    except ImportError as error:
        raise ToolchainMissing("openvino", INSTALL) from error
    return openvino


@functools.cache
def core() -> Any:
    """Return the process's OpenVINO core, which keeps the CPU plug-in loaded."""
    return openvino().Core()


def cpu_precisions() -> tuple[str, ...]:
    """Return the precisions this CPU computes in, as OpenVINO finds them."""
    known = {"FP32": "fp32", "BF16": "bf16", "FP16": "fp16", "INT8": "int8"}
    return tuple(known[c] for c in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") if c in known)


def lacks_vnni() -> bool:
    """Whether this is an x86 processor that sums products of bytes in 16 bits; False where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return False
    flags = next((line.split(":", 1)[1].split() for line in lines if line.startswith("flags")), None)
    return flags is not None and not {"avx512_vnni", "avx_vnni"} & set(flags)
