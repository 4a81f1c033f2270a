"""Sizes that depend on the values of the data: computed where the runtime can, and told by the user's line else."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import edgeopt
from edgeopt.errors import UserError
from edgeopt.frontend.trace import trace

X = torch.linspace(-2, 2, 32).reshape(4, 8)


class Found(nn.Module):
    """What is found in the data, and how often."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {
            "rows": x[torch.nonzero(x)[:, 0]] * 2,
            "positive": x[x > 0],
            "values": torch.unique(x),
            "repeated": torch.repeat_interleave(x, (x[:, 0].abs() * 2).long(), dim=0),
        }


@pytest.mark.parametrize("target", ["onnx", "cpu"])
def test_sizes_found_in_the_data(tmp_path: Path, target: str, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing that torch has to say reaches the user
        run = edgeopt.export(
            Found().eval(), target, tmp_path / "out", inputs={"x": X}, samples=2, warmup=1, max_seconds=0.05,
            baseline=False, max_error=1e-6,
        )  # fmt: skip
    assert run.ok
    assert capfd.readouterr().err == ""


class Branch(nn.Module):
    """A branch on a value."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


class Cut(nn.Module):
    """A slice to a value."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[: int(x.sum().item())]


@pytest.mark.parametrize(("model", "code"), [(Branch(), "return x if x.sum() > 0"), (Cut(), "return x[: int(")])
def test_what_cannot_be_traced_is_told_by_its_line(model: nn.Module, code: str) -> None:
    with pytest.raises(UserError) as caught:
        trace(model.eval(), sample={"x": np.ones((2, 3), np.float32)})
    assert f"test_data_dependent_sizes.py:{_line(code)}: {code}" in caught.value.message
    assert "data-dependent" not in caught.value.message  # torch's own words
    assert "torch.where" in (caught.value.hint or "")


def _line(code: str) -> int:
    lines = Path(__file__).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if code in line)
