from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from edgeopt.analysis.attention import find_attentions
from edgeopt.distill.distil import Tuned, distil
from edgeopt.distill.loop import TuneOptions
from edgeopt.errors import UserError
from edgeopt.ir.context import EMPTY, TIMER, Cost
from edgeopt.ir.pass_base import PassResult
from edgeopt.ir.program import Program
from edgeopt.passes.pipeline import Pipeline
from edgeopt.passes.substitution.linear_attention import LinearAttention
from edgeopt.plugins.testing import to_program
from tests.passes.builders import ops, reasons
from tests.typed import fixed_shape, some

WIDTH, HEADS, TOKENS = 16, 2, 64
QUICK = TuneOptions(steps=120, check_every=10, rate=2e-2)


class Layer(nn.Module):
    def __init__(self, fused: bool, causal: bool, kv_heads: int = HEADS) -> None:
        super().__init__()
        self.fused, self.causal = fused, causal
        size = WIDTH // HEADS
        self.q, self.out, self.norm = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH)
        self.k, self.v = nn.Linear(WIDTH, kv_heads * size), nn.Linear(WIDTH, kv_heads * size)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        y = 2 * self.norm(x)
        q, k, v = (f(y).unflatten(-1, (-1, WIDTH // HEADS)).transpose(1, 2) for f in (self.q, self.k, self.v))
        if self.fused:
            grouped = k.shape[1] != q.shape[1]
            mixed = scaled_dot_product_attention(q, k, v, mask, is_causal=self.causal, enable_gqa=grouped)
        else:
            scores = q @ k.mT * q.shape[-1] ** -0.5
            blocked = torch.ones(scores.shape[-2:]).triu(1).bool()
            mixed = (scores.masked_fill(blocked, -torch.inf) if self.causal else scores).softmax(-1) @ v
        return x + self.out(mixed.transpose(1, 2).flatten(2))


def model(fused: bool = True, causal: bool = False, tokens: int = TOKENS) -> Program:
    torch.manual_seed(0)
    layers = nn.Sequential(Layer(fused, causal), Layer(fused, causal))
    return to_program(layers, (torch.randn(1, tokens, WIDTH),))


def samples(program: Program, count: int = 8) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    (spec,) = program.inputs
    return [{spec.name: random.standard_normal(fixed_shape(spec), dtype=np.float32)} for _ in range(count)]


def run(program: Program, **options: Any) -> PassResult:
    return Pipeline([LinearAttention(force=True, **options)])(program)


def tuned(program: Program, whole: bool = False, count: int = 8, **options: Any) -> Tuned:
    result = LinearAttention(force=True, **options)(program)
    return distil(program, result.program, result.swaps, samples(program, count), QUICK, whole=whole)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(
    ("options", "most"), [({}, 0.8), ({"window": 8}, 0.95), ({"feature_map": "elu"}, 0.95)], ids=str
)
def test_every_attention_is_swapped_and_can_be_tuned(
    fused: bool, causal: bool, options: dict[str, Any], most: float
) -> None:
    program = model(fused, causal)
    name = "edgeopt.hybrid_attention" if "window" in options else "edgeopt.linear_attention"
    result = run(program, **options)
    assert ops(result).count(name) == 2
    assert not {"softmax.int", "scaled_dot_product_attention"} & set(ops(result))
    found = tuned(program, count=48, **options)
    before, after = found.blocks_before, found.blocks_after
    assert len(after) == 2 and all(after[label] < most * before[label] for label in before)
    assert found.outputs_after < found.outputs_before


def test_errors_are_those_of_the_program_returned() -> None:
    program = model()
    found = tuned(program)
    held_out = samples(program)[-1]
    expected, got = program.run(held_out)["output"], found.program.run(held_out)["output"]
    error = np.linalg.norm(got - expected) / np.linalg.norm(expected)
    assert found.outputs_after == pytest.approx(error, rel=1e-4)


def test_a_second_run_finds_nothing() -> None:
    again = run(run(model()).program)
    assert not again.changed and not again.notes


def test_same_seed_same_program() -> None:
    one, two = tuned(model()).program, tuned(model()).program
    assert one.text() == two.text()
    assert all(torch.equal(t, two.constants[name]) for name, t in one.constants.items())


def test_what_is_kept_stays() -> None:
    program = model()
    first, second = (attention.root.name for attention in find_attentions(program))
    result = run(program, keep={first})
    assert ops(result).count("edgeopt.linear_attention") == 1 and ops(result).count("scaled_dot_product_attention") == 1
    assert [note.node for note in result.notes if note.reason is None] == [second]


@pytest.mark.parametrize("options", [{}, {"window": 8}], ids=str)
def test_causal_stays_causal(options: dict[str, Any]) -> None:
    program = model(causal=True)
    swapped = tuned(program, **options).program
    one = samples(program)[0]
    other = {name: value.copy() for name, value in one.items()}
    next(iter(other.values()))[:, 40:] += 1
    first, second = (swapped.run(sample)["output"][:, :40] for sample in (one, other))
    np.testing.assert_allclose(first, second, atol=1e-6)


class Padded(Layer):
    """Attention under a padding mask, which is added or boolean, and expanded over the queries or not."""

    def __init__(self, dtype: torch.dtype, expanded: bool) -> None:
        super().__init__(fused=True, causal=False)
        self.dtype, self.expanded = dtype, expanded

    def forward(self, x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        mask = keep[:, None, None, :] > 0
        if self.expanded:
            mask = mask.expand(-1, 1, x.shape[1], -1)
        if self.dtype != torch.bool:
            mask = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(self.dtype).min)
        return super().forward(x, mask)


def padded(dtype: torch.dtype = torch.bool, expanded: bool = True) -> Program:
    return to_program(Padded(dtype, expanded), (torch.randn(1, TOKENS, WIDTH), torch.ones(1, TOKENS).long()))


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32])
@pytest.mark.parametrize("expanded", [True, False])
@pytest.mark.parametrize("window", [0, 8])
def test_what_padding_holds_does_not_reach_the_others(dtype: torch.dtype, expanded: bool, window: int) -> None:
    program = padded(dtype, expanded)
    swapped = run(program, window=window).program
    assert "scaled_dot_product_attention" not in {node.name for node in swapped.calls}
    x, keep = (spec.name for spec in program.inputs)
    sample: dict[str, Any] = {x: np.random.default_rng(0).standard_normal((1, TOKENS, WIDTH), dtype=np.float32)}
    sample[keep] = (np.arange(TOKENS) < 50).astype(np.int64)[None]
    other = {x: sample[x].copy(), keep: sample[keep]}
    other[x][:, 50:] += 1
    first, second = (swapped.run(s)["output"][:, :50] for s in (sample, other))
    np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("feature_map", ["hedgehog-exp", "elu"])
def test_padding_gives_what_the_tokens_alone_give(feature_map: str) -> None:
    torch.manual_seed(0)
    layer = Padded(torch.bool, True)
    x = torch.randn(1, TOKENS, WIDTH)
    long = run(to_program(layer, (x, torch.ones(1, TOKENS).long())), feature_map=feature_map).program
    short = run(to_program(layer, (x[:, :50], torch.ones(1, 50).long())), feature_map=feature_map).program
    ones = (torch.arange(TOKENS) < 50).long()[None]
    padded = long.run({"x": x.numpy(), "keep": ones.numpy()})["output"][:, :50]
    alone = short.run({"x": x[:, :50].numpy(), "keep": ones[:, :50].numpy()})["output"]
    np.testing.assert_allclose(padded, alone, rtol=1e-4, atol=1e-5)


def test_padding_under_a_map_that_is_not_normalized_is_refused() -> None:
    (reason,) = reasons(run(padded(), feature_map="inline"))
    assert reason == "it has a padding mask, and the weights of 'inline' are not normalized"


@pytest.mark.parametrize(("tokens", "grid"), [(64, [8, 8]), (65, [8, 8]), (70, None)])
def test_relu_brings_the_depthwise_branch_where_tokens_are_a_square(tokens: int, grid: list[int] | None) -> None:
    result = run(model(tokens=tokens), feature_map="relu")
    node, _ = (n for n in result.program.calls if "linear_attention" in n.name)
    assert (node.args[11] if len(node.args) > 11 else None) == grid
    if grid is not None:
        filters = result.program.constant(node.args[9])
        assert some(filters).shape == (WIDTH // HEADS, 1, 5, 5) and not some(filters).any()


def test_whole_model_is_tuned_after_the_blocks() -> None:
    blocks, whole = tuned(model()), tuned(model(), whole=True)
    assert len(whole.stages) == 2
    assert whole.outputs_after < blocks.outputs_after
    assert not any(t.requires_grad for t in whole.program.constants.values())


def test_too_few_tokens_are_refused_with_the_figures() -> None:
    result = Pipeline([LinearAttention()])(model(tokens=8))
    assert not result.changed
    assert reasons(result)[0] == (
        "at 8 tokens the softmax takes 1024 multiplications a head and the linear form 3072: it would not pay"
    )


def test_many_tokens_pay_unless_they_are_measured_not_to() -> None:
    program = model(tokens=256)
    assert Pipeline([LinearAttention()])(program).changed
    timer = Slower()
    slower = LinearAttention()(program, EMPTY.adding(TIMER, timer))
    figures = "at 256 tokens the softmax takes 1 ms on a fake and the linear form 2 ms"
    assert reasons(slower) == [f"{figures}: it would not pay"] * 2 and slower.figures == (figures,)
    assert timer.asked == 1  # once for both
    assert LinearAttention(force=True)(program, EMPTY.adding(TIMER, timer)).changed and timer.asked == 1


class Slower:
    """A timer on which each program after the first is slower than the one before."""

    where = "a fake"

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, programs: Mapping[str, Program]) -> dict[str, Cost]:
        self.asked += 1
        return {name: Cost(float(place), "ms") for place, name in enumerate(programs, 1)}


@pytest.mark.parametrize(
    ("layer", "inputs", "reason"),
    [
        (Layer(True, False, kv_heads=1), (), "2 query heads share 1 of keys"),
        (
            Layer(True, False),
            (torch.randn(TOKENS, TOKENS),),
            "its mask is more than causal or over keys: computed bias",
        ),
        (Layer(True, False), (torch.ones(TOKENS, TOKENS).bool(),), "its padding mask differs between heads"),
        (Layer(True, False), (torch.ones(1, 1, TOKENS, TOKENS).bool(),), "its padding mask differs between queries"),
    ],
)
def test_refusals(layer: nn.Module, inputs: tuple[Any, ...], reason: str) -> None:
    program = to_program(layer, (torch.randn(1, TOKENS, WIDTH), *inputs))
    result = Pipeline([LinearAttention(force=True)])(program)
    assert not result.changed and reasons(result) == [reason]


def test_causal_with_fewer_queries_than_keys_is_refused() -> None:
    class Last(nn.Module):
        def forward(self, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
            mask = torch.ones(4, 64).tril(60).bool()
            return scaled_dot_product_attention(q, k, k, mask)

    program = to_program(Last(), (torch.randn(1, HEADS, 4, 8), torch.randn(1, HEADS, 64, 8)))
    result = Pipeline([LinearAttention(force=True)])(program)
    assert reasons(result) == ["it is causal, with 4 queries for 64 keys"]


def test_dynamic_tokens_are_refused() -> None:
    tokens = torch.export.Dim("tokens", min=2, max=64)
    program = to_program(Layer(True, False), (torch.randn(1, 8, WIDTH),), ({1: tokens},))
    assert "known at run time only" in reasons(Pipeline([LinearAttention()])(program))[0]
    assert run(program).changed


def test_maps_and_windows_are_checked() -> None:
    with pytest.raises(UserError, match="feature map 'softmax' is unknown"):
        LinearAttention(feature_map="softmax")
    with pytest.raises(UserError, match="feature map 'flow' with a window of 8"):
        LinearAttention(feature_map="flow", window=8)


@pytest.mark.parametrize("features", [4, 8, 20])
def test_a_learned_map_has_as_many_columns_as_asked(features: int) -> None:
    program = model(tokens=64)
    swap = LinearAttention(features=features, force=True)
    result = Pipeline([swap])(program).program
    maps = {name: value for name, value in result.constants.items() if name.endswith("_map")}
    assert len(maps) == 4 and all(value.shape == (HEADS, WIDTH // HEADS, features) for value in maps.values())
    # The same directions for queries and keys, all of one length.
    assert all(torch.allclose(value.norm(dim=1), next(iter(maps.values())).norm(dim=1)) for value in maps.values())
    tokens, size = 64, WIDTH // HEADS
    assert swap.multiplications(tokens, tokens, size, size) == 2 * tokens * (size * features + 2 * features * size)


def test_a_map_that_learns_nothing_has_no_columns() -> None:
    with pytest.raises(UserError, match="of 8 columns"):
        LinearAttention("relu", features=8)
