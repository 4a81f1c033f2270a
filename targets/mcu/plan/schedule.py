"""Which steps run tile by tile, so that what passes between them never exists as a whole.

    norm, linear, GELU, linear + residual over all positions  =>  the same for two positions, then the next two

The hidden values of a transformer's MLP then take the room of two tokens, and the result is written over the input.
A run of steps becomes a loop where each computes a position from the same position alone, and something between
them is read by nothing else. The bytes are the same: the same kernels on fewer positions at a time.

A streamed input is read row by row into a window of rows while the first convolution goes through its output rows.

Source: Liang et al., MCUFormer: Deploying Vision Transformers on Microcontrollers with Limited Memory, NeurIPS 2023
(its engine's token overwriting and patch embedding by parts).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgeopt.errors import UserError
from edgeopt.targets.mcu.graph.graph import IntegerGraph
from edgeopt.targets.mcu.nodes.conv2d import Conv2d
from edgeopt.targets.mcu.nodes.depthwise_conv2d import DepthwiseConv2d
from edgeopt.targets.mcu.plan.first_fit import Buffer, Plan, Sharing, plan
from edgeopt.targets.mcu.plan.kernels import Step

TILE = 2
"""Positions at a time: as many as the convolutions' kernels take in one walk over the weights."""

Root = Callable[[str], str]


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a streamed input that one row of the first convolution's output needs."""

    tensor: str
    bytes: int


@dataclass(frozen=True, eq=False)
class Loop:
    """``steps``, run on ``tile`` of ``positions`` after the other.

    ``reads`` and ``writes`` exist outside it. ``inner`` places everything else in its scratch, for one tile; ``rows``
    is its streamed input.
    """

    steps: tuple[Step, ...]
    positions: int
    tile: int
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    inner: Plan
    sharings: tuple[Sharing, ...]
    rows: Rows | None = None

    @property
    def scratch(self) -> str:
        """Name of the scratch buffer."""
        return f"{self.steps[-1].node.name}.tile"

    @property
    def scratch_bytes(self) -> int:
        """Bytes of a tile of all that passes between the steps."""
        return self.inner.arena_bytes

    @property
    def overread(self) -> int:
        """Bytes that may be read behind any tensor."""
        return max(step.overread for step in self.steps)

    @property
    def hidden(self) -> frozenset[str]:
        """Tensors that never exist as a whole."""
        names = {name for step in self.steps for name in (*step.reads, *step.writes)}
        return frozenset(names - {*self.reads, *self.writes})


def each_step(steps: Sequence[Step | Loop]) -> Iterator[Step]:
    """All steps, those of loops in their order."""
    for step in steps:
        yield from step.steps if isinstance(step, Loop) else (step,)


def roots(graph: IntegerGraph) -> Root:
    """What memory a tensor lies in: that of the tensor whose view it is, to which it is added, or whose head it is."""
    alias = {node.output: node.root for node in graph.nodes if node.root is not None}

    def root(name: str) -> str:
        return root(alias[name]) if name in alias else name

    return root


def sharings(steps: Sequence[Step | Loop], lives: Mapping[str, Sequence[int]], root: Root) -> list[Sharing]:
    """What the steps allow, where the source dies and the target begins at the same step."""
    return [
        Sharing(root(s.source), root(s.target), s.least, s.exact)
        for i, step in enumerate(steps)
        for s in step.sharings
        if root(s.source) in lives and root(s.target) in lives
        if lives[root(s.source)][1] == i and lives[root(s.target)][0] == i
    ]


def stream(graph: IntegerGraph, steps: Sequence[Step]) -> Loop:
    """Return the loop that reads input 0 row by row: the convolution of it, and what goes on position by position.

    Raises UserError where the input is read otherwise.
    """
    root = roots(graph)
    readers = [step for step in steps if graph.inputs[0] in map(root, step.reads)]
    first = steps[0]
    if readers != [first] or not isinstance(first.node, Conv2d | DepthwiseConv2d) or first.node.inputs[1:]:
        names = ", ".join(step.node.name for step in readers)
        raise UserError(
            f"input '{graph.inputs[0]}' cannot be streamed: it is read by {names}, not by a first convolution alone",
            "leave out stream-input",
        )
    if first.node.samples > 1:
        raise UserError(
            f"input '{graph.inputs[0]}' cannot be streamed: it is a batch of {first.node.samples} maps",
            "trace the model with a batch of 1, or leave out stream-input",
        )
    height, width, _ = graph.tensors[first.node.output].shape
    run = [first]
    for step in steps[1:]:
        if positions(graph, step) != height * width:
            break
        run.append(step)
    x = graph.tensors[graph.inputs[0]]
    rows = Rows(x.name, min(first.node.window.kernel[0], x.shape[0]) * x.shape[1] * x.shape[2])
    (loop,) = looped(graph, steps, run, width, rows)
    assert isinstance(loop, Loop)
    return loop


def schedule(graph: IntegerGraph, steps: Sequence[Step], streamed: bool = False) -> list[Step | Loop]:
    """Put every run of steps that goes position by position into a loop where that saves memory."""
    scheduled: list[Step | Loop] = [stream(graph, steps)] if streamed else []
    run: list[Step] = []
    for step in steps[len(list(each_step(scheduled))) :]:
        if run and positions(graph, step) != positions(graph, run[0]):
            scheduled += looped(graph, steps, run)
            run = []
        if positions(graph, step) > TILE:
            run.append(step)
        else:
            scheduled.append(step)
    return scheduled + looped(graph, steps, run)


def positions(graph: IntegerGraph, step: Step) -> int:
    """How many positions a step computes, each from the same one of its inputs; 0 where it does otherwise."""
    height, width, _ = graph.tensors[step.node.output].shape
    return height * width if step.node.is_pointwise else 0


def looped(
    graph: IntegerGraph, steps: Sequence[Step], run: Sequence[Step], tile: int = TILE, rows: Rows | None = None
) -> list[Step | Loop]:
    """Return a run as a loop, or as it is where nothing passes between its steps alone."""
    root = roots(graph)
    outside = {root(name) for name in (*graph.inputs, *graph.outputs)}
    outside |= {root(name) for step in steps if step not in run for name in (*step.reads, *step.writes)}
    used = list(dict.fromkeys(name for step in run for name in (*step.reads, *step.writes)))
    if rows is not None:
        outside -= {root(rows.tensor)}
    hidden = {root(name) for name in used} - outside
    if not hidden:
        return list(run)
    made = {step.node.output for step in run}
    whole = [name for name in used if root(name) not in hidden]
    reads, writes = tuple(n for n in whole if n not in made), tuple(n for n in whole if n in made)
    inner = _tile(graph, run, hidden, tile, root, rows)
    shared = tuple(_outer_sharings(graph, run, reads, writes, root))
    return [Loop(tuple(run), positions(graph, run[-1]), tile, reads, writes, inner, shared, rows)]


def _tile(graph: IntegerGraph, run: Sequence[Step], hidden: set[str], tile: int, root: Root, rows: Rows | None) -> Plan:
    """Place what one tile needs: hidden tensors, the steps' scratch, the rows of a streamed input."""
    lives: dict[str, list[int]] = {}
    for i, step in enumerate(run):
        for name in (*step.reads, *step.writes):
            if root(name) in hidden and (rows is None or name != rows.tensor):
                lives.setdefault(root(name), [i, i])[1] = i
    over = max(step.overread for step in run)
    buffers = [
        Buffer(name, tile * graph.tensors[name].shape[2], first, last, over) for name, (first, last) in lives.items()
    ]
    buffers += [Buffer(step.scratch, step.scratch_bytes, i, i) for i, step in enumerate(run) if step.scratch_bytes]
    if rows is not None:
        buffers.append(Buffer(rows.tensor, rows.bytes, 0, len(run), over))
    in_place = [s for s in sharings(run, lives, root) if s.exact]
    placed = plan(buffers, in_place)
    names = {name for step in run for name in (*step.reads, *step.writes) if root(name) in lives}
    return Plan({**placed.offsets, **{name: placed.offsets[root(name)] for name in names}}, placed.arena_bytes)


def _outer_sharings(
    graph: IntegerGraph, run: Sequence[Step], reads: Sequence[str], writes: Sequence[str], root: Root
) -> Iterator[Sharing]:
    """A tile of a result may be written over the tile of an input that was read for the last time before."""
    uses: dict[str, list[int]] = {}
    for i, step in enumerate(run):
        for name in (*step.reads, *step.writes):
            uses.setdefault(root(name), []).append(i)
    for x in reads:
        for y in writes:
            same_size = graph.tensors[x].shape[2] == graph.tensors[y].shape[2]
            if same_size and root(x) != root(y) and uses[root(x)][-1] < uses[root(y)][0]:
                yield Sharing(x, y, 0, exact=True)
    for i, step in enumerate(run):
        for sharing in step.sharings:
            if sharing.exact and sharing.source in reads and uses[root(sharing.source)][-1] == i:
                yield sharing
