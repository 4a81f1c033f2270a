from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from edgeopt.errors import UserError
from edgeopt.passes.linear_attention import LinearAttention
from edgeopt.pipeline import Pipeline
from edgeopt.program import Program
from edgeopt.structures.attention import find_attentions
from edgeopt.testing import to_program
from edgeopt.tune.loop import TuneOptions
from tests.passes.builders import ops, reasons

WIDTH, HEADS, TOKENS = 16, 2, 64
QUICK = TuneOptions(steps=60, check_every=10, rate=2e-2)


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
    return [{spec.name: random.standard_normal(spec.shape, dtype=np.float32)} for _ in range(count)]


def run(program: Program, **options):
    swap = LinearAttention(samples(program), options=QUICK, **options)
    return swap, Pipeline([swap])(program)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("causal", [True, False])
def test_swaps_and_tunes_every_attention(fused: bool, causal: bool) -> None:
    swap, result = run(model(fused, causal), force=True)
    assert ops(result).count("edgeopt.linear_attention") == 2
    assert not {"softmax.int", "scaled_dot_product_attention"} & set(ops(result))
    before, after = swap.tuned.blocks_before, swap.tuned.blocks_after
    assert len(after) == 2 and all(after[name] < 0.8 * before[name] for name in before)
    assert swap.tuned.outputs_after < swap.tuned.outputs_before


def test_errors_are_those_of_the_program_returned() -> None:
    program = model()
    swap, result = run(program, force=True)
    held_out = samples(program)[-1]
    expected, got = program.run(held_out)["output"], result.program.run(held_out)["output"]
    error = np.linalg.norm(got - expected) / np.linalg.norm(expected)
    assert swap.tuned.outputs_after == pytest.approx(error, rel=1e-4)


def test_a_second_run_finds_nothing() -> None:
    swap, result = run(model(), force=True)
    again = Pipeline([swap])(result.program)
    assert not again.changed and not again.notes


def test_same_seed_same_program() -> None:
    (_, one), (_, two) = run(model(), force=True), run(model(), force=True)
    assert one.program.text() == two.program.text()
    assert all(torch.equal(t, two.program.constants[name]) for name, t in one.program.constants.items())


def test_causal_stays_causal() -> None:
    program = model(causal=True)
    _, result = run(program, force=True)
    one = samples(program)[0]
    other = {name: value.copy() for name, value in one.items()}
    next(iter(other.values()))[:, 40:] += 1
    first, second = (result.program.run(sample)["output"][:, :40] for sample in (one, other))
    np.testing.assert_allclose(first, second, atol=1e-6)


@pytest.mark.parametrize(("tokens", "grid"), [(64, [8, 8]), (65, [8, 8]), (70, None)])
def test_relu_brings_the_depthwise_branch_where_tokens_are_a_square(tokens: int, grid: list[int] | None) -> None:
    _, result = run(model(tokens=tokens), feature_map="relu", force=True)
    node, _ = (n for n in result.program.calls if "linear_attention" in n.name)
    assert (node.args[11] if len(node.args) > 11 else None) == grid
    if grid is not None:
        filters = result.program.constant(node.args[9])
        assert filters.shape == (WIDTH // HEADS, 1, 5, 5) and filters.any()


def test_whole_model_is_tuned_after_the_blocks() -> None:
    blocks, _ = run(model(), force=True)
    whole, result = run(model(), force=True, whole=True)
    assert len(whole.tuned.stages) == 2
    assert whole.tuned.outputs_after < blocks.tuned.outputs_after
    assert not any(t.requires_grad for t in result.program.constants.values())


def test_too_few_tokens_are_refused_with_the_figures() -> None:
    _, result = run(model(tokens=8))
    assert not result.changed
    assert reasons(result)[0] == (
        "at 8 tokens the softmax takes 1024 multiplications a head and the linear form 3072: it would not pay"
    )


def test_many_tokens_pay() -> None:
    program = model(tokens=256)
    assert LinearAttention([])._refuses(find_attentions(program)[0]) is None


@pytest.mark.parametrize(
    ("layer", "inputs", "reason"),
    [
        (Layer(True, False, kv_heads=1), (), "2 query heads share 1 of keys"),
        (Layer(True, False), (torch.randn(TOKENS, TOKENS),), "its mask is more than causal: computed bias"),
        (Layer(True, False), (torch.ones(TOKENS, TOKENS).bool(),), "its mask is more than causal: padding"),
    ],
)
def test_refusals(layer: nn.Module, inputs: tuple, reason: str) -> None:
    program = to_program(layer, (torch.randn(1, TOKENS, WIDTH), *inputs))
    result = Pipeline([LinearAttention([], force=True)])(program)
    assert not result.changed and reasons(result) == [reason]


def test_causal_with_fewer_queries_than_keys_is_refused() -> None:
    class Last(nn.Module):
        def forward(self, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
            mask = torch.ones(4, 64).tril(60).bool()
            return scaled_dot_product_attention(q, k, k, mask)

    program = to_program(Last(), (torch.randn(1, HEADS, 4, 8), torch.randn(1, HEADS, 64, 8)))
    result = Pipeline([LinearAttention([], force=True)])(program)
    assert reasons(result) == ["it is causal, with 4 queries for 64 keys"]


def test_dynamic_tokens_are_refused() -> None:
    tokens = torch.export.Dim("tokens", min=2, max=64)
    program = to_program(Layer(True, False), (torch.randn(1, 8, WIDTH),), ({1: tokens},))
    assert "known at run time only" in reasons(Pipeline([LinearAttention([], force=True)])(program))[0]


def test_needs_two_samples_and_a_known_map() -> None:
    program = model()
    with pytest.raises(UserError, match="1 samples to tune on"):
        LinearAttention(samples(program, 1), force=True)(program)
    with pytest.raises(ValueError, match="none of"):
        LinearAttention([], feature_map="softmax")
