"""The operators that OpenVINO runs by kernels: edgeopt's own, and those whose packages bring one.

What a kernel does not cover (the feature maps ``inline`` and ``flow``) is left to the operator's own ONNX function.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgeopt.errors import EdgeoptError
from edgeopt.ir.program import Program, op_name
from edgeopt.onnx import Functions
from edgeopt.ops import register_all
from edgeopt.ops.agent_attention import AGENT_ATTENTION
from edgeopt.ops.feature_maps import MAPS
from edgeopt.ops.linear_attention import LINEAR_ATTENTION
from edgeopt.ops.operator import OPERATORS, Operator, operator_of
from edgeopt.ops.soft_attention import SOFT_ATTENTION
from edgeopt.records.layers import Fallback
from edgeopt.targets.openvino import native_attention, native_binary, native_matmul
from edgeopt.targets.openvino.extension import SOURCES, Extension
from edgeopt.targets.openvino.native_kernel import NativeKernel

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch import fx

NAME = "openvino"
"""What operators call this target by."""

OWN: Mapping[str, NativeKernel] = {
    "edgeopt::linear_attention": NativeKernel(native_attention.linear, SOURCES, lambda node: node.args[3] in MAPS),
    "edgeopt::hybrid_attention": NativeKernel(native_attention.hybrid, SOURCES),
    "edgeopt::binary_linear": NativeKernel(native_binary.linear, SOURCES),
    "edgeopt::binary_conv2d": NativeKernel(native_binary.conv2d, SOURCES),
    "edgeopt::binary_matmul": NativeKernel(native_matmul.matmul, SOURCES),
}
"""The kernels of edgeopt's own operators."""


@dataclass(frozen=True)
class Kernels:
    """What of a program kernels compute.

    ``functions``: what their operators are in ONNX; ``libraries``, by file name; ``fallbacks``: the nodes that would
    have a kernel if its library could be built.
    """

    functions: Functions = field(default_factory=dict)
    libraries: Mapping[str, Path] = field(default_factory=dict)
    fallbacks: tuple[Fallback, ...] = ()


NONE = Kernels()


def kernels_of(program: Program) -> Kernels:
    """Return the kernels of a program, their libraries built and made known to OpenVINO.

    Raises EdgeoptError where an operator brings what is not a kernel.
    """
    functions, libraries, fallbacks = {}, {}, list[Fallback]()
    for extension, nodes in _by_extension(program).items():
        try:
            libraries[extension.name] = extension.load()
        except EdgeoptError as error:
            reason = f"computed by standard operators, not by its kernel: {error.message}; {error.hint}"
            fallbacks += [Fallback(node.name, op_name(node), reason) for node in nodes]
            continue
        for operator, kernel in filter(None, map(_native, nodes)):
            functions[operator.name] = kernel.function
    return Kernels(functions, libraries, tuple(fallbacks))


def _by_extension(program: Program) -> dict[Extension, list[fx.Node]]:
    """Return the nodes that a kernel covers, by the library that it is in."""
    found: dict[Extension, list[fx.Node]] = {}
    for node in program.calls:
        if (native := _native(node)) is not None:
            operator, kernel = native
            found.setdefault(Extension(operator.namespace, kernel.folder), []).append(node)
    return found


def _native(node: fx.Node) -> tuple[Operator, NativeKernel] | None:
    """Return the operator that a node calls and its kernel, None where no kernel covers the node."""
    operator = operator_of(node.target)
    kernel = None if operator is None else kernel_of(operator)
    return (operator, kernel) if operator and kernel and kernel.covers(node) else None


def kernel_of(operator: Operator) -> NativeKernel | None:
    """Return an operator's kernel, None where it has none; raises EdgeoptError where it brings something else."""
    kernel = OWN.get(operator.name) or operator.kernels.get(NAME)
    if kernel is not None and not isinstance(kernel, NativeKernel):
        raise EdgeoptError(
            f"operator '{operator.name}' brings a {type(kernel).__name__} for {NAME}, not a NativeKernel",
            "correct the package that defines it",
        )
    return kernel


def called_in(ir: bytes) -> list[Extension]:
    """Return the libraries that hold the operators of an IR, of those that are installed here."""
    register_all()
    named = [operator for operator in OPERATORS.values() if f'version="{operator.namespace}"'.encode() in ir]
    kernels = [(operator, kernel) for operator in named if (kernel := kernel_of(operator)) is not None]
    return list(dict.fromkeys(Extension(operator.namespace, kernel.folder) for operator, kernel in kernels))


def written_out(program: Program) -> str | None:
    """Return a note that names the attentions of ours that no kernel covers, None where there are none."""
    kinds = (LINEAR_ATTENTION, AGENT_ATTENTION, SOFT_ATTENTION)
    found = [node.name for node in program.calls if node.target in kinds and _native(node) is None]
    return f"computed by standard operators, for no kernel of ours covers them: {', '.join(found)}" if found else None


def fuse(model: ir.Model) -> None:
    """Let our nodes do what stands beside them."""
    native_attention.absorb_transposes(model)
    native_matmul.absorb_transposes(model)
    native_binary.absorb_followers(model)
