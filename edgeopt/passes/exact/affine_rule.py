"""The rule that folds an affine map into the layer before it or, failing that, into the layers after it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

import torch
from torch import fx

from edgeopt.analysis.affine_folds import Affine, Fold, fold_back, fold_forward, into_producer, into_readers
from edgeopt.ir.nodes import aten
from edgeopt.ir.program import Program, redefine
from edgeopt.ir.rewrite import Match, Rule


class AffineRule(Rule):
    """Fold the affine map that the root computes; a subclass says which nodes those are, and which map.

    Where zeros are padded before the layers after it, W pad(a * x + s) = (W diag(a)) pad(x + s / a): the scale goes
    into them and the shift stays, so that what is padded is zero as before.
    """

    @abstractmethod
    def affine(self, program: Program, node: fx.Node) -> Affine | str:
        """Return the map that the node computes, or the reason why it computes none."""

    def check(self, program: Program, m: Match) -> str | None:
        """Refuse where neither side can take the map."""
        affine = self.affine(program, m.root)
        if isinstance(affine, str):
            return affine
        back = into_producer(program, affine)
        if isinstance(back, Fold):
            return None
        forward = into_readers(program, affine)
        if isinstance(forward, Fold) or _scale_into_readers(program, affine) is not None:
            return None
        return f"before it: {back}; after it: {forward}"

    def rewrite(self, program: Program, m: Match) -> fx.Node:
        """Fold into the layer before, which costs one weight, rather than into several after."""
        affine = self.affine(program, m.root)
        assert isinstance(affine, Affine)
        back = into_producer(program, affine)
        if isinstance(back, Fold):
            return fold_back(program, affine, back)
        forward = into_readers(program, affine)
        if isinstance(forward, Fold):
            fold_forward(program, affine, forward)
            return affine.x
        scale = _scale_into_readers(program, affine)
        assert scale is not None
        fold_forward(program, *scale)
        return _shifted(program, affine)


def _scale_into_readers(program: Program, affine: Affine) -> tuple[Affine, Fold] | None:
    """Return the map without its shift and the layers after it that can take that; None where nothing is gained."""
    if not affine.shifts or bool((affine.scale == 1).all()) or not bool((affine.shift / affine.scale).isfinite().all()):
        return None
    scale = replace(affine, shift=torch.zeros_like(affine.shift))
    fold = into_readers(program, scale)
    return (scale, fold) if isinstance(fold, Fold) else None


def _shifted(program: Program, affine: Affine) -> fx.Node:
    """Insert x + s / a."""
    like = affine.node.meta["val"]
    shift = (affine.shift / affine.scale).to(like.dtype)
    if affine.axis is not None:
        shift = shift.reshape(-1, *[1] * (like.dim() - 1 - affine.axis))
    constant = program.add_constant(f"{affine.node.name}_shift", shift)
    node = program.insert(affine.node, aten.add.Tensor, affine.x, constant)
    redefine(node)
    return node
