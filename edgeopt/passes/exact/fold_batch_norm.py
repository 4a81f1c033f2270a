"""Fold batch norms into the layer before or the layers after.

In evaluation a batch norm is affine per channel of axis 1:

    y = a * x + s,    a = gamma / sqrt(var + eps),    s = beta - a * mean

Before => after, W a linear or convolution, transposed and grouped ones included:

    batch_norm(W x + b)  =>  (diag(a) W) x + (a * b + s)
    W batch_norm(x) + b  =>  (W diag(a)) x + (b + W s)
    W batch_norm(x) + b  =>  (W diag(a)) (x + s / a) + b           where W pads with zeros

Not when: the statistics are of the batch; a weight is shared or computed at run time; the layer's result is also
read elsewhere, or the norm's by anything but such layers; the channels are not the same axis; the layer after
pads with zeros and a channel has a shift but no scale; the norm is part of a sum (RepBN: fold-affine); the weight is
16 bits wide.

Source: Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference, CVPR 2018, section 3.2.
"""

from __future__ import annotations

from torch import fx

from edgeopt.analysis.affine_folds import Affine
from edgeopt.analysis.affine_maps import batch_norm_map, compose, variables
from edgeopt.ir.nodes import aten
from edgeopt.ir.pass_base import BATCH_NORMS_FOLDED
from edgeopt.ir.program import Program
from edgeopt.ir.rewrite import Pattern, Rewrite, op
from edgeopt.ops.opsets import SUMS
from edgeopt.passes.exact.affine_rule import AffineRule


class BatchNormIntoLayer(AffineRule):
    """batch_norm(W x + b) => (diag(a) W) x + (a * b + s), or W batch_norm(x) + b => (W diag(a)) x + (b + W s)."""

    def pattern(self) -> Pattern:
        """Draw a batch norm that is not part of a sum which is an affine map as a whole, as RepBN is."""
        return op(aten.batch_norm.default, where=lambda program, node: not _is_summand(program, node))

    def affine(self, program: Program, node: fx.Node) -> Affine | str:
        """Return a and s of the running statistics."""
        return batch_norm_map(program, node)


class FoldBatchNorm(Rewrite):
    """Fold each batch norm into a neighboring linear or convolution."""

    name = "fold-batch-norm"
    ensures = frozenset({BATCH_NORMS_FOLDED})
    rules = (BatchNormIntoLayer(),)


def _is_summand(program: Program, node: fx.Node) -> bool:
    for reader in node.users:
        if reader.target is aten.permute.default:
            return _is_summand(program, reader)
        if reader.target in SUMS and len(variables(program, reader)) == 2:
            return isinstance(compose(program, reader), Affine)
    return False
