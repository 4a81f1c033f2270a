"""Random programs: steps drawn one after another, each reads values that are there already, shapes as they come."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from tests.operators.cases import Case
from tests.operators.steps import CHOICES, FLOATS, INTEGERS, ROWS, Draw, Function

_MOST_ELEMENTS, _MOST_AXES, _LARGEST, _REACH = 2048, 5, 30.0, 6


def program(draw: Draw, count: int) -> Case:
    """Return a random program of ``count`` steps as a case."""
    module = _Drawn(draw, count).eval()
    return Case("program", f"of {count} steps", module, module.operands)


class _Drawn(nn.Module):
    """Steps over two inputs of floats and one of integers; what no step reads is returned."""

    def __init__(self, draw: Draw, count: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        shape = [draw(st.integers(1, 3)), *draw(st.lists(st.integers(2, 6), min_size=1, max_size=3))]
        self.operands = (torch.randn(shape), torch.randn(shape), torch.randint(0, ROWS, shape))
        self.steps, self.places = nn.ModuleList(), list[list[int]]()
        values = list(self.operands)
        with torch.no_grad():
            for _ in range(count):
                self._add(draw, values)

    def _add(self, draw: Draw, values: list[torch.Tensor]) -> None:
        first = draw(st.integers(max(0, len(values) - _REACH), len(values) - 1))
        like = [place for place, value in enumerate(values) if value.shape == values[first].shape]
        integers = [place for place in like if not values[place].is_floating_point()]
        floats = [place for place in like if values[place].is_floating_point()]
        if first in integers:
            kinds, second, third = INTEGERS, integers, integers
        elif integers and draw(st.booleans()):
            kinds, second, third = CHOICES, integers, floats
        else:
            kinds, second, third = FLOATS, floats, floats
        fitting = [(reads, kind) for least, reads, kind in kinds if values[first].dim() >= least]
        reads, kind = draw(st.sampled_from(fitting))
        places = [first, *(draw(st.sampled_from(others)) for others in (second, third)[: reads - 1])]
        step = _Step(kind(draw, values[first])).eval()
        operands = [values[place] for place in places]
        result = step(*operands)
        if 0 < result.numel() <= _MOST_ELEMENTS and 0 < result.dim() <= _MOST_AXES:
            step.is_large = result.is_floating_point() and bool(result.abs().max() > _LARGEST)
            values.append(step(*operands))
            self.steps.append(step)
            self.places.append(places)

    def forward(self, *operands: torch.Tensor) -> list[torch.Tensor]:
        values = list(operands)
        for step, places in zip(self.steps, self.places, strict=True):
            values.append(step(*(values[place] for place in places)))
        read = {place for places in self.places for place in places}
        return [value for place, value in enumerate(values) if place not in read and place >= len(operands)]


class _Step(nn.Module):
    """A function whose result is made small where it became large."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function, self.is_large = function, False

    def forward(self, *values: torch.Tensor) -> torch.Tensor:
        result = self.function(*values)
        return F.softsign(result) if self.is_large else result
