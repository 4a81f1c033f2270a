"""What an operator brings so that OpenVINO runs it by a kernel: a node in ONNX, and the C++ that computes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import fx


@dataclass(frozen=True)
class NativeKernel:
    """An operator's kernel in OpenVINO.

    ``function``: as ``Operator.onnx``, but in place of standard operators it emits a node of the operator's namespace
    (see ``native_node.emitter``).
    ``folder``: the C++ of all kernels of the namespace, which become one library: every ``.cpp`` in it and below, one
    of them with OPENVINO_CREATE_EXTENSIONS. Files named ``avx2.cpp`` and ``avx512.cpp`` are compiled for that
    instruction set; headers of edgeopt's own kernels may be included (``common/operator.h``, ``common/parallel.h``).
    ``covers``: whether ``function`` emits the node for a call; for others it emits standard operators.
    """

    function: Callable[[], Callable[..., Any]]
    folder: Path
    covers: Callable[[fx.Node], bool] = lambda node: True
