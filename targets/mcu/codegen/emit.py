"""Prints the C library: ``network.h``, ``network.c``, ``network_weights.[ch]`` and the kernels that it calls."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from edgeopt.kernels import mcu as kernels
from edgeopt.targets.mcu.codegen.calls import layers
from edgeopt.targets.mcu.graph.graph import IntegerGraph
from edgeopt.targets.mcu.nodes.generated import Generated
from edgeopt.targets.mcu.plan.first_fit import Plan
from edgeopt.targets.mcu.plan.kernels import Step
from edgeopt.targets.mcu.plan.schedule import Loop, each_step
from edgeopt.targets.mcu.runtime.network import FILE, Network, Port

_TEMPLATES = Path(__file__).parent / "templates"
_WORDS_A_LINE = 9


def environment(folder: Path) -> Environment:
    """Jinja as all of this target's templates use it."""
    return Environment(
        loader=FileSystemLoader(folder), undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip


def print_library(
    network: Network, graph: IntegerGraph, steps: Sequence[Step | Loop], plan: Plan, folder: Path
) -> list[str]:
    """Write the library into ``folder``; return the files' names, sorted."""
    templates = environment(_TEMPLATES)
    loops = [step for step in steps if isinstance(step, Loop)]
    flat = list(each_step(steps))
    values = {
        "arena_bytes": plan.arena_bytes,
        "inputs": [_port(p, plan, "INPUT", name) for p, name in zip(network.inputs, graph.inputs, strict=True)],
        "outputs": [_port(p, plan, "OUTPUT", name) for p, name in zip(network.outputs, graph.outputs, strict=True)],
        "layers": layers(graph, steps, plan),
        "tiled": any(loop.rows is None or len(loop.steps) > 1 for loop in loops),
        "streamed": network.streamed,
        "features": {step.isa[:3] for step in flat},
        "prototypes": sorted({k.prototype for step in flat if (k := step.kernel) and k.package != kernels.OWN}),
        "generated": [step.node.definition(step.symbol) for step in flat if isinstance(step.node, Generated)],
    }
    files = {name: templates.get_template(f"{name}.jinja").render(values) for name in ("network.h", "network.c")}
    if values["generated"]:
        names = ("network_generated.h", "network_generated.c")
        files |= {name: templates.get_template(f"{name}.jinja").render(values) for name in names}
    files["network_weights.h"], files["network_weights.c"] = _weights(flat, network.section)
    files |= _kernels(flat)
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
    network.write(folder)
    return sorted([*files, FILE])


def _port(port: Port, plan: Plan, side: str, tensor: str) -> dict[str, object]:
    return {
        "name": port.name, "macro": f"{side}_{_identifier(port.name).upper()}", "shape": port.hwc, "size": port.size,
        "maps": port.shape[0] if len(port.shape) == 4 else 1,
        "scale": repr(float(np.float32(port.scale))), "zero_point": port.zero_point,
        "offset": plan.offsets.get(tensor, 0),
    }  # fmt: skip


def _identifier(name: str) -> str:
    return re.sub(r"\W", "_", name)


def _weights(steps: Sequence[Step], section: str) -> tuple[str, str]:
    """Header and source of the constant blocks but those that are printed with their call."""
    blocks = {i: step for i, step in enumerate(steps) if step.needs.packed.size and not step.needs.in_call}
    header = ["/* Constant blocks of the layers, in the order in which their kernels read them. */",
              "#ifndef NETWORK_WEIGHTS_H", "#define NETWORK_WEIGHTS_H", "", "#include <stdint.h>", ""]  # fmt: skip
    source = ['#include "network_weights.h"']
    for i, step in blocks.items():
        header.append(f"extern const uint32_t weights_{i}[{step.needs.packed.size}]; /* {step.node.name} */")
        source += _array(f"weights_{i}", step.needs.packed, section)
    tables = {table.name: table.words for step in steps if (table := step.needs.table)}
    for name, words in tables.items():
        header.append(f"extern const uint32_t {name}[{words.size}]; /* what weights in four bits are looked up in */")
        source += _array(name, words, "")
    return "\n".join([*header, "", "#endif", ""]), "\n".join([*source, ""])


def _array(name: str, words: np.ndarray, section: str) -> list[str]:
    """Lines of a constant array, in a section of the linker where one is named."""
    where = f' __attribute__((section("{section}")))' if section else ""
    texts = [f"0x{word:08x}," for word in words.view(np.uint32)]
    lines = [" ".join(texts[k : k + _WORDS_A_LINE]) for k in range(0, len(texts), _WORDS_A_LINE)]
    return ["", f"const uint32_t {name}[{words.size}]{where} = {{", *lines, "};"]


def _kernels(steps: Sequence[Step]) -> dict[str, str]:
    """The kernels' files in one flat folder: ``s8_conv2d_dsp16.c``, their headers beside them."""
    used = {step.kernel for step in steps if step.kernel}
    return {
        name: re.sub(r'#include "\.\./common/(\w+\.h)"', r'#include "\1"', path.read_text("utf-8"))
        for name, path in kernels.sources(used).items()
    }
