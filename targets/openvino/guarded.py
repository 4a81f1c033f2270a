"""The other process, in which a model is compiled first: a script, for it needs OpenVINO alone.

It reads a request a line and answers each by one; what ends it does not end edgeopt.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any


def _compile(core: Any, model: Any, settings: dict[str, Any]) -> None:
    core.compile_model(model, "CPU", settings)


def operators(model: Any) -> list[Any]:
    """Return what computes in a model, in the order in which models are cut."""
    return [node for node in model.get_ordered_ops() if node.get_type_name() not in ("Parameter", "Result")]


def serve(compile_model: Callable[[Any, Any, dict[str, Any]], None] = _compile) -> None:
    """Answer requests until there are no more.

    A request: ``model``, the path of one; ``settings``; ``libraries`` of operators; ``cut``, after how many operators
    the model ends, 0 for none.
    """
    absent: Any = None
    sys.modules.setdefault("openvino_telemetry", absent)
    import openvino
    from openvino import opset13

    core = openvino.Core()
    known: set[str] = set()
    for line in sys.stdin:
        asked = json.loads(line)
        for library in sorted({*asked["libraries"]} - known):
            core.add_extension(library)
        known.update(asked["libraries"])
        # What fails with an error fails again in edgeopt, which tells of it.
        with suppress(RuntimeError):
            model = core.read_model(asked["model"])
            if asked["cut"]:
                left = [opset13.result(port) for node in operators(model)[: asked["cut"]] for port in node.outputs()]
                model = openvino.Model(left, model.get_parameters(), "cut")
            compile_model(core, model, asked["settings"])
        print("compiled", flush=True)


if __name__ == "__main__":
    serve()
