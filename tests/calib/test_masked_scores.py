"""Scores that a mask hides do not widen the range of those that count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from edgeopt import export
from edgeopt.calib.masked_scores import REACH, unmasked

LOWEST = torch.finfo(torch.float32).min


@pytest.mark.parametrize("hidden", [-torch.inf, LOWEST, -1e4])
def test_hidden_scores_end_at_the_reach_of_their_row(hidden: float) -> None:
    scores = torch.tensor([[1.0, hidden, -3.0], [hidden, 4.0, hidden], [hidden, hidden, hidden]])
    raised = unmasked(scores, -1)
    expected = torch.tensor([[1.0, 1 - REACH, -3.0], [4 - REACH, 4.0, 4 - REACH], [-96 - REACH] * 3])
    torch.testing.assert_close(raised, expected)
    across = unmasked(scores.T.contiguous(), 0)
    torch.testing.assert_close(across, expected.T)


def test_scores_without_a_mask_stay() -> None:
    scores = torch.linspace(-49, 49, 12).reshape(3, 4)
    assert unmasked(scores, -1) is scores
    nothing = torch.full((2, 2), -torch.inf)
    assert unmasked(nothing, -1) is nothing


class Causal(nn.Module):
    """Attention of two heads, each token over those before it."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(16, 16) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (one(x).unflatten(-1, (2, 8)).transpose(1, 2) for one in (self.query, self.key, self.value))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(mixed.transpose(1, 2).flatten(2))


def test_causal_attention_keeps_its_scores_in_integers(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).standard_normal((48, 6, 16)).astype(np.float32)
    np.savez(tmp_path / "calib.npz", x=samples)
    program = torch.export.export(Causal().eval(), (torch.randn(1, 6, 16),))
    run = export(program, target="host-c", output=tmp_path / "out", calib=str(tmp_path / "calib.npz"), baseline=False)
    assert run.error is not None and run.error.sqnr_db > 30
