"""Complex arithmetic and Fourier transforms run as pairs of real tensors, and are right on every target."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt.decompositions.complex_numbers import in_pairs
from edgeopt.errors import Unsupported
from edgeopt.ir.program import Program
from edgeopt.plugins.registry import resolve
from edgeopt.plugins.testing import to_program

fft = torch.fft
real = torch.view_as_real


def _complex(x: torch.Tensor) -> torch.Tensor:
    return torch.view_as_complex(x.reshape(2, 7, 4, 2))


_MODELS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "spectrum": lambda x, w: fft.rfft(x).abs(),
    "two_dimensions": lambda x, w: real(fft.fft2(x, norm="forward")),
    "filtered": lambda x, w: fft.irfft2(fft.rfft2(x, norm="ortho") * w, s=(7, 8), norm="ortho"),
    "odd": lambda x, w: fft.irfft(fft.rfft(x, dim=1), n=7, dim=1) + fft.ifft(fft.fft(x, dim=1), dim=1).real,
    "cut_and_padded": lambda x, w: real(fft.fft(x, n=5)) + real(fft.fft(x, n=9))[:, :, :5],
    "shifted": lambda x, w: fft.fftshift(fft.ifft(fft.rfft(x))).imag,
    "short_time": lambda x, w: torch.stft(x.flatten(1), 16, 4, window=torch.hann_window(16), return_complex=True).abs(),
    "short_window": lambda x, w: torch.stft(
        x.flatten(1), 16, 4, 9, window=torch.hann_window(9), return_complex=True
    ).abs(),
    "rotated": lambda x, w: real(_complex(x) * w[:, :4].conj()).flatten(2),
    "divided": lambda x, w: real(_complex(x) / (_complex(x.flip(0)) + 2j) - 3),
    "multiplied": lambda x, w: real((_complex(x) @ w[:4, :4] * 0.5).sum(1)),
    "angle": lambda x, w: torch.cat([torch.polar(x.exp(), x), torch.complex(x, 1 + x)], 1).angle(),
    "exponent": lambda x, w: (-torch.exp(1j * x)).permute(2, 0, 1)[:, 0].real,
}


class _Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Buffer(torch.randn(7, 5, dtype=torch.complex64, generator=generator))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: model(x, self.weight) for name, model in _MODELS.items()}


@pytest.fixture(scope="module")
def program() -> Program:
    return to_program(_Complex(), (torch.zeros(2, 7, 8),))


@pytest.fixture(scope="module")
def sample() -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(0).standard_normal((2, 7, 8)).astype(np.float32)}


def _assert_equal(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(got) == list(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, atol=2e-6 * np.abs(value).max(), err_msg=name)


def test_a_program_in_pairs_has_real_numbers_only(program: Program, sample: dict[str, np.ndarray]) -> None:
    pairs = program.clone()
    in_pairs(pairs, "any")
    pairs.verify()
    assert "complex" not in pairs.text()
    _assert_equal(pairs.run(sample), program.run(sample))


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_complex_arithmetic_is_right(
    program: Program, sample: dict[str, np.ndarray], target: str, tmp_path: Path
) -> None:
    chosen = resolve(target)
    artifact = chosen.compile(program, tmp_path, chosen.Options())
    assert not artifact.notes
    _assert_equal(chosen.open(tmp_path, chosen.Options()).run(sample), program.run(sample))


class _Of(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


@pytest.mark.parametrize(
    ("function", "input_", "said"),
    [
        (lambda x: (x * x).abs(), torch.zeros(2, dtype=torch.complex64), "x (an input): complex numbers do not pass"),
        (lambda x: x * 1j, torch.zeros(2), "output (an output): complex numbers do not pass"),
        (lambda x: torch.sin(x * 1j).real, torch.zeros(2), "sin (aten.sin): complex numbers are computed as pairs"),
        (lambda x: fft.rfft(x).abs(), torch.zeros(5000), "a transform of 5000 values"),
    ],
)
def test_what_has_no_form_in_pairs_is_refused_with_its_node(
    function: Callable[[torch.Tensor], torch.Tensor], input_: torch.Tensor, said: str
) -> None:
    program = to_program(_Of(function), (input_,))
    for name in ("onnx", "openvino"):
        (placement,) = resolve(name).lower(program, resolve(name).Options()).unsupported
        assert said in f"{placement.node} ({placement.op}): {placement.reason}"
    with pytest.raises(Unsupported):
        in_pairs(program, "any")
