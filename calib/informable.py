"""Passes that make use of calibration data where there is some."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from edgeopt.calib.data import CalibrationData
from edgeopt.ir.pass_base import Pass


@runtime_checkable
class Informable(Protocol):
    """A pass that makes use of calibration data where there is some."""

    def informed(self, data: CalibrationData, on_progress: Callable[[str], None]) -> Pass:
        """Return what to run in its place, with the data; ``on_progress`` is told how far that is."""
        ...
