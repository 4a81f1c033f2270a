"""Typed access to the nodes of a graph: torch types their arguments as anything and their metadata not at all.

An access raises TypeError where a node does not hold what is asked of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx
from torch.fx.node import Target as Target
from torch.fx.node import map_arg

aten = torch.ops.aten
"""The operators of torch that nodes call."""


def as_node(value: object) -> fx.Node:
    """Return an argument that is a node."""
    if not isinstance(value, fx.Node):
        raise TypeError(f"{value!r} is not a node")
    return value


def node_arg(node: fx.Node, index: int) -> fx.Node:
    """Return the node that is a call's positional argument at ``index``."""
    return as_node(node.args[index])


def node_args(node: fx.Node, index: int) -> list[fx.Node]:
    """Return the nodes that are listed in a call's positional argument at ``index``, as those of a concatenation."""
    value = node.args[index]
    if not isinstance(value, list | tuple):
        raise TypeError(f"argument {index} of node '{node.name}' is not a list of nodes")
    return [as_node(element) for element in value]


def int_list(value: Any) -> list[int]:
    """Return sizes or dimensions of which one or several were given; one known only at run time is a SymInt or node."""
    return list(value) if isinstance(value, list | tuple) else [value]


def pair(values: Sequence[int]) -> tuple[int, int]:
    """Return sizes of an image's two axes, of which one may have been given for both."""
    first, *rest = values
    return first, rest[0] if rest else first


def tensor_of(node: fx.Node) -> torch.Tensor:
    """Return the fake tensor that a node's value is inferred to be: shape and dtype without elements."""
    value = node.meta["val"]
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"the value of node '{node.name}' is not a tensor")
    return value


def shape_of(node: fx.Node) -> torch.Size:
    """Return the shape of a node's value; a size that is known only at run time is a SymInt, which torch calls int."""
    return tensor_of(node).shape


def rank_of(node: fx.Node) -> int:
    """Return the number of dimensions of a node's value."""
    return tensor_of(node).dim()


def dtype_of(node: fx.Node) -> torch.dtype:
    """Return the dtype of a node's value."""
    return tensor_of(node).dtype


def run_node(node: fx.Node, value_of: Callable[[fx.Node], Any]) -> Any:
    """Return what a node's operator makes of the values of the nodes that it reads."""
    if not callable(node.target):
        raise TypeError(f"node '{node.name}' is not a call")
    args, kwargs = map_arg((node.args, node.kwargs), value_of)
    return node.target(*args, **kwargs)
