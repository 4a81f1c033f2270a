"""Runs the program in torch: needs no SDK, and is the template to copy for a target of your own.

The folder of a target holds its class and ``devices/*.toml``; one entry point in the group ``edgeopt.targets``
makes it known. ``tests/targets/test_reference.py`` holds it to the contract.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import fx

from edgeopt.errors import UserError
from edgeopt.frontend.load import load
from edgeopt.ir.convert import save
from edgeopt.ir.pass_base import Step
from edgeopt.ir.program import Program, dtype_name, op_name
from edgeopt.options import option
from edgeopt.passes.exact.standard import PACKED
from edgeopt.passes.quantization.stored import stored_steps
from edgeopt.plugins.target import Arrays, Artifact, Lowered, Probe, Session, Target, TargetOptions
from edgeopt.plugins.threads import torch_threads
from edgeopt.quant.blockwise import FORMATS
from edgeopt.records.layers import Layer

FILE = "model.pt2"
ACTIVATIONS = ("float", "four-bits")


@dataclass(frozen=True)
class ReferenceOptions(TargetOptions):
    """Options of the reference."""

    activations: str = option(
        "float",
        "Whether what linears read stays in 'float' beside weights in four bits, or is rounded to 'four-bits' too, as "
        "hardware that multiplies four bits by four sees it. Rounded numbers are computed in float.",
    )


class Reference(Target[Lowered]):
    """The program as it stands after the passes, saved with torch.export.save and evaluated node by node."""

    name = "reference"
    Options = ReferenceOptions
    precisions = ("fp32", *FORMATS)

    @classmethod
    def probe(cls) -> Probe:
        """Torch is a dependency of edgeopt: always found."""
        return Probe(True, {"torch": torch.__version__})

    def pipeline(self, options: TargetOptions) -> Sequence[Step]:
        """Return the exact passes, and for four bits those that round."""
        assert isinstance(options, ReferenceOptions)
        if options.precision == "fp32":
            return PACKED
        return (*PACKED, *stored_steps(options.precision, activations=options.activations == "four-bits"))

    def check_options(self, options: TargetOptions) -> None:
        """Raise UserError where an option's value is not legal here."""
        super().check_options(options)
        if not isinstance(options, ReferenceOptions):
            return  # of a target made of this one, with options of its own
        if options.activations not in ACTIVATIONS:
            raise UserError(f"activations is '{options.activations}'", f"choose one of: {', '.join(ACTIVATIONS)}")
        if options.activations != "float" and options.precision == "fp32":
            raise UserError("activations in four bits beside weights in fp32", f"add --precision {'|'.join(FORMATS)}")

    def lower(self, program: Program, options: TargetOptions) -> Lowered:
        """Whatever torch traced, torch runs."""
        return Lowered(program)

    def write(self, lowered: Lowered, folder: Path, options: TargetOptions) -> Artifact:
        """Write ``model.pt2``, a torch.export archive without source lines or machine paths."""
        program = lowered.program
        save(program, folder / FILE)
        weights = sum(t.nbytes for t in program.constants.values())
        return Artifact((FILE,), program.inputs, program.outputs, {"weights": weights})

    def open(self, folder: Path, options: TargetOptions) -> Session:
        """Load the archive without unpickling anything."""
        return ReferenceSession(load(folder / FILE).program, options.threads)


class ReferenceSession(Session):
    """Evaluates a program in torch."""

    def __init__(self, program: Program, threads: int) -> None:
        self.program = program
        self.threads = threads

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Run one inference; inputs and outputs by name."""
        with torch_threads(self.threads):
            return self.program.run(inputs)

    def layers(self, inputs: Arrays, runs: int) -> tuple[Layer, ...]:
        """Return each node's dtype and its median time in ms over ``runs`` runs."""
        times: dict[fx.Node, list[float]] = {node: [] for node in self.program.calls}
        for _ in range(runs):
            self._time(inputs, times)
        return tuple(Layer(n.name, op_name(n), _precision(n), statistics.median(times[n])) for n in times)

    def _time(self, inputs: Arrays, times: dict[fx.Node, list[float]]) -> None:
        last = time.perf_counter()

        def observe(node: fx.Node, value: Any) -> None:
            nonlocal last
            now = time.perf_counter()
            times[node].append((now - last) * 1e3)
            last = now

        with torch_threads(self.threads):
            self.program.run(inputs, observe)


def _precision(node: fx.Node) -> str:
    value = node.meta["val"]
    name = dtype_name(value.dtype) if isinstance(value, torch.Tensor) else "int64"
    return {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}.get(name, name)
