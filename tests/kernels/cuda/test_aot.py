"""The ahead-of-time plug-ins: their PTX, and that they register under the inventory's names."""

from __future__ import annotations

import ctypes
import inspect
import math
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import edgeopt.ops.binary_linear
import edgeopt.ops.fp4_linear
import edgeopt.ops.rms_norm  # noqa: F401  # these register the operators
from edgeopt.errors import ToolchainMissing, UserError
from edgeopt.kernels.cuda import aot
from edgeopt.kernels.cuda.inventory import PLUGINS
from edgeopt.ops.linear_attention_forms import causal_normalized, normalized
from edgeopt.quant.binary import pack
from tests.kernels.cuda import launchers
from tests.kernels.cuda.launchers import requires_nvcc


@requires_nvcc
def test_ptx_has_the_kernels_with_the_arguments_that_tensorrt_passes() -> None:
    text = aot.ptx("8.7", {"EO_EPSILON": "0.5f", "EO_GROUP": 32}).decode()
    assert ".target sm_87" in text
    integers_of = {"linear_attention": 4, "rms_norm": 1, "fp4_linear": 3, "binary_linear": 3}
    for plugin in PLUGINS:
        pointers, integers = len(plugin.inputs) + 1, integers_of[plugin.kernel]
        found = re.search(rf"\.entry {aot.KERNELS[plugin.node]}\((.*?)\)", text, re.DOTALL)
        assert found is not None
        kinds = re.findall(r"\.param \.(?:u|b)(\d+)", found[1])
        # Inputs, integers, outputs: in this order.
        assert kinds == ["64"] * (pointers - 1) + ["32"] * integers + ["64"]


def test_a_missing_nvcc_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ToolchainMissing, match="nvcc is not installed"):
        aot.ptx("8.7", {})


class Size(int):
    """A size as TensorRT's expressions are: known, and an integer under arithmetic."""

    is_fake, is_constant = False, True

    def constant_value(self) -> int:
        return int(self)


class Shape(list[Any]):
    def numel(self) -> int:
        return math.prod(self)

    @classmethod
    def from_tuple(cls, sizes: tuple[int, ...]) -> Shape:
        return cls(sizes)


class Described(SimpleNamespace):
    """A tensor as a plug-in sees it."""

    @classmethod
    def of(cls, array: np.ndarray) -> Described:
        kind = "DataType.HALF" if array.dtype == np.float16 else "DataType.FLOAT"
        return cls(shape_expr=Shape(map(Size, array.shape)), ndim=array.ndim, dtype=kind)

    def like(self) -> Described:
        return Described(**vars(self))


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Callable[..., Any], Callable[..., Any]]]:
    """What each plug-in registers with a stand-in of ``tensorrt.plugin``: its shape and its implementation."""
    described: dict[str, Callable[..., Any]] = {}
    implemented: dict[str, Callable[..., Any]] = {}
    trtp: Any = ModuleType("tensorrt.plugin")
    trtp.TensorDesc, trtp.ShapeExprs = Described, Shape
    trtp.KernelLaunchParams, trtp.SymExprs, trtp.SymInt32 = SimpleNamespace, list, int
    trtp.SymIntExprs = lambda count: [None] * count
    trtp.cdiv = lambda a, b: -(-a // b)
    trtp.register = lambda name: lambda function: described.setdefault(name, function)
    trtp.aot_impl = lambda name: lambda function: implemented.setdefault(name, function)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "tensorrt", ModuleType("tensorrt"))
        patch.setitem(sys.modules, "tensorrt.plugin", trtp)
        aot.register("8.7")
    return {name: (described[name], implemented[name]) for name in described}


def test_every_plugin_registers_with_the_inventorys_inputs_and_attributes(registered: dict[str, Any]) -> None:
    assert list(registered) == [f"{plugin.namespace}::{plugin.node}" for plugin in PLUGINS]
    for plugin, (described, implemented) in zip(PLUGINS, registered.values(), strict=True):
        expected = [*plugin.inputs, *(attribute.name for attribute in plugin.attributes)]
        assert list(inspect.signature(described).parameters) == expected
        assert list(inspect.signature(implemented).parameters) == [*expected, "outputs", "tactic"]


def floats(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def attention_case(queries: int, keys: int, features: int, size: int) -> list[np.ndarray]:
    shapes = ((queries, features), (keys, features), (keys, size))
    return [np.abs(floats(seed, 1, 2, *shape)) for seed, shape in enumerate(shapes)]


def fp4_case() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    weight, scales = rng.integers(-128, 128, (7, 40)), rng.integers(1, 120, (7, 5))
    return [floats(0, 2, 3, 80), weight.astype(np.int8), scales.astype(np.int8), floats(1, 7)]


def binary_case() -> list[np.ndarray]:
    return [floats(0, 3, 3, 70), floats(1, 70), pack(torch.randn(130, 70)).numpy(), floats(2, 130), floats(3, 130)]


CASES: dict[str, tuple[list[np.ndarray], dict[str, Any]]] = {
    "LinearAttention": (attention_case(33, 70, 12, 40), {"epsilon": 0.5}),
    "CausalLinearAttention": (attention_case(70, 70, 132, 5), {"epsilon": 0.5}),
    "RmsNorm": ([floats(0, 2, 3, 130), floats(1, 130)], {"epsilon": 1e-5}),
    "Fp4Linear": (fp4_case(), {"factor": 0.25, "group": 16, "scale_kind": 0}),
    "BinaryLinear": (binary_case(), {}),
}


@pytest.mark.parametrize("node", CASES)
def test_the_launched_kernel_gives_what_the_operator_does(
    node: str, registered: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The kernel on the host, with the constants, the grid and the shared memory that the plug-in gives."""
    operands, attributes = CASES[node]
    constants: dict[str, object] = {}
    monkeypatch.setattr(aot, "ptx", lambda capability, given: constants.update(given) or b"")
    described, implemented = registered[f"edgeopt::{node}"]
    tensors = [Described.of(array) for array in operands]
    shape = described(*tensors, **attributes).shape_expr
    kernel, _, launch, sizes = implemented(*tensors, **attributes, outputs=None, tactic=0)
    assert launch.shared_mem <= 48 * 1024
    library = launchers.host_build(launchers.HERE / "aot_host.cu", tmp_path, constants)
    out = np.full(shape, np.nan, np.float32)
    grid = (ctypes.c_int * 4)(launch.grid_x, getattr(launch, "grid_y", 1), launch.block_x, launch.shared_mem)
    pointers = (ctypes.c_void_p * len(operands))(*(array.ctypes.data for array in operands))
    getattr(library, f"run_{kernel}")(grid, pointers, (ctypes.c_int * len(sizes))(*sizes), launchers.pointer(out))
    expected = reference(node, [torch.from_numpy(array) for array in operands], attributes)
    np.testing.assert_allclose(out, expected.numpy(), rtol=0, atol=2e-5 * float(expected.abs().max()))


def reference(node: str, operands: list[torch.Tensor], attributes: dict[str, Any]) -> torch.Tensor:
    if node in ("LinearAttention", "CausalLinearAttention"):
        q, k, v = operands
        form = normalized if node == "LinearAttention" else causal_normalized
        return form(q, k, v, attributes["epsilon"])
    plugin = next(plugin for plugin in PLUGINS if plugin.node == node)
    y: torch.Tensor = getattr(torch.ops.edgeopt, plugin.kernel)(*operands, **attributes)
    return y


def test_attention_with_too_many_features_is_refused(registered: dict[str, Any]) -> None:
    tensors = [Described.of(array) for array in attention_case(1, 1, 133, 1)]
    with pytest.raises(UserError, match="has 133 features, more than 132"):
        registered["edgeopt::LinearAttention"][1](*tensors, 0.5, None, 0)
