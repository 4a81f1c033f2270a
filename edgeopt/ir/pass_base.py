"""What a pass is: a substitution that takes a program and returns a new one, and says what it did.

A pass is a frozen value. Its fields are its settings; what it needs beside the program it declares, and is handed with
each call; what it found out is in its result. So the same pass, program and context give the same result.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from edgeopt.errors import PassError, UserError
from edgeopt.ir.context import EMPTY, Context, Need
from edgeopt.ir.program import Program
from edgeopt.records.passes import Kind as Kind
from edgeopt.records.passes import Note as Note

Stage = Literal["float", "quantize", "quantized"]
STAGES: tuple[Stage, ...] = ("float", "quantize", "quantized")
"""In the order in which they run: on floats; what makes the precision; on what is quantized."""

CONSTANTS_FOLDED = "constants folded"
BATCH_NORMS_FOLDED = "batch norms folded"
AFFINE_FOLDED = "affine maps folded"
ATTENTION_EXPANDED = "attention expanded"
INTEGER_LAYERS = "layers on integers"
BLOCK_WEIGHTS = "weights in blocks"


@dataclass(frozen=True)
class PassResult:
    """The program a pass made, whether it differs, and what each rule did.

    A pass that finds out more returns a subclass with fields of its own.
    """

    program: Program
    changed: bool
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Pass(ABC):
    """A substitution. It returns a new program and leaves the given one as it was.

    ``kind``: whether numbers stay, change by rounding, or are trained. ``stage``: when it runs. ``needs``: what it
    does not run without; ``uses``: what it makes use of where there is some. ``requires`` and ``ensures``: properties
    of the program, by name, that passes before it have to ensure, and that it does.
    """

    name: ClassVar[str]
    kind: ClassVar[Kind] = "exact"
    stage: ClassVar[Stage] = "float"
    needs: ClassVar[tuple[Need[Any], ...]] = ()
    uses: ClassVar[tuple[Need[Any], ...]] = ()
    requires: ClassVar[frozenset[str]] = frozenset()
    ensures: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def run(self, program: Program, context: Context) -> PassResult:
        """Apply the pass to a copy of ``program``. ``context`` has all that the pass needs."""

    def __call__(self, program: Program, context: Context = EMPTY) -> PassResult:
        """Apply the pass.

        Raises UserError where the context lacks what it needs, PassError where the program lacks a property.
        """
        for need in self.needs:
            if need not in context:
                raise UserError(f"pass '{self.name}' needs {need.name}", need.remedy)
        if missing := sorted(self.requires - program.ensured):
            raise PassError(f"{self.name} requires {' and '.join(missing)}", "run the passes that ensure it first")
        result = self.run(program, context)
        made = replace(result.program, ensured=program.ensured | self.ensures)
        return replace(result, program=made)


@dataclass(frozen=True)
class Step:
    """A pass in a target's pipeline and why it stands there; ``optional``: not where what it needs is not given."""

    build: Callable[[], Pass]
    reason: str
    optional: bool = False
