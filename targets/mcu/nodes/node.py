"""What a node of the integer graph is: whatever is to be known of a kind of node stands in the file of its class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from edgeopt.errors import EdgeoptError
from edgeopt.kernels.mcu import OWN, Kernel, Package
from edgeopt.targets.mcu.graph.tensor import Shape, part_of
from edgeopt.targets.mcu.nodes.site import Printed, Site
from edgeopt.targets.mcu.plan.first_fit import Sharing


@dataclass(frozen=True, eq=False)
class CodeTable:
    """What codes of one 4-bit format are looked up in, as the kernels of one instruction set do: a name, one table."""

    name: str
    words: np.ndarray


@dataclass(frozen=True, eq=False)
class Needs:
    """What a call asks of memory: constants (int32 words), scratch, reads behind its input, memory it may share.

    ``table``: what the codes of its weights are looked up in. ``in_call``: the constants are printed with the call.
    ``own_constant_bytes``: of constants that its own code brings.
    """

    packed: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    scratch_bytes: int = 0
    overread: int = 0
    sharings: tuple[Sharing, ...] = ()
    table: CodeTable | None = None
    in_call: bool = False
    own_constant_bytes: int = 0


@dataclass(frozen=True, eq=False)
class Node(ABC):
    """An operator: ``inputs`` and ``output`` are names of tensors.

    ``samples``: so many equal parts of every operand, one after another in memory, are computed one by one.
    """

    name: str
    inputs: tuple[str, ...]
    output: str
    samples: int = field(default=1, kw_only=True)

    package: ClassVar[Package] = OWN
    """Whose kernels compute it."""
    op: ClassVar[str]
    """The kernel's operator, as in the name of its folder."""
    has_call: ClassVar[bool] = True
    """Whether there is anything to run."""
    has_window: ClassVar[bool] = False
    """Whether its call takes the geometry of a window."""

    @property
    def dtype(self) -> str:
        """The kernel's type of weights, as in the name of its folder."""
        return "s8"

    # -- values --

    @abstractmethod
    def run(self, *operands: np.ndarray) -> np.ndarray:
        """The output of one sample for int8 operands (H, W, C)."""

    def run_all(self, *operands: np.ndarray) -> np.ndarray:
        """The output of all samples, one below the other."""
        if self.samples == 1:
            return self.run(*operands)
        parts = (x.reshape(self.samples, *part_of(x.shape, self.samples)) for x in operands)
        return np.concatenate([self.run(*sample) for sample in zip(*parts, strict=True)])

    def macs(self, y: Shape) -> int:
        """Multiply-accumulates for an output of shape ``y``."""
        return 0

    @property
    def is_pointwise(self) -> bool:
        """Whether each position of the output is computed from the same position of the inputs alone."""
        return False

    @property
    def root(self) -> str | None:
        """The input in whose memory the output lies, where it lies in that of one."""
        return None

    # -- the kernel, and what it asks of memory --

    def takes(self, isa: str, x: Shape) -> bool:
        """Whether the kernel of an instruction set takes a first operand of shape ``x``."""
        return True

    def kernel(self, isas: Sequence[str], x: Shape) -> Kernel | None:
        """The first kernel that takes ``x``, of instruction sets with the fastest first; None for generated code.

        Raises EdgeoptError where a package lacks its file.
        """
        found = {k.isa: k for k in self.package.kernels() if (k.dtype, k.op) == (self.dtype, self.op)}
        fitting = [found[isa] for isa in (*isas, "scalar") if isa in found and self.takes(isa, x)]
        if not fitting:
            absent = Kernel(self.dtype, self.op, "scalar", self.package).path
            raise EdgeoptError(f"node '{self.name}' has no kernel: there is no {absent}", "reinstall its package")
        return fitting[0]

    @abstractmethod
    def needs(self, isa: str, x: Shape, y: Shape) -> Needs:
        """What the kernel of an instruction set asks for one sample of first operand ``x`` and output ``y``."""

    def shares(self, least: int = 0, exact: bool = False, source: int = 0) -> tuple[Sharing, ...]:
        """Leave to write the output over an input, this one at ``least`` bytes or more before it."""
        return (Sharing(self.inputs[source], self.output, least, exact),)

    # -- C --

    @abstractmethod
    def printed(self, site: Site) -> Printed:
        """The call, where ``site`` says."""


def words(values: np.ndarray) -> np.ndarray:
    """Bytes as words, with zeros up to a multiple of four."""
    return np.pad(values.reshape(-1), (0, -values.size % 4)).astype(np.int8).view(np.int32)
