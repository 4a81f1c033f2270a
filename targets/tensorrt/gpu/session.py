"""An engine on the GPU: runs, CUDA events for the time, the inspector for the layers."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgeopt.errors import EdgeoptError, UserError
from edgeopt.plugins.target import Arrays, Session
from edgeopt.records.layers import Layer
from edgeopt.targets.tensorrt.gpu.cuda import Cuda
from edgeopt.targets.tensorrt.gpu.sdk import tensorrt
from edgeopt.targets.tensorrt.trtexec import layer_precision


class GpuSession(Session):
    """A deserialized engine with device memory for one shape of its inputs at a time.

    ``outputs`` maps the engine's output names to the program's. A cost is the GPU's time between two events around
    the inference, without the transfers.
    """

    def __init__(self, plan: bytes, outputs: Mapping[str, str]) -> None:
        self._trt, self._cuda, self._outputs = tensorrt(), Cuda(), dict(outputs)
        self._logger = self._trt.Logger(self._trt.Logger.ERROR)
        self._runtime = self._trt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise EdgeoptError(
                "TensorRT does not load the engine", "it was built for another GPU or release: export again"
            )
        self._context = self._engine.create_execution_context()
        self._stream = self._cuda.stream()
        self._memory: dict[str, tuple[int, int]] = {}

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Run one inference; inputs and outputs by name. Raises UserError for a shape outside the profile."""
        results = self._bind(inputs)
        self._execute()
        for name, array in results.items():
            self._cuda.to_host(array, self._memory[name][0], self._stream)
        self._cuda.synchronize(self._stream)
        return {self._outputs[name]: array for name, array in results.items()}

    def cost(self, inputs: Arrays) -> tuple[float, float]:
        """Return the GPU's time of one inference in ms; CPU time is not told apart."""
        self._bind(inputs)
        with self._cuda.timer(self._stream) as timer:
            self._execute()
        return timer.milliseconds, 0.0

    def layers(self, inputs: Arrays, runs: int) -> tuple[Layer, ...]:
        """Return the engine's layers as the inspector tells, with their median time in ms over ``runs`` runs."""
        times: dict[str, list[float]] = defaultdict(list)
        context = self._engine.create_execution_context()
        context.profiler = _profiler(self._trt, times)
        kept, self._context = self._context, context
        try:
            self._bind(inputs)
            for _ in range(runs):
                self._execute()
                self._cuda.synchronize(self._stream)
        finally:
            self._context = kept
        facts = {layer["Name"]: layer for layer in self._inspected()}
        return tuple(
            Layer(
                name,
                facts.get(name, {}).get("LayerType", "unknown"),
                layer_precision(facts.get(name, {})) or "unknown",
                statistics.median(each),
            )
            for name, each in times.items()
        )

    def close(self) -> None:
        """Release the engine and its memory."""
        for pointer, _ in self._memory.values():
            self._cuda.free(pointer)
        self._memory.clear()
        self._context = self._engine = None

    def _inspected(self) -> list[dict[str, Any]]:
        inspector = self._engine.create_engine_inspector()
        told = json.loads(inspector.get_engine_information(self._trt.LayerInformationFormat.JSON))
        return [layer for layer in told["Layers"] if isinstance(layer, dict)]

    def _bind(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Copy the inputs to the device, and return arrays for the outputs of their shapes."""
        for name, array in inputs.items():
            array = np.ascontiguousarray(array)
            if not self._context.set_input_shape(name, tuple(array.shape)):
                shape = "x".join(map(str, array.shape))
                raise UserError(
                    f"the engine does not take input '{name}' of shape {shape}", "export with a wider --profile"
                )
            self._cuda.to_device(self._place(name, array.nbytes), array, self._stream)
        results = {}
        for name in self._outputs:
            dtype = np.dtype(self._trt.nptype(self._engine.get_tensor_dtype(name)))
            results[name] = np.empty(tuple(self._context.get_tensor_shape(name)), dtype)
            self._place(name, results[name].nbytes)
        for name, (pointer, _) in self._memory.items():
            self._context.set_tensor_address(name, pointer)
        return results

    def _place(self, name: str, size: int) -> int:
        """Return device memory of at least that size for a tensor."""
        pointer, held = self._memory.get(name, (0, 0))
        if held < max(size, 1):
            if pointer:
                self._cuda.free(pointer)
            pointer = self._cuda.allocate(max(size, 1))
            self._memory[name] = (pointer, max(size, 1))
        return pointer

    def _execute(self) -> None:
        if not self._context.execute_async_v3(self._stream):
            raise EdgeoptError("TensorRT did not run the engine", "see its messages above")


def _profiler(trt: Any, times: dict[str, list[float]]) -> Any:
    class Profiler(trt.IProfiler):  # type: ignore[misc]  # TensorRT says nothing of types
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            times[layer_name].append(ms)

    return Profiler()
