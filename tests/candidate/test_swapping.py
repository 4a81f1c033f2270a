"""A trained pass of another package, which needs no samples, is run again and again with other places left alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from edgeopt.candidate.swapping import Swapping
from edgeopt.plugins.passes import EMPTY, Context, Note, Program, Swap, Swapper, SwapResult
from edgeopt.plugins.testing import to_program

aten = torch.ops.aten


@dataclass(frozen=True)
class ScaleForTanh(Swapper):
    """tanh(x) => scale * x."""

    name = "scale-for-tanh"

    first: float = 1.0

    def run(self, program: Program, context: Context) -> SwapResult:
        program, swaps, notes = program.clone(), [], []
        for node in [one for one in program.calls if one.target is aten.tanh.default]:
            label, (x,) = node.name, node.all_input_nodes
            if label in self.keep:
                notes.append(Note(self.name, label, "it is kept"))
                continue
            scale = program.add_constant(f"{label}_scale", torch.full((4,), self.first))
            new = program.insert(node, aten.mul.Tensor, x, scale)
            new.meta["origin"] = label
            node.replace_all_uses_with(new)
            swaps.append(Swap(label, (x.name,), (scale.name,)))
            notes.append(Note(self.name, label))
        program.clean()
        return SwapResult(program, bool(swaps), tuple(notes), swaps=tuple(swaps))


def test_places_return_with_the_constants_that_were_tuned_for_the_others() -> None:
    original = to_program(nn.Sequential(nn.Tanh(), nn.Linear(4, 4), nn.Tanh()), (torch.zeros(1, 4),))
    swapping = Swapping(original, (ScaleForTanh(0.5),), EMPTY)
    found = swapping.run()
    assert list(found.swaps) == ["tanh", "tanh_1"] and set(found.by.values()) == {"scale-for-tanh"}
    tuned = found.program.clone()
    tuned.constants |= {f"{label}_scale": torch.full((4,), 2.0) for label in found.swaps}
    tuned.constants["_1_weight"] = torch.ones(4, 4)
    without = swapping.without({"tanh_1"}, tuned, found.swaps)
    assert list(without.swaps) == ["tanh"] and without.records[0].refused[0].reason == "it is kept"
    assert without.program.constants["tanh_scale"].unique().tolist() == [2.0]
    assert without.program.constants["_1_weight"].unique().tolist() == [1.0]
    assert swapping.passes == (ScaleForTanh(0.5),) and swapping.run().swaps.keys() == found.swaps.keys()
