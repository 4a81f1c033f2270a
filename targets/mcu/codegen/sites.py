"""Where a step's call stands: over whole tensors, over one of several samples, or over a tile of positions."""

from __future__ import annotations

from edgeopt.targets.mcu.graph.graph import IntegerGraph
from edgeopt.targets.mcu.nodes.site import Site
from edgeopt.targets.mcu.plan.first_fit import Plan
from edgeopt.targets.mcu.plan.kernels import Step
from edgeopt.targets.mcu.plan.schedule import Loop


class WholeSite(Site):
    """Over whole tensors."""

    def __init__(self, graph: IntegerGraph, plan: Plan, step: Step, index: int) -> None:
        table = step.needs.table
        super().__init__(index, *graph.ends(step.node), table.name if table else None)
        self.graph, self.plan, self.step = graph, plan, step

    def at(self, tensor: str) -> str:
        """Pointer to a tensor."""
        return self._placed(tensor)

    @property
    def scratch(self) -> str:
        """Pointer to the step's scratch."""
        return self._placed(self.step.scratch) if self.step.scratch_bytes else "NULL"

    def _placed(self, buffer: str) -> str:
        return f"AT({self.plan.offsets[buffer]})"


class PartSite(WholeSite):
    """Over sample number ``sample`` of every tensor; scratch is that of every sample in turn."""

    def at(self, tensor: str) -> str:
        """Pointer to the sample of a tensor."""
        size = self.graph.tensors[tensor].size // self.step.node.samples
        return f"AT({self.plan.offsets[tensor]} + sample * {size})"


class TileSite(WholeSite):
    """Over the positions ``at`` to ``at + n``: hidden tensors in the loop's scratch, all others a part of the whole."""

    def __init__(self, graph: IntegerGraph, plan: Plan, step: Step, index: int, loop: Loop) -> None:
        super().__init__(graph, plan, step, index)
        self.loop = loop

    def at(self, tensor: str) -> str:
        """Pointer to the tile of a tensor."""
        if tensor in self.loop.inner.offsets:
            return self._placed(tensor)
        return f"(int8_t *)AT({self.plan.offsets[tensor]}) + at * {self.graph.tensors[tensor].shape[2]}"

    def _placed(self, buffer: str) -> str:
        return f"AT({self.plan.offsets[self.loop.scratch] + self.loop.inner.offsets[buffer]})"

    @property
    def rows(self) -> str:
        """Number of positions of the tile."""
        return "(size_t)n"

    @property
    def count(self) -> str:
        """Number of values of the tile."""
        return f"(size_t)n * {self.y.shape[2]}"

    @property
    def window(self) -> str:
        """Pointer to the window of this tile."""
        return f"&tile_{self.index}"

    @property
    def beside(self) -> str:
        """The constants of this tile."""
        return f"{self.bytes} + at * {self.y.shape[2]}"
