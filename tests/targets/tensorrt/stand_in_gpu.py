"""A stand-in for the module ``tensorrt`` and for the CUDA runtime: memory is the host's, ONNX Runtime computes.

It answers to the calls of the documented Python API that the target makes, so that the target's own code runs.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime

_CUDART = """
#include <stdlib.h>
#include <string.h>
int cudaMalloc(void** p, size_t n) { *p = malloc(n); return *p == 0 ? 2 : 0; }
int cudaFree(void* p) { free(p); return 0; }
int cudaMemcpyAsync(void* to, const void* from, size_t n, int kind, void* s) {
    (void)kind; (void)s; memcpy(to, from, n); return 0;
}
int cudaStreamCreate(void** s) { *s = malloc(1); return 0; }
int cudaStreamSynchronize(void* s) { (void)s; return 0; }
int cudaEventCreate(void** e) { *e = malloc(1); return 0; }
int cudaEventDestroy(void* e) { free(e); return 0; }
int cudaEventRecord(void* e, void* s) { (void)e; (void)s; return 0; }
int cudaEventSynchronize(void* e) { (void)e; return 0; }
int cudaEventElapsedTime(float* ms, void* a, void* b) { (void)a; (void)b; *ms = 0.25f; return 0; }
"""


def cuda_runtime(folder: Path) -> str:
    """Compile the CUDA runtime's stand-in; return its path."""
    (folder / "cudart.c").write_text(_CUDART)
    subprocess.run(["gcc", "-shared", "-fPIC", folder / "cudart.c", "-o", folder / "libcudart.so"], check=True)
    return str(folder / "libcudart.so")


class _Logger:
    ERROR = 1

    def __init__(self, severity: int) -> None:
        pass


class _Flags:
    STRONGLY_TYPED = 3


class _Network:
    def __init__(self, flags: int) -> None:
        assert flags == 1 << 3, "TensorRT 10 has to be told that types are meant as written"
        self.model = b""


class _Parser:
    num_errors = 0

    def __init__(self, network: _Network, logger: _Logger) -> None:
        self.network = network

    def parse_from_file(self, path: str) -> bool:
        self.network.model = Path(path).read_bytes()
        return True


class _Config:
    profiling_verbosity = None

    def __init__(self) -> None:
        self.profiles: list[Any] = []

    def add_optimization_profile(self, profile: Any) -> None:
        self.profiles.append(profile.shapes)


class _Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple] = {}

    def set_shape(self, name: str, *shapes: tuple) -> None:
        self.shapes[name] = shapes


class _Builder:
    configs: list[_Config] = []

    def __init__(self, logger: _Logger) -> None:
        pass

    def create_network(self, flags: int) -> _Network:
        return _Network(flags)

    def create_builder_config(self) -> _Config:
        self.configs.append(_Config())
        return self.configs[-1]

    def create_optimization_profile(self) -> _Profile:
        return _Profile()

    def build_serialized_network(self, network: _Network, config: _Config) -> bytes:
        return network.model


class _Runtime:
    def __init__(self, logger: _Logger) -> None:
        pass

    def deserialize_cuda_engine(self, plan: bytes) -> _Engine:
        return _Engine(onnxruntime.InferenceSession(plan, providers=["CPUExecutionProvider"]))


class _Engine:
    def __init__(self, session: Any) -> None:
        self.session = session
        self.kinds = {v.name: _numpy(v.type) for v in (*session.get_inputs(), *session.get_outputs())}

    def create_execution_context(self) -> _Context:
        return _Context(self)

    def create_engine_inspector(self) -> Any:
        tensor = {"Name": "x", "Format/Datatype": "Row major linear FP16"}
        layer = {"Name": "all", "LayerType": "Myelin", "Inputs": [tensor], "Outputs": []}
        inspector = ModuleType("inspector")
        inspector.get_engine_information = lambda form: json.dumps({"Layers": [layer], "Bindings": []})  # type: ignore
        return inspector

    def get_tensor_dtype(self, name: str) -> np.dtype:
        return self.kinds[name]


class _Context:
    profiler: Any = None

    def __init__(self, engine: _Engine) -> None:
        self.engine = engine
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> None:
        self.shapes[name] = shape

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        zeros = {n: np.zeros(shape, self.engine.kinds[n]) for n, shape in self.shapes.items()}
        return self.engine.session.run([name], zeros)[0].shape

    def execute_async_v3(self, stream: int) -> bool:
        assert stream
        feeds = {}
        for name, shape in self.shapes.items():
            feeds[name] = np.empty(shape, self.engine.kinds[name])
            ctypes.memmove(feeds[name].ctypes.data, self.addresses[name], feeds[name].nbytes)
        for value, array in zip(self.engine.session.get_outputs(), self.engine.session.run(None, feeds), strict=True):
            ctypes.memmove(self.addresses[value.name], np.ascontiguousarray(array).ctypes.data, array.nbytes)
        if self.profiler is not None:
            self.profiler.report_layer_time("all", 0.2)
        return True


class _IProfiler:
    def __init__(self) -> None:
        pass


def _numpy(kind: str) -> np.dtype:
    names = {"tensor(float)": "float32", "tensor(int64)": "int64", "tensor(bool)": "bool", "tensor(float16)": "float16"}
    return np.dtype(names[kind])


def module() -> ModuleType:
    """Return the stand-in module."""
    made = ModuleType("tensorrt")
    made.__spec__ = ModuleSpec("tensorrt", None)  # torch asks whether it is installed
    made.__version__ = "10.13.3.9"  # type: ignore[attr-defined]
    parts = {
        "Logger": _Logger,
        "NetworkDefinitionCreationFlag": _Flags,
        "OnnxParser": _Parser,
        "Builder": _Builder,
        "Runtime": _Runtime,
        "IProfiler": _IProfiler,
        "ProfilingVerbosity": type("V", (), {"DETAILED": 2}),
        "LayerInformationFormat": type("F", (), {"JSON": 1}),
        "nptype": lambda dtype: dtype,
    }
    for name, part in parts.items():
        setattr(made, name, part)
    return made
