"""The onnx target: the contract, and what is particular to it."""

from __future__ import annotations

from edgeopt.plugins.testing import TargetContract


class TestOnnx(TargetContract):
    target = "onnx"


class TestOnnxUnoptimized(TargetContract):
    target = "onnx"
    options = {"optimization": "none"}
