"""The body of ``network_run``: every step as a call, loops around those that run tile by tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeopt.targets.mcu.codegen.sites import PartSite, TileSite, WholeSite
from edgeopt.targets.mcu.graph.graph import IntegerGraph
from edgeopt.targets.mcu.nodes.site import Site
from edgeopt.targets.mcu.plan.first_fit import Plan
from edgeopt.targets.mcu.plan.kernels import Step
from edgeopt.targets.mcu.plan.schedule import Loop, each_step


@dataclass(frozen=True)
class Layer:
    """A layer as the template prints it: constant tables, its lines of code, and a line about both."""

    tables: tuple[str, ...]
    code: tuple[str, ...]
    comment: str


def layers(graph: IntegerGraph, steps: Sequence[Step | Loop], plan: Plan) -> list[Layer]:
    """The layers in order; their tables and weights are numbered through the steps of all loops."""
    numbers = {id(step): i for i, step in enumerate(each_step(steps))}
    found = []
    for step in steps:
        if isinstance(step, Loop):
            found.append(_loop(graph, plan, step, numbers))
        else:
            site = PartSite if step.node.samples > 1 else WholeSite
            found.append(_layer(graph, step, site(graph, plan, step, numbers[id(step)])))
    return found


def _loop(graph: IntegerGraph, plan: Plan, loop: Loop, numbers: dict[int, int]) -> Layer:
    """The steps of a loop with a loop around them; the first one of a streamed input reads its rows."""
    sites = [TileSite(graph, plan, step, numbers[id(step)], loop) for step in loop.steps]
    inner = [_layer(graph, step, site) for step, site in zip(loop.steps, sites, strict=True)]
    code: list[str] = []
    for step, layer in zip(loop.steps, inner, strict=True):
        i = numbers[id(step)]
        if loop.rows is None or step is not loop.steps[0]:
            code += [f"const eo_window tile_{i} = positions_of(&window_{i}, n);"] if step.node.has_window else []
        code += layer.code
    if loop.rows is None:
        head = f"for (int at = 0; at < {loop.positions}; at += {loop.tile}) {{"
        size = f"const int n = {loop.positions} - at < {loop.tile} ? {loop.positions} - at : {loop.tile};"
        body = [size, *code]
    else:
        first = numbers[id(loop.steps[0])]
        head = f"for (int row = 0, at = 0, n = {loop.tile}, end = 0; at < {loop.positions}; row++, at += n) {{"
        body = [
            f"const eo_window tile_{first} = row_of(&window_{first}, row);",
            f"end = read_rows(inputs, &window_{first}, row, end, {sites[0].at(loop.rows.tensor)});",
            "if (end < 0)",
            "    return NETWORK_READ_FAILED;",
            *code,
        ]
    comment = f"{loop.tile} positions at a time: " + "; ".join(layer.comment for layer in inner)
    tables = tuple(table for layer in inner for table in layer.tables)
    return Layer(tables, (head, *(f"    {line}" for line in body), "}"), comment)


def _layer(graph: IntegerGraph, step: Step, site: Site) -> Layer:
    node = step.node
    macs = graph.macs(node)
    shapes = " -> ".join("x".join(map(str, tensor.shape)) for tensor in (site.x, site.y))
    times = f"{node.samples} times " if node.samples > 1 else ""
    comment = f"{node.name}: {node.op}, {times}{shapes}" + (f", {macs} MACs" if macs else "")
    printed = node.printed(site)
    each_sample = f"for (int sample = 0; sample < {node.samples}; sample++)"
    code: list[str] = []
    for arguments in printed.calls:
        call = f"{step.symbol}({', '.join(arguments)});"
        code += [each_sample, f"    {call}"] if node.samples > 1 else [call]
    return Layer(tuple(printed.tables), tuple(code), comment)
