"""Parts of a tensor as slices of it, and where sizes are known only at run time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.export import Dim

from edgeopt.passes.exact.slice_parts import SliceParts
from edgeopt.plugins.testing import assert_pass, to_program
from tests.passes.builders import ops, reasons

X = torch.randn(2, 6, 5)
PARTS: dict[str, Callable[[torch.Tensor], tuple[torch.Tensor, ...]]] = {
    "chunk": lambda x: x.chunk(4, 1),
    "uneven chunk": lambda x: x.chunk(3, -1),
    "split": lambda x: x.split(4, dim=1),
    "sizes": lambda x: x.split([1, 3, 2], dim=-2),
    "unbind": lambda x: x.unbind(-1),
}


class Parts(nn.Module):
    def __init__(self, split: Callable[[torch.Tensor], tuple[torch.Tensor, ...]]) -> None:
        super().__init__()
        self.split = split

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        first, *rest = self.split(torch.sin(x))
        return (torch.exp(rest[-1]), first, *rest)


@pytest.mark.parametrize("name", PARTS)
def test_every_part_is_a_slice_or_a_selection(name: str) -> None:
    result = assert_pass(SliceParts(), Parts(PARTS[name]), [X], changes=True)
    assert not {"getitem", "unbind", "chunk", "split", "split_with_sizes"} & set(ops(result.program))


def test_parts_of_a_size_known_only_at_run_time_stay() -> None:
    program = to_program(Parts(lambda x: x.split([2, 4], 1)), (X,), ({0: Dim("n")},))
    assert any("only at run time" in reason for reason in reasons(SliceParts()(program)))
