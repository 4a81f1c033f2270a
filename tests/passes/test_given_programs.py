"""No pass touches the program it is given: not its graph, its ranges, its metadata nor its tensors."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

from edgeopt.calib.calibrate import calibrate
from edgeopt.calib.data import CALIBRATION, Function
from edgeopt.calib.moments import PATCHES, observe_patches
from edgeopt.ir.context import EMPTY, FLOAT_PROGRAM, SAMPLES, Context
from edgeopt.ir.pass_base import Pass
from edgeopt.ir.program import Program
from edgeopt.ops.linear_attention import linear_attention
from edgeopt.passes.quantization.insert_qdq import InsertQdq
from edgeopt.passes.quantization.weight_only import WeightOnlyQuantization
from edgeopt.plugins import registry
from edgeopt.plugins.testing import to_program
from edgeopt.quant.scheme import WEIGHTED
from tests.passes.quantized import SCHEMES

TOKENS, WIDTH = 4, 32


class Block(nn.Module):
    """Something for most passes: norms, attention, a product of two weights, constants, and what does nothing."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Linear(WIDTH, WIDTH)
        self.norm, self.last = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.down, self.up = nn.Linear(WIDTH, 2 * WIDTH, bias=False), nn.Linear(2 * WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x * (1.0 + torch.arange(WIDTH) / WIDTH)).contiguous() + 0
        q, k, v = self.qkv(self.norm(x)).unflatten(-1, (3, 2, WIDTH // 2)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v) + linear_attention(q, k, v, "relu", False)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return self.head(torch.sign(self.last(x + self.up(self.down(x)))))


@cache
def programs() -> tuple[Program, Program, Program, Function, Any]:
    """The float program with ranges, one in INT8, one in four bits; data and what layers read of it."""
    samples = torch.randn(8, 1, TOKENS, WIDTH, generator=torch.Generator().manual_seed(1))
    plain = to_program(Block(), [samples[0]])
    data = Function(lambda: ({"x": sample[0].numpy()} for sample in samples), "memory", plain.inputs)
    plain.ranges = calibrate(plain, data, "minmax").program_ranges()
    layers = [node for node in plain.calls if node.target in WEIGHTED]
    rounded = InsertQdq(SCHEMES["int32 bias"])(plain).program
    return plain, rounded, WeightOnlyQuantization("int4")(plain).program, data, observe_patches(plain, data, layers)


@cache
def context() -> Context:
    """Everything that passes need."""
    plain, _, _, data, seen = programs()
    given = EMPTY.adding(FLOAT_PROGRAM, plain).adding(PATCHES, seen)
    return given.adding(CALIBRATION, data).adding(SAMPLES, list(data))


def build(name: str) -> Pass:
    cls = registry.pass_class(name)
    settings = {"scheme": SCHEMES["int32 bias"], "force": True}
    return cls(**{one.name: settings[one.name] for one in fields(cls) if one.name in settings})


def state(program: Program) -> dict[str, Any]:
    """All that a program holds, as far as it can be compared."""
    return {
        "text": program.text(),
        "fingerprint": program.fingerprint(),
        "ranges": dict(program.ranges),
        "history": program.history,
        "outputs": program.output_names,
        "constants": {name: tensor.clone() for name, tensor in program.constants.items()},
        "meta": [{key: repr(value) for key, value in node.meta.items()} for node in program.graph.nodes],
    }


def _same(one: Any, other: Any) -> bool:
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


@pytest.mark.parametrize("name", registry.pass_names())
def test_a_pass_leaves_the_program_it_is_given_alone(name: str) -> None:
    for program in programs()[:3]:
        before = state(program)
        if build(name).requires <= program.ensured:
            build(name)(program, context())
        after = state(program)
        constants = before.pop("constants"), after.pop("constants")
        assert after == before
        assert constants[0].keys() == constants[1].keys()
        assert all(_same(tensor, constants[1][key]) for key, tensor in constants[0].items())
