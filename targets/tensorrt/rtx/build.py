"""TensorRT-RTX: engines built ahead of time, without a GPU.

No plug-in is ever registered in a process that loads it: its parser would end the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edgeopt.errors import EdgeoptError, ToolchainMissing
from edgeopt.targets.tensorrt.profiles import Profile

INSTALL = "pip install 'edgeopt[rtx]'"
PACKAGES = ("tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu13-libs")

_SHAPELESS = frozenset({"CONSTANT", "SHAPE"})


@dataclass(frozen=True)
class NetworkLayer:
    """A layer of the network that was built: its name, type, and the type of what it computes."""

    name: str
    type: str
    precision: str


@dataclass(frozen=True)
class Engine:
    """A serialised engine and the layers of its network. A GPU is needed to see what the layers were fused to."""

    plan: bytes
    layers: tuple[NetworkLayer, ...]


def versions() -> dict[str, str]:
    """Return the versions of TensorRT-RTX's packages, none where it is not installed."""
    try:
        return {package: version(package) for package in PACKAGES}
    except PackageNotFoundError:
        return {}


def build(path: Path, capabilities: Sequence[str], sizes: Sequence[Profile]) -> Engine:
    """Build an engine that holds code for every compute capability, such as ``8.6``.

    Raises ToolchainMissing without TensorRT-RTX, EdgeoptError with its words where it refuses the model.
    """
    trt = _sdk()
    logger = _collecting_logger(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(path)):
        errors = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise EdgeoptError(f"TensorRT-RTX does not read the model: {errors}", "report the operator it names")
    config = builder.create_builder_config()
    config.num_compute_capabilities = len(capabilities)
    for index, capability in enumerate(capabilities):
        chosen = getattr(trt.ComputeCapability, f"SM{capability.replace('.', '')}")
        config.set_compute_capability(chosen, index)
    if sizes:
        _add_profile(builder, config, sizes)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        places = ", ".join(capabilities)
        raise EdgeoptError(
            f"TensorRT-RTX refuses the model for compute capability {places}: {logger.last_error()}",
            "choose another --precision",
        )
    return Engine(bytes(plan), _layers(network))


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


def _sdk() -> Any:
    try:
        import tensorrt_rtx_bindings
    except ImportError as error:
        raise ToolchainMissing("TensorRT-RTX", INSTALL) from error
    return tensorrt_rtx_bindings


def _collecting_logger(trt: Any) -> Any:
    class Collecting(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(message)

        def last_error(self) -> str:
            return self.errors[-1] if self.errors else "it gives no reason"

    return Collecting()


def _add_profile(builder: Any, config: Any, sizes: Sequence[Profile]) -> None:
    profile = builder.create_optimization_profile()
    for one in sizes:
        profile.set_shape(one.name, one.least, one.usual, one.largest)
    config.add_optimization_profile(profile)


def _layers(network: Any) -> tuple[NetworkLayer, ...]:
    found = []
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        kind = str(layer.type).rpartition(".")[2]
        if kind not in _SHAPELESS and layer.num_outputs:
            found.append(NetworkLayer(layer.name, kind.lower(), _precision(layer.get_output(0).dtype)))
    return tuple(found)


def _precision(dtype: Any) -> str:
    name = str(dtype).rpartition(".")[2]
    return {"FLOAT": "fp32", "HALF": "fp16"}.get(name, name.lower())
