"""Every launcher on a GPU against torch, over fuzzed shapes; and under compute-sanitizer."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgeopt.ops.linear_attention import epsilon
from edgeopt.ops.linear_attention_forms import causal_flow, flow
from tests.kernels.cuda import launchers
from tests.kernels.cuda.launchers import MAPS, TYPES
from tests.kernels.cuda.test_host import phi, reference

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no NVIDIA GPU here"),
    launchers.requires_nvcc,
]
BOUNDS = {"float32": 1e-4, "float16": 4e-3}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return launchers.gpu_library(tmp_path_factory.mktemp("gpu"))


def call(function: Any, *arguments: Any) -> None:
    """Call a launcher with tensors as pointers, on torch's stream."""
    stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
    converted = [
        ctypes.c_void_p(a.data_ptr() if a is not None else None)
        if a is None or isinstance(a, torch.Tensor)
        else ctypes.c_float(a)
        if isinstance(a, float)
        else a
        for a in arguments
    ]
    status = function(*converted, stream)
    torch.cuda.synchronize()
    assert status == 0, f"CUDA error {status}"


def assert_close(got: torch.Tensor, expected: torch.Tensor, dtype: str) -> None:
    error = (got.float() - expected.float()).abs().max() / expected.float().abs().max()
    assert float(error) <= BOUNDS[dtype], f"off by {float(error):.1e}"


@pytest.mark.parametrize("seed", range(40))
def test_linear_attention(library: ctypes.CDLL, seed: int) -> None:
    rng = np.random.default_rng(seed)
    name, dtype, causal = MAPS[seed % len(MAPS)], list(TYPES)[seed % 2], int(rng.integers(2))
    heads, keys, d, e = (int(rng.integers(1, most)) for most in (9, 2049, 17, 65))
    queries = keys if causal else int(rng.integers(1, 2049))
    kind = getattr(torch, dtype)
    q, k, v = (
        torch.randn(heads, tokens, width, device="cuda", dtype=kind)
        for tokens, width in ((queries, d), (keys, d), (keys, e))
    )
    if name == "given":
        q, k = q.abs(), k.abs()
    code, eps = MAPS.index(name), epsilon(name)
    size = library.eo_linear_attention_workspace(heads, keys, d, e, code)
    workspace, out = torch.empty(size // 4, device="cuda"), torch.empty(heads, queries, e, device="cuda", dtype=kind)
    sizes = (heads, queries, keys, d, e, code, causal)
    call(library.eo_linear_attention, q, k, v, out, workspace, *sizes, float(eps), TYPES[dtype])
    features = [phi(name, a.float().cpu()) for a in (q, k)]
    assert_close(out.cpu(), reference(name, causal, *(f.double() for f in features), v.double().cpu()), dtype)


@pytest.mark.parametrize("seed", range(20))
def test_flow_attention(library: ctypes.CDLL, seed: int) -> None:
    rng = np.random.default_rng(seed)
    dtype, causal = list(TYPES)[seed % 2], seed // 2 % 2
    heads, keys, d, e = (int(rng.integers(1, most)) for most in (9, 600, 65, 65))
    queries = keys if causal else int(rng.integers(1, 600))
    q, k, v = (
        torch.randn(heads, tokens, width, device="cuda", dtype=getattr(torch, dtype))
        for tokens, width in ((queries, d), (keys, d), (keys, e))
    )
    out = torch.empty(heads, queries, e, device="cuda", dtype=q.dtype)
    call(library.eo_flow_attention, q, k, v, out, heads, queries, keys, d, e, causal, TYPES[dtype])
    expected = (causal_flow if causal else flow)(*(a.double().cpu() for a in (q, k, v)))
    assert_close(out.cpu(), expected, dtype)


@pytest.mark.parametrize("seed", range(20))
def test_rms_norm(library: ctypes.CDLL, seed: int) -> None:
    rng = np.random.default_rng(seed)
    dtype, rows, width = list(TYPES)[seed % 2], int(rng.integers(1, 500)), int(rng.integers(1, 5000))
    x, weight = (torch.randn(*s, device="cuda", dtype=getattr(torch, dtype)) for s in ((rows, width), (width,)))
    out = torch.empty_like(x)
    call(library.eo_rms_norm, x, weight, out, rows, width, 1e-5, TYPES[dtype])
    expected = torch.nn.functional.rms_norm(x.double(), (width,), weight.double(), 1e-5)
    assert_close(out, expected, dtype)


@pytest.mark.parametrize("seed", range(20))
def test_fp4_linear(library: ctypes.CDLL, seed: int) -> None:
    rng = np.random.default_rng(seed)
    dtype, group = list(TYPES)[seed % 2], (16, 32)[seed // 2 % 2]
    rows, inputs, outputs = int(rng.integers(1, 40)), 32 * int(rng.integers(1, 100)), int(rng.integers(1, 500))
    grid = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], dtype=torch.float64)
    nibbles = torch.from_numpy(rng.integers(0, 16, (outputs, inputs)).astype(np.uint8))
    packed = (nibbles[:, ::2] | nibbles[:, 1::2] << 4).cuda()
    bytes_ = torch.from_numpy(rng.integers(120, 130, (outputs, inputs // group)).astype(np.uint8))
    scales = torch.exp2(bytes_.double() - 127)
    if group == 16:
        bytes_ = torch.from_numpy(rng.integers(1, 120, (outputs, inputs // group)).astype(np.uint8))
        scales = bytes_.view(torch.float8_e4m3fn).double()
    weight = grid[nibbles.long()] * scales.repeat_interleave(group, 1) / inputs
    x, bias = (torch.randn(*s, device="cuda", dtype=getattr(torch, dtype)) for s in ((rows, inputs), (outputs,)))
    out = torch.empty(rows, outputs, device="cuda", dtype=x.dtype)
    sizes = (rows, inputs, outputs, group, int(group == 32), 1.0 / inputs)
    call(library.eo_fp4_linear, x, packed, bytes_.cuda(), bias, out, *sizes, TYPES[dtype])
    assert_close(out.cpu(), x.double().cpu() @ weight.T + bias.double().cpu(), dtype)


@pytest.mark.parametrize("seed", range(20))
def test_binary_linear(library: ctypes.CDLL, seed: int) -> None:
    rng = np.random.default_rng(seed)
    dtype, rows = list(TYPES)[seed % 2], int(rng.integers(1, 300))
    inputs, outputs = int(rng.integers(1, 3000)), int(rng.integers(1, 300))
    words = (inputs + 31) // 32
    signs = rng.integers(0, 2, (outputs, inputs)).astype(np.uint8)
    packed = np.packbits(np.pad(signs, ((0, 0), (0, words * 32 - inputs))), axis=1, bitorder="little")
    x = torch.randn(rows, inputs, device="cuda", dtype=getattr(torch, dtype))
    scale, bias = (torch.rand(outputs, device="cuda", dtype=x.dtype) for _ in range(2))
    workspace = torch.empty(library.eo_binary_linear_workspace(rows, inputs) // 4, device="cuda", dtype=torch.int32)
    out = torch.empty(rows, outputs, device="cuda", dtype=x.dtype)
    weight = torch.from_numpy(packed).cuda()
    call(library.eo_binary_linear, x, None, weight, scale, bias, out, workspace, rows, inputs, outputs, TYPES[dtype])
    moved = torch.where(x.cpu() >= 0, 1.0, -1.0).double() @ (2.0 * torch.from_numpy(signs).double().T - 1)
    assert_close(out.cpu(), moved * scale.double().cpu() + bias.double().cpu(), dtype)


@pytest.mark.skipif(shutil.which("compute-sanitizer") is None, reason="compute-sanitizer is not installed")
def test_compute_sanitizer_has_no_complaint() -> None:
    command = ["compute-sanitizer", "--error-exitcode=9", sys.executable, "-m", "pytest", "-q", str(Path(__file__))]
    command += ["-k", "0 and not sanitizer"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
