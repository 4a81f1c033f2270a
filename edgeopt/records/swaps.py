"""What a recipe swapped, how that was tuned, and what its gate gave back, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from edgeopt.records.form import Extended, Record
from edgeopt.records.outputs import Error


@dataclass(frozen=True)
class TunedStage(Record):
    """A stage of tuning."""

    name: str
    """`blocks`, `model`, or `without N` for an attempt of the gate."""
    steps: int
    """Steps done."""
    before: Extended
    """Held-out relative error (root mean square) before it."""
    after: Extended
    """The same after it."""
    ended: str
    """Why it ended."""


@dataclass(frozen=True)
class SwappedLayer(Record):
    """A place that was swapped."""

    layer: str
    """The value that is computed anew."""
    by: str
    """The pass."""
    before: Extended
    """Relative error (root mean square) of its value on the original's inputs, untuned."""
    after: Extended
    """The same, tuned."""
    alone: float | None
    """SQNR in dB of the model's outputs with it alone swapped; null where the gate did not look."""
    kept: bool
    """Whether it was given back to the original."""


@dataclass(frozen=True)
class SwapAttempt(Record):
    """One attempt of the recipe's gate: a program, run on held-out samples."""

    kept: int
    """Number of swaps given back, the worst first."""
    ok: bool
    """Whether the limits hold."""
    error: Error
    """Error on the held-out samples."""
    accuracy: float | None
    """Accuracy on the labeled samples; null without labels."""


@dataclass(frozen=True)
class Swaps(Record):
    """What a recipe did."""

    recipe: Mapping[str, JsonValue]
    """The recipe: its name, passes and settings."""
    samples: tuple[int, int] = (0, 0)
    """Samples trained on, and held out."""
    before: Extended = 0.0
    """Held-out relative error (root mean square) of the outputs with all swapped and nothing tuned."""
    after: Extended = 0.0
    """The same of the program as it was exported."""
    stages: tuple[TunedStage, ...] = ()
    """The stages of tuning, in order."""
    layers: tuple[SwappedLayer, ...] = ()
    """The places that were swapped."""
    attempts: tuple[SwapAttempt, ...] = ()
    """What the gate tried, in order; empty without a limit on error or accuracy."""
    figures: tuple[str, ...] = ()
    """What was measured on the target to tell whether a swap pays."""

    @property
    def is_trained(self) -> bool:
        """Whether the recipe has passes that are tuned on data."""
        return "tune" in self.recipe
