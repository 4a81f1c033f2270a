"""The inverse of a short-time Fourier transform: torch asks its own values whether the windows overlap everywhere.

istft(X)  =>  overlap-add of irfft(X[:, t]) * window, over overlap-add of window^2

Source: torch, aten/src/ATen/native/SpectralOps.cpp, istft.
"""

from __future__ import annotations

import torch
from torch.nn import functional


def inverse(
    spectrum: torch.Tensor,
    n_fft: int,
    hop_length: int | None,
    win_length: int | None,
    window: torch.Tensor | None,
    center: bool,
    normalized: bool,
    onesided: bool | None,
    length: int | None,
) -> torch.Tensor:
    """Return the signal [n] or [N, n] of a ``spectrum`` [F, T] or [N, F, T]."""
    hop, width = hop_length or n_fft // 4, win_length or n_fft
    before = (n_fft - width) // 2
    flat = torch.ones(width, dtype=spectrum.dtype.to_real()) if window is None else window
    shape = functional.pad(flat, (before, n_fft - width - before))
    turned, scale = spectrum.reshape(-1, *spectrum.shape[-2:]).transpose(1, 2), "ortho" if normalized else None
    is_whole = onesided is False
    frames = torch.fft.ifft(turned, n_fft, -1, scale).real if is_whole else torch.fft.irfft(turned, n_fft, -1, scale)
    start = n_fft // 2 if center else 0
    whole = n_fft + hop * (frames.shape[1] - 1)
    end = whole - start if length is None else start + length
    weight = (shape * shape).expand(1, *frames.shape[1:])
    signal = _added(frames * shape, hop)[:, start:end] / _added(weight, hop)[:, start:end]
    signal = functional.pad(signal, (0, max(end - whole, 0)))
    return signal.reshape(*spectrum.shape[:-2], -1)


def _added(frames: torch.Tensor, hop: int) -> torch.Tensor:
    """Return the sums [N, n] of frames [N, T, n_fft] that begin every ``hop`` places."""
    _, count, size = frames.shape
    whole = size + hop * (count - 1)
    return functional.fold(frames.transpose(1, 2), (1, whole), (1, size), stride=(1, hop)).reshape(-1, whole)
