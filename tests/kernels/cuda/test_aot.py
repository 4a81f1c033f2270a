"""The ahead-of-time plug-ins: their PTX, and that they register under the inventory's names."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from edgeopt.errors import ToolchainMissing
from edgeopt.kernels.cuda import aot
from edgeopt.kernels.cuda.inventory import PLUGINS
from tests.kernels.cuda.launchers import requires_nvcc


@requires_nvcc
def test_ptx_has_the_kernels_with_the_arguments_that_tensorrt_passes() -> None:
    text = aot.ptx("8.7", {"EO_EPSILON": "0.5f", "EO_GROUP": 32}).decode()
    assert ".target sm_87" in text
    for node, pointers, integers in (("RmsNorm", 3, 1), ("Fp4Linear", 5, 3)):
        found = re.search(rf"\.entry {aot.KERNELS[node]}\((.*?)\)", text, re.DOTALL)
        assert found is not None
        kinds = re.findall(r"\.param \.(?:u|b)(\d+)", found[1])
        # Inputs, integers, outputs: in this order.
        assert kinds == ["64"] * (pointers - 1) + ["32"] * integers + ["64"]


def test_a_missing_nvcc_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aot.shutil, "which", lambda name: None)
    with pytest.raises(ToolchainMissing, match="nvcc is not installed"):
        aot.ptx("8.7", {})


class _Expressions(list):
    def numel(self) -> int:
        product = 1
        for size in self:
            product *= size
        return product


@requires_nvcc
def test_plugins_register_and_launch_as_the_launchers_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for ``tensorrt.plugin`` collects what is registered; its expressions are numbers."""
    described: dict[str, Callable] = {}
    implemented: dict[str, Callable] = {}
    trtp: Any = ModuleType("tensorrt.plugin")
    trtp.TensorDesc = SimpleNamespace
    trtp.KernelLaunchParams, trtp.SymExprs, trtp.SymInt32 = SimpleNamespace, list, int
    trtp.SymIntExprs = lambda count: [None] * count
    trtp.cdiv = lambda a, b: -(-a // b)
    trtp.register = lambda name: lambda function: described.setdefault(name, function)
    trtp.aot_impl = lambda name: lambda function: implemented.setdefault(name, function)
    monkeypatch.setitem(sys.modules, "tensorrt", ModuleType("tensorrt"))
    monkeypatch.setitem(sys.modules, "tensorrt.plugin", trtp)
    aot.register("8.7")
    plugins = {f"{plugin.namespace}::{plugin.node}": plugin for plugin in PLUGINS}
    for name, function in described.items():
        expected = [*plugins[name].inputs, *(attribute.name for attribute in plugins[name].attributes)]
        assert list(inspect.signature(function).parameters) == expected
        assert list(inspect.signature(implemented[name]).parameters) == [*expected, "outputs", "tactic"]
    x = SimpleNamespace(shape_expr=_Expressions([2, 3, 64]), ndim=3, dtype="DataType.HALF")
    weight = SimpleNamespace(shape_expr=_Expressions([10, 32]))
    kernel, code, launch, extra = implemented["edgeopt::RmsNorm"](x, weight, 1e-5, None, 0)
    assert (kernel, launch.grid_x, launch.block_x, extra) == ("eo_aot_rms_norm", 6, 128, [64])
    assert kernel in code.decode()
    kernel, code, launch, extra = implemented["edgeopt::Fp4Linear"](x, weight, None, None, 1.0, 16, 0, None, 0)
    assert (launch.grid_x, launch.grid_y, extra) == (3, 2, [6, 64, 10])
    assert kernel in code.decode()
