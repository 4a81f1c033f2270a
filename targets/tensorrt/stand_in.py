"""What computes a model here in place of the device: its outputs are compared with torch's, its times say nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeopt import onnx
from edgeopt.onnx_session import OnnxSession
from edgeopt.target import Arrays, Layer, Session
from edgeopt.targets.tensorrt.rounding import with_rounding

if TYPE_CHECKING:
    import onnx as onnx_package


class OrtStandIn(OnnxSession):
    """ONNX Runtime's CPU provider: runs int8, int4 and FP8 pairs as written, and FP16 by ``rounding.py``."""

    stands_in = True

    def layers(self, inputs: Arrays, runs: int) -> tuple[Layer, ...]:
        """What runs here are not the device's layers."""
        return ()


class ReferenceStandIn(Session):
    """ONNX's reference evaluator, for what ONNX Runtime lacks: FP4."""

    stands_in = True

    def __init__(self, model: onnx_package.ModelProto) -> None:
        from onnx.reference import ReferenceEvaluator

        self._outputs = onnx.output_names({p.key: p.value for p in model.metadata_props})
        self._evaluator = ReferenceEvaluator(model)

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Run one inference; inputs and outputs by name."""
        return dict(zip(self._outputs, self._evaluator.run(None, dict(inputs)), strict=True))

    def layers(self, inputs: Arrays, runs: int) -> tuple[Layer, ...]:
        """What runs here are not the device's layers."""
        return ()


def stand_in(path: Path, threads: int) -> Session:
    """Return a session for a model: ONNX Runtime's, or the reference evaluator's where the model holds FP4."""
    import onnx as onnx_package

    structure = onnx_package.load(path, load_external_data=False)
    kinds = {tensor.data_type for tensor in structure.graph.initializer}
    if onnx_package.TensorProto.FLOAT4E2M1 in kinds:
        return ReferenceStandIn(onnx_package.load(path))
    if onnx_package.TensorProto.FLOAT16 in kinds:
        return OrtStandIn(with_rounding(path), threads, "basic")
    return OrtStandIn(path, threads, "basic")
