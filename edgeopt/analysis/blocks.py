"""Transformer blocks: an attention, the norm it stands with, and the residual sum it feeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import fx

from edgeopt.analysis.attention import Attention, find_attentions
from edgeopt.analysis.normalization import Normalizer, find_normalizers
from edgeopt.analysis.walk import before_moves, layer_after, layer_before, readers, source
from edgeopt.ir.nodes import aten, node_arg
from edgeopt.ir.program import Program

_BETWEEN = frozenset({aten.mul.Tensor, aten.div.Tensor})
"""What scales a branch before it is added to the stream: LayerScale, a residual factor."""


_SHORT = {"LayerNorm": "LN", "RMSNorm": "RMS"}


@dataclass(frozen=True)
class Block:
    """``placement``: ``pre`` where the norm stands on the branch, ``post`` where it stands on the sum, ``none``
    where there is no norm or no residual sum. ``sum`` is the residual sum."""

    attention: Attention
    placement: Literal["pre", "post", "none"]
    norm: Normalizer | None
    sum: fx.Node | None

    @property
    def form(self) -> str:
        """Return the form as the field names it: ``pre-LN``, ``post-RMS``, ``pre-RepBN``."""
        return "no norm" if self.norm is None else f"{self.placement}-{_SHORT.get(self.norm.form, self.norm.form)}"


def find_blocks(program: Program) -> tuple[Block, ...]:
    """Return a block for each attention, in execution order."""
    norms = [found for found in find_normalizers(program) if found.form != "LayerScale"]
    return tuple(_block(attention, norms) for attention in find_attentions(program))


def _block(attention: Attention, norms: Sequence[Normalizer]) -> Block:
    total, shortcut = _residual(attention)
    if total is None:
        return Block(attention, "none", None, None)
    layer = layer_before(attention.query)
    read = None if layer is None else before_moves(node_arg(layer, 0))
    before = next((norm for norm in norms if norm.root is read or read in norm.parts), None)
    if before is not None and before_moves(before.input) is shortcut:
        return Block(attention, "pre", before, total)
    after = next((norm for norm in norms if before_moves(norm.input) is total), None)
    # The sum of a pre-norm block is read by the next norm too, but that one's branch starts elsewhere.
    if after is not None and read is shortcut:
        return Block(attention, "post", after, total)
    return Block(attention, "none", None, total)


def _residual(attention: Attention) -> tuple[fx.Node | None, fx.Node | None]:
    """Return the sum that takes the attention's branch, and what it is added to."""
    branch = layer_after(attention.root)
    while branch is not None:
        found = [reader for reader in readers(branch) if reader.op == "call_function"]
        if len(found) != 1:
            return None, None
        if found[0].target is aten.add.Tensor:
            others = [operand for operand in found[0].args[:2] if source(operand) is not branch]
            return (found[0], before_moves(source(others[0]))) if others else (None, None)
        branch = found[0] if found[0].target in _BETWEEN or before_moves(found[0]) is not found[0] else None
    return None, None
