"""Sessions whose cost is known, and sessions that answer wrongly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeopt.plugins.target import Session
from edgeopt.records.layers import Layer


class ScriptedSession(Session):
    """Costs what it is told, one entry an inference, the last one for ever; doubles its input."""

    def __init__(self, costs: Sequence[float]) -> None:
        self._costs: Iterator[float] = iter(costs)
        self._last = costs[-1]
        self.runs = 0

    def run(self, inputs: Any) -> Any:
        self.runs += 1
        return {"output": 2 * next(iter(inputs.values()))}

    def cost(self, inputs: Any) -> Any:
        self.run(inputs)
        self._last = next(self._costs, self._last)
        return self._last, self._last / 2

    def layers(self, inputs: Any, runs: Any) -> Any:
        return (Layer("double", "mul", "fp32", 1.0),)


class CountingSession(ScriptedSession):
    """Costs the same every time, as instructions in an emulator do."""

    unit = "instructions"
    is_deterministic = True


def answering(
    open_session: Callable[..., Any], change: Callable[[dict[str, Any]], dict[str, Any]]
) -> Callable[..., Any]:
    """Return a target's ``open`` whose sessions' outputs are changed."""

    def opened(self: Any, folder: Path, options: Any) -> Any:
        session = open_session(self, folder, options)
        run = session.run
        session.run = lambda inputs: change(run(inputs))
        return session

    return opened


X = {"x": np.ones((1, 2), np.float32)}
