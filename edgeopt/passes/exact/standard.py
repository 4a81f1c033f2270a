"""The exact passes in their order: the start of every target's pipeline."""

from __future__ import annotations

from edgeopt.ir.pass_base import Step
from edgeopt.passes.exact.fold_affine import FoldAffine
from edgeopt.passes.exact.fold_batch_norm import FoldBatchNorm
from edgeopt.passes.exact.fold_constants import FoldConstants
from edgeopt.passes.exact.pack_binary import PackBinary
from edgeopt.passes.exact.remove_noops import RemoveNoops

EXACT: tuple[Step, ...] = (
    Step(FoldConstants, "first, so that weights and factors that are computed become constants that rules can read"),
    Step(RemoveNoops, "then layers and norms stand next to each other, where the folds look for them"),
    Step(FoldBatchNorm, "before the affine folds, which see linears and convolutions but no batch norm"),
    Step(FoldAffine, "on the layers that remain"),
    Step(RemoveNoops, "again, for a fold leaves movements of data that undo each other"),
)

PACKED: tuple[Step, ...] = (
    *EXACT,
    Step(PackBinary, "last of the exact passes: the folds know weights of float numbers"),
)
"""For targets that run layers of packed signs."""
