"""A compiled model in OpenVINO's CPU plug-in, and its runtime graph as layers."""

from __future__ import annotations

import json
import re
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from edgeopt.errors import UserError
from edgeopt.foreign import OTHER_TARGET, library, translated
from edgeopt.onnx import DOMAIN
from edgeopt.onnx.names import PREFIX, program_name
from edgeopt.plugins.target import Arrays, Session
from edgeopt.records.layers import Layer
from edgeopt.targets.openvino import extension
from edgeopt.targets.openvino.build import INTEGERS, OUTPUTS
from edgeopt.targets.openvino.guard import GUARD
from edgeopt.targets.openvino.native import called_in
from edgeopt.targets.openvino.sdk import core, openvino

COMPUTE = frozenset(
    ["Convolution", "Deconvolution", "FullyConnected", "MatMul", "ScaledDotProductAttention", "RNNCell", "RNNSeq"]
)
"""Layer types that multiply and accumulate: the ones a precision is asked for; the rest moves or rounds data."""


def is_compute(layer_type: str) -> bool:
    """Return whether layers of a type compute: those of ``COMPUTE`` and kernels, whose types are ``domain.Type``."""
    return layer_type in COMPUTE or "." in layer_type


# What OpenVINO's transformations call the nodes they add.
_OWN_NAME = re.compile(r"[A-Z][A-Za-z]*_\d+")


UNKNOWN_OPERATOR = "install the package that defines the operator it names, or export the model again"
"""Remedy where the model calls an operator whose kernel no installed package brings."""

_HINT = {"fp32": "f32", "bf16": "bf16"}
_PRECISION = {"f32": "fp32", "f16": "fp16", "i8": "int8", "u8": "uint8", "i32": "int32", "i64": "int64"}


_PROFILE_WARMUP = 5

_GROUP, _LONGEST = "DYNAMIC_QUANTIZATION_GROUP_SIZE", 128
_GROUPED = 3
"""Dimensions of integer weights in groups: outputs, groups, elements."""


class OpenVinoSession(Session):
    """Runs a model with one stream; ``float_precision`` is the arithmetic of what is not on integers."""

    def __init__(self, path: Path, float_precision: str, threads: int, group_size: int = 0) -> None:
        self._path = path
        self._settings = {
            "INFERENCE_PRECISION_HINT": _HINT[float_precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
        }
        self._group_size = group_size
        self._request: Any = None
        self._has_been_compiled = False
        self._start()

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Run one inference; inputs and outputs by name.

        Raises UserError where OpenVINO fails.
        """
        if self._request is None:
            self._start()
        self._check_bounds(inputs)
        try:
            self._request.infer(dict(inputs), share_outputs=True)
        except Exception as error:
            raise translated(error, "OpenVINO does not run the model", OTHER_TARGET) from error
        # Copied once, here: OpenVINO writes the next run's outputs into the same memory.
        return {name: self._request.get_output_tensor(index).data.copy() for index, name in enumerate(self._outputs)}

    def layers(self, inputs: Arrays, runs: int) -> tuple[Layer, ...]:
        """Return the executed layers of the runtime graph with their median time in ms over ``runs`` runs."""
        self.close()  # one copy of the weights at a time
        compiled, _, own = self._compile({"PERF_COUNT": True})
        request = compiled.create_infer_request()
        times: dict[str, list[float]] = defaultdict(list)
        for _ in range(_PROFILE_WARMUP):
            request.infer(dict(inputs), share_outputs=True)
        for _ in range(runs):
            request.infer(dict(inputs), share_outputs=True)
            for info in request.profiling_info:
                if info.status == info.Status.EXECUTED:
                    times[info.node_name].append(info.real_time.total_seconds() * 1e3)
        nodes = compiled.get_runtime_model().get_ordered_ops()
        return tuple(
            _layer(node, times[node.get_friendly_name()], own) for node in nodes if node.get_friendly_name() in times
        )

    def close(self) -> None:
        """Release the compiled model; a later run takes it up again."""
        self._request = None

    def _start(self) -> None:
        compiled, self._outputs, _ = self._compile({})
        self._request = compiled.create_infer_request()

    def _check_bounds(self, inputs: Arrays) -> None:
        for name, (low, high) in self._integers.items():
            array = inputs[name]
            if not array.size:
                continue
            # As Python's numbers: float32 would round the bound.
            least, most = array.min().item(), array.max().item()
            if not low <= least <= most <= high:
                raise UserError(
                    f"input '{name}' holds numbers from {least:,} to {most:,}, and OpenVINO computes "
                    f"this model rightly from {low:,} to {high:,}",
                    "feed smaller numbers, or export to onnx, which computes integers in 64 bits",
                )

    def _compile(self, extra: dict[str, Any]) -> tuple[Any, list[str], dict[str, str]]:
        """Return the compiled model, its outputs in order, and the types of our operators by name."""
        # Built here from installed sources: nothing from a bundle is run.
        libraries = {one.domain: one.load() for one in called_in(self._path.read_bytes())}
        if not self._has_been_compiled:
            GUARD.check(self._path, self._settings, libraries.values())
            self._has_been_compiled = True
        with library("OpenVINO does not read model.xml", UNKNOWN_OPERATOR):
            model = core().read_model(self._path)
        own = {
            node.get_friendly_name(): _kind(node)
            for node in model.get_ordered_ops()
            if node.get_type_info().version_id in libraries
        }
        outputs = json.loads(model.get_rt_info(OUTPUTS).value)
        self._integers = json.loads(model.get_rt_info(INTEGERS).value) if model.has_rt_info(INTEGERS) else {}
        group = {_GROUP: activations_at_once(model, self._group_size)}
        return core().compile_model(model, "CPU", {**self._settings, **group, **extra}), outputs, own


def _kind(node: Any) -> str:
    """Return the type of an operator that a kernel runs, and for one of edgeopt's own its instruction set."""
    domain = node.get_type_info().version_id
    kind = f"{domain}.{node.get_type_name()}"
    return f"{kind}, {extension.instruction_set()}" if domain == DOMAIN else kind


def activations_at_once(model: Any, least: int) -> int:
    """Return how many activations share a scale: those of the shortest group of weights in the model, up to 128.

    ``least`` where it has none; 0 stays 0. Longer groups are faster, but beside shorter ones of weights OpenVINO
    multiplies in float.
    """
    lengths = [
        node.get_output_shape(0)[-1]
        for node in model.get_ordered_ops()
        if node.get_type_name() == "Constant" and node.get_element_type() == openvino().Type.i8
        if len(node.get_output_shape(0)) == _GROUPED
    ]
    return max(least, min([*lengths, _LONGEST])) if least and lengths else least


def _layer(node: Any, times: list[float], own: dict[str, str]) -> Layer:
    facts = node.get_rt_info()
    origins = str(facts["originalLayersNames"].value).split(",")
    parts = [part.removeprefix(PREFIX) for part in origins if part and not _OWN_NAME.fullmatch(part)]
    # A node comes with its parts: ``linear/WithoutBiases`` says nothing beside ``linear``.
    name = ",".join(one for one in parts if "/" not in one or program_name(one) not in parts)
    name = name or node.get_friendly_name()
    precision = str(facts["runtimePrecision"].value)
    kind = next((own[part] for part in origins if part in own), str(facts["layerType"].value))
    return Layer(name, kind, _PRECISION.get(precision, precision), statistics.median(times))
