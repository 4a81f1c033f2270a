"""Whether OpenVINO survives a model: it is compiled in another process first, for a crash there is but an answer."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edgeopt.errors import EdgeoptError
from edgeopt.onnx.names import program_name
from edgeopt.targets.openvino.guarded import ANSWER, operators
from edgeopt.targets.openvino.sdk import core

SCRIPT = Path(__file__).with_name("guarded.py")


class Guard:
    """A process that compiles models one after the other; started anew after a crash."""

    def __init__(self, script: Path = SCRIPT) -> None:
        self._script = script
        self._process: subprocess.Popen[str] | None = None
        self._ended = 0

    def check(self, model: Path, settings: Mapping[str, Any], libraries: Iterable[Path] = ()) -> None:
        """Compile a model there, with these libraries of operators.

        Raises EdgeoptError where that ends the process, with the operator at which it does.
        """
        asked = {"model": str(model.resolve()), "settings": dict(settings), "libraries": [*map(str, libraries)]}
        if self._compiles(asked, 0):
            return
        ended = signal.Signals(-self._ended).name if self._ended < 0 else f"exit code {self._ended}"
        raise EdgeoptError(
            f"OpenVINO crashed ({ended}) as it compiled the model, at node '{self._culprit(asked)}'",
            "export to onnx, or write the model without that operator",
        )

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.communicate()
            self._process = None

    def _culprit(self, asked: dict[str, Any]) -> str:
        """Return the operator with which a model that is cut after it crashes, and without does not: by halves."""
        names = operator_names(Path(asked["model"]))
        survived, crashed = 0, len(names)
        while crashed - survived > 1:
            middle = (survived + crashed) // 2
            survived, crashed = (middle, crashed) if self._compiles(asked, middle) else (survived, middle)
        return program_name(names[crashed - 1])

    def _compiles(self, asked: dict[str, Any], cut: int) -> bool:
        """Return whether the process answers; ``cut``: after how many operators the model ends, 0 for none."""
        if self._process is None:
            # -P: the folder of the script is not where modules are looked for.
            command = [sys.executable, "-P", str(self._script)]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        try:
            print(json.dumps({**asked, "cut": cut}), file=process.stdin, flush=True)
            answered = process.stdout.readline() == ANSWER
        except BrokenPipeError:
            answered = False
        if not answered:
            self._ended, self._process = process.wait(), None
        return answered


def operator_names(path: Path) -> list[str]:
    """Return the names of a model's operators in the order in which models are cut."""
    return [node.get_friendly_name() for node in operators(core().read_model(path))]


GUARD = Guard()
"""The one of this process."""
