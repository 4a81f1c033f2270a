"""shift-channels: small channels of what linears read grow by powers of two, so that one scale suits all.

Before => after, for the linears that read x, and d whole numbers from 0, one a channel:

    W x + b  =>  (W 2^-d) (2^d x) + b

No bit changes: a power of two multiplies without rounding. d is the number of octaves that the channel's largest
magnitude over the data lies below the largest of all channels, at most three; but what x gains, the rows of W lose,
whose weights then differ more. So other bounds are tried too, and parts of these octaves, and the shifts taken under
which x and W err least in E2M1.

2^d goes into what makes x, where that is a layer or a norm that nothing else reads, also through the values of
attention; elsewhere (behind GELUs, or where a residual connection also reads x) it stays a multiplication.

Not when: a reader's weight is shared or computed at run time; no shift errs less than none.

Source: S. Liu et al., LLM-FP4: 4-Bit Floating-Point Quantized Transformers, EMNLP 2023, section 3; the choice among
shifts is our own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import fx

from edgeopt.analysis.layers import Layer, layer_of
from edgeopt.calib.data import CALIBRATION
from edgeopt.calib.moments import Channels, Rows, Together
from edgeopt.calib.observe import observe
from edgeopt.ir.context import Context
from edgeopt.ir.nodes import aten
from edgeopt.ir.pass_base import Note, Pass, PassResult
from edgeopt.ir.program import Program
from edgeopt.passes.quantization.channel_factors import Maker, divide_inputs, maker
from edgeopt.quant.fpq import trial

_RULE, _FOLD = "shift-channels", "fold-shift"
_REACHES = ((1.0, 2), (1.0, 3), (1.0, 5), (0.8, 3), (0.8, 5), (0.6, 3))
"""Parts of the octaves that channels grow by, and by how many at most."""
_ROWS, _TRIED = 4, 128
"""At most how many vectors of each sample, and of all, shifts are tried on."""


class ShiftChannels(Pass):
    """Shift the channels of what linears read, as they are over the calibration data."""

    name = "shift-channels"
    needs = (CALIBRATION,)

    def run(self, program: Program, context: Context) -> PassResult:
        """Shift the channels of a copy of ``program``."""
        if self.name in program.history:
            return PassResult(program, False, (Note(_RULE, "the program", "its channels have been shifted before"),))
        program = program.clone()
        sites = {value: found for value in [*program.input_nodes, *program.calls] if (found := _linears(value))}
        seen = {value.name: _Seen(Channels(value.meta["val"].dim() - 1), Rows(_ROWS)) for value in sites}
        observe(program, context[CALIBRATION], {name: Together((one.channels, one.rows)) for name, one in seen.items()})
        notes = [note for value in sites for note in _shift(program, value, sites[value], seen[value.name])]
        return PassResult(program, any(note.reason is None and note.rule == _RULE for note in notes), tuple(notes))


@dataclass(frozen=True)
class _Seen:
    """What is known of a value."""

    channels: Channels
    rows: Rows


def _linears(value: fx.Node) -> list[fx.Node]:
    return [node for node in value.users if node.target is aten.linear.default and node.args[0] is value]


def _shift(program: Program, value: fx.Node, linears: Sequence[fx.Node], seen: _Seen) -> list[Note]:
    found = [layer_of(program, node) for node in linears]
    layers = [layer for layer in found if isinstance(layer, Layer)]
    if reason := next((one for one in found if isinstance(one, str)), None):
        return [Note(_RULE, value.name, reason)]
    factor = _best(torch.cat([layer.weight for layer in layers]), seen)
    if bool((factor == 1).all()):
        return [Note(_RULE, value.name, "no shift errs less than none")]
    for layer in layers:
        divide_inputs(program, layer, factor)
    made = maker(program, value, linears, factor)
    if isinstance(made, Maker):
        made.take(program)
        return [Note(_RULE, value.name), Note(_FOLD, value.name)]
    _multiply(program, value, linears, factor)
    return [Note(_RULE, value.name), Note(_FOLD, value.name, f"it is multiplied as the model runs: {made}")]


def _best(weight: torch.Tensor, seen: _Seen) -> torch.Tensor:
    """Return the powers of two for the channels under which the layers of a weight err least."""
    x = seen.rows.values
    x = x[:: -(-len(x) // _TRIED)]
    magnitudes = seen.channels.magnitudes
    factors = [torch.exp2(octaves(magnitudes, part, most)) for part, most in ((0.0, 0), *_REACHES)]
    return min(factors, key=lambda factor: trial(weight / factor, x * factor))


def octaves(magnitudes: torch.Tensor, part: float, most: int) -> torch.Tensor:
    """Return by how many powers of two channels of these largest magnitudes grow.

    By a part of what they are smaller than the largest, and at most by so many.
    """
    logarithms = magnitudes.clamp_min(torch.finfo(magnitudes.dtype).tiny).log2()
    return ((logarithms.max() - logarithms) * part).round().clamp(0, most)


def _multiply(program: Program, value: fx.Node, linears: Sequence[fx.Node], factor: torch.Tensor) -> None:
    first = min(linears, key=list(program.graph.nodes).index)
    constant = program.add_constant(f"{value.name}_shift", factor)
    product = program.insert(first, aten.mul.Tensor, value, constant)
    for node in linears:
        node.replace_input_with(value, product)
