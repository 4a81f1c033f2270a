"""Cross-layer equalization: give each channel between two layers the same room in the weights of both.

Before => after, for a ReLU (or nothing) between W1 and W2 and any positive s per channel:

    W2 relu(W1 x + b1)  =>  (W2 diag(s)) relu(diag(1/s) W1 x + b1 / s),    since relu(x / s) = relu(x) / s

s = sqrt(r1 / r2) with r1, r2 the largest absolute weight of the channel on either side; both become sqrt(r1 r2), and
no channel is drowned by a larger one that shares its quantization step. Chains are gone over until they settle.

Not when: the value is read by anything but layers; a weight is shared or computed at run time; another activation
function stands between; the sides differ by less than a tenth.

Source: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV 2019, section 4.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import fx

from edgeopt.analysis.affine_folds import Affine, Fold, fold_forward, into_readers
from edgeopt.analysis.layers import Layer, fold_after, input_magnitudes, is_layer, layer_of, output_magnitudes
from edgeopt.ir.context import Context
from edgeopt.ir.nodes import aten
from edgeopt.ir.pass_base import Note, Pass, PassResult
from edgeopt.ir.program import Program, origin, redefine

_MOST_SWEEPS = 50
_ALIKE = 1.1
_RULE = "equalize-channels"


class CrossLayerEqualization(Pass):
    """Equalize the channels between neighboring layers."""

    name = "cross-layer-equalization"

    def run(self, program: Program, context: Context) -> PassResult:
        """Equalize a copy of ``program``."""
        program = program.clone()
        equalized: dict[str, None] = {}
        for _ in range(_MOST_SWEEPS):
            done = [name for node in list(program.calls) if node.users and (name := _equalize(program, node))]
            if not done:
                break
            equalized |= dict.fromkeys(done)
            program.clean()
        refused = [
            Note(_RULE, node.name, found) for node in program.calls if isinstance(found := _pair(program, node), str)
        ]
        return PassResult(program, bool(equalized), (*(Note(_RULE, name) for name in equalized), *refused))


@dataclass(frozen=True)
class _Pair:
    """A layer, the node whose value is equalized (the layer itself or its ReLU), and the layers that read it."""

    first: Layer
    end: fx.Node
    readers: Fold


def _pair(program: Program, node: fx.Node) -> _Pair | str | None:
    """Return the pair that starts at a layer, the reason why it cannot be equalized, or None where there is none."""
    if not is_layer(node):
        return None
    followers = list(node.users)
    end = followers[0] if len(followers) == 1 and followers[0].target is aten.relu.default else node
    if not any(is_layer(reader) for reader in end.users):
        return None
    first = layer_of(program, node)
    if isinstance(first, str):
        return first
    one = torch.ones(1, dtype=torch.float64)
    readers = into_readers(program, Affine(end, end, one, torch.zeros_like(one), first.output_axis))
    return readers if isinstance(readers, str) else _Pair(first, end, readers)


def _equalize(program: Program, node: fx.Node) -> str | None:
    """Equalize the pair that starts at a node; return its name, or None where there was nothing to do."""
    pair = _pair(program, node)
    if not isinstance(pair, _Pair):
        return None
    before = output_magnitudes(pair.first)
    after = torch.stack([input_magnitudes(layer) for layer in pair.readers.layers]).amax(0)
    # A channel that one side ignores has nothing to share.
    scale = torch.where((before > 0) & (after > 0), (before / after).sqrt(), 1.0)
    if bool(torch.all((scale < _ALIKE) & (scale > 1 / _ALIKE))):
        return None
    name = origin(node).rstrip("'")
    zero = torch.zeros(1, dtype=torch.float64)
    fold_forward(program, Affine(pair.end, pair.end, scale, zero, pair.first.output_axis), pair.readers)
    fold_after(program, pair.first, 1 / scale, zero)
    if pair.end is not node:
        redefine(pair.end)
    return name
