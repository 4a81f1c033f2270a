"""Which kernel runs each node, with which constants, scratch and sharing of memory: the program as a board sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgeopt.kernels.mcu import Kernel
from edgeopt.targets.mcu.graph.graph import IntegerGraph
from edgeopt.targets.mcu.nodes.node import Needs, Node
from edgeopt.targets.mcu.plan.first_fit import Sharing

PRECISIONS = {"s8": "int8", "s8pow2": "int8", "w4": "w4a8", "b1": "binary"}
"""What kernels compute in, by their type of weights."""

MODES = ("speed", "balanced", "size")

_EXPANDED = "dsp16"
"""The instruction set whose kernels read weights as int16."""


@dataclass(frozen=True, eq=False)
class Step:
    """One call: the node, its kernel (None: generated code), and what it asks of memory."""

    node: Node
    kernel: Kernel | None
    needs: Needs

    @property
    def symbol(self) -> str:
        """Name of the C function."""
        return self.kernel.symbol if self.kernel else f"generated_{self.node.name}"

    @property
    def isa(self) -> str:
        """The instruction set of the kernel; generated code is plain C."""
        return self.kernel.isa if self.kernel else "scalar"

    @property
    def precision(self) -> str:
        """What the layer computes in."""
        return PRECISIONS.get(self.kernel.dtype, self.kernel.dtype) if self.kernel else "fp32"

    @property
    def constant_bytes(self) -> int:
        """Bytes of constants in flash."""
        return self.needs.packed.nbytes + self.needs.own_constant_bytes

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the tensors that it reads."""
        return self.node.inputs

    @property
    def writes(self) -> tuple[str, ...]:
        """Names of the tensors that it writes."""
        return (self.node.output,)

    @property
    def scratch(self) -> str:
        """Name of the step's scratch buffer."""
        return f"{self.node.name}.scratch"

    @property
    def scratch_bytes(self) -> int:
        """Bytes of it."""
        return self.needs.scratch_bytes

    @property
    def overread(self) -> int:
        """Bytes that may be read behind its first input."""
        return self.needs.overread

    @property
    def sharings(self) -> tuple[Sharing, ...]:
        """What its output may be written over."""
        return self.needs.sharings


def choose_kernels(
    graph: IntegerGraph, isas: Sequence[str], mode: str = "speed", flash_bytes: int | None = None
) -> list[Step]:
    """Choose a kernel for each node.

    ``isas``: what the core has, the fastest first. ``mode`` says what becomes of weights that may be pre-expanded to
    int16: ``speed`` expands all, ``size`` none, ``balanced`` those that save most instructions a byte while all
    constants stay within ``flash_bytes``.
    """
    compact = [isa for isa in isas if isa != _EXPANDED]
    nodes = [node for node in graph.nodes if node.has_call]
    steps = [_step(graph, node, compact) for node in nodes]
    if _EXPANDED not in isas or mode == "size":
        return steps
    expanded = [_step(graph, node, isas) for node in nodes]
    if mode == "speed":
        return expanded
    budget = (flash_bytes or 0) - sum(step.needs.packed.nbytes for step in steps)
    for i in sorted(range(len(steps)), key=lambda i: -_gain(graph, steps[i], expanded[i])):
        extra = expanded[i].needs.packed.nbytes - steps[i].needs.packed.nbytes
        if extra <= budget:
            budget -= extra
            steps[i] = expanded[i]
    return steps


def _gain(graph: IntegerGraph, compact: Step, expanded: Step) -> float:
    """Multiply-accumulates made cheaper for a byte of flash."""
    extra = expanded.needs.packed.nbytes - compact.needs.packed.nbytes
    return graph.macs(compact.node) / extra if extra > 0 else 0.0


def _step(graph: IntegerGraph, node: Node, isas: Sequence[str]) -> Step:
    """The call of a node; what a kernel may write over is told for one sample, so that of several nothing is."""
    x, y = (part.shape for part in graph.ends(node))
    kernel = node.kernel(isas, x)
    needs = node.needs(kernel.isa if kernel else "scalar", x, y)
    return Step(node, kernel, needs if node.samples == 1 else replace(needs, sharings=()))
