"""Where and for whom the passes of an export run."""

from __future__ import annotations

from dataclasses import dataclass

from edgeopt.analysis.accuracy_tracker import AccuracyTracker
from edgeopt.candidate.quantize import OnPass
from edgeopt.candidate.stages import Labeled, OnProgress, Request
from edgeopt.ir.context import Context
from edgeopt.recipes.options import TuningSamples


@dataclass(frozen=True)
class Conditions:
    """The request, what passes are handed, the samples to tune on, the labeled data, and who is told."""

    request: Request
    context: Context
    samples: TuningSamples | None
    labeled: Labeled | None
    tracker: AccuracyTracker
    on_pass: OnPass
    on_progress: OnProgress
