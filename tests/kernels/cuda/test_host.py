"""The CUDA kernels' arithmetic, run on the host thread by thread, against the operators' torch references."""

from __future__ import annotations

import ctypes

import ml_dtypes
import numpy as np
import pytest
import torch

from edgeopt.ops.feature_maps import LEARNED, feature_map
from edgeopt.ops.linear_attention import epsilon
from edgeopt.ops.linear_attention_forms import (
    causal_flow,
    causal_inline,
    causal_normalized,
    flow,
    inline,
    normalized,
)
from tests.kernels.cuda import launchers
from tests.kernels.cuda.launchers import MAPS, TYPES, call

BOUNDS = {"float32": 2e-5, "float16": 2e-3}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return launchers.host_library(tmp_path_factory.mktemp("host"))


def phi(name: str, x: torch.Tensor) -> torch.Tensor:
    """Return the features of what the kernel reads: a learned map's product is taken before."""
    if name in ("given", "inline"):
        return x
    return feature_map(name, x, torch.eye(x.shape[-1])) if name in LEARNED else feature_map(name, x)


def reference(name: str, causal: int, *operands: torch.Tensor) -> torch.Tensor:
    """Return attention of features, keys' features and values."""
    if name == "inline":
        return (causal_inline if causal else inline)(*operands)
    q, k, v = operands
    return (causal_normalized if causal else normalized)(q, k, v, epsilon(name))


def close(got: np.ndarray, expected: torch.Tensor, dtype: str) -> bool:
    reference = expected.float().numpy()
    error = np.abs(got.astype(np.float32) - reference).max() / np.abs(reference).max()
    return bool(error <= BOUNDS[dtype])


def operands(seed: int, shape: tuple[int, ...], widths: tuple[int, ...], dtype: str) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((*shape, width), dtype=np.float32).astype(dtype) for width in widths]


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize(("causal", "tokens", "d", "e"), [(0, 150, 8, 5), (1, 150, 5, 8), (0, 3, 4, 4), (1, 33, 8, 8)])
def test_linear_attention(library: ctypes.CDLL, name: str, causal: int, tokens: int, d: int, e: int) -> None:
    dtype = "float16" if d == e else "float32"
    q, k, v = operands(tokens, (2, tokens), (d, d, e), dtype)
    if name == "given":
        q, k = np.abs(q), np.abs(k)
    code, eps = MAPS.index(name), epsilon(name)
    workspace = np.empty(library.eo_linear_attention_workspace(2, tokens, d, e, code) // 4, np.float32)
    out = np.zeros((2, tokens, e), dtype)
    sizes = (2, tokens, tokens, d, e, code, causal)
    call(library.eo_linear_attention, q, k, v, out, workspace, *sizes, float(eps), TYPES[dtype])
    features = [phi(name, torch.from_numpy(a).float()) for a in (q, k)]
    assert close(out, reference(name, causal, *features, torch.from_numpy(v).float()), dtype)


def test_queries_and_keys_may_differ_in_number(library: ctypes.CDLL) -> None:
    (q,), (k, v) = operands(1, (3, 20), (8,), "float32"), operands(2, (3, 140), (8, 6), "float32")
    workspace = np.empty(library.eo_linear_attention_workspace(3, 140, 8, 6, 2) // 4, np.float32)
    out = np.zeros((3, 20, 6), np.float32)
    call(library.eo_linear_attention, q, k, v, out, workspace, 3, 20, 140, 8, 6, 2, 0, 1e-6, 0)
    of_q, of_k = (phi("elu", torch.from_numpy(a)) for a in (q, k))
    assert close(out, normalized(of_q, of_k, torch.from_numpy(v), 1e-6), "float32")


@pytest.mark.parametrize("name", MAPS[1:])
def test_steps_equal_the_causal_form(library: ctypes.CDLL, name: str) -> None:
    q, k, v = operands(3, (2, 9), (6, 6, 4), "float32")
    code, eps = MAPS.index(name), epsilon(name)
    features = [phi(name, torch.from_numpy(a)) for a in (q, k)]
    rows = features[0].shape[-1] + (name == "inline")  # one more: the sum of values
    state = np.zeros((2, rows, 5), np.float32)
    out = np.zeros((2, 9, 4), np.float32)
    for t in range(9):
        row = np.zeros((2, 4), np.float32)
        token = [np.ascontiguousarray(a[:, t]) for a in (q, k, v)]
        call(library.eo_linear_attention_step, *token, state, row, 2, 6, 4, code, float(eps), 0)
        out[:, t] = row
    assert close(out, reference(name, 1, *features, torch.from_numpy(v)), "float32")


@pytest.mark.parametrize("name", ["given", "relu", "elu"])
@pytest.mark.parametrize(("queries", "keys", "size"), [(70, 150, 32), (64, 64, 64), (3, 130, 128)])
def test_linear_attention_on_tensor_cores(library: ctypes.CDLL, name: str, queries: int, keys: int, size: int) -> None:
    """mma.m16n8k16 by its documented layout; the result is rounded as the state is, to half."""
    (q,), (k, v) = operands(1, (2, queries), (size,), "float16"), operands(2, (2, keys), (size, size), "float16")
    if name == "given":
        q, k = np.abs(q), np.abs(k)
    code, eps = MAPS.index(name), epsilon(name)
    workspace = np.empty(library.eo_linear_attention_workspace(2, keys, size, size, code) // 4, np.float32)
    out = np.zeros((2, queries, size), np.float16)
    call(library.eo_linear_attention, q, k, v, out, workspace, 2, queries, keys, size, size, code, 0, float(eps), 1)
    features = [phi(name, torch.from_numpy(a).float()) for a in (q, k)]
    assert close(out, reference(name, 0, *features, torch.from_numpy(v).float()), "float16")


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    ("causal", "queries", "keys", "d", "e"), [(0, 70, 70, 8, 5), (0, 3, 40, 6, 7), (1, 45, 45, 5, 8)]
)
def test_flow_attention(library: ctypes.CDLL, dtype: str, causal: int, queries: int, keys: int, d: int, e: int) -> None:
    (q,), (k, v) = operands(1, (2, queries), (d,), dtype), operands(2, (2, keys), (d, e), dtype)
    out = np.zeros((2, queries, e), dtype)
    call(library.eo_flow_attention, q, k, v, out, 2, queries, keys, d, e, causal, TYPES[dtype])
    expected = (causal_flow if causal else flow)(*(torch.from_numpy(a).float() for a in (q, k, v)))
    assert close(out, expected, dtype)


def test_steps_of_flow_equal_the_causal_form(library: ctypes.CDLL) -> None:
    q, k, v = operands(3, (2, 9), (6, 6, 4), "float32")
    state, out = np.zeros((2, 6 * 4 + 4 * 6 + 2), np.float32), np.zeros((2, 9, 4), np.float32)
    for t in range(9):
        row = np.zeros((2, 4), np.float32)
        token = [np.ascontiguousarray(a[:, t]) for a in (q, k, v)]
        call(library.eo_flow_attention_step, *token, state, row, 2, 6, 4, 0)
        out[:, t] = row
    assert close(out, causal_flow(*(torch.from_numpy(a) for a in (q, k, v))), "float32")


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("rows", "width"), [(1, 1), (3, 130), (2, 384)])
def test_rms_norm(library: ctypes.CDLL, dtype: str, rows: int, width: int) -> None:
    x, weight = operands(width, (rows,), (width,), dtype)[0], operands(1, (), (width,), dtype)[0]
    # Squares whose sum leaves FP16's range: the kernel sums in float32.
    x = (x * 40).astype(dtype)
    out = np.zeros_like(x)
    call(library.eo_rms_norm, x, weight, out, rows, width, 1e-5, TYPES[dtype])
    tensors = [torch.from_numpy(a).float() for a in (x, weight)]
    expected = torch.nn.functional.rms_norm(tensors[0], (width,), tensors[1], 1e-5)
    assert np.isfinite(out).all() and close(out, expected, dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("kind", ["nvfp4", "mxfp4"])
def test_fp4_linear(library: ctypes.CDLL, dtype: str, rows: int, kind: str) -> None:
    inputs, outputs, group = 320, 7, 16 if kind == "nvfp4" else 32
    rng = np.random.default_rng(rows)
    nibbles = rng.integers(0, 16, (outputs, inputs)).astype(np.uint8)
    packed = nibbles[:, ::2] | nibbles[:, 1::2] << 4
    if kind == "nvfp4":
        scales = rng.integers(1, 0x7F, (outputs, inputs // group)).astype(np.uint8)
        real = scales.view(ml_dtypes.float8_e4m3fn).astype(np.float64)
    else:
        scales = rng.integers(120, 132, (outputs, inputs // group)).astype(np.uint8)
        real = scales.view(ml_dtypes.float8_e8m0fnu).astype(np.float64)
    weight = nibbles.view(ml_dtypes.float4_e2m1fn).astype(np.float64) * np.repeat(real, group, 1) * 0.125
    (x,) = operands(5, (rows,), (inputs,), dtype)
    bias = operands(6, (), (outputs,), dtype)[0]
    x = (x / 64).astype(dtype)
    out = np.zeros((rows, outputs), dtype)
    kinds = {"nvfp4": 0, "mxfp4": 1}
    sizes = (rows, inputs, outputs, group, kinds[kind])
    call(library.eo_fp4_linear, x, packed, scales, bias, out, *sizes, 0.125, TYPES[dtype])
    assert close(out, torch.from_numpy(x.astype(np.float64) @ weight.T + bias.astype(np.float64)), dtype)


def test_fp4_linear_refuses_groups_that_split_a_word(library: ctypes.CDLL) -> None:
    null = ctypes.c_void_p(None)
    sizes = (1, 24, 1, 12, 0, ctypes.c_float(1.0), 0)
    assert library.eo_fp4_linear(null, null, null, null, null, *sizes, null) == 1


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("rows", "inputs"), [(1, 32), (5, 100), (4, 1100)])
def test_binary_linear(library: ctypes.CDLL, dtype: str, rows: int, inputs: int) -> None:
    outputs, words = 6, (inputs + 31) // 32
    rng = np.random.default_rng(inputs)
    signs = rng.integers(0, 2, (outputs, inputs)).astype(np.uint8)
    weight = np.packbits(np.pad(signs, ((0, 0), (0, words * 32 - inputs))), axis=1, bitorder="little").view(np.uint32)
    scale, bias = (rng.random(outputs, np.float32).astype(dtype) for _ in range(2))
    (x,) = operands(7, (rows,), (inputs,), dtype)
    x[0, ::5] = 0.0  # zero counts as +1
    (shift,) = operands(8, (), (inputs,), dtype)
    shift[::3] = 0.0
    bits = np.empty(library.eo_binary_linear_workspace(rows, inputs) // 4, np.uint32)
    out = np.zeros((rows, outputs), dtype)
    call(library.eo_binary_linear, x, shift, weight, scale, bias, out, bits, rows, inputs, outputs, TYPES[dtype])
    moved = x.astype(np.float32) + shift.astype(np.float32)
    expected = np.where(moved >= 0, 1.0, -1.0) @ (2.0 * signs.T - 1.0) * scale.astype(float) + bias.astype(float)
    assert close(out, torch.from_numpy(expected), dtype)
