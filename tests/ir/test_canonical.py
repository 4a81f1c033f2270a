"""Archives that were decomposed to core ATen come out as those that were not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from edgeopt.errors import UserError
from edgeopt.ir.convert import from_exported
from edgeopt.ir.program import Program, op_name
from edgeopt.passes.exact.standard import EXACT
from edgeopt.passes.pipeline import Pipeline
from edgeopt.plugins.testing import to_program
from tests.passes.builders import Branches, Call, ops, randomized

F = nn.functional
DYNAMIC = torch.export.Dim.DYNAMIC
TOKENS = torch.randn(2, 6, 8)
IMAGE = torch.randn(2, 4, 9, 9)


def decomposed(module: nn.Module, x: torch.Tensor, dynamic: bool = False) -> Program:
    """Return a module's program by way of core ATen, after comparing its outputs with the module's."""
    first = ({0: DYNAMIC},)
    shapes = (first if isinstance(module, Call) else first[0],) if dynamic else None
    exported = torch.export.export(module.eval(), (x,), dynamic_shapes=shapes).run_decompositions()
    program = from_exported(exported)
    sample = torch.randn(3, *x.shape[1:]) if dynamic else x
    results = program.run({program.inputs[0].name: sample.numpy()}).values()
    expected = module(sample)
    for result, wanted in zip(results, expected if isinstance(expected, tuple) else [expected], strict=True):
        torch.testing.assert_close(torch.from_numpy(result), wanted.detach(), rtol=1e-5, atol=1e-5)
    return program


def exact(program: Program) -> list[str]:
    return ops(Pipeline([step.build() for step in EXACT])(program))


SAME: list[tuple[Callable[[], nn.Module], torch.Tensor]] = [
    (lambda: nn.Conv1d(6, 4, 3), TOKENS),
    (lambda: nn.Conv2d(4, 6, 3, 2, 1, groups=2, bias=False), IMAGE),
    (lambda: nn.Conv3d(2, 4, 3), torch.randn(2, 2, 5, 5, 5)),
    (lambda: nn.ConvTranspose1d(6, 4, 3, 2, 1, 1, 2), TOKENS),
    (lambda: nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, 2, dilation=2), IMAGE),
    (lambda: nn.ConvTranspose3d(2, 4, 3), torch.randn(2, 2, 5, 5, 5)),
    (lambda: nn.BatchNorm2d(4), IMAGE),
    (lambda: nn.LayerNorm(8), TOKENS),
    (lambda: nn.LayerNorm((6, 8), elementwise_affine=False), TOKENS),
    (lambda: nn.GroupNorm(2, 4), IMAGE),
    (lambda: nn.Softmax(-1), TOKENS),
    (lambda: nn.ZeroPad2d((1, 2, 0, 1)), IMAGE),
    (lambda: nn.Linear(8, 5), torch.randn(3, 8)),
    (lambda: nn.Linear(8, 5, bias=False), torch.randn(3, 8)),
    (lambda: Call(lambda m, x: x.transpose(0, 1).flatten(1) * 2 + 1), TOKENS),
]


@pytest.mark.parametrize(("build", "x"), SAME)
def test_one_spelling(build: Callable[[], nn.Module], x: torch.Tensor) -> None:
    module = randomized(build())
    assert ops(decomposed(module, x)) == ops(to_program(module, (x,)))


LINEARS: list[Callable[[Call, torch.Tensor], torch.Tensor]] = [
    lambda m, x: m.linear(x),
    lambda m, x: m.linear(x.transpose(0, 1)).transpose(0, 1),
    lambda m, x: m.linear(x[:, 1:4]),
    lambda m, x: m.unbiased(x.transpose(0, 1)).transpose(0, 1),
    lambda m, x: x @ m.matrix,
    lambda m, x: x @ m.matrix + m.bias,
    lambda m, x: torch.addmm(m.bias, x[:, 0], m.matrix),
    lambda m, x: torch.mm(x[:, 0], m.matrix),
    lambda m, x: torch.addmm(m.bias, x[:, 0], m.linear.weight.t()),
]


def product_with_a_weight(function: Callable[..., Any]) -> Call:
    layers = {"linear": nn.Linear(8, 5), "unbiased": nn.Linear(8, 5, bias=False)}
    return Call(function, **layers, matrix=torch.randn(8, 5), bias=torch.randn(5))


@pytest.mark.parametrize("dynamic", [False, True])
def test_products_with_a_weight_become_one_linear(dynamic: bool) -> None:
    found = exact(decomposed(Branches(*map(product_with_a_weight, LINEARS)), TOKENS, dynamic))
    assert found.count("linear") == len(LINEARS) and not {"bmm", "mm", "addmm", "add.Tensor", "matmul"} & set(found)


OTHER_PRODUCTS: list[tuple[Callable[[Call, torch.Tensor], torch.Tensor], str]] = [
    (lambda m, x: x @ x.transpose(1, 2), "bmm"),
    (lambda m, x: torch.addmm(m.bias, x[:, 0], m.matrix, alpha=2), "addmm"),
    (lambda m, x: torch.addmm(x[:, 0, :5], x[:, 0], m.matrix), "addmm"),
    (lambda m, x: torch.bmm(x, m.stack), "bmm"),
]


@pytest.mark.parametrize(("function", "left"), OTHER_PRODUCTS)
def test_other_products_stay(function: Callable[..., Any], left: str) -> None:
    constants = {"matrix": torch.randn(8, 5), "bias": torch.randn(5), "stack": torch.randn(2, 8, 5)}
    assert left in ops(decomposed(Call(function, **constants), TOKENS))


def test_decomposed_attention_is_left_as_it_is() -> None:
    program = decomposed(Call(lambda m, x: F.scaled_dot_product_attention(x, x, x)), TOKENS)
    assert ops(program).count("bmm") == 2 and "softmax.int" in ops(program)


@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (2, 1), (3, 1), (3, 2), (4, 1), ((2, 3), (1, 2))])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_padding_by_name_is_written_out(kernel: Any, dilation: Any, padding: str) -> None:
    module = nn.Conv2d(4, 4, kernel, padding=padding, dilation=dilation, groups=2)
    program = to_program(module, (IMAGE,))
    (result,) = program.run({"input": IMAGE.numpy()}).values()
    torch.testing.assert_close(torch.from_numpy(result), module(IMAGE).detach())
    assert ops(program)[-1] == "conv2d"


def test_asserts_of_the_trace_go() -> None:
    program = to_program(Call(lambda m, x: x.to(torch.float32) + 1), (TOKENS,))
    assert not any("assert" in name for name in ops(program))


def test_statistics_of_the_batch_are_a_batch_norm() -> None:
    module = nn.BatchNorm2d(4, track_running_stats=False)
    assert ops(to_program(module, (IMAGE,))) == ["batch_norm"]


def test_training_mode_is_refused() -> None:
    module = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)).train()
    exported = torch.export.export(module, (IMAGE,))
    with pytest.raises(UserError, match=r"training mode|writes its own state"):
        from_exported(exported)


def test_defaults_are_left_out() -> None:
    program = to_program(nn.Conv2d(4, 6, 3, 1, 0), (IMAGE,))
    assert "aten.conv2d(%input, %weight, %bias)" in program.text()


@pytest.mark.parametrize(
    ("equation", "shapes", "expected"),
    [
        ("bhid,bhjd->bhij", [(2, 3, 4, 5), (2, 3, 6, 5)], ["permute", "matmul"]),
        ("bthd,bshd->bhts", [(2, 4, 3, 5), (2, 6, 3, 5)], ["permute", "permute", "matmul"]),
        ("b h t s, b s h d -> b t h d", [(2, 3, 4, 5), (2, 5, 3, 6)], ["permute", "matmul", "permute"]),
        ("bnc,co->bno", [(2, 3, 4), (4, 5)], ["matmul"]),
        ("ij,jk->ki", [(3, 4), (4, 5)], ["matmul", "permute"]),
        ("bic,bjc->b", [(2, 3, 4), (2, 3, 4)], ["einsum"]),
        ("ij,jk->ik", [(3, 1), (4, 5)], ["einsum"]),
        ("ii,ij->j", [(3, 3), (3, 4)], ["einsum"]),
        ("...ij,...jk->...ik", [(2, 3, 4), (2, 4, 5)], ["einsum"]),
        ("bi,bi->bi", [(2, 3), (2, 3)], ["einsum"]),
        ("bmi,bni->bmn", [(2, 3, 4), (2, 5, 4)], ["permute", "matmul"]),
        ("bij,bklj->bikl", [(2, 3, 4), (2, 5, 6, 4)], ["einsum"]),
    ],
)
def test_einsum_that_is_a_matrix_product(equation: str, shapes: list[tuple[int, ...]], expected: list[str]) -> None:
    operands = [torch.randn(shape) for shape in shapes]
    program = to_program(Call(lambda m, *x: torch.einsum(equation, *x)), operands)
    assert [op_name(node).removeprefix("aten.") for node in program.calls] == expected
    sample = {spec.name: x.numpy() for spec, x in zip(program.inputs, operands, strict=True)}
    (result,) = program.run(sample).values()
    torch.testing.assert_close(torch.from_numpy(result), torch.einsum(equation, *operands), rtol=1e-6, atol=1e-6)


def test_einsum_with_a_weight_is_a_linear() -> None:
    program = to_program(
        Call(lambda m, x: torch.einsum("bnc,oc->bno", x, m.weight), weight=torch.randn(5, 8)), (TOKENS,)
    )
    assert "linear" in exact(program) and "einsum" not in exact(program)


def test_one_tensor_given_for_two_inputs_is_refused() -> None:
    class Difference(nn.Module):
        def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
            return first - 2 * second

    x = torch.randn(2, 3)
    with pytest.raises(UserError, match="'first' and 'second' were traced with one tensor") as raised:
        from_exported(torch.export.export(Difference(), (x, x)))
    assert "second=x.clone()" in str(raised.value.hint)
    assert len(from_exported(torch.export.export(Difference(), (x, x.clone()))).inputs) == 2
    assert len(to_program(Difference(), (x, x)).inputs) == 2


def test_bounds_of_a_clamp_are_of_one_type() -> None:
    program = to_program(Call(lambda m, x: x.clamp(0, 0.999) + x.clamp(max=1)), (TOKENS,))
    bounds = [node.args[1:] for node in program.calls if op_name(node) == "aten.clamp"]
    assert bounds == [(0.0, 0.999), (None, 1.0)] and all(type(one) is not int for pair in bounds for one in pair)
