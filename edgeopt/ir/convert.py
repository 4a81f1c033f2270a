"""Between torch.export and Program: the door in and the door out."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from keyword import iskeyword
from pathlib import Path
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import fx
from torch.export import ExportedProgram
from torch.export.exported_program import ModuleCallEntry, ModuleCallSignature
from torch.export.graph_signature import (
    ConstantArgument,
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    TensorArgument,
)
from torch.fx.node import map_arg

from edgeopt.errors import UserError
from edgeopt.files import check_space
from edgeopt.foreign import foreign, quiet
from edgeopt.ir.canonical import canonicalize
from edgeopt.ir.naming import distinct
from edgeopt.ir.program import Program, short_name
from edgeopt.ir.provenance import PATH, source_line

log = logging.getLogger(__name__)

_NODE_BYTES, _SPARE_NODES = 4096, 16
"""What a node takes in an archive at most, and the rest of it, as nodes."""
_CONSTANT_KINDS = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)


def from_exported(exported: ExportedProgram, input_names: Sequence[str] | None = None) -> Program:
    """Return a Program in canonical form (see edgeopt.ir.canonical), inputs renamed where names are given.

    Numbers of Python's own among the outputs become constants without dimensions; other values, such as None and
    strings, are left out with a warning. Raises UserError where the model writes its own buffers or inputs, returns no
    tensor, or holds control flow that torch.export kept as nested graphs.
    """
    exported = _functional(_without_keywords(exported))
    _refuse_state(exported)
    _refuse_merged(exported)
    names = _output_names(exported)
    constants = _constants(exported)
    graph = exported.graph
    for spec in exported.graph_signature.input_specs:
        if spec.kind not in _CONSTANT_KINDS and not isinstance(spec.arg, TensorArgument):
            _erase_placeholder(graph, spec.arg.name)
    ranges = {symbol: bounds for symbol, bounds in exported.range_constraints.items() if symbol.is_Symbol}
    program = Program(graph, constants, names, ranges)
    _keep_numbers(program)
    if not names:
        raise UserError("the model returns no tensor", "return at least one tensor from forward()")
    canonicalize(program)
    program.clean()
    program = _rename(program, _paths(exported), input_names)
    program.verify()
    return program


def _without_keywords(exported: ExportedProgram) -> ExportedProgram:
    """Return the program with other names for tensors whose path holds one of Python's words (``heads.class.weight``).

    torch writes the path into code that it then compiles.
    """
    signature = exported.graph_signature
    targets = list(dict.fromkeys(s.target for s in signature.input_specs if s.kind in _CONSTANT_KINDS and s.target))
    legal = [".".join(f"{part}_" if iskeyword(part) else part for part in target.split(".")) for target in targets]
    if legal == targets:
        return exported
    renamed = dict(zip(targets, distinct(legal), strict=True))
    specs = [replace(spec, target=renamed.get(spec.target, spec.target)) for spec in signature.input_specs]
    return ExportedProgram(
        root=exported.graph_module,
        graph=exported.graph,
        graph_signature=ExportGraphSignature(specs, signature.output_specs),
        state_dict={renamed.get(name, name): tensor for name, tensor in exported.state_dict.items()},
        range_constraints=exported.range_constraints,
        module_call_graph=exported.module_call_graph[:1],
        example_inputs=exported.example_inputs,
        constants={renamed.get(name, name): value for name, value in exported.constants.items()},
    )


def _functional(exported: ExportedProgram) -> ExportedProgram:
    # torch.export.export returns the dialect TRAINING. What is of the dialect ATEN, such as what edgeopt writes, has
    # been made functional; doing it again would change nothing, for a third of what a small export takes. Nested
    # graphs (get_attr) are looked into all the same.
    if exported.dialect == "ATEN" and all(node.op != "get_attr" for node in exported.graph.nodes):
        return exported
    # An empty table functionalizes in-place operators and keeps composite ones (linear, layer_norm) whole.
    remedy = "take and return tensors in tuples, lists and dicts alone, and export with this version of torch"
    with foreign("the exported program cannot be made functional", remedy), quiet():
        functional: ExportedProgram = exported.run_decompositions({})
        return functional


def _paths(exported: ExportedProgram) -> dict[str, str]:
    """Map constant placeholders to their paths in the model: ``p_conv_weight`` to ``conv.weight``."""
    specs = exported.graph_signature.input_specs
    return {s.arg.name: s.target for s in specs if s.kind in _CONSTANT_KINDS and s.target}


def _rename(program: Program, paths: dict[str, str], input_names: Sequence[str] | None) -> Program:
    """Number operators and order constants by first use, so that one model has one graph whatever its file."""
    graph, constants = fx.Graph(), {}
    copies: dict[fx.Node, fx.Node] = {}
    inputs = list(input_names or [node.name for node in program.input_nodes])
    used = [n for reader in program.graph.nodes for n in reader.all_input_nodes if n.name in program.constants]
    own = distinct([*inputs, *(re.sub(r"\W", "_", paths.get(node.name, node.name)) for node in dict.fromkeys(used))])
    for node, name in zip(dict.fromkeys(used), own[len(inputs) :], strict=True):
        copies[node] = _placeholder(graph, name, node)
        copies[node].meta[PATH] = paths.get(node.name, name)
        constants[copies[node].name] = program.constants[node.name]
    for node, name in zip(program.input_nodes, inputs, strict=True):
        copies[node] = _placeholder(graph, name, node)
        # fx renames what is a name of Python's own (``input``); for the user it is the model's argument.
        copies[node].name = copies[node].target = name
    for node in program.calls:
        args, kwargs = map_arg(node.args, copies.__getitem__), map_arg(node.kwargs, copies.__getitem__)
        copies[node] = graph.create_node("call_function", node.target, args, kwargs, name=short_name(node.target))
        copies[node].meta = dict(node.meta)
    graph.output(tuple(copies[node] for node in program.results))
    return Program(graph, constants, program.output_names, program.range_constraints)


def _placeholder(graph: fx.Graph, name: str, old: fx.Node) -> fx.Node:
    node = graph.placeholder(name)
    node.target = node.name
    node.meta = dict(old.meta)
    return node


def to_exported(program: Program) -> ExportedProgram:
    """Return an ExportedProgram: constants are buffers, inputs keyword arguments, and the outputs a dict by name."""
    graph = program.clone().graph
    if (environment := program.fake_mode.shape_env) is not None:
        # Symbols of sizes that shapes were inferred with, and that no node binds: torch would look for them.
        environment.pending_fresh_unbacked_symbols.clear()
    nodes = [node for node in graph.nodes if node.op == "placeholder"]
    inputs = [_input_spec(node.name, node.name in program.constants) for node in nodes]
    results = next(node for node in reversed(graph.nodes) if node.op == "output").args[0]
    outputs = [OutputSpec(OutputKind.USER_OUTPUT, TensorArgument(node.name), None) for node in results]
    keywords = {node.name: 0 for node in nodes if node.name not in program.constants}
    signature = ModuleCallSignature(
        inputs=[],
        outputs=[],
        in_spec=pytree.tree_structure(((), keywords)),
        out_spec=pytree.tree_structure(dict.fromkeys(program.output_names, 0)),
    )
    return ExportedProgram(
        root=fx.GraphModule(torch.nn.Module(), graph),
        graph=graph,
        graph_signature=ExportGraphSignature(inputs, outputs),
        state_dict=dict(program.constants),
        range_constraints=program.range_constraints,
        module_call_graph=[ModuleCallEntry("", signature)],
        constants={},
    )


def save(program: Program, path: Path) -> None:
    """Save a program as a torch.export archive, without source lines or machine paths.

    Raises OSError where the disk has no space for it.
    """
    exported = to_exported(program)
    for node in exported.graph.nodes:
        node.meta = {"val": node.meta["val"]} if "val" in node.meta else {}
    weights = sum(tensor.nbytes for tensor in program.constants.values())
    # torch ends the process where the disk is full.
    check_space(path.parent, weights + _NODE_BYTES * (len(exported.graph.nodes) + _SPARE_NODES))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch asks for example inputs
        torch.export.save(exported, path)


def _input_spec(name: str, is_constant: bool) -> InputSpec:
    if is_constant:
        return InputSpec(InputKind.BUFFER, TensorArgument(name), name, persistent=True)
    return InputSpec(InputKind.USER_INPUT, TensorArgument(name), None)


def _constants(exported: ExportedProgram) -> dict[str, torch.Tensor]:
    pool = {**exported.constants, **exported.state_dict}
    specs = exported.graph_signature.input_specs
    return {s.arg.name: pool[s.target].detach() for s in specs if s.kind in _CONSTANT_KINDS}


def _output_names(exported: ExportedProgram) -> tuple[str, ...]:
    """Name outputs after their place in the returned structure: ``output``, ``output_0``, ``logits``, ``boxes_1``.

    Where two places give one name, that of fewer steps keeps it, then the earlier: the other is called ``boxes_1_2``.
    """
    out_spec = exported.call_spec.out_spec
    placeholders = list(range(out_spec.num_leaves))
    paths, _ = pytree.tree_flatten_with_path(pytree.tree_unflatten(placeholders, out_spec))
    specs = [s for s in exported.graph_signature.output_specs if s.kind == OutputKind.USER_OUTPUT]
    places = []
    for spec, (path, _) in zip(specs, paths, strict=True):
        if not isinstance(spec.arg, ConstantArgument) or _is_number(spec.arg.value):
            places.append(path)
        else:
            log.warning("output '%s' is left out: %r is not a tensor or number", _place_name(path), spec.arg.value)
    order = sorted(range(len(places)), key=lambda index: len(places[index]))
    names = dict(zip(order, distinct([_place_name(places[index]) for index in order]), strict=True))
    return tuple(names[index] for index in range(len(places)))


def _is_number(value: object) -> bool:
    """Return whether a tensor holds a value of Python's own: a boolean, a float, or an integer of 64 bits."""
    return isinstance(value, float) or (isinstance(value, int) and -(2**63) <= value < 2**63)


def _keep_numbers(program: Program) -> None:
    """Make constants of the numbers among the results, and leave out what is neither a tensor nor a number."""
    given: Any = program.output_node.args[0]
    results = [value for value in given if isinstance(value, fx.Node) or _is_number(value)]
    nodes = [
        value if isinstance(value, fx.Node) else program.add_constant("number", torch.tensor(value))
        for value in results
    ]
    program.output_node.args = (tuple(nodes),)


def _place_name(path: Sequence[Any]) -> str:
    keys = [str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key)))) for key in path]
    name = "_".join(keys)
    return name if name and not name[0].isdigit() else "_".join(["output", *keys])


def _erase_placeholder(graph: fx.Graph, name: str) -> None:
    node = next((n for n in graph.nodes if n.op == "placeholder" and n.name == name), None)
    if node is not None and not node.users:
        graph.erase_node(node)


def _refuse_state(exported: ExportedProgram) -> None:
    for spec in exported.graph_signature.output_specs:
        what = spec.target or spec.arg.name
        if spec.kind == OutputKind.USER_INPUT_MUTATION:
            raise UserError(
                f"the model writes into its input '{what}'",
                "let it compute on a copy: x = x.clone() first in forward()",
            )
        if spec.kind != OutputKind.USER_OUTPUT:
            raise UserError(
                f"the model writes its own state ('{what}', {spec.kind.name.lower()})",
                "call model.eval() before torch.export, and return state as an output instead of storing it",
            )
    nested = [n for n in exported.graph.nodes if n.op == "get_attr" or _is_higher_order(n)]
    if nested:
        raise UserError(
            f"the model holds control flow at node '{nested[0].name}'{source_line(nested[0])}",
            "trace the branch that is deployed, or replace torch.cond and loops by tensor operations",
        )


def _refuse_merged(exported: ExportedProgram) -> None:
    """Refuse a program whose example was one tensor for two inputs: torch.export then reads one of them for both."""
    if exported.example_inputs is None:
        return
    unread = {node.name for node in exported.graph.nodes if node.op == "placeholder" and not node.users}
    specs = [s.arg for s in exported.graph_signature.input_specs if s.kind == InputKind.USER_INPUT]
    names: dict[int, str] = {}
    for argument, leaf in zip(specs, pytree.tree_leaves(exported.example_inputs), strict=False):
        name = argument.name
        other = names.setdefault(id(leaf), name) if isinstance(leaf, torch.Tensor) else name
        if other != name and unread & {name, other}:
            raise UserError(
                f"inputs '{other}' and '{name}' were traced with one tensor for both, so one of them is not read",
                f"give each an example of its own to torch.export.export: {name}=x.clone()",
            )


def _is_higher_order(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.HigherOrderOperator)
