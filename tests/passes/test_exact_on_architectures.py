"""All exact passes, one after another, on the field's transformers and on hand-written blocks of each form."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from edgeopt.passes.exact.expand_attention import ExpandAttention
from edgeopt.passes.exact.merge_low_rank import MergeLowRank
from edgeopt.passes.exact.pre_rmsnorm import PreRmsnorm
from edgeopt.passes.exact.standard import EXACT
from edgeopt.passes.pipeline import Pipeline
from edgeopt.passes.quantization.cross_layer_equalization import CrossLayerEqualization
from edgeopt.plugins.testing import assert_pass
from tests.models import transformers_tiny as tiny
from tests.models.normalizers import NORMALIZERS
from tests.passes.builders import Branches, ops, randomized

KINDS = [(torch.float32, 1e-5, 0), (torch.float64, 1e-10, 1)]
C, N, H = 8, 6, 2

ALL = [ExpandAttention, *(step.build for step in EXACT), PreRmsnorm, MergeLowRank, CrossLayerEqualization]


def every_exact_pass() -> Pipeline:
    return Pipeline([build() for build in ALL])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "dtype", "bound", "seed"), tiny.CASES)
def test_architectures(name: str, dtype: torch.dtype, bound: float, seed: int) -> None:
    program = tiny.program(name, ("sdpa", "eager")[seed % 2], dtype, seed)
    result = assert_pass(every_exact_pass(), program, tiny.inputs(name, program, seed), bound=bound)
    assert "scaled_dot_product_attention" not in ops(result)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("normalizer", "dtype", "bound", "seed"), [("RepBN", torch.float32, 1e-5, 0), ("UN", torch.float64, 1e-10, 1)]
)
@pytest.mark.parametrize("name", ["swin_padded", "pvt_v2"])
def test_border_tokens_of_folded_norms(name: str, normalizer: str, dtype: torch.dtype, bound: float, seed: int) -> None:
    """Zeros are padded after a norm: around Swin's windows, and by PVTv2's patch embeddings."""
    program = tiny.program(name, "sdpa", dtype, seed, normalizer)
    exact = Pipeline([step.build() for step in EXACT])
    result = assert_pass(exact, program, tiny.inputs(name, program, seed), bound=bound)
    assert not {"batch_norm", "layer_norm"} & set(ops(result))


Scores = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def scaled(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    y: torch.Tensor = (q * q.shape[-1] ** -0.5) @ k.mT
    return y


def causal(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    return scaled(q, k).masked_fill(torch.ones(N, N).triu(1).bool(), -torch.inf)


def alibi(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    position = torch.arange(N)
    return scaled(q, k) - (position[:, None] - position).abs() * torch.tensor([0.5, 0.25])[:, None, None].to(q)


class Block(nn.Module):
    """Attention and MLP with residual sums and LayerScale; norms before each, or after each sum."""

    def __init__(self, name: str, placement: str, scores: Scores | None) -> None:
        super().__init__()
        self.first, self.second = NORMALIZERS[name](C), NORMALIZERS[name](C)
        self.stem, self.qkv, self.out = nn.Linear(C, C), nn.Linear(C, 3 * C), nn.Linear(C, C)
        self.up, self.down, self.head = nn.Linear(C, 12), nn.Linear(12, C), nn.Linear(C, 3)
        self.gamma = nn.Parameter(torch.rand(C))
        self.placement, self.scores = placement, scores

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for norm, branch in ((self.first, self.attend), (self.second, self.mlp)):
            x = x + branch(norm(x)) if self.placement == "pre" else norm(x + branch(x))
        return self.head(x)

    def attend(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, H, -1)).permute(2, 0, 3, 1, 4)
        if self.scores is None:
            out = nn.functional.scaled_dot_product_attention(q, k, v)
        else:
            out = self.scores(q, k).softmax(-1) @ v
        return self.out(out.transpose(1, 2).flatten(2)) * self.gamma

    def mlp(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(nn.functional.gelu(self.up(x)))


@pytest.mark.parametrize(("dtype", "bound", "seed"), KINDS)
@pytest.mark.parametrize("placement", ["pre", "post"])
def test_blocks_of_each_form(placement: str, dtype: torch.dtype, bound: float, seed: int) -> None:
    torch.manual_seed(seed)
    forms = [None, scaled, causal, alibi]
    blocks = [Block(name, placement, forms[(index + seed) % 4]) for index, name in enumerate(NORMALIZERS)]
    model = randomized(Branches(*blocks)).to(dtype)
    result = assert_pass(every_exact_pass(), model, (torch.randn(2, N, C, dtype=dtype),), bound=bound, changes=True)
    assert not {"scaled_dot_product_attention", "arange"} & set(ops(result))
    assert ("batch_norm" in ops(result)) == (placement == "post")  # there its scale and shift are the stream's
