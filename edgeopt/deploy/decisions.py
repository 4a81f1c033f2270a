"""What each pass does to a structure that was found, or why not: the passes' notes, gathered by what they are about."""

from __future__ import annotations

from collections.abc import Iterable

from torch import fx

from edgeopt.analysis.attention import Attention
from edgeopt.analysis.normalization import Normalizer
from edgeopt.analysis.residual_stream import find_streams
from edgeopt.ir.pass_base import Note
from edgeopt.ir.program import Program, origin
from edgeopt.passes.exact.fold_constants import FoldConstants
from edgeopt.passes.exact.remove_noops import RemoveNoops
from edgeopt.passes.pipeline import Pipeline
from edgeopt.passes.substitution.attention_swap import AttentionSwap
from edgeopt.plugins.registry import pass_classes
from edgeopt.records.passes import PassRecord

APPLIES = "applies"

_CLEANING = (FoldConstants.name, RemoveNoops.name)
_ON_DATA = "applies, with data to tune on"


class Verdicts:
    """Verdicts on the structures of ``program``, which is the original with its constants folded.

    ``records`` are of the passes that made ``prepared`` of the original, ``further`` of others tried on that.
    """

    def __init__(
        self, original: Program, prepared: Program, records: Iterable[PassRecord], further: Iterable[PassRecord]
    ) -> None:
        self.program = Pipeline([FoldConstants(), RemoveNoops()])(original).program
        labels = {node.name: _label(node) for node in prepared.graph.nodes}
        self.notes: list[tuple[str, str, Note]] = []
        for record in records:
            self.notes += [(record.name, note.node, note) for note in record.notes]
        for record in further:
            self.notes += [(record.name, labels.get(note.node, note.node), note) for note in record.notes]
        self.swaps = [cls for cls in pass_classes().values() if issubclass(cls, AttentionSwap)]
        for swap in self.swaps:
            self.notes += [(swap.name, note.node, note) for note in swap()(self.program).notes]
        self.streams = {
            _label(norm.root): [*stream.obstacles, *stream.sources.values()]
            for stream in find_streams(prepared)
            for norm in stream.norms
        }

    def of_attention(self, attention: Attention) -> dict[str, str]:
        """Return the verdict of each pass that considered an attention."""
        found = self._about({attention.root.name})
        found.update({swap.name: _ON_DATA for swap in self.swaps if found.get(swap.name) == APPLIES})
        return found

    def of_normalizer(self, normalizer: Normalizer) -> dict[str, str]:
        """Return the verdict of each pass that considered a normalizer."""
        found = self._about({node.name for node in normalizer.parts})
        obstacles = self.streams.get(normalizer.root.name, ())
        if obstacles and found.get("pre-rmsnorm") != APPLIES:
            more = f" (and {len(obstacles) - 1} more)" if len(obstacles) > 1 else ""
            found["pre-rmsnorm"] = obstacles[0].reason + more
        if normalizer.form in ("LayerNorm", "RMSNorm"):
            found["replace-layernorm"] = _ON_DATA
        if normalizer.form == "PRepBN" and not normalizer.detail.startswith("lambda 0 "):
            found["fold-affine"] = f"it is still blended, {normalizer.detail}: the schedule has not ended"
        if not {"fold-affine", "fold-batch-norm"} & set(found):
            found["fold-affine"] = "no linear or convolution stands beside its scale and shift"
        return found

    def _about(self, names: set[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, node, note in self.notes:
            if node in names and name not in _CLEANING and found.get(name) != APPLIES:
                found[name] = APPLIES if note.reason is None else note.reason
        return found


def _label(node: fx.Node) -> str:
    """Return the name in the original of what a node computes, scaled or shifted perhaps."""
    return origin(node).rstrip("'")
