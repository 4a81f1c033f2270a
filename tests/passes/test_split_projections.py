from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from edgeopt.passes.exact.split_projections import SplitProjections
from edgeopt.plugins.testing import assert_pass, to_program
from tests.passes.builders import ops, reasons

X = torch.randn(2, 5, 6)
Split = Callable[[torch.Tensor], tuple[torch.Tensor, ...]]


class Projected(nn.Module):
    """Query, key and value of one linear, taken apart in some way; used so that each keeps its shape."""

    def __init__(self, split: Split, bias: bool = True) -> None:
        super().__init__()
        self.qkv, self.split = nn.Linear(6, 24, bias=bias), split

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = self.split(self.qkv(x))
        return (query @ key.transpose(-1, -2)) @ value


def _sliced(y: torch.Tensor) -> tuple[torch.Tensor, ...]:
    heads = y.view(2, 5, 2, 12).transpose(1, 2)  # rows ordered by head, then by query, key and value
    return heads[..., :4], heads[..., 4:8], heads[..., 8:]


SPLITS: dict[str, Split] = {
    "chunk": lambda y: y.chunk(3, -1),
    "split": lambda y: y.split((8, 8, 8), -1),
    "unbound heads": lambda y: y.reshape(2, 5, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0),
    "selected heads": lambda y: tuple(y.unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)[i] for i in range(3)),
    "interleaved heads": _sliced,
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("split", SPLITS)
def test_each_part_has_a_linear_of_its_own(split: str, bias: bool) -> None:
    result = assert_pass(SplitProjections(), Projected(SPLITS[split], bias), [X], changes=True)
    assert ops(result.program).count("linear") == 3
    assert not {"getitem", "unbind", "chunk", "select", "slice"} & set(ops(result.program))


def _also_whole(y: torch.Tensor) -> tuple[torch.Tensor, ...]:
    query, key, value = y.chunk(3, -1)
    return query * y.mean(), key, value


REFUSED: dict[str, Split] = {
    "also read as a whole": _also_whole,
    "not the same channels everywhere": lambda y: (y[:, :2], y[:, 2:4], y[:, 2:4]),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_it_refuses(reason: str) -> None:
    result = assert_pass(SplitProjections(), Projected(REFUSED[reason]), [X], changes=False)
    assert any(reason in text for text in reasons(result))


def test_a_batch_of_unknown_size_is_left_alone() -> None:
    program = to_program(Projected(SPLITS["chunk"]), (X,), ({0: torch.export.Dim.DYNAMIC},))
    result = SplitProjections()(program)
    assert not result.changed
    assert any("known only at run time" in text for text in reasons(result))
