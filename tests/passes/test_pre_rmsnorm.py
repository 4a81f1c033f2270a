from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import fx, nn

from edgeopt.passes.exact.fold_affine import FoldAffine
from edgeopt.passes.exact.pre_rmsnorm import PreRmsnorm
from edgeopt.passes.exact.standard import EXACT
from edgeopt.passes.pipeline import Pipeline
from edgeopt.plugins.testing import assert_pass, to_program
from tests.models import transformers_tiny as tiny
from tests.passes.builders import Call, ops, randomized, reasons

C = 8


class Mlp(nn.Module):
    """A pre-norm branch."""

    def __init__(self, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.norm = norm or nn.LayerNorm(C)
        self.up, self.down = nn.Linear(C, 12), nn.Linear(12, C)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(self.up(self.norm(x)).relu())


def parts() -> dict[str, nn.Module | torch.Tensor]:
    return {
        "patch": nn.Conv2d(3, C, 2, 2),
        "conv": nn.Conv1d(C, C, 3, padding=1),
        "table": nn.Embedding(10, C),
        "first": Mlp(),
        "second": Mlp(),
        "norm": nn.LayerNorm(C),
        "wide": nn.LayerNorm(2 * C),
        "head": nn.Linear(C, 5),
        "position": torch.randn(1, 4, C),
        "token": torch.randn(1, 1, C),
        "gamma": torch.rand(C) + 0.5,
    }


IMAGE = torch.randn(2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def patches(m: Call, image: torch.Tensor) -> torch.Tensor:
    return m.patch(image).flatten(2).transpose(1, 2)


def convert(
    function: Callable[..., torch.Tensor], x: torch.Tensor = IMAGE, changes: bool = True, **options: bool
) -> Any:
    module = randomized(Call(function, **parts())).double()
    return assert_pass(PreRmsnorm(**options), module, (x,), bound=1e-10, changes=changes)


def branches(m: Call, x: torch.Tensor) -> torch.Tensor:
    x = x + m.first(x)
    return x + m.second(x)


def test_image_encoder() -> None:
    def model(m: Call, image: torch.Tensor) -> torch.Tensor:
        x = torch.cat([m.token.expand(2, -1, -1), patches(m, image)], 1)[:, 1:] + m.position
        return m.head(m.norm(branches(m, x))[:, 0])

    result = convert(model)
    assert ops(result).count("rms_norm") == 3 and "layer_norm" not in ops(result)
    assert not reasons(result)


def test_text_encoder_whose_tokens_are_averaged() -> None:
    def model(m: Call, tokens: torch.Tensor) -> torch.Tensor:
        return m.head(m.norm(branches(m, m.table(tokens) + m.position).mean(1)))

    result = convert(model, torch.tensor([[1, 2, 3, 4]]))
    assert ops(result).count("rms_norm") == 3 and "layer_norm" not in ops(result)


def test_what_lies_between_may_move_scale_and_select() -> None:
    def model(m: Call, image: torch.Tensor) -> torch.Tensor:
        x = patches(m, image) * 0.5
        x = (x + 3 * m.first(x)).roll(1, 1).flip(1).unflatten(1, (2, 2))
        x = torch.nn.functional.pad(x, (0, 0, 1, 0))
        x = x - m.second(x)
        return m.head(m.norm(x[:, 1] / 2))

    assert "layer_norm" not in ops(convert(model))


def test_mean_of_the_stream_is_gone() -> None:
    module = randomized(Call(lambda m, image: m.head(m.norm(branches(m, patches(m, image)))), **parts())).double()
    result = assert_pass(PreRmsnorm(), module, (IMAGE,), bound=1e-10)
    means = []

    def keep(node: fx.Node, value: torch.Tensor) -> None:
        if any(reader.target is torch.ops.aten.rms_norm.default for reader in node.users):
            means.append(float(value.mean(-1).abs().max()))

    result.program.run({result.program.inputs[0].name: IMAGE.numpy()}, keep)
    assert len(means) == 3 and max(means) < 1e-12


def test_norms_written_out() -> None:
    class Written(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.rand(C)), nn.Parameter(torch.rand(C))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            centered = x - x.mean(-1, keepdim=True)
            return centered * torch.rsqrt(centered.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight + self.bias

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.branch, self.norm = nn.Linear(4, C), Mlp(Written()), Written()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x)
            return self.norm(x + self.branch(x))

    result = assert_pass(PreRmsnorm(), Model().double(), (torch.randn(2, 4).double(),), bound=1e-10, changes=True)
    assert ops(result).count("rms_norm") == 2 and "mean.dim" not in ops(result)


def test_norm_of_a_norm_and_of_a_constant() -> None:
    def model(m: Call, image: torch.Tensor) -> torch.Tensor:
        x = m.bare(m.bare(patches(m, image)) + 0 * m.norm(m.position))
        return m.head(m.bare(x))

    module = randomized(Call(model, **parts(), bare=nn.LayerNorm(C, elementwise_affine=False))).double()
    result = assert_pass(PreRmsnorm(), module, (IMAGE,), bound=1e-10, changes=True)
    assert ops(result).count("layer_norm") == 1  # of a sum with a norm that has a scale
    assert ops(result).count("rms_norm") == 3


def test_scale_and_shift_fold_afterwards_as_before() -> None:
    module = randomized(Call(lambda m, image: m.head(m.norm(branches(m, patches(m, image)))), **parts())).double()
    program = to_program(module, (IMAGE,))
    orders = [Pipeline([PreRmsnorm(), FoldAffine()]), Pipeline([FoldAffine(), PreRmsnorm()])]
    for order in orders:
        assert ops(assert_pass(order, program, (IMAGE,), bound=1e-10)).count("add.Tensor") == 2


def whole(m: Call, x: torch.Tensor) -> torch.Tensor:
    return m.head(m.norm(branches(m, x)))


REFUSALS: dict[str, tuple[Callable[..., torch.Tensor], str]] = {
    "output": (lambda m, i: branches(m, patches(m, i)), "is an output of the model"),
    "input": (lambda m, i: whole(m, i.reshape(2, 6, C)), "is an input of the model"),
    "convolution": (lambda m, i: whole(m, (x := patches(m, i)) + m.conv(x.mT).mT), "the convolution conv1d"),
    "un-normed reader": (lambda m, i: m.head(branches(m, patches(m, i)).mean(1)), "reads the stream without a norm"),
    "activation": (lambda m, i: whole(m, patches(m, i).relu()), "relu (aten.relu) feeds the stream"),
    "norm with scale": (lambda m, i: whole(m, m.norm(patches(m, i))), "feeds the stream with a mean of its own"),
    "layer scale": (lambda m, i: m.norm(patches(m, i) * m.gamma), "scales each channel by another factor"),
    "number added": (lambda m, i: whole(m, patches(m, i) + 1.0), "adds the same to all channels"),
    "patch merging": (
        lambda m, i: m.wide(branches(m, patches(m, i)).unflatten(1, (2, 2)).flatten(2)),
        "breaks up the channel axis",
    ),
    "joined channels": (
        lambda m, i: m.wide(torch.cat([(x := branches(m, patches(m, i)))[:, ::2], x[:, 1::2]], -1)),
        "means of their own",
    ),
    "data-dependent scale": (lambda m, i: whole(m, patches(m, i) / patches(m, i)), "divides by what varies"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name: str) -> None:
    function, reason = REFUSALS[name]
    module = randomized(Call(function, **parts())).double()
    result = PreRmsnorm()(to_program(module, (IMAGE,)))
    assert any(reason in told for told in reasons(result)), reasons(result)
    assert_pass(PreRmsnorm(), module, (IMAGE,), bound=1e-10)


def test_post_norm_is_refused() -> None:
    layer = nn.TransformerEncoderLayer(C, 2, 16, batch_first=True)
    program = to_program(randomized(nn.Sequential(layer, layer)), (torch.randn(2, 3, C),))
    result = assert_pass(PreRmsnorm(), program, (torch.randn(2, 3, C),), changes=False)
    assert sum("feeds the stream with a mean of its own" in reason for reason in reasons(result)) == 3


def tied(m: Call, tokens: torch.Tensor) -> torch.Tensor:
    return m.norm(branches(m, m.table(tokens))) @ m.table.weight.T


def test_tied_embeddings_are_refused_or_centered_at_run_time() -> None:
    tokens = torch.tensor([[1, 2, 3]])
    refused = convert(tied, tokens, changes=False)
    assert "tied with" in reasons(refused)[0]
    centered = convert(tied, tokens, centering=True)
    assert ops(centered).count("rms_norm") == 3 and ops(centered).count("mean.dim") == 1


def test_centering_that_costs_as_much_as_it_frees_is_refused() -> None:
    result = convert(lambda m, i: m.norm(patches(m, i).relu()), changes=False, centering=True)
    assert "1 centerings for 1 norms would not pay" in reasons(result)[0]


def test_half_precision_is_refused() -> None:
    module = nn.Sequential(nn.Linear(4, C), nn.LayerNorm(C)).to(torch.bfloat16)
    result = assert_pass(PreRmsnorm(), module, (torch.randn(2, 4).bfloat16(),), changes=False)
    assert "bfloat16, which would round the product" in reasons(result)[0]


# -- the stream in one channel less ----------------------------------------------------------------------


def compress(function: Callable[..., torch.Tensor], x: torch.Tensor = IMAGE) -> Any:
    program = to_program(randomized(Call(function, **parts())).double(), (x,))
    folded = Pipeline([FoldAffine()])(program).program
    return assert_pass(PreRmsnorm(compress=True), folded, (x,), bound=1e-10, changes=True)


def test_compressed_image_encoder() -> None:
    def model(m: Call, image: torch.Tensor) -> torch.Tensor:
        x = torch.cat([m.token.expand(2, -1, -1), patches(m, image)], 1)[:, 1:] + m.position
        return m.head(m.norm(branches(m, x))[:, 0].reshape(2, 1, C))

    result = compress(model)
    assert not reasons(result) and not {"layer_norm", "rms_norm"} & set(ops(result))
    sums = [node for node in result.program.calls if node.target is torch.ops.aten.add.Tensor]
    assert {node.meta["val"].shape[-1] for node in sums} <= {C - 1, 1}


def test_compressed_text_encoder() -> None:
    def model(m: Call, tokens: torch.Tensor) -> torch.Tensor:
        x = (m.table(tokens) + m.position).unflatten(1, (2, 2)).roll(1, 1).flatten(1, 2)
        return m.head(m.norm(branches(m, x)).mean(1))

    result = compress(model, torch.tensor([[1, 2, 3, 4]]))
    assert not reasons(result) and ops(result).count("rsqrt") == 3


def test_what_cannot_be_compressed_keeps_its_channels() -> None:
    result = convert(lambda m, i: m.norm(branches(m, patches(m, i))), compress=True)
    assert "has a scale or shift" in reasons(result)[0] and ops(result).count("rms_norm") == 3
    centered = convert(tied, torch.tensor([[1, 2, 3]]), compress=True, centering=True)
    assert "is centered at run time" in reasons(centered)[0] and ops(centered).count("rms_norm") == 3


# What becomes of the field's architectures after the other exact passes: norms replaced, a reason for each refusal.
ARCHITECTURES = {
    "vit": (5, []),
    "deit": (5, []),
    "swin": (6, ["feeds the stream with a mean of its own", "means of their own"]),
    "swin_padded": (6, ["feeds the stream with a mean of its own", "means of their own"]),
    "pvt_v2": (3, ["feeds the stream with a mean of its own"]),
    "bert": (1, ["feeds the stream with a mean of its own"]),
    "minilm": (1, ["feeds the stream with a mean of its own"]),
    "distilbert": (1, ["feeds the stream with a mean of its own"]),
    "gpt2": (0, ["is tied with"]),
    "whisper_encoder": (0, ["gelu_1 (aten.gelu) feeds the stream"]),
    "llama": (0, []),
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "dtype", "bound", "seed"), tiny.CASES)
def test_architectures(name: str, dtype: torch.dtype, bound: float, seed: int) -> None:
    traced = tiny.program(name, dtype=dtype, seed=seed)
    program = Pipeline([step.build() for step in EXACT])(traced).program
    result = assert_pass(PreRmsnorm(), program, tiny.inputs(name, program, seed), bound=bound)
    count, expected = ARCHITECTURES[name]
    assert len([note for note in result.notes if note.reason is None]) == count
    assert all(any(part in reason for reason in reasons(result)) for part in expected)
    assert all(any(part in reason for part in expected) for reason in reasons(result))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt2", "whisper_encoder"])
def test_architectures_with_centering(name: str) -> None:
    traced = tiny.program(name, dtype=torch.float64)
    program = Pipeline([step.build() for step in EXACT])(traced).program
    result = assert_pass(PreRmsnorm(centering=True), program, tiny.inputs(name, program), bound=1e-10)
    assert "layer_norm" not in ops(result) and ops(result).count("rms_norm") == 5


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_architectures_compressed(dtype: torch.dtype, bound: float) -> None:
    """PVTv2's last norm is pooled before the head; the norms of its embeddings keep scale and shift."""
    program = tiny.program("pvt_v2", dtype=dtype)
    program = Pipeline([step.build() for step in EXACT])(program).program
    result = assert_pass(PreRmsnorm(compress=True), program, tiny.inputs("pvt_v2", program), bound=bound)
    assert (ops(result).count("rsqrt"), ops(result).count("rms_norm")) == (1, 2)
    kept = [note.reason for note in result.notes if note.rule == "crmsnorm"]
    assert len(kept) == 2 and all("has a scale or shift" in str(reason) for reason in kept)
