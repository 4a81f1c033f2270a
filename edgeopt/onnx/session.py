"""A model in ONNX Runtime, and its profile as layers."""

from __future__ import annotations

import json
import re
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from edgeopt import onnx
from edgeopt.errors import ToolchainMissing, UserError
from edgeopt.foreign import OTHER_TARGET, translated
from edgeopt.onnx.names import RuntimeNames, inline, program_name, read
from edgeopt.plugins.target import Arrays, Session
from edgeopt.records.layers import Layer

OPTIMIZATION = {
    "none": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
_PRECISION = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16", "double": "float64"}


class OnnxSession(Session):
    """Runs a model, a file or its bytes, on ONNX Runtime's CPU provider."""

    def __init__(self, model: Path | bytes, threads: int, optimization: str) -> None:
        self._model, self._threads, self._optimization = model, threads, optimization
        self._session = self._load(model)
        self._types = {one.name: one.type for one in self._session.get_inputs()}
        self._outputs = onnx.output_names(self._session.get_modelmeta().custom_metadata_map)

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Run one inference; inputs and outputs by name.

        Raises UserError where ONNX Runtime fails.
        """
        try:
            values = self._session.run(None, {name: self._widened(name, array) for name, array in inputs.items()})
        except Exception as error:
            raise translated(error, "ONNX Runtime does not run the model", OTHER_TARGET) from error
        return dict(zip(self._outputs, values, strict=True))

    def _widened(self, name: str, array: np.ndarray) -> np.ndarray:
        """Return an input in float32 where the model has that in place of float16, which changes no number."""
        is_narrow = array.dtype == np.float16 and self._types.get(name) == "tensor(float)"
        return array.astype(np.float32) if is_narrow else array

    def layers(self, inputs: Arrays, runs: int) -> tuple[Layer, ...]:
        """Return the executed nodes, the type they recorded and their median time in ms over ``runs`` runs."""
        model, profiled = read(self._model), self._model
        with tempfile.TemporaryDirectory(prefix="edgeopt-") as name:
            folder = Path(name)
            if model.functions:
                inline(model)
                profiled = folder / "model.onnx"
                onnx.save(model, profiled)
            session = self._load(profiled, folder)
            for _ in range(runs):
                session.run(None, dict(inputs))
            events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
        return _layers(events, RuntimeNames(model))

    def close(self) -> None:
        """Release the session."""
        self._session = None

    def _load(self, model: Path | bytes, profile_to: Path | None = None) -> Any:
        try:
            import onnxruntime as ort
        except ImportError as error:
            raise ToolchainMissing("onnxruntime", onnx.INSTALL) from error
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = self._threads
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        settings.graph_optimization_level = getattr(ort.GraphOptimizationLevel, OPTIMIZATION[self._optimization])
        if profile_to is not None:
            settings.enable_profiling = True
            settings.profile_file_prefix = str(profile_to / "profile")
        try:
            return ort.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
        except ort.capi.onnxruntime_pybind11_state.NotImplemented as error:
            raise _no_kernel(str(error)) from error


def _no_kernel(message: str) -> UserError:
    found = re.search(r"implementation for (\w+)\(\d+\) node with name '([^']*)'", message)
    kernel, node = (found[1], f" of node '{program_name(found[2])}'") if found else (message.splitlines()[0], "")
    return UserError(
        f"ONNX Runtime has no kernel for {kernel}{node} in its type of numbers",
        "take a model of other floats in float32 with --float32, or give the operator another type in forward()",
    )


def _layers(events: list[dict[str, Any]], names: RuntimeNames) -> tuple[Layer, ...]:
    times: dict[str, list[float]] = defaultdict(list)
    facts: dict[str, dict[str, Any]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            name = event["name"].removesuffix("_kernel_time")
            times[name].append(event["dur"] / 1e3)
            facts[name] = event["args"]
    return tuple(
        Layer(names.of(name, fact["op_name"]), fact["op_name"], _precision(fact), statistics.median(times[name]))
        for name, fact in facts.items()
    )


def _precision(fact: dict[str, Any]) -> str:
    recorded = next(iter((fact.get("output_type_shape") or [{}])[0]), "")
    return _PRECISION.get(recorded, recorded or "unknown")
