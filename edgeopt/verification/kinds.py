"""What an input stands for, as far as its type, its example and its readers tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import fx

from edgeopt.analysis.indices import bag_of, legal_indices, static_size
from edgeopt.ir.nodes import aten
from edgeopt.ir.program import Program
from edgeopt.ir.rewrite import arguments

Kind = Literal["floats", "masks", "indices", "offsets", "integers"]
"""``masks``: booleans, and numbers that stand for them. ``indices``: integers whose range the graph tells.
``offsets``: those of embedding bags. ``integers``: all others."""

_BLOCKED = -1e3
"""Additive masks write this or less where attention is blocked."""
_SOFTMAXES = (aten.softmax.int, aten._softmax.default, aten._safe_softmax.default)


@dataclass(frozen=True)
class Input:
    """An input of a program. ``words``: what a mask writes for false and for true."""

    node: fx.Node
    kind: Kind
    words: tuple[float, float] = (0, 1)

    @property
    def name(self) -> str:
        """The input's name."""
        return self.node.name


def kind_of(program: Program, node: fx.Node, example: np.ndarray | None) -> Input:
    """Return what an input is; ``example``: what it holds in an example of the user's, if there is one."""
    dtype = node.meta["val"].dtype
    if dtype == torch.bool:
        return Input(node, "masks")
    if dtype.is_floating_point or dtype.is_complex:
        return _of_floats(node, example)
    if bag_of(node) is not None:
        return Input(node, "offsets")
    # Sizes do not tell whether there is a range.
    if legal_indices(program, node, lambda dimension: static_size(dimension) or 2, of_all=False) is not None:
        return Input(node, "indices")
    is_mask = example is None or bool(np.isin(example, (0, 1)).all())
    return Input(node, "masks" if is_mask else "integers")


def _of_floats(node: fx.Node, example: np.ndarray | None) -> Input:
    if example is None or not example.size or example.dtype.kind != "f":
        return Input(node, "floats")
    if np.isin(example, (0, 1)).all() and (example == 1).any():
        return Input(node, "masks")
    blocked = example[example != 0]
    if blocked.size and (blocked <= _BLOCKED).all() and len(np.unique(blocked)) == 1:
        return Input(node, "masks", (float(blocked[0]), 0.0))
    if not blocked.size and _is_added_to_scores(node):
        return Input(node, "masks", (float("-inf"), 0.0))
    return Input(node, "floats")


def _is_added_to_scores(node: fx.Node) -> bool:
    """Whether an input is the mask of an attention, whole or in its parts."""
    for reader in node.users:
        if reader.target is aten.scaled_dot_product_attention.default and arguments(reader)["attn_mask"] is node:
            return True
        if reader.target is aten.add.Tensor and any(user.target in _SOFTMAXES for user in reader.users):
            return True
        if reader.target in (aten.unsqueeze.default, aten.expand.default) and _is_added_to_scores(reader):
            return True
    return False
