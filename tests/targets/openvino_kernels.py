"""What the tests of kernels in OpenVINO share: an operator of ours alone, or a module that calls it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt.ir.program import to_numpy
from edgeopt.plugins.testing import to_program
from edgeopt.targets.openvino import extension
from edgeopt.targets.openvino.build import convert
from edgeopt.targets.openvino.native import kernels_of
from edgeopt.targets.openvino.sdk import core
from tests.typed import some

requires_compiler = pytest.mark.skipif(extension.compiler() is None, reason="no C++ compiler is installed")
_TYPES = {torch.float32: ("f32", "FP32"), torch.int32: ("i32", "I32")}


def operator(
    kind: str, attributes: Mapping[str, Any], inputs: Sequence[torch.Tensor], out: torch.dtype = torch.float32
) -> Callable[[], torch.Tensor]:
    """Return what runs an operator of ours on these inputs."""
    extension.OWN.load()
    return _runner(core().read_model(_ir(kind, attributes, inputs, out).encode(), b""), inputs, threads=1)


def module(called: nn.Module, inputs: Sequence[torch.Tensor], threads: int = 1) -> tuple[Callable[..., Any], set[str]]:
    """Return what runs a module with our kernels, and the types of its operators."""
    with tempfile.TemporaryDirectory() as folder:
        program = to_program(called, inputs)
        model = convert(program, Path(folder), kernels_of(program)).model
        types = {node.get_type_name() for node in some(model).get_ordered_ops()}
        return _runner(model, inputs, threads), types


def levels(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield the instruction sets of this processor, each while it is in force."""
    for level in ("scalar", "avx2", "avx512"):
        monkeypatch.setenv("EDGEOPT_ISA", level)
        if extension.instruction_set() == level:
            yield level


def _runner(model: Any, inputs: Sequence[torch.Tensor], threads: int) -> Callable[[], torch.Tensor]:
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    request = core().compile_model(model, "CPU", settings).create_infer_request()

    def run() -> torch.Tensor:
        request.infer([to_numpy(tensor) for tensor in inputs])
        return torch.from_numpy(np.array(request.get_output_tensor(0).data))

    return run


def _ir(kind: str, attributes: Mapping[str, Any], inputs: Sequence[torch.Tensor], out: torch.dtype) -> str:
    last = len(inputs)
    data = " ".join(f"{name}={quoteattr(str(value))}" for name, value in attributes.items())
    layers = [
        _layer(
            index,
            "Parameter",
            "opset1",
            f'<data element_type="{_TYPES[tensor.dtype][0]}" shape="{",".join(map(str, tensor.shape))}"/>'
            f"<output>{_port(0, tensor)}</output>",
        )
        for index, tensor in enumerate(inputs)
    ]
    ports = "".join(_port(index, tensor) for index, tensor in enumerate(inputs))
    result = f'<output><port id="{last}" precision="{_TYPES[out][1]}"/></output>'
    layers.append(_layer(last, kind, "edgeopt", f"<data {data}/><input>{ports}</input>{result}"))
    layers.append(_layer(last + 1, "Result", "opset1", '<input><port id="0"/></input>'))
    edges = [(index, 0, last, index) for index in range(last)] + [(last, last, last + 1, 0)]
    return (
        f'<?xml version="1.0"?><net name="operator" version="11"><layers>{"".join(layers)}</layers><edges>'
        + "".join(f'<edge from-layer="{a}" from-port="{b}" to-layer="{c}" to-port="{d}"/>' for a, b, c, d in edges)
        + "</edges></net>"
    )


def _layer(index: int, kind: str, opset: str, content: str) -> str:
    return f'<layer id="{index}" name="x{index}" type="{kind}" version="{opset}">{content}</layer>'


def _port(index: int, tensor: torch.Tensor) -> str:
    dims = "".join(f"<dim>{size}</dim>" for size in tensor.shape)
    return f'<port id="{index}" precision="{_TYPES[tensor.dtype][1]}">{dims}</port>'
