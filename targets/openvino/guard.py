"""Whether OpenVINO survives a model: it is compiled in another process first, for a crash there is but an answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edgeopt.errors import EdgeoptError
from edgeopt.onnx.names import program_name
from edgeopt.plugins.worker import Ended, Worker
from edgeopt.targets.openvino.guarded import operators
from edgeopt.targets.openvino.sdk import core

SCRIPT = Path(__file__).with_name("guarded.py")


class Guard:
    """A process that compiles models one after the other."""

    def __init__(self, script: Path = SCRIPT) -> None:
        self._worker = Worker(script)

    def check(self, model: Path, settings: Mapping[str, Any], libraries: Iterable[Path] = ()) -> None:
        """Compile a model there, with these libraries of operators.

        Raises EdgeoptError where that ends the process, with the operator at which it does.
        """
        asked = {"model": str(model.resolve()), "settings": dict(settings), "libraries": [*map(str, libraries)]}
        try:
            self._worker.ask({**asked, "cut": 0})
        except Ended as ended:
            raise EdgeoptError(
                f"OpenVINO crashed ({ended}) as it compiled the model, at node '{self._culprit(asked)}'",
                "export to onnx, or write the model without that operator",
            ) from ended

    def close(self) -> None:
        """End the process."""
        self._worker.close()

    def _culprit(self, asked: dict[str, Any]) -> str:
        """Return the operator with which a model that is cut after it crashes, and without does not: by halves."""
        names = operator_names(Path(asked["model"]))
        survived, crashed = 0, len(names)
        while crashed - survived > 1:
            middle = (survived + crashed) // 2
            survived, crashed = (middle, crashed) if self._compiles(asked, middle) else (survived, middle)
        return program_name(names[crashed - 1])

    def _compiles(self, asked: dict[str, Any], cut: int) -> bool:
        """Return whether the process answers for a model that ends after ``cut`` operators."""
        try:
            self._worker.ask({**asked, "cut": cut})
        except Ended:
            return False
        return True


def operator_names(path: Path) -> list[str]:
    """Return the names of a model's operators in the order in which models are cut."""
    return [node.get_friendly_name() for node in operators(core().read_model(path))]


GUARD = Guard()
"""The one of this process."""
