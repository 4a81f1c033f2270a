"""Dynamic dimensions at their least size: the same function, no size left to compute."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt.frontend.inputs import DynamicSpec
from edgeopt.frontend.load import LoadOptions, load
from edgeopt.frontend.static_shapes import fix_shapes, load_for
from edgeopt.ir.metrics import compare
from edgeopt.plugins.registry import resolve
from edgeopt.targets.reference import Reference


class Tokens(nn.Module):
    """Reads its sizes at run time in several ways."""

    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, _ = x.shape
        heads = self.proj(x).view(batch, tokens, 2, 3).transpose(1, 2)
        return (heads @ heads.transpose(2, 3)).reshape(batch, 2 * tokens * tokens) * tokens


def dynamic(x: Any, *specs: Any) -> Any:
    return load(Tokens(), LoadOptions(sample={"x": x}, dynamic=tuple(map(DynamicSpec.parse, specs))))


def test_sizes_become_numbers_and_the_function_stays() -> None:
    x = np.random.default_rng(0).standard_normal((3, 4, 6)).astype(np.float32)
    program = dynamic(x, "x:0=1..8", "x:1=3..9").program
    fixed = fix_shapes(program)
    assert [str(spec) for spec in fixed.inputs] == ["x:1x3x6:float32"]
    assert not fixed.is_dynamic and "sym_size" not in fixed.text()
    sample = {"x": x[:1, :3]}
    assert compare(program.run(sample), fixed.run(sample)).relative == 0.0
    assert program.is_dynamic, "the given program changed"


def test_only_targets_that_need_it_get_fixed_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    options = LoadOptions(sample={"x": np.ones((3, 4, 6), np.float32)}, dynamic=(DynamicSpec.parse("x:0=1..8"),))
    target = resolve("reference")
    assert load_for(target, Tokens(), options).program.is_dynamic
    monkeypatch.setattr(Reference, "needs_fixed_shapes", True)
    fixed = load_for(target, Tokens(), options)
    assert fixed.program.inputs[0].shape == (1, 4, 6)
    assert fixed.example["x"].shape == (1, 4, 6)
