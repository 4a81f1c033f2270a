"""A stand-in for the module ``tensorrt`` and for the CUDA runtime: memory is the host's, ONNX Runtime computes.

It answers to the calls of the documented Python API that the target makes, so that the target's own code runs, and
refuses what TensorRT's documentation says that it refuses: graphs (``onnx_rules``), types that the GPU lacks, dynamic
sizes without a profile or beyond it. Its clock advances by a quarter of a millisecond with every inference.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime

from edgeopt.targets.tensorrt.gpu import cuda
from tests.targets.tensorrt.onnx_rules import refusals

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
int inferences;
int cudaEventCreate(void** e) { *e = malloc(sizeof(int)); return 0; }
int cudaEventDestroy(void* e) { free(e); return 0; }
int cudaEventRecord(void* e, void* s) { (void)s; *(int*)e = inferences; return 0; }
int cudaEventSynchronize(void* e) { (void)e; return 0; }
int cudaEventElapsedTime(float* ms, void* a, void* b) { *ms = 0.25f * (float)(*(int*)b - *(int*)a); return 0; }
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
        self.model = onnx.ModelProto()


class _Parser:
    def __init__(self, network: _Network, logger: _Logger) -> None:
        self.network = network
        self.errors: list[str] = []

    @property
    def num_errors(self) -> int:
        return len(self.errors)

    def get_error(self, index: int) -> Any:
        return SimpleNamespace(desc=lambda: self.errors[index])

    def parse_from_file(self, path: str) -> bool:
        self.network.model = onnx.load(path)
        self.errors = refusals(self.network.model, plugins=())
        return not self.errors


class _Config:
    profiling_verbosity = None

    def __init__(self) -> None:
        self.profiles: list[dict[str, tuple[Any, ...]]] = []

    def add_optimization_profile(self, profile: Any) -> None:
        self.profiles.append(profile.shapes)


class _Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[Any, ...]] = {}

    def set_shape(self, name: str, *shapes: tuple[Any, ...]) -> None:
        self.shapes[name] = shapes


class Builder:
    """Builds for a GPU of compute capability 9.0, where its graph and profiles are legal."""

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

    def build_serialized_network(self, network: _Network, config: _Config) -> bytes | None:
        graph = network.model.graph
        (profile,) = config.profiles or [{}]
        if any(tensor.data_type == onnx.TensorProto.FLOAT4E2M1 for tensor in graph.initializer):
            return None
        if not all(_allows(value, profile) for value in graph.input):
            return None
        found: bytes | None = json.dumps(profile).encode() + b"\n" + network.model.SerializeToString()
        return found


def _allows(value: onnx.ValueInfoProto, profile: dict[str, tuple[Any, ...]]) -> bool:
    """Say whether an input has fixed sizes, or three shapes in the profile that rise where its own are open."""
    sizes = [d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim]
    if value.name not in profile:
        return None not in sizes
    return all(
        least <= usual <= largest and size in (None, least) and (size is None or least == largest)
        for size, least, usual, largest in zip(sizes, *profile[value.name], strict=True)
    )


class _Runtime:
    def __init__(self, logger: _Logger) -> None:
        pass

    def deserialize_cuda_engine(self, plan: bytes) -> _Engine:
        profile, _, model = plan.partition(b"\n")
        return _Engine(onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]), json.loads(profile))


class _Engine:
    def __init__(self, session: Any, profile: dict[str, list[Any]]) -> None:
        self.session, self.profile = session, profile
        self.kinds = {v.name: _numpy(v.type) for v in (*session.get_inputs(), *session.get_outputs())}
        self.fixed = {v.name: v.shape for v in session.get_inputs()}

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

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, _, largest = self.engine.profile.get(name, [self.engine.fixed.get(name, ())] * 3)
        if len(shape) != len(least) or not all(a <= b <= c for a, b, c in zip(least, shape, largest, strict=True)):
            return False
        self.shapes[name] = shape
        return True

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        zeros = {n: np.zeros(shape, self.engine.kinds[n]) for n, shape in self.shapes.items()}
        found: tuple[int, ...] = self.engine.session.run([name], zeros)[0].shape
        return found

    def execute_async_v3(self, stream: int) -> bool:
        assert stream
        feeds = {}
        for name, shape in self.shapes.items():
            feeds[name] = np.empty(shape, self.engine.kinds[name])
            ctypes.memmove(feeds[name].ctypes.data, self.addresses[name], feeds[name].nbytes)
        for value, array in zip(self.engine.session.get_outputs(), self.engine.session.run(None, feeds), strict=True):
            ctypes.memmove(self.addresses[value.name], np.ascontiguousarray(array).ctypes.data, array.nbytes)
        ctypes.c_int.in_dll(ctypes.CDLL(cuda.LIBRARIES[0]), "inferences").value += 1
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
        "Builder": Builder,
        "Runtime": _Runtime,
        "IProfiler": _IProfiler,
        "ProfilingVerbosity": type("V", (), {"DETAILED": 2}),
        "LayerInformationFormat": type("F", (), {"JSON": 1}),
        "nptype": lambda dtype: dtype,
    }
    for name, part in parts.items():
        setattr(made, name, part)
    return made
