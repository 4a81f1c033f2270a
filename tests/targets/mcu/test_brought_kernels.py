"""Kernels of other packages: found by their folder, declared by their definition, and what may be wrong with them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from edgeopt.errors import EdgeoptError
from edgeopt.kernels.mcu import Kernel, Package, inventory, sources
from edgeopt.ops.operator import OPERATORS, Operator
from edgeopt.plugins.testing import to_program
from edgeopt.targets.mcu.graph.graph import IntegerGraph
from edgeopt.targets.mcu.graph.tensor import Shape, Tensor
from edgeopt.targets.mcu.lower.lower import lower_program
from edgeopt.targets.mcu.nodes.node import Needs, Node
from edgeopt.targets.mcu.nodes.site import Printed, Site
from edgeopt.targets.mcu.plan.kernels import choose_kernels

DEFINITION = "void theirs_s8_twice__{}(const int8_t *x,\n                       int8_t *y, size_t n) {{\n}}\n"


def package(folder: Path, **files: str) -> Package:
    """A package with one kernel for each instruction set that is named, with this text before its definition."""
    (folder / "s8_twice").mkdir()
    for isa, text in files.items():
        (folder / "s8_twice" / f"{isa}.c").write_text(text + DEFINITION.format(isa))
    return Package("theirs", folder)


def test_a_folder_is_the_inventory(tmp_path: Path) -> None:
    theirs = package(tmp_path, scalar="", dsp="")
    assert [kernel.isa for kernel in theirs.kernels()] == ["dsp", "scalar"]
    kernel = Kernel("s8", "twice", "dsp", theirs)
    assert kernel in theirs.kernels() and kernel not in inventory()
    assert kernel.prototype == "void theirs_s8_twice__dsp(const int8_t *x, int8_t *y, size_t n);"


def test_headers_and_kernels_that_it_uses_come_with_it(tmp_path: Path) -> None:
    calling = '#include "requant.h"\n#include "edgeopt_kernels.h"\n/* calls eo_s8_matmul__dsp */\n'
    (kernel,) = package(tmp_path, scalar=calling).kernels()
    found = sources([kernel])
    assert found["theirs_s8_twice_scalar.c"] == kernel.path
    assert {"requant.h", "edgeopt_kernels.h", "s8_matmul_dsp.c", "packed_product.h"} <= set(found)


def test_what_is_wrong_with_it_is_told_in_one_sentence(tmp_path: Path) -> None:
    (kernel,) = package(tmp_path, scalar='#include "theirs.h"\n').kernels()
    with pytest.raises(EdgeoptError, match=r"scalar\.c includes theirs\.h, which is not of edgeopt's kernels"):
        sources([kernel])
    kernel.path.write_text("static void theirs_s8_twice__scalar(void) {}\n")
    with pytest.raises(EdgeoptError, match=r"scalar\.c does not define theirs_s8_twice__scalar"):
        _ = kernel.prototype


@torch.library.custom_op("edgeopt_tests::twice", mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor:
    return x * 2


@twice.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


class Twice(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return twice(x)


def test_what_lowers_an_operator_has_to_be_a_function(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = Operator("edgeopt_tests::twice", kernels={"mcu": "twice.c"})
    monkeypatch.setitem(OPERATORS, operator.name, operator)
    with pytest.raises(EdgeoptError, match=r"'edgeopt_tests\.twice\.default' brings a str for mcu, not a function"):
        lower_program(to_program(Twice(), [torch.ones(1, 4)]))


@dataclass(frozen=True, eq=False)
class Absent(Node):
    """A node whose package has come without its C."""

    package: ClassVar[Package] = Package("absent", Path("/nowhere"))
    op: ClassVar[str] = "twice"

    def run(self, *operands: np.ndarray) -> np.ndarray:
        return operands[0]

    def needs(self, isa: str, x: Shape, y: Shape) -> Needs:
        return Needs()

    def printed(self, site: Site) -> Printed:
        return Printed([], [])


def test_a_file_that_is_absent_is_named() -> None:
    tensors = {name: Tensor(name, (1, 1, 4), 1.0, 0) for name in "xy"}
    graph = IntegerGraph(tensors, (Absent("double", ("x",), "y"),), ("x",), ("y",))
    with pytest.raises(EdgeoptError, match=r"node 'double' has no kernel: there is no /nowhere/s8_twice/scalar\.c"):
        choose_kernels(graph, ("dsp",))
