"""One file a kind of node: each kind's class has its file's name, and its kernels are in the inventory."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from edgeopt.kernels.mcu import inventory
from edgeopt.targets.mcu import nodes
from edgeopt.targets.mcu.nodes.node import Node

KINDS = sorted({path.stem for path in Path(nodes.__file__).parent.glob("*.py")} - {"__init__", "node", "site"})


def _kind(name: str) -> type[Node]:
    """The class of a node's file."""
    module = importlib.import_module(f"{nodes.__name__}.{name}")
    (kind,) = [
        found for found in vars(module).values()
        if isinstance(found, type) and issubclass(found, Node) and found.__module__ == module.__name__
    ]  # fmt: skip
    return kind


@pytest.mark.parametrize("name", KINDS)
def test_a_file_holds_one_kind_and_tells_its_kernel(name: str) -> None:
    kind = _kind(name)
    assert kind.__name__.lower() == name.replace("_", "")
    if kind.__abstractmethods__ or not kind.has_call or name == "generated":
        return
    assert kind.op in {kernel.op for kernel in inventory()}


def test_every_kernel_is_of_some_node() -> None:
    kinds = [kind for kind in map(_kind, KINDS) if not kind.__abstractmethods__]
    assert {kernel.op for kernel in inventory()} <= {kind.op for kind in kinds}
