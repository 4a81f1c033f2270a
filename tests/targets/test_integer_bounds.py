"""Floats that become integers, sums of products and narrow integers on OpenVINO: as torch has them, or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt.errors import UserError
from edgeopt.ir.program import to_numpy
from edgeopt.plugins.registry import resolve
from edgeopt.plugins.testing import to_program
from edgeopt.targets.openvino.fitting import fitted
from tests.models import transformers_tiny

Function = Callable[[torch.Tensor], torch.Tensor]

CASTS: dict[str, Function] = {
    "long": lambda x: x.long(),
    "modulo": lambda x: x.long() % 7,
    "floored": lambda x: x.floor().long() // 10,
    "scaled": lambda x: (x * 1000).long().float(),
    "int": lambda x: (x + 0.5).int(),
    "uint8": lambda x: x.to(torch.uint8),
    "int8": lambda x: x.to(torch.int8),
    "int16": lambda x: (x * 8).to(torch.int16),
    "class": lambda x: (x.sigmoid() * 10).long(),
}

OPERATORS: dict[str, Function] = {
    "matmul": lambda a: a @ a,
    "batched": lambda a: torch.bmm(a[None], a[None]),
    "added": lambda a: torch.addmm(a, a, a),
    "linear": lambda a: nn.functional.linear(a, a),
    "vector": lambda a: torch.mv(a, a[0]),
    "dot": lambda a: torch.dot(a[0], a[1]),
    "square": lambda a: a.square(),
    "product": lambda a: a[:, :2].prod(1),
    "scattered": lambda a: torch.zeros_like(a).scatter_add(1, torch.tensor([[0, 0, 1, 2]]).expand(4, 4), a),
    "indexed": lambda a: torch.zeros_like(a).index_add(0, torch.tensor([0, 0, 1, 2]), a),
    "int8": lambda a: a.to(torch.int8),
    "uint8": lambda a: a.to(torch.uint8),
    "int16": lambda a: (a * 300).to(torch.int16),
    "signed": lambda a: a.to(torch.uint8).to(torch.int8),
    "int32": lambda a: a.to(torch.int32) * 3,
}


class _All(nn.Module):
    def __init__(self, functions: dict[str, Function]) -> None:
        super().__init__()
        self.functions = functions

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: function(x) for name, function in self.functions.items()}


def _agrees(functions: dict[str, Function], x: torch.Tensor, folder: Path) -> dict[str, tuple[int, int]]:
    """Compare with torch, and return the bounds of inputs."""
    program, target = to_program(_All(functions), (x,)), resolve("openvino")
    artifact = target.compile(program, folder, target.Options())
    got = target.open(folder, target.Options()).run({"x": to_numpy(x)})
    for name, function in functions.items():
        np.testing.assert_array_equal(got[name], to_numpy(function(x)), err_msg=name)
        assert got[name].dtype == to_numpy(function(x)).dtype, name
    found: dict[str, tuple[int, int]] = artifact.facts.get("integer_inputs", {})
    return found


def test_floats_become_integers_as_in_torch(tmp_path: Path) -> None:
    x = torch.tensor([0.0, -0.5, 1.75, -3.25, 127.5, 128.0, -129.0, 255.0, 256.5, -300.0, 70000.0, -70000.0])
    bounds = _agrees(CASTS, x, tmp_path)
    assert bounds == {"x": (-(2**21), 2**21)}
    session = resolve("openvino").open(tmp_path, resolve("openvino").Options())
    for value in (1e8, -5e9, np.nan):
        with pytest.raises(UserError, match="input 'x' holds numbers from"):
            session.run({"x": np.full(x.shape, value, np.float32)})


def test_sums_of_products_are_exact_within_a_bound(tmp_path: Path) -> None:
    a = torch.randint(-1024, 1025, (4, 4), generator=torch.Generator().manual_seed(0))
    assert _agrees(OPERATORS, a, tmp_path) == {"x": (-1024, 1024)}


def test_what_has_no_bound_is_refused_or_said() -> None:
    x = torch.ones(4, 40, dtype=torch.int64)
    products = fitted(to_program(_All({"y": lambda x: x.prod(1)}), (x,)))
    assert [placement.node for placement in products.unplaced] == ["prod"]
    logits = fitted(to_program(_All({"y": lambda x: x.exp().long()}), (torch.ones(4),)))
    assert not logits.unplaced
    assert not logits.integers and logits.reach == {"_to_copy": 2**31 - 1}
    assert "_to_copy reads lie within ±2,147,483,647" in logits.notes[0]
    itself = fitted(
        to_program(_All({"y": lambda x: (x.exp().clamp(0, 1) * 255).round().to(torch.uint8)}), (x.float(),))
    )
    assert (itself.unplaced, itself.integers, itself.notes) == ((), {}, ())
    unknown = fitted(to_program(_All({"y": lambda x: torch.gcd(x, x + 1)}), (x,)))
    assert unknown.unplaced[0].reason.startswith("nothing bounds its integers")


@pytest.mark.parametrize("name", ["minilm", "gpt2"])
def test_language_models_are_neither_refused_nor_noted(name: str) -> None:
    found = fitted(transformers_tiny.program(name))
    assert (found.unplaced, found.notes) == ((), ())
