"""CUDA kernels on this machine's GPU against torch's own, and against the bandwidth of a copy.

    python -m benchmarks.gpu [--json]

Linear attention against fused SDPA in the same precision (64 channels, 16 heads), FP4 against fp16 cuBLAS at M=1,
binary against fp16 cuBLAS and torch's int8 GEMM, RMS norm against torch's. Each pair alternates, 200 times after 20 to
warm up, by CUDA events; the figures are medians in microseconds. "ratio" is torch's median over ours: above 1 ours is
faster. "of copy" is the bytes that the operation must move over its time, as a share of a device-to-device copy's
bandwidth. Needs a GPU that torch sees, and nvcc; under a minute.
"""

from __future__ import annotations

import ctypes
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.table import show
from tests.kernels.cuda.launchers import gpu_library

RUNS, WARMUP = 200, 20
HALF = 1

Call = Callable[[], Any]


def _medians(*calls: Call) -> list[float]:
    """Return each call's median time in microseconds, run alternately."""
    times: list[list[float]] = [[] for _ in calls]
    for turn in range(WARMUP + RUNS):
        for call, own in zip(calls, times, strict=True):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            call()
            end.record()
            end.synchronize()
            if turn >= WARMUP:
                own.append(start.elapsed_time(end) * 1e3)
    return [statistics.median(own) for own in times]


def _launch(function: Any, *arguments: Any) -> Call:
    stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
    converted = [
        ctypes.c_void_p(a.data_ptr())
        if isinstance(a, torch.Tensor)
        else ctypes.c_float(a)
        if isinstance(a, float)
        else a
        for a in arguments
    ]

    def call() -> None:
        status = function(*converted, stream)
        assert status == 0, f"CUDA error {status}"

    return call


def _half(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, device="cuda", dtype=torch.float16)


def _attention(library: ctypes.CDLL, tokens: int, causal: bool) -> tuple[str, dict[str, Call], int]:
    heads, size = 16, 64
    q, k, v = (_half(1, heads, tokens, size) for _ in range(3))
    out = torch.empty_like(q)
    workspace = torch.empty(library.eo_linear_attention_workspace(heads, tokens, size, size, 2) // 4, device="cuda")
    sizes = (heads, tokens, tokens, size, size, 2, int(causal))
    ours = _launch(library.eo_linear_attention, q, k, v, out, workspace, *sizes, 1e-6, HALF)
    sdpa = torch.nn.functional.scaled_dot_product_attention
    name = f"{'causal ' if causal else ''}linear attention (elu), {tokens} tokens"
    return name, {"ours": ours, "fused SDPA": lambda: sdpa(q, k, v, is_causal=causal)}, 4 * q.nbytes


def _fp4(library: ctypes.CDLL, inputs: int, outputs: int) -> tuple[str, dict[str, Call], int]:
    x, weight, bias = _half(1, inputs), _half(outputs, inputs), _half(outputs)
    packed = torch.randint(0, 256, (outputs, inputs // 2), device="cuda", dtype=torch.uint8)
    scales = torch.randint(1, 120, (outputs, inputs // 16), device="cuda", dtype=torch.uint8)
    out = _half(1, outputs)
    ours = _launch(library.eo_fp4_linear, x, packed, scales, bias, out, 1, inputs, outputs, 16, 0, 1.0, HALF)
    cublas = torch.nn.functional.linear
    return (
        f"FP4 linear, 1x{inputs}x{outputs}",
        {"ours": ours, "fp16 cuBLAS": lambda: cublas(x, weight, bias)},
        packed.nbytes,
    )


def _binary(library: ctypes.CDLL, rows: int, inputs: int, outputs: int) -> tuple[str, dict[str, Call], int]:
    x, weight, out = _half(rows, inputs), _half(outputs, inputs), _half(rows, outputs)
    bits = torch.randint(-(2**31), 2**31, (outputs, inputs // 32), device="cuda", dtype=torch.int32)
    scale, bias = (torch.rand(outputs, device="cuda", dtype=torch.float16) for _ in range(2))
    workspace = torch.empty(rows * inputs // 32, device="cuda", dtype=torch.int32)
    shift = torch.zeros(inputs, device="cuda", dtype=torch.float16)
    sizes = (rows, inputs, outputs)
    ours = _launch(library.eo_binary_linear, x, shift, bits, scale, bias, out, workspace, *sizes, HALF)
    x8, w8 = x.to(torch.int8), weight.to(torch.int8)
    calls = {"ours": ours, "fp16 cuBLAS": lambda: torch.nn.functional.linear(x, weight)}
    calls["int8 GEMM"] = lambda: torch._int_mm(x8, w8.T)
    return f"binary linear, {rows}x{inputs}x{outputs}", calls, x.nbytes + out.nbytes


def _norm(library: ctypes.CDLL, rows: int, width: int) -> tuple[str, dict[str, Call], int]:
    x, weight, out = _half(rows, width), _half(width), _half(rows, width)
    ours = _launch(library.eo_rms_norm, x, weight, out, rows, width, 1e-6, HALF)
    torchs = torch.nn.functional.rms_norm
    return f"RMS norm, {rows}x{width}", {"ours": ours, "torch": lambda: torchs(x, (width,), weight, 1e-6)}, 2 * x.nbytes


def _cases(library: ctypes.CDLL) -> Iterator[tuple[str, dict[str, Call], int]]:
    for tokens in (256, 1024, 4096, 16384):
        yield _attention(library, tokens, False)
        yield _attention(library, tokens, True)
    for inputs, outputs in ((2048, 2048), (4096, 4096), (4096, 14336)):
        yield _fp4(library, inputs, outputs)
    for rows in (32, 1024):
        yield _binary(library, rows, 768, 768)
    yield _norm(library, 4096, 4096)


def _copy_bytes_per_us() -> float:
    source = torch.empty(2**28, device="cuda", dtype=torch.uint8)
    target = torch.empty_like(source)
    (median,) = _medians(lambda: target.copy_(source))
    return 2 * source.nbytes / median


def _device() -> str:
    query = "--query-gpu=name,compute_cap,clocks.sm,clocks.max.sm,driver_version"
    return subprocess.run(["nvidia-smi", query, "--format=csv,noheader"], capture_output=True, text=True).stdout.strip()


@click.command(help=__doc__)
@click.option("--json", "as_json", is_flag=True)
def main(as_json: bool) -> None:
    """Print the table; the device, its clocks and the versions go to stderr."""
    if not torch.cuda.is_available():
        click.echo("error: torch sees no NVIDIA GPU here\nhint: run this where one is", err=True)
        sys.exit(2)
    click.echo(f"{_device()}; torch {torch.__version__}, CUDA {torch.version.cuda}", err=True)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        library, bandwidth = gpu_library(Path(folder)), _copy_bytes_per_us()
        for name, calls, moved in _cases(library):
            ours, *others = _medians(*calls.values())
            fastest = min(others)
            best = list(calls)[1 + others.index(fastest)]
            share = f"{moved / ours / bandwidth:.0%}"
            rows.append(
                {
                    "operation": name,
                    "us": ours,
                    "against": best,
                    "its us": fastest,
                    "ratio": fastest / ours,
                    "of copy": share,
                }
            )
    show(rows, as_json)


if __name__ == "__main__":
    main()
