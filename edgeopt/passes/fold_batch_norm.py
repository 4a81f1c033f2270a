"""Fold batch norms into the layer before or the layers after.

In evaluation a batch norm is affine per channel of axis 1:

    y = a * x + s,    a = gamma / sqrt(var + eps),    s = beta - a * mean

Before => after, W a linear or convolution, transposed and grouped ones included:

    batch_norm(W x + b)  =>  (diag(a) W) x + (a * b + s)
    W batch_norm(x) + b  =>  (W diag(a)) x + (b + W s)

Not when: the statistics are of the batch; a weight is shared or computed at run time; the layer's result is also
read elsewhere, or the norm's by anything but such layers; the channels are not the same axis; the layer after
pads with zeros while s is not zero, since the border would lose the shift; the weight is 16 bits wide.

Source: Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference, CVPR 2018, section 3.2.
"""

from __future__ import annotations

import torch
from torch import fx

from edgeopt.folding.affine import Affine
from edgeopt.folding.rule import AffineRule
from edgeopt.program import Program
from edgeopt.rewrite import Pattern, Rewrite, arguments, op

aten = torch.ops.aten

_TENSORS = ("running_mean", "running_var", "weight", "bias")


class BatchNormIntoLayer(AffineRule):
    """batch_norm(W x + b) => (diag(a) W) x + (a * b + s), or W batch_norm(x) + b => (W diag(a)) x + (b + W s)."""

    def pattern(self) -> Pattern:
        """Draw any batch norm."""
        return op(aten.batch_norm.default)

    def affine(self, program: Program, node: fx.Node) -> Affine | str:
        """Return a and s of the running statistics."""
        given = arguments(node)
        if given["training"] or given["running_mean"] is None or given["running_var"] is None:
            return "it normalises by the statistics of the batch"
        tensors = {name: program.constant(given[name]) for name in _TENSORS}
        if computed := [name for name, tensor in tensors.items() if tensor is None and given[name] is not None]:
            return f"its {' and '.join(computed)} are computed at run time"
        mean, var, gamma, beta = (None if t is None else t.double() for t in tensors.values())
        scale = (var + given["eps"]).rsqrt()  # type: ignore[operator]
        scale = scale if gamma is None else gamma * scale
        shift = -scale * mean if beta is None else beta - scale * mean  # type: ignore[operator]
        return Affine(node, given["input"], scale, shift, axis=1)


class FoldBatchNorm(Rewrite):
    """Fold each batch norm into a neighbouring linear or convolution."""

    name = "fold-batch-norm"
    rules = (BatchNormIntoLayer(),)
