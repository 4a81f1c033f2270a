"""The few calls of the CUDA runtime that running an engine takes, through ctypes."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from edgeopt.errors import EdgeoptError, ToolchainMissing

LIBRARIES = ("libcudart.so", "libcudart.so.13", "libcudart.so.12")
_TO_DEVICE, _TO_HOST = 1, 2
_POINTER = ctypes.c_void_p


@dataclass
class Timer:
    """Filled when its block ends."""

    milliseconds: float = 0.0


class Cuda:
    """The CUDA runtime; every call raises EdgeoptError where it fails. Raises ToolchainMissing without the library."""

    def __init__(self) -> None:
        self._library = _load()

    def allocate(self, size: int) -> int:
        """Return device memory."""
        pointer = _POINTER()
        self._call("cudaMalloc", ctypes.byref(pointer), ctypes.c_size_t(size))
        return pointer.value or 0

    def free(self, pointer: int) -> None:
        """Give device memory back."""
        self._call("cudaFree", _POINTER(pointer))

    def to_device(self, pointer: int, array: np.ndarray, stream: int) -> None:
        """Copy an array to the device."""
        self._copy(pointer, array.ctypes.data, array.nbytes, _TO_DEVICE, stream)

    def to_host(self, array: np.ndarray, pointer: int, stream: int) -> None:
        """Copy from the device into an array."""
        self._copy(array.ctypes.data, pointer, array.nbytes, _TO_HOST, stream)

    def stream(self) -> int:
        """Return a new stream."""
        return self._make("cudaStreamCreate")

    def synchronize(self, stream: int) -> None:
        """Wait for a stream."""
        self._call("cudaStreamSynchronize", _POINTER(stream))

    @contextmanager
    def timer(self, stream: int) -> Iterator[Timer]:
        """Measure what the block puts on the stream, by two events."""
        timer, start, end = Timer(), self._make("cudaEventCreate"), self._make("cudaEventCreate")
        self._call("cudaEventRecord", _POINTER(start), _POINTER(stream))
        yield timer
        self._call("cudaEventRecord", _POINTER(end), _POINTER(stream))
        self._call("cudaEventSynchronize", _POINTER(end))
        elapsed = ctypes.c_float()
        self._call("cudaEventElapsedTime", ctypes.byref(elapsed), _POINTER(start), _POINTER(end))
        for event in (start, end):
            self._call("cudaEventDestroy", _POINTER(event))
        timer.milliseconds = elapsed.value

    def _make(self, name: str) -> int:
        handle = _POINTER()
        self._call(name, ctypes.byref(handle))
        return handle.value or 0

    def _copy(self, to: int, source: int, size: int, kind: int, stream: int) -> None:
        arguments = (_POINTER(to), _POINTER(source), ctypes.c_size_t(size), ctypes.c_int(kind), _POINTER(stream))
        self._call("cudaMemcpyAsync", *arguments)

    def _call(self, name: str, *arguments: object) -> None:
        if status := getattr(self._library, name)(*arguments):
            raise EdgeoptError(f"{name} failed with CUDA error {status}", "look it up in the list of cudaError_t")


def _load() -> ctypes.CDLL:
    for name in LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise ToolchainMissing("the CUDA runtime", "pip install nvidia-cuda-runtime")
