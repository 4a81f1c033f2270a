"""Microcontrollers: an INT8 network as a plain C library with one static arena, run on emulated Cortex-M cores."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from edgeopt.errors import ToolchainMissing, UserError
from edgeopt.ir.pass_base import Step
from edgeopt.ir.program import Program, TensorSpec
from edgeopt.options import option
from edgeopt.passes.exact.expand_attention import ExpandAttention
from edgeopt.passes.exact.expand_linear_attention import ExpandLinearAttention
from edgeopt.passes.exact.slice_parts import SliceParts
from edgeopt.passes.exact.split_projections import SplitProjections
from edgeopt.passes.exact.standard import PACKED
from edgeopt.passes.quantization.insert_qdq import InsertQdq
from edgeopt.plugins.target import AUTO, Arrays, Artifact, Device, Lowered, Probe, Session, Target, TargetOptions
from edgeopt.quant.blockwise import FORMATS
from edgeopt.quant.codebook import CODEBOOKS
from edgeopt.records.layers import Fallback
from edgeopt.targets.mcu.codegen.emit import print_library
from edgeopt.targets.mcu.codegen.project_files import FOLDER, check_kind, write_project
from edgeopt.targets.mcu.graph.graph import IntegerGraph
from edgeopt.targets.mcu.lower.lower import NAME, lower_program, scheme
from edgeopt.targets.mcu.lower.power_of_two import by_shifts, check_requantization
from edgeopt.targets.mcu.nodes.generated import Generated
from edgeopt.targets.mcu.plan.arena import place
from edgeopt.targets.mcu.plan.first_fit import Plan
from edgeopt.targets.mcu.plan.fuse import fuse_attention, fuse_residuals, split_heads
from edgeopt.targets.mcu.plan.kernels import MODES, choose_kernels
from edgeopt.targets.mcu.plan.kernels import Step as Call
from edgeopt.targets.mcu.plan.schedule import Loop, each_step, schedule
from edgeopt.targets.mcu.runtime import toolchain
from edgeopt.targets.mcu.runtime.core import Core, read_core
from edgeopt.targets.mcu.runtime.firmware import footprint
from edgeopt.targets.mcu.runtime.network import LayerFacts, Network, Port
from edgeopt.targets.mcu.runtime.qemu import QEMU, STACK_BYTES
from edgeopt.targets.mcu.runtime.session import MicroSession

LIBRARY = "network"
"""Folder of the C library in the bundle."""

CODE_RESERVE = 24 * 1024
"""Flash kept for code when ``balanced`` spends the rest on weights."""

PREPARE = (
    Step(ExpandAttention, "first: kernels have products and softmax, whose scale goes into the queries"),
    Step(ExpandLinearAttention, "beside it, for the same reason"),
    Step(SplitProjections, "before the folds, which then see the queries' own layer"),
    *PACKED,
    Step(SliceParts, "last: kernels have one result, and move integers for a part of a tensor"),
)
"""What makes a program ready for calibration."""

SCHEDULES: Mapping[str, tuple[Callable[[IntegerGraph], IntegerGraph], ...]] = {
    "layers": (),
    "tiles": (fuse_attention,),
    "heads": (fuse_attention, split_heads),
}
"""What is rewritten for each schedule; all but the first also run tile by tile what goes position by position."""

_IN_FLOAT = "no kernel: computed in float by code that TVM generated"


@dataclass(frozen=True)
class MicroOptions(TargetOptions):
    """Options of microcontrollers."""

    precision: str = option("int8", "Arithmetic asked for, and run (see edgeopt explain TARGET).")
    optimize: str = option(
        "speed",
        "What flash is spent on: 'speed' keeps weights as int16 where a kernel is faster so, 'balanced' as far as the "
        "flash goes, 'size' not at all.",
    )
    project: str = option("none", "Example application: none, make, cmake, zephyr, platformio or esp-idf.")
    external_weights: str = option(
        "",
        "The linker's section for weights that do not lie in the device's own flash, such as .qspi; the linker script "
        "of the board says where that is.",
    )
    schedule: str = option(
        "tiles",
        "'tiles' runs what goes position by position a few positions at a time, and attention row by row, so that less "
        "exists at once; 'heads' also makes keys and values for one head at a time, at the price of norms computed "
        "again; 'layers' runs every layer as a whole.",
    )
    stream_input: bool = option(
        False, "Read input 0 row by row through a function of the caller; it then takes no room in the arena."
    )
    requantization: str = option(
        "multiplier", "By a 'multiplier' for each channel, or by a 'shift', all scales powers of two."
    )


@dataclass(frozen=True, kw_only=True)
class InIntegers(Lowered):
    """A program as the graph that C is printed from, with what no kernel takes and what stayed in float refused."""

    graph: IntegerGraph


class Mcu(Target[InIntegers]):
    """A quantized program as C99: kernels for the device's core, offsets in an arena, constants in flash."""

    name = NAME
    libraries = ("tvm",)
    Options = MicroOptions
    precisions = ("int8", *CODEBOOKS, AUTO)
    mixes = ("int8", *CODEBOOKS, "binary")
    golden_bounds = dict.fromkeys(precisions, 0.0)

    has_plain_export = False
    needs_fixed_shapes = True

    @classmethod
    def probe(cls) -> Probe:
        """C is printed without any tool: a compiler and QEMU measure it, TVM compiles what no kernel takes."""
        versions, missing = {}, False
        for tool in (toolchain.GCC, QEMU):
            try:
                found = re.search(r"\d+\.\d+\.\d+", toolchain.command(tool, "--version"))
                versions[tool] = found.group() if found else "of unknown version"
            except ToolchainMissing:
                missing = True
        with suppress(PackageNotFoundError):
            versions["apache-tvm"] = version("apache-tvm")
        return Probe(True, versions, toolchain.INSTALL if missing else None)

    def pipeline(self, options: TargetOptions) -> Sequence[Step]:
        """Return the exact passes, attention in its parts before them, then quantization."""
        assert isinstance(options, MicroOptions)
        shifts = options.requantization == "shift"
        asked = replace(scheme(), codebook=CODEBOOKS.get(options.precision), shifts=shifts)
        return (*PREPARE, Step(lambda: InsertQdq(asked), "last: kernels take int8 and leave int8"))

    def lower(self, program: Program, options: TargetOptions) -> InIntegers:
        """Return the program in integers; TVM compiles what no kernel takes, a few seconds for each region."""
        graph, refused = lower_program(program)
        return InIntegers(program, tuple(refused), graph=graph)

    def write(self, lowered: InIntegers, folder: Path, options: TargetOptions) -> Artifact:
        """Write the library into ``network/``."""
        assert isinstance(options, MicroOptions)
        program, graph = lowered.program, lowered.graph
        if options.requantization == "shift":
            graph = by_shifts(graph, self._core.isas)
        graph, calls, plan = self._scheduled(graph, options)
        facts = describe(program, graph, calls, plan.arena_bytes)
        network = replace(facts, section=options.external_weights, streamed=options.stream_input)
        library = folder / LIBRARY
        library.mkdir()
        printed = print_library(network, graph, calls, plan, library)
        files = [f"{LIBRARY}/{name}" for name in printed]
        if options.project != "none":
            (folder / FOLDER).mkdir()
            names = write_project(options.project, self.device, self._board, graph, network, folder / FOLDER)
            files += [f"{FOLDER}/{name}" for name in names]
        memory = self._memory(network, library, options)
        capacity: dict[str, int] = {k: self.device.facts[k]["size"] for k in ("flash", "ram") if k in memory}
        return Artifact(
            tuple(files),
            program.inputs,
            program.outputs,
            memory,
            capacity,
            tuple(
                Fallback(c.node.name, ", ".join(c.node.operators), _IN_FLOAT)
                for c in each_step(calls)
                if isinstance(c.node, Generated)
            ),
            tuple(map(_note, each_step(calls))),
            {"precisions": {layer.name: layer.precision for layer in network.layers}},
        )

    def _scheduled(self, graph: IntegerGraph, options: MicroOptions) -> tuple[IntegerGraph, list[Call | Loop], Plan]:
        """Choose kernels, and of the schedules that are asked for the one with the smallest arena, plain ones first."""
        graphs = [fuse_residuals(graph)]
        for rewrite in SCHEDULES[options.schedule]:
            made = rewrite(graphs[-1])
            graphs += [made] if len(made.nodes) != len(graphs[-1].nodes) else []
        flash = self.device.facts["flash"]["size"]
        found: list[tuple[IntegerGraph, list[Call | Loop], Plan]] = []
        for each in graphs:
            calls = choose_kernels(each, self._core.isas, options.optimize, flash - CODE_RESERVE)
            looped: list[Call | Loop] = []
            if options.schedule != "layers":
                looped = schedule(each, calls, options.stream_input)
            if not options.stream_input:
                found.append((each, list(calls), place(each, calls)))
            if any(isinstance(call, Loop) for call in looped):
                found.append((each, looped, place(each, looped)))
        return min(found, key=lambda made: made[2].arena_bytes)

    def open(self, folder: Path, options: TargetOptions) -> Session:
        """Build the library for the device's emulator and run it there.

        Raises ToolchainMissing without the cross compiler or QEMU.
        """
        return MicroSession(folder / LIBRARY, self._board, self.device.facts["core"])

    def hardware(self) -> str:
        """Return the emulated core, or this machine's processor for the host."""
        core = self.device.facts["core"]
        if core == "host":
            return super().hardware()
        return f"{core}, emulated by QEMU ({self._board.facts['qemu']['machine']})"

    def check_options(self, options: TargetOptions) -> None:
        """Raise UserError where an option's value is not legal here."""
        if options.precision in FORMATS and options.precision not in self.precisions:
            raise UserError(
                f"precision '{options.precision}' has scales along a row: a kernel would rescale its sums inside it",
                f"choose one with a scale a row: {', '.join(CODEBOOKS)}",
            )
        super().check_options(options)
        assert isinstance(options, MicroOptions)
        if options.optimize not in MODES:
            raise UserError(f"optimize is '{options.optimize}'", f"choose one of: {', '.join(MODES)}")
        if not re.fullmatch(r"(\.\w+)*", options.external_weights):
            raise UserError(f"external-weights is '{options.external_weights}'", "give a section's name, such as .qspi")
        if options.schedule not in SCHEDULES:
            raise UserError(f"schedule is '{options.schedule}'", f"choose one of: {', '.join(SCHEDULES)}")
        check_requantization(options.requantization)
        if options.stream_input and options.schedule == "layers":
            raise UserError("stream-input with a schedule by layers", "leave out one of the two")
        check_kind(options.project, self.device)

    @property
    def _core(self) -> Core:
        return read_core(self.device.facts["core"])

    @property
    def _board(self) -> Device:
        """What runs the library here: the device itself, or an emulated board with the same core."""
        name = self.device.facts.get("emulator", self.device.name)
        return next(device for device in self.devices() if device.name == name)

    def _memory(self, network: Network, library: Path, options: MicroOptions) -> dict[str, int]:
        """Bytes by kind: of the library alone, RAM with its stack; code and stack only where a compiler is."""
        arena = network.arena_bytes
        memory = {"weights": network.constant_bytes, "arena": arena, "ram": arena + STACK_BYTES}
        try:
            taken = footprint(library, self.device.facts["core"])
        except ToolchainMissing:
            return memory
        sections = taken.sections
        memory |= {"stack": taken.stack_bytes, "ram": arena + taken.stack_bytes}
        flash = sections.text + sections.rodata + sections.data  # an external section is none of these
        inside = 0 if options.external_weights else network.constant_bytes
        external = {"external": network.constant_bytes} if options.external_weights else {}
        return {**memory, **external, "code": flash - inside, "flash": flash}


def expected(program: Program, inputs: Arrays) -> dict[str, np.ndarray]:
    """Return what the library of ``program`` must return for ``inputs``, by name: the integer reference's values.

    They are equal bit by bit; behind code that TVM generated, which rounds as floats do, a step apart at most.
    """
    graph, _ = lower_program(program)
    sources = _ports(program.inputs, graph, graph.inputs)
    sinks = _ports(program.outputs, graph, graph.outputs)
    q = {name: port.to_int8(inputs[port.name])[0] for name, port in zip(graph.inputs, sources, strict=True)}
    values = graph.run(q)
    return {port.name: port.to_real(values[name][None]) for name, port in zip(graph.outputs, sinks, strict=True)}


def describe(program: Program, graph: IntegerGraph, calls: Sequence[Call | Loop], arena_bytes: int) -> Network:
    """Return the record of the library that will be printed."""
    layers = tuple(_facts(graph, call) for call in calls)
    inputs, outputs = _ports(program.inputs, graph, graph.inputs), _ports(program.outputs, graph, graph.outputs)
    return Network(inputs, outputs, layers, arena_bytes)


def _facts(graph: IntegerGraph, call: Call | Loop) -> LayerFacts:
    """A layer; a loop is one, with the kernels that it runs."""
    steps = list(each_step([call]))
    op = steps[0].node.op if len(steps) == 1 else "tiles"
    kernels, precisions = (
        " ".join(dict.fromkeys(names)) for names in ([s.symbol for s in steps], [s.precision for s in steps])
    )
    macs, constants = (sum(v) for v in zip(*((graph.macs(s.node), s.constant_bytes) for s in steps), strict=True))
    return LayerFacts(steps[-1].node.name, op, kernels, macs, constants, precisions)


def _ports(specs: Sequence[TensorSpec], graph: IntegerGraph, tensors: Sequence[str]) -> tuple[Port, ...]:
    return tuple(_port(spec, graph, tensor) for spec, tensor in zip(specs, tensors, strict=True))


def _port(spec: TensorSpec, graph: IntegerGraph, tensor: str) -> Port:
    t = graph.tensors[tensor]
    return Port(spec.name, tuple(int(d) for d in spec.shape), t.shape, t.scale, t.zero_point)


def _note(call: Call) -> str:
    return f"{call.node.name}: {call.symbol}, {call.precision}, {call.constant_bytes} bytes of constants"
