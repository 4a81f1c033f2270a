"""Move explicit zero padding into the convolution that reads it.

Before => after, p a number of zeros on both sides of each spatial axis:

    conv(pad(x, p), W, padding=q)  =>  conv(x, W, padding=p + q)

A convolution's own padding is zeros on both sides as well, so each window sums the same products. It saves writing
and reading a padded copy of x.

Not when: the padding is not zeros; the two sides of an axis differ (a convolution pads both alike); it crops, or
pads the batch or the channels; the padded tensor is also read elsewhere.

Source: the definition of convolution with implicit zero padding.
"""

from __future__ import annotations

import torch
from torch import fx

from edgeopt.plugins.passes import Match, Pattern, Program, Rewrite, Rule, any_, arguments, op

aten = torch.ops.aten

_CONVOLUTIONS = (aten.conv1d.default, aten.conv2d.default, aten.conv3d.default)


class PaddingIntoConvolution(Rule):
    """conv(pad(x, p), W, padding=q) => conv(x, W, padding=p + q)."""

    def pattern(self) -> Pattern:
        """Draw a convolution that reads a pad."""
        return op(*_CONVOLUTIONS, input=op(aten.pad.default, self=any_("x"), name="pad"))

    def check(self, program: Program, m: Match) -> str | None:
        """Refuse whatever a convolution's own padding cannot say."""
        given = arguments(m["pad"])
        befores, afters = _per_axis(given["pad"])
        spatial = m.root.meta["val"].dim() - 2
        if given["mode"] != "constant":
            return f"{m['pad'].name} pads in mode '{given['mode']}'"
        if given["value"]:
            return f"{m['pad'].name} pads with {given['value']}, not with zeros"
        if len(befores) > spatial:
            return f"{m['pad'].name} also pads the channels or the batch"
        if befores != afters:
            return f"{m['pad'].name} pads {befores} before and {afters} after"
        return f"{m['pad'].name} crops" if min(befores) < 0 else None

    def rewrite(self, program: Program, m: Match) -> fx.Node:
        """Read x itself, with the sum of both paddings."""
        conv = arguments(m.root)
        extra = _per_axis(arguments(m["pad"])["pad"])[0]
        extra = [0] * (m.root.meta["val"].dim() - 2 - len(extra)) + extra
        own = conv["padding"] * len(extra) if len(conv["padding"]) == 1 else conv["padding"]
        operands = {**conv, "input": m["x"], "padding": [p + q for p, q in zip(own, extra, strict=True)]}
        return program.insert(m.root, m.root.target, *operands.values())


class FoldPadding(Rewrite):
    """Move explicit zero padding into convolutions."""

    name = "fold-padding"
    rules = (PaddingIntoConvolution(),)


def _per_axis(pad: list[int]) -> tuple[list[int], list[int]]:
    """Return the padding before and after each axis; torch lists both together, last axis first."""
    return list(pad[0::2])[::-1], list(pad[1::2])[::-1]
