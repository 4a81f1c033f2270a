"""The rule that folds an affine map into the layer before it or, failing that, into the layers after it."""

from __future__ import annotations

from abc import abstractmethod

from torch import fx

from edgeopt.folding.affine import Affine, Fold, fold_back, fold_forward, into_producer, into_readers
from edgeopt.program import Program
from edgeopt.rewrite import Match, Rule


class AffineRule(Rule):
    """Fold the affine map that the root computes; a subclass says which nodes those are, and which map."""

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
        return None if isinstance(forward, Fold) else f"before it: {back}; after it: {forward}"

    def rewrite(self, program: Program, m: Match) -> fx.Node:
        """Fold into the layer before, which costs one weight, rather than into several after."""
        affine = self.affine(program, m.root)
        assert isinstance(affine, Affine)
        back = into_producer(program, affine)
        if isinstance(back, Fold):
            return fold_back(program, affine, back)
        forward = into_readers(program, affine)
        assert isinstance(forward, Fold)
        fold_forward(program, affine, forward)
        return affine.x
