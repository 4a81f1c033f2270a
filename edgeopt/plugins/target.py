"""What a target is: a folder that places a Program on hardware, runs it there and measures it.

A target names its devices (TOML files beside its code), its options (a frozen dataclass whose fields are the
command line's flags and the TOML's keys), its pipeline (steps with reasons) and what it cannot place.
"""

from __future__ import annotations

import platform
import time
import tomllib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, Generic

import numpy as np
from typing_extensions import TypeVar

from edgeopt.errors import Placement, Unsupported, UserError, quoted
from edgeopt.foreign import add_libraries
from edgeopt.ir.metrics import Arrays as Arrays
from edgeopt.ir.pass_base import Step
from edgeopt.ir.program import Program, TensorSpec
from edgeopt.ir.wider_floats import OTHER_FLOATS, program_types
from edgeopt.ops.custom import WAYS_OUT, custom_operators
from edgeopt.options import option
from edgeopt.quant.blockwise import FORMATS
from edgeopt.records.latency import Unit
from edgeopt.records.layers import Fallback as Fallback
from edgeopt.records.layers import Layer as Layer
from edgeopt.records.run import Run

AUTO = "auto"
"""The precision that stands for a choice layer by layer."""
FLOATS = ("fp32", "bf16")
"""Formats of what stays in float: of a whole program, not of a layer."""


MOST_THREADS = 1024
"""More than any processor runs at once: runtimes start as many as they are asked for, and end in that."""


@dataclass(frozen=True)
class TargetOptions:
    """Options that every target has; a target's own dataclass adds its fields.

    ``precision``: the arithmetic asked for, and run. ``threads``: threads of one inference.
    """

    precision: str = option("fp32", "Arithmetic asked for, and run (see edgeopt explain TARGET).")
    threads: int = option(1, "Threads of one inference.")


@dataclass(frozen=True)
class Device:
    """A device of a target, from ``devices/<name>.toml``: aliases, default options, and facts for the target."""

    name: str
    description: str
    aliases: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Probe:
    """Whether a target's toolchain is present: versions of what was found, or the line that installs it."""

    found: bool
    versions: Mapping[str, str] = field(default_factory=dict)
    install: str | None = None


@dataclass(frozen=True)
class Lowered:
    """A program in the form that a target writes out. ``unsupported``: every node that has no place there.

    A target that learns more about a program on the way returns a subclass with fields of its own.
    """

    program: Program
    unsupported: tuple[Placement, ...] = ()


AnyLowered = TypeVar("AnyLowered", bound=Lowered, default=Any)


@dataclass(frozen=True)
class Artifact:
    """What a compilation left in the bundle's folder.

    ``files`` are relative to the folder. ``memory`` holds bytes by kind (``weights``, ``flash``, ``ram``, ...),
    ``capacity`` what the device has of some of these kinds: more is a missed limit. ``reach`` has by label of a value
    (see edgeopt.ir.program.origin) how large its numbers may be for the runtime to compute them as torch does, where
    nothing can check it as the model runs. ``facts`` go into the manifest: what whoever deploys the files has to know.
    """

    files: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    memory: Mapping[str, int] = field(default_factory=dict)
    capacity: Mapping[str, int] = field(default_factory=dict)
    fallbacks: tuple[Fallback, ...] = ()
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    reach: Mapping[str, int] = field(default_factory=dict)

    def stored(self, folder: Path) -> int:
        """Return the bytes it takes where it is deployed: flash where the target counts it, else its files."""
        return self.memory.get("flash") or sum((folder / file).stat().st_size for file in self.files)


class Session(ABC):
    """A loaded artifact, ready to run."""

    unit: Unit = "ms"
    is_deterministic: bool = False
    """Whether one inference costs the same every time, as instructions do in an emulator."""
    stands_in: ClassVar[bool] = False
    """Whether it computes what the device would, elsewhere: its outputs are compared, its costs say nothing."""

    @abstractmethod
    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Run one inference; inputs and outputs by name."""

    @abstractmethod
    def layers(self, inputs: Arrays, runs: int) -> tuple[Layer, ...]:
        """Return the executed layers, their precision and their median cost over ``runs`` profiled runs."""

    def cost(self, inputs: Arrays) -> tuple[float, float]:
        """Return the cost of one inference in ``unit``, and its process CPU time in ms."""
        wall, cpu = time.perf_counter_ns(), time.process_time_ns()
        self.run(inputs)
        return (time.perf_counter_ns() - wall) / 1e6, (time.process_time_ns() - cpu) / 1e6

    def close(self) -> None:
        """Release what the session holds."""


class Target(ABC, Generic[AnyLowered]):
    """A place where programs run. Constructed with the device chosen; vendor SDKs are imported in methods.

    A program is compiled in one way, ``compile``: ``lower``, ``observe``, ``write``. Each of these returns a value that
    is handed to the next, and the target keeps nothing between calls: the same program, options and samples give the
    same artifact, whatever was compiled before.
    """

    name: ClassVar[str]
    Options: ClassVar[type[TargetOptions]] = TargetOptions
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)
    mixes: ClassVar[tuple[str, ...]] = ()
    """Formats that layers of one program may have, for precision ``auto``: the most exact first. Where what stays in
    float may be in more than one of them, the options have a field ``float_precision``."""
    needs_fixed_shapes: ClassVar[bool] = False
    """Whether memory is planned ahead, so that dynamic dimensions take their least size."""
    has_plain_export: ClassVar[bool] = True
    """Whether the original compiles here without any pass, to measure against."""
    golden_bounds: ClassVar[Mapping[str, float]] = {
        "fp32": 1e-4,
        "bf16": 3e-2,
        "int8": 5e-2,
        AUTO: 5e-2,
        **dict.fromkeys(FORMATS, 5e-2),
    }
    """Largest relative error, by precision, at which another machine's outputs still verify."""
    libraries: ClassVar[tuple[str, ...]] = ()
    """Packages of others that it calls: an error in one of them is told with the line of the user's that led there."""

    def __init_subclass__(cls, **facts: Any) -> None:
        super().__init_subclass__(**facts)
        add_libraries(cls.libraries)

    def mixed_here(self) -> tuple[str, ...]:
        """Return those of ``mixes`` that this machine runs: all, unless a target says otherwise."""
        return self.mixes

    def __init__(self, device: Device) -> None:
        self.device = device

    @classmethod
    def devices(cls) -> tuple[Device, ...]:
        """Return the devices described beside the target's code."""
        folder = resources.files(cls.__module__) / "devices"
        files = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
        return tuple(_device(Path(f.name).stem, tomllib.loads(f.read_text("utf-8"))) for f in files)

    @classmethod
    @abstractmethod
    def probe(cls) -> Probe:
        """Say whether the toolchain is present, without raising."""

    @abstractmethod
    def pipeline(self, options: TargetOptions) -> Sequence[Step]:
        """Return the passes that prepare a program, in order, each with the reason for its place."""

    @abstractmethod
    def lower(self, program: Program, options: TargetOptions) -> AnyLowered:
        """Return the program in the form that is written out, with every node that cannot be placed; write nothing."""

    def observe(self, lowered: AnyLowered, samples: Iterable[Arrays], options: TargetOptions) -> AnyLowered:
        """Return the lowered program with what ``write`` needs to know of its values over samples.

        ``samples`` may be iterated more than once. Nothing is observed unless a target does.
        """
        return lowered

    @abstractmethod
    def write(self, lowered: AnyLowered, folder: Path, options: TargetOptions) -> Artifact:
        """Write the artifact's files into ``folder``. ``lowered`` has no unsupported node."""

    def compile(
        self, program: Program, folder: Path, options: TargetOptions, samples: Iterable[Arrays] | None = None
    ) -> Artifact:
        """Lower a program, observe its values over ``samples`` where there are some, and write the artifact.

        Raises Unsupported, before anything is written, where nodes cannot be placed.
        """
        lowered = self.lower(program, options)
        if lowered.unsupported:
            raise Unsupported(self.name, lowered.unsupported, _remedy(program))
        if samples is not None:
            lowered = self.observe(lowered, samples, options)
        return self.write(lowered, folder, options)

    @abstractmethod
    def open(self, folder: Path, options: TargetOptions) -> Session:
        """Load the artifact that was written into ``folder``."""

    def fallbacks(
        self, layers: Sequence[Layer], options: TargetOptions, formats: Mapping[str, str]
    ) -> tuple[Fallback, ...]:
        """Return which executed layers did not run as asked; none unless a target says otherwise.

        ``formats``: by node of the program the format that was chosen for it, where precision ``auto`` chose.
        """
        return ()

    @classmethod
    def measured_elsewhere(cls, run: Run, files: Sequence[Path]) -> Run:
        """Return the record of a run with what the device's own tools measured there, as they wrote it into files.

        Raises UserError where the target reads no such files, or one is not of theirs.
        """
        raise UserError(f"target '{cls.name}' reads no measurements of its device", "measure with edgeopt bench")

    def hardware(self) -> str:
        """Return the name of what runs the artifact: this machine's processor unless a target says otherwise."""
        return processor_name()

    def check_options(self, options: TargetOptions) -> None:
        """Raise UserError where an option's value is not legal here."""
        if options.precision not in self.precisions:
            raise UserError(
                f"target '{self.name}' does not run precision {quoted(options.precision)}",
                f"choose one of: {', '.join(self.precisions)}",
            )
        if options.threads < 1:
            raise UserError(f"threads is {options.threads}", "give at least one thread")
        if options.threads > MOST_THREADS:
            raise UserError(f"threads is {options.threads}", f"give at most {MOST_THREADS}")


def _remedy(program: Program) -> str:
    """Return what helps where nodes cannot be placed."""
    other = "choose another target, or replace these operators"
    if custom := custom_operators(program.graph.nodes):
        other = f"choose another target, or do one of three things for {', '.join(map(str, custom))}: {WAYS_OUT}"
    return f"take the model in float32 with --float32, {other}" if program_types(program) & OTHER_FLOATS else other


def processor_name() -> str:
    """Return this machine's processor as the operating system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _device(name: str, content: dict[str, Any]) -> Device:
    facts = {k: v for k, v in content.items() if k not in ("description", "aliases", "options")}
    return Device(name, content["description"], tuple(content.get("aliases", ())), content.get("options", {}), facts)
