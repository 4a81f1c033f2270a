"""Take parts one by one instead of all at once: what targets can move that have no operator of several results.

    split(x, sizes, d)[i], chunk(x, n, d)[i]  =>  slice(x, d, start of part i, its end)
    unbind(x, d)[i]                           =>  select(x, d, i)

Not when a dimension is known only at run time.
"""

from __future__ import annotations

import operator

from torch import fx

from edgeopt.ir.nodes import aten, node_arg
from edgeopt.ir.program import Program
from edgeopt.ir.rewrite import Match, Pattern, Rewrite, Rule, arguments, op
from edgeopt.quant.scheme import DIVISIONS


class PartOfTensor(Rule):
    """split(x)[i] => slice(x)."""

    allows_sharing = True

    def pattern(self) -> Pattern:
        """Draw any element of what takes a tensor apart."""
        return op(operator.getitem, where=lambda program, node: _whole(node).target in DIVISIONS)

    def check(self, program: Program, m: Match) -> str | None:
        """Refuse sizes that are known only at run time."""
        parts = _whole(m.root).meta["val"]
        static = all(isinstance(size, int) for part in parts for size in part.shape)
        return None if static else "a dimension is known only at run time"

    def rewrite(self, program: Program, m: Match) -> fx.Node:
        """Build the slice or select of the one part."""
        whole, index = _whole(m.root), m.root.args[1]
        assert isinstance(index, int)
        found = arguments(whole)
        source = found["self"]
        dim = found["dim"] % source.meta["val"].dim()
        if whole.target is aten.unbind.int:
            return program.insert(m.root, aten.select.int, source, dim, index)
        sizes = [part.shape[dim] for part in whole.meta["val"]]
        start = sum(sizes[:index])
        return program.insert(m.root, aten.slice.Tensor, source, dim, start, start + sizes[index])


class SliceParts(Rewrite):
    """Give each part of a tensor that is taken apart an operator of its own."""

    name = "slice-parts"
    rules = (PartOfTensor(),)


def _whole(part: fx.Node) -> fx.Node:
    return node_arg(part, 0)
