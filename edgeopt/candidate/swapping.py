"""A recipe's passes over the original, again and again: with everything swapped, and with some places left alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgeopt.analysis.accuracy_tracker import AccuracyTracker
from edgeopt.candidate.quantize import OnPass
from edgeopt.distill.model import with_constants
from edgeopt.distill.swap import Swap, Swapper, SwapResult
from edgeopt.ir.context import Context
from edgeopt.ir.pass_base import Pass
from edgeopt.ir.program import Program
from edgeopt.ir.selective import FITS
from edgeopt.passes.pipeline import Pipeline
from edgeopt.records.passes import PassRecord


@dataclass(frozen=True)
class Swapped:
    """The program with its swaps, by the label of the value; ``by`` names their passes, ``records`` are of all passes.

    ``fits``: what was fitted to samples. ``figures``: what was measured on the target.
    """

    program: Program
    swaps: Mapping[str, Swap]
    by: Mapping[str, str]
    records: tuple[PassRecord, ...]
    fits: Mapping[Pass, Any]
    figures: tuple[str, ...]


@dataclass(frozen=True)
class Swapping:
    """Passes over an original; ``context`` is what they are handed."""

    original: Program
    passes: tuple[Pass, ...]
    context: Context

    def knowing(self, found: Swapped) -> Swapping:
        """Return the same, which does not fit anew what is fitted to the original."""
        return replace(self, context=self.context.adding(FITS, found.fits))

    def run(
        self, keep: Collection[str] = (), tracker: AccuracyTracker | None = None, on_pass: OnPass | None = None
    ) -> Swapped:
        """Run the passes; values labeled in ``keep`` are left alone."""
        passes = [replace(one, keep=frozenset(keep)) if isinstance(one, Swapper) else one for one in self.passes]
        program, records, figures = self.original, [], dict[str, None]()
        swaps: dict[str, Swap] = {}
        by: dict[str, str] = {}
        fits: dict[Pass, Any] = {}
        for step, (result, record) in zip(
            self.passes, Pipeline(passes, tracker, on_pass).steps(program, self.context), strict=True
        ):
            program = result.program
            records.append(record)
            if isinstance(result, SwapResult):
                swaps |= {swap.original: swap for swap in result.swaps}
                by |= {swap.original: record.name for swap in result.swaps}
                fits |= {step: result.fits} if result.fits is not None else {}
                figures |= dict.fromkeys(result.figures)
        return Swapped(program, swaps, by, tuple(records), fits, tuple(figures))

    def without(self, kept: Collection[str], tuned: Program, all_swaps: Mapping[str, Swap]) -> Swapped:
        """Return the original with all swapped but ``kept``, over the constants of ``tuned``.

        Weights that were tuned for a swap alone return with it.
        """
        found = self.run(kept)
        if not found.swaps:
            return found
        returned = {name for label in kept for name in all_swaps[label].parameters}
        shared = {name for swap in found.swaps.values() for name in swap.parameters}
        names = found.program.constants.keys() & tuned.constants.keys() - (returned - shared)
        return replace(found, program=with_constants(found.program, {name: tuned.constants[name] for name in names}))
