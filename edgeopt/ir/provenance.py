"""Where in the user's model a node comes from: the module, the line of code, the parameter's path."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from torch import fx

PATH = "path"
"""Key of a constant's path in the model, in a node's ``meta``."""


def constant_path(node: fx.Node) -> str:
    """Return a constant's path in the model (``encoder.layers.0.weight``), or its own name where it was added."""
    return str(node.meta.get(PATH, node.name))


def module_path(node: fx.Node) -> str:
    """Return the path of the module that computes a node (``encoder.layers.0``); empty where it is the model itself."""
    modules = list((node.meta.get("nn_module_stack") or {}).values())
    path = str(modules[-1][0]) if modules else ""
    return path.removeprefix("L['self']").removeprefix(".")


def titled(node: fx.Node) -> str:
    """Return a node's name with the module that computes it: ``relu in 'encoder.1'``, as far as it is known."""
    module = module_path(node)
    return f"{node.name} in '{module}'" if module else node.name


def place(node: fx.Node) -> str:
    """Return `` in module 'encoder.layers.0' (file.py:12: code)``, as far as it is known."""
    module = module_path(node)
    return (f" in module '{module}'" if module else "") + source_line(node)


def source_line(node: fx.Node) -> str:
    """Return `` (file.py:12: code)`` of the user's line behind a node, or an empty string."""
    frames = [line.strip() for line in str(node.meta.get("stack_trace") or "").splitlines() if line.strip()]
    own: list[Any] = [
        (frame, code) for frame, code in pairwise(frames) if frame.startswith('File "') and "/torch/" not in frame
    ]
    if not own:
        return ""
    frame, code = own[-1]
    path, line = frame.split('"')[1], frame.split("line ")[1].split(",")[0]
    return f" ({path}:{line}: {code})"
