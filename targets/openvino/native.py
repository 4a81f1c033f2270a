"""The operators of ours that OpenVINO runs by kernels of ours.

What a kernel does not cover (the feature maps ``inline`` and ``flow``) is left to the operator's own ONNX function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeopt.ir.program import Program
from edgeopt.onnx import Functions
from edgeopt.ops.agent_attention import AGENT_ATTENTION
from edgeopt.ops.binary_conv2d import BINARY_CONV2D
from edgeopt.ops.binary_linear import BINARY_LINEAR
from edgeopt.ops.binary_matmul import BINARY_MATMUL
from edgeopt.ops.feature_maps import MAPS
from edgeopt.ops.hybrid_attention import HYBRID_ATTENTION
from edgeopt.ops.linear_attention import LINEAR_ATTENTION
from edgeopt.ops.soft_attention import SOFT_ATTENTION
from edgeopt.targets.openvino import native_attention, native_binary, native_matmul

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch import fx

FUNCTIONS: Functions = {
    "edgeopt::linear_attention": native_attention.linear,
    "edgeopt::hybrid_attention": native_attention.hybrid,
    "edgeopt::binary_linear": native_binary.linear,
    "edgeopt::binary_conv2d": native_binary.conv2d,
    "edgeopt::binary_matmul": native_matmul.matmul,
}
"""What the operators with kernels are in the ONNX that OpenVINO reads."""


def find(program: Program) -> list[fx.Node]:
    """Return the nodes of a program that a kernel of ours covers."""
    whole = (BINARY_LINEAR, BINARY_CONV2D, BINARY_MATMUL, HYBRID_ATTENTION)
    return [
        node
        for node in program.calls
        if node.target in whole or (node.target is LINEAR_ATTENTION and node.args[3] in MAPS)
    ]


def written_out(program: Program) -> str | None:
    """Return a note that names the attentions of ours that no kernel covers, None where there are none."""
    kinds = (LINEAR_ATTENTION, AGENT_ATTENTION, SOFT_ATTENTION)
    covered = find(program)
    found = [node.name for node in program.calls if node.target in kinds and node not in covered]
    return f"computed by standard operators, for no kernel of ours covers them: {', '.join(found)}" if found else None


def fuse(model: ir.Model) -> None:
    """Let our nodes do what stands beside them."""
    native_attention.absorb_transposes(model)
    native_matmul.absorb_transposes(model)
    native_binary.absorb_followers(model)
