"""Plug-ins in Python whose kernels are compiled ahead of time, for TensorRT from 10.9 on.

``register()`` makes them known to the process's TensorRT; its ONNX parser then takes a node of that name with the
attributes ``plugin_namespace="edgeopt"`` and ``aot=1``. TensorRT does not serialize the attributes of such a plug-in:
they are compiled into the PTX, so that an engine holds what it needs.

Such a plug-in is one launch of one kernel, without a workspace. Linear attention and binary linear have kernels of that
form; those of the C++ plug-ins in ``plugins/`` take several launches, which keep more of a GPU busy.
"""

# No deferred annotations: TensorRT reads those of what is registered.
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Tuple, Union

from edgeopt.errors import ToolchainMissing, UserError
from edgeopt.kernels.cuda.inventory import PLUGINS, ROOT

KERNELS = {
    "LinearAttention": "eo_aot_linear_attention",
    "CausalLinearAttention": "eo_aot_linear_attention",
    "RmsNorm": "eo_aot_rms_norm",
    "Fp4Linear": "eo_aot_fp4_linear",
    "BinaryLinear": "eo_aot_binary_linear",
}
"""Each plug-in's kernel."""

MOST_FEATURES = 132
"""Of linear attention: its state and tiles share what memory a block has without asking for more, 48 KiB."""

_THREADS = 128
_WARPS = 4
_ROWS = 4
_OUTPUTS = 64
_TILE, _SLICE = 32, 16


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

    _register_linear_attention(trtp, capability, "LinearAttention")
    _register_linear_attention(trtp, capability, "CausalLinearAttention")
    _register_rms_norm(trtp, capability)
    _register_fp4_linear(trtp, capability)
    _register_binary_linear(trtp, capability)


def _register_linear_attention(trtp: Any, capability: str, node: str) -> None:
    name, is_causal = _qualified(node), node.startswith("Causal")

    def shape(query: trtp.TensorDesc, key: trtp.TensorDesc, value: trtp.TensorDesc, epsilon: float) -> trtp.TensorDesc:
        out = query.like()
        leading = [query.shape_expr[axis] for axis in range(3)]
        out.shape_expr = trtp.ShapeExprs.from_tuple((*leading, value.shape_expr[3]))
        return out

    def implementation(
        query: trtp.TensorDesc,
        key: trtp.TensorDesc,
        value: trtp.TensorDesc,
        epsilon: float,
        outputs: Tuple[trtp.TensorDesc],
        tactic: int,
    ) -> Tuple[Union[str, bytes], Union[str, bytes], trtp.KernelLaunchParams, trtp.SymExprs]:
        features, columns = query.shape_expr[3], value.shape_expr[3]
        _check_features(features)
        launch = trtp.KernelLaunchParams()
        launch.grid_x = trtp.cdiv(columns, _SLICE)
        launch.grid_y = query.shape_expr[0] * query.shape_expr[1]
        launch.block_x = _THREADS
        floats = features * (_SLICE + 1 + 2 * _TILE) + (_TILE * _SLICE + _TILE * _TILE + _TILE)
        launch.shared_mem = floats * 4
        constants = {"EO_CAUSAL": int(is_causal), "EO_EPSILON": f"{epsilon!r}f", "EO_ELEMENT": _element(query)}
        sizes = (query.shape_expr[2], key.shape_expr[2], features, columns)
        return KERNELS[node], ptx(capability, constants), launch, _integers(trtp, *sizes)

    trtp.register(name)(shape)
    trtp.aot_impl(name)(implementation)


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
        return _linear_shape(trtp, x, weight)

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
        rows, inputs, features = _linear_sizes(x, weight)
        launch = trtp.KernelLaunchParams()
        launch.grid_x, launch.grid_y = trtp.cdiv(features, _WARPS), trtp.cdiv(rows, _ROWS)
        launch.block_x, launch.shared_mem = _THREADS, 0
        constants = {"EO_GLOBAL": f"{factor!r}f", "EO_GROUP": group, "EO_SCALE_KIND": scale_kind}
        code = ptx(capability, {**constants, "EO_ELEMENT": _element(x)})
        return KERNELS["Fp4Linear"], code, launch, _integers(trtp, rows, inputs, features)

    trtp.register(name)(shape)
    trtp.aot_impl(name)(implementation)


def _register_binary_linear(trtp: Any, capability: str) -> None:
    name = _qualified("BinaryLinear")

    def shape(
        x: trtp.TensorDesc,
        shift: trtp.TensorDesc,
        weight: trtp.TensorDesc,
        scale: trtp.TensorDesc,
        bias: trtp.TensorDesc,
    ) -> trtp.TensorDesc:
        return _linear_shape(trtp, x, weight)

    def implementation(
        x: trtp.TensorDesc,
        shift: trtp.TensorDesc,
        weight: trtp.TensorDesc,
        scale: trtp.TensorDesc,
        bias: trtp.TensorDesc,
        outputs: Tuple[trtp.TensorDesc],
        tactic: int,
    ) -> Tuple[Union[str, bytes], Union[str, bytes], trtp.KernelLaunchParams, trtp.SymExprs]:
        rows, inputs, features = _linear_sizes(x, weight)
        launch = trtp.KernelLaunchParams()
        launch.grid_x, launch.grid_y = trtp.cdiv(features, _OUTPUTS), trtp.cdiv(rows, _ROWS)
        launch.block_x, launch.shared_mem = _THREADS, weight.shape_expr[1] * (4 * _ROWS)
        code = ptx(capability, {"EO_ELEMENT": _element(x)})
        return KERNELS["BinaryLinear"], code, launch, _integers(trtp, rows, inputs, features)

    trtp.register(name)(shape)
    trtp.aot_impl(name)(implementation)


def _linear_shape(trtp: Any, x: Any, weight: Any) -> Any:
    out = x.like()
    leading = [x.shape_expr[axis] for axis in range(x.ndim - 1)]
    out.shape_expr = trtp.ShapeExprs.from_tuple((*leading, weight.shape_expr[0]))
    return out


def _linear_sizes(x: Any, weight: Any) -> tuple[Any, Any, Any]:
    """Return rows, inputs and outputs of a linear layer."""
    inputs = x.shape_expr[x.ndim - 1]
    return x.shape_expr.numel() // inputs, inputs, weight.shape_expr[0]


def _check_features(features: Any) -> None:
    if not features.is_fake and features.is_constant and features.constant_value() > MOST_FEATURES:
        raise UserError(
            f"linear attention has {features.constant_value()} features, more than {MOST_FEATURES}",
            "take the C++ plug-in, or the body in standard operators",
        )


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
