"""Names in ONNX: each node is called after the program's node that it computes, so that runtimes report by it.

torch.onnx decomposes and traces the graph anew, and numbers what comes out of that by itself: what the program calls
``conv2d_3`` becomes ``conv2d``. The program's name therefore travels with the node, as metadata that both torch and
passes over ONNX hand on.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch.export import ExportedProgram

from edgeopt.ir.attribution import KEY, attribute_to, marked
from edgeopt.ir.naming import distinct

if TYPE_CHECKING:
    import onnx_ir as ir

PREFIX = "node_"

_MULTIPLY = re.compile("Conv|Gemm|MatMul")
# What ONNX Runtime puts before and after the name of a node, or of a value, that it makes another node of.
_ADDED = re.compile(r"fused |(/[^/]*|_token_\d+|_nchwc|_d?q)$")


def mark(exported: ExportedProgram) -> None:
    """Let every operator carry its name through decompositions; what is attributed to another carries that name."""
    for node in exported.graph.nodes:
        attribute_to(node, marked(node) or node.name)


def note_names(model: ir.Model) -> None:
    """Note on what torch.onnx wrote which node of the program it computes."""
    for node in model.graph.all_nodes():
        source = node.meta.get("node")  # where torch.onnx leaves its own node
        if source is not None and (name := marked(source)) is not None:
            node.metadata_props[KEY] = name


def set_names(model: ir.Model, outputs: Sequence[str] = ()) -> None:
    """Give everything in a model a name of its own, subgraphs included: inputs keep theirs.

    Outputs are called as given (an input of that name keeps it: the output is then ``x__output``), or keep their names.
    Nodes and their values are called as noted: the last that computes ``linear_1`` after it, others
    ``linear_1/MatMul_0``; what came of no single node of the program by its type and a count. Constants keep their
    names. Where a name is taken already, ``__2`` and so on is added.
    """
    graph = model.graph
    wished = {value: str(value.name) for value in graph.inputs}
    inputs = set(wished.values())
    called = outputs or [str(value.name) for value in graph.outputs]
    for value, name in zip(graph.outputs, called, strict=True):
        wished[value] = f"{name}__output" if name in inputs else name
    _name_nodes(model)
    for node in graph.all_nodes():
        wished |= {value: name for value, name in _value_names(node).items() if value not in wished}
    for inner in (graph, *graph.subgraphs()):
        constants = (*inner.inputs, *inner.initializers.values())
        wished |= {value: str(value.name) for value in constants if value not in wished}
    # By way of names that none has: an initializer refuses one that another still bears.
    for index, value in enumerate(wished):
        value.name = f"edgeopt//{index}"
    for value, name in zip(wished, distinct(list(wished.values()), "__"), strict=True):
        value.name = name


def _name_nodes(model: ir.Model) -> None:
    """Name nodes as noted, the last that computes a node of the program after it alone."""
    nodes, wishes = list(reversed(list(model.graph.all_nodes()))), []
    seen: Counter[str] = Counter()
    ended = set()
    for node in nodes:
        owner = node.metadata_props.get(KEY)
        if owner is not None and owner not in ended:
            ended.add(owner)
            wishes.append(owner)
            continue
        kind = node.op_type if owner is None else f"{owner}/{node.op_type}"
        wishes.append(f"{kind}_{seen[kind]}")
        seen[kind] += 1
    for node, name in zip(nodes, distinct(wishes, "__"), strict=True):
        node.name = f"{PREFIX}{name}"


def _value_names(node: ir.Node) -> dict[ir.Value, str]:
    """Return what the values of a node are to be called: ONNX Runtime calls what it fuses after what comes out."""
    own = _own(node)
    return {value: own if len(node.outputs) == 1 else f"{own}__{i}" for i, value in enumerate(node.outputs)}


def program_name(name: str) -> str:
    """Return the name of the program's node that a node of ONNX computes, from its own."""
    return name.removeprefix(PREFIX).split("/")[0]


def read(model: Path | bytes) -> ir.Model:
    """Return a model that was written, a file or its bytes."""
    import onnx
    import onnx_ir as ir

    return ir.from_proto(onnx.ModelProto.FromString(model)) if isinstance(model, bytes) else ir.load(model)


def inline(model: ir.Model) -> None:
    """Put the bodies of functions in the place of their calls, named after the node that calls.

    ONNX Runtime does so, too, but gives them names that do not tell which call they come from.
    """
    from onnx_ir.passes.common import InlinePass

    for node in model.graph.all_nodes():
        node.metadata_props[KEY] = program_name(str(node.name))
    InlinePass()(model)
    set_names(model)


class RuntimeNames:
    """What ONNX Runtime's nodes compute, told by the names that it gives them."""

    def __init__(self, model: ir.Model) -> None:
        self._nodes = {str(node.name): node for node in model.graph.all_nodes()}
        self._nodes |= {str(value.name): node for node in self._nodes.values() for value in node.outputs}

    def of(self, name: str, kind: str) -> str:
        """Return the names of the nodes that a node of the runtime computes; its own where that does not tell.

        A convolution or product that is called after something else (``relu``) computes what this reads, too.
        """
        node = self._called(name)
        if node is None:
            return name.removeprefix(PREFIX)
        names = [_own(node)]
        while _MULTIPLY.search(kind) and not _MULTIPLY.search(node.op_type):
            before = [found for value in node.inputs if value is not None and (found := value.producer()) is not None]
            if len(before) != 1:
                return names[-1]
            (node,) = before
            names.insert(0, _own(node))
        return ",".join(names)

    def _called(self, name: str) -> ir.Node | None:
        while name not in self._nodes:
            shorter = _ADDED.sub("", name)
            if shorter == name:
                return None
            name = shorter
        return self._nodes[name]


def _own(node: ir.Node) -> str:
    return str(node.name).removeprefix(PREFIX)
