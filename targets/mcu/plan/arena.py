"""One arena for all tensors and scratch buffers: what each step of the program asks of memory, for the planner."""

from __future__ import annotations

from collections.abc import Sequence

from edgeopt.targets.mcu.graph.graph import IntegerGraph
from edgeopt.targets.mcu.plan.first_fit import Buffer, Plan, plan
from edgeopt.targets.mcu.plan.kernels import Step
from edgeopt.targets.mcu.plan.schedule import Loop, roots, sharings


def place(graph: IntegerGraph, steps: Sequence[Step | Loop]) -> Plan:
    """Place all tensors and scratch buffers of the steps; tensors that live inside a loop lie in its scratch."""
    root = roots(graph)
    hidden = {root(name) for step in steps if isinstance(step, Loop) for name in step.hidden}
    lives: dict[str, list[int]] = {root(name): [-1, -1] for name in graph.inputs if root(name) not in hidden}
    overread: dict[str, int] = {}
    for i, step in enumerate(steps):
        for name in (*step.reads, *step.writes):
            lives.setdefault(root(name), [i, i])[1] = i
        for x in map(root, step.reads if isinstance(step, Loop) else step.reads[:1]):
            overread[x] = max(overread.get(x, 0), step.overread)
    for name in graph.outputs:
        lives[root(name)][1] = len(steps)
    buffers = [
        Buffer(name, graph.tensors[name].size, first, last, overread.get(name, 0))
        for name, (first, last) in lives.items()
    ]
    buffers += [Buffer(s.scratch, s.scratch_bytes, i, i) for i, s in enumerate(steps) if s.scratch_bytes]
    placed = plan(buffers, sharings(steps, lives, root))
    offsets = {name: placed.offsets[root(name)] for name in graph.tensors if root(name) in lives}
    return Plan({**placed.offsets, **offsets}, placed.arena_bytes)
