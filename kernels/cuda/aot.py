"""Plug-ins in Python whose kernels are compiled ahead of time, for TensorRT from 10.9 on.

``register()`` makes them known to the process's TensorRT; its ONNX parser then takes a node of that name with the
attributes ``plugin_namespace="edgeopt"`` and ``aot=1``. TensorRT does not serialise the attributes of such a plug-in:
they are compiled into the PTX, so that an engine holds what it needs. Plug-ins of several kernels or with a workspace
(linear attention, binary linear) exist in C++ only, in ``plugins/``.
"""

# No deferred annotations: TensorRT reads those of what is registered.
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Tuple, Union

from edgeopt.errors import ToolchainMissing
from edgeopt.kernels.cuda.inventory import PLUGINS, ROOT

KERNELS = {"RmsNorm": "eo_aot_rms_norm", "Fp4Linear": "eo_aot_fp4_linear"}
"""The plug-ins that exist in this form, and their kernels."""

_THREADS = 128
_WARPS = 4
_ROWS = 4


def ptx(capability: str, constants: Mapping[str, object]) -> bytes:
    """Return the PTX of all kernels for a compute capability such as ``8.7``, with attributes as ``constants``.

    Raises ToolchainMissing without nvcc.
    """
    compiler = shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
    if compiler is None:
        raise ToolchainMissing("nvcc", "apt-get install cuda-nvcc, or NVIDIA's CUDA toolkit")
    defines = [f"-D{name}={value}" for name, value in constants.items()]
    architecture = f"-arch=compute_{capability.replace('.', '')}"
    with tempfile.TemporaryDirectory(prefix="edgeopt-") as folder:
        out = Path(folder) / "aot.ptx"
        command = [compiler, "-ptx", architecture, "-std=c++17", *defines, str(ROOT / "aot.cu"), "-o", str(out)]
        subprocess.run(command, check=True, capture_output=True)
        return out.read_bytes()


def register(capability: str) -> None:
    """Register the plug-ins with the process's TensorRT, for GPUs of a compute capability."""
    import tensorrt.plugin as trtp

    _register_rms_norm(trtp, capability)
    _register_fp4_linear(trtp, capability)


def _register_rms_norm(trtp: Any, capability: str) -> None:
    name = _qualified("RmsNorm")

    def shape(x: trtp.TensorDesc, weight: trtp.TensorDesc, epsilon: float) -> trtp.TensorDesc:
        return x.like()

    def implementation(
        x: trtp.TensorDesc, weight: trtp.TensorDesc, epsilon: float, outputs: Tuple[trtp.TensorDesc], tactic: int
    ) -> Tuple[Union[str, bytes], Union[str, bytes], trtp.KernelLaunchParams, trtp.SymExprs]:
        width = x.shape_expr[x.ndim - 1]
        launch = trtp.KernelLaunchParams()
        launch.grid_x, launch.block_x, launch.shared_mem = x.shape_expr.numel() // width, _THREADS, 0
        code = ptx(capability, {"EO_EPSILON": f"{epsilon!r}f", "EO_ELEMENT": _element(x)})
        return KERNELS["RmsNorm"], code, launch, _integers(trtp, width)

    trtp.register(name)(shape)
    trtp.aot_impl(name)(implementation)


def _register_fp4_linear(trtp: Any, capability: str) -> None:
    name = _qualified("Fp4Linear")

    def shape(
        x: trtp.TensorDesc,
        weight: trtp.TensorDesc,
        scales: trtp.TensorDesc,
        bias: trtp.TensorDesc,
        factor: float,
        group: int,
        scale_kind: int,
    ) -> trtp.TensorDesc:
        out = x.like()
        leading = [x.shape_expr[axis] for axis in range(x.ndim - 1)]
        out.shape_expr = trtp.ShapeExprs.from_tuple((*leading, weight.shape_expr[0]))
        return out

    def implementation(
        x: trtp.TensorDesc,
        weight: trtp.TensorDesc,
        scales: trtp.TensorDesc,
        bias: trtp.TensorDesc,
        factor: float,
        group: int,
        scale_kind: int,
        outputs: Tuple[trtp.TensorDesc],
        tactic: int,
    ) -> Tuple[Union[str, bytes], Union[str, bytes], trtp.KernelLaunchParams, trtp.SymExprs]:
        inputs, features = x.shape_expr[x.ndim - 1], weight.shape_expr[0]
        rows = x.shape_expr.numel() // inputs
        launch = trtp.KernelLaunchParams()
        launch.grid_x, launch.grid_y = trtp.cdiv(features, _WARPS), trtp.cdiv(rows, _ROWS)
        launch.block_x, launch.shared_mem = _THREADS, 0
        constants = {"EO_GLOBAL": f"{factor!r}f", "EO_GROUP": group, "EO_SCALE_KIND": scale_kind}
        code = ptx(capability, {**constants, "EO_ELEMENT": _element(x)})
        return KERNELS["Fp4Linear"], code, launch, _integers(trtp, rows, inputs, features)

    trtp.register(name)(shape)
    trtp.aot_impl(name)(implementation)


def _qualified(node: str) -> str:
    plugin = next(plugin for plugin in PLUGINS if plugin.node == node)
    return f"{plugin.namespace}::{plugin.node}"


def _element(x: Any) -> str:
    return "__half" if "HALF" in str(x.dtype) else "float"


def _integers(trtp: Any, *values: Any) -> Any:
    extra = trtp.SymIntExprs(len(values))
    for index, value in enumerate(values):
        extra[index] = trtp.SymInt32(value)
    return extra
