"""Small ONNX graphs: cases of operators put side by side into one model, and what ONNX Runtime computes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Case:
    """One node: ``inputs`` are names of the model's inputs, constants, or None; in opsets ``first`` to ``last``."""

    op: str
    inputs: Sequence[str | Array | np.generic | None]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    first: int = 11
    last: int = 24
    outputs: int = 1
    domain: str = ""


def model(cases: Sequence[Case], inputs: Mapping[str, Array], opset: int) -> onnx.ModelProto:
    """Return a model that computes every case; ``Conv_3.0`` is the first output of the fourth."""
    nodes, constants, outputs = [], [], []
    for index, case in enumerate(cases):
        name, read = f"{case.op}_{index}", []
        for place, given in enumerate(case.inputs):
            if isinstance(given, np.ndarray | np.generic):
                constants.append(numpy_helper.from_array(np.asarray(given), f"{name}_{place}"))
                read.append(f"{name}_{place}")
            else:
                read.append(given or "")
        results = [f"{name}.{place}" for place in range(case.outputs)]
        nodes.append(helper.make_node(case.op, read, results, name, domain=case.domain, **case.attributes))
        outputs += results
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in inputs.items()
    ]
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    untyped = helper.make_graph(nodes, "cases", infos, [], constants)
    made = onnx.shape_inference.infer_shapes(helper.make_model(untyped, opset_imports=imports, ir_version=10))
    types = {value.name: value for value in made.graph.value_info if value.type.tensor_type.HasField("shape")}
    for name in outputs:
        # Of operators that ONNX does not know, all here return three axes.
        unknown = helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 3)
        made.graph.output.append(types.get(name, unknown))
    return made


def reference(path: Path, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return what ONNX Runtime computes without its own rewriting."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))
