"""Which node of the program a node computes a part of, kept in the metadata that torch and passes over ONNX hand on."""

from __future__ import annotations

from torch import fx

KEY = "edgeopt.node"
"""The key of the metadata."""


def attribute_to(node: fx.Node, name: str) -> None:
    """Let a node carry the name of the program's node that it computes a part of."""
    # The one field of torch's metadata that is the caller's own.
    node.meta["custom"] = {**node.meta.get("custom", {}), KEY: name}


def marked(node: fx.Node) -> str | None:
    """Return the name that was marked on the node that this one was decomposed from."""
    name: str | None = node.meta.get("custom", {}).get(KEY)
    return name
