"""The largest magnitude of every value of a model, over samples run through ONNX Runtime."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeopt import onnx
from edgeopt.onnx.session import OnnxSession
from edgeopt.plugins.target import Arrays
from edgeopt.targets.tensorrt.emulation import dequantize_fp4

if TYPE_CHECKING:
    import onnx_ir as ir

Extremes = dict[str, float]


def observe(model: ir.Model, samples: Iterable[Arrays], threads: int) -> Extremes:
    """Return the largest finite magnitude by value's name; values that are no floats are left out."""
    import onnx_ir as ir

    model = model.clone()
    dequantize_fp4(model)
    proto = ir.to_proto(model)
    names = [str(value.name) for node in model.graph for value in node.outputs if value.dtype == ir.DataType.FLOAT]
    seen: Extremes = {}
    session = OnnxSession(_with_outputs(proto, names), threads, "none")
    for sample in samples:
        for name, array in {**session.run(sample), **sample}.items():
            if array.dtype == np.float32:
                seen[name] = max(seen.get(name, 0.0), _largest(array))
    session.close()
    return seen


def _with_outputs(proto: Any, names: list[str]) -> bytes:
    """Return a model with these values as its outputs, under their own names."""
    import onnx as onnx_package

    del proto.graph.output[:]
    proto.graph.output.extend(onnx_package.ValueInfoProto(name=name) for name in names)
    del proto.metadata_props[:]
    onnx_package.helper.set_model_props(proto, {onnx.OUTPUTS: json.dumps(names)})
    serialized: bytes = proto.SerializeToString()
    return serialized


def _largest(array: np.ndarray) -> float:
    return float(np.max(np.abs(array), where=np.isfinite(array), initial=0.0))
