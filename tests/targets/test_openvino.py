"""The openvino target: the contract, and what is particular to it."""

from __future__ import annotations

from edgeopt.testing import TargetContract


class TestOpenVino(TargetContract):
    target = "openvino"
