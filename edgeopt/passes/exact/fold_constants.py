"""Evaluate once, at export, what depends on constants only.

Before => after:

    f(c1, c2, ...)  =>  c,    c = f(c1, c2, ...) as torch computes it

for weights that are permuted, slices of position embeddings, index tables, masks, arange and scalar arithmetic.
The value is the one the graph would have computed, bit for bit.

Not when: the operator is random, returns uninitialized memory or reads a weight in its stored form
(``Operator.stored_weight``); or the program would grow by more than 1 MiB and more than a fiftieth of its constants
at that node, as where a small constant is expanded or a weight that is read in two layouts would be kept twice: then
computing it is cheaper than storing it. The fiftieth is for position biases of large models: those of Swin-T's first
stage, with their shift mask, take 1.8 MiB of 105.

Source: Aho, Lam, Sethi, Ullman, Compilers: Principles, Techniques, and Tools, section 8.5 (constant folding).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from edgeopt.ir.nodes import run_node, tensor_of
from edgeopt.ir.pass_base import CONSTANTS_FOLDED
from edgeopt.ir.program import Program
from edgeopt.ir.rewrite import Match, Pattern, Rewrite, Rule, op
from edgeopt.ops.operator import operator_of

_GROWTH_LIMIT = 1 << 20
_GROWTH_PART = 50


class EvaluateConstant(Rule):
    """f(c1, c2, ...) => c."""

    def pattern(self) -> Pattern:
        """Draw any operator that reads constants only and returns a tensor of known shape."""
        return op(where=lambda program, node: _is_static(node) and _reads_constants(program, node))

    def check(self, program: Program, m: Match) -> str | None:
        """Refuse what is not repeatable or would make the program grow."""
        if reason := _not_foldable(m.root.target):
            return reason
        grown = _bytes(m.root) - _freed(program, m.root)
        if grown > max(_GROWTH_LIMIT, _size(program) / _GROWTH_PART):
            return f"the program would grow by {grown / 2**20:.1f} MiB"
        return None

    def rewrite(self, program: Program, m: Match) -> fx.Node:
        """Store the value; cloned, so that it keeps no larger tensor alive."""
        value = evaluated(program, m.root).clone(memory_format=torch.contiguous_format)
        return program.add_constant(_name(program, m.root), value)


class FoldConstants(Rewrite):
    """Replace operators on constants by their value."""

    name = "fold-constants"
    ensures = frozenset({CONSTANTS_FOLDED})
    rules = (EvaluateConstant(),)


def _is_static(node: fx.Node) -> bool:
    value = node.meta["val"]
    return isinstance(value, torch.Tensor) and all(isinstance(size, int) for size in value.shape)


def _reads_constants(program: Program, node: fx.Node) -> bool:
    """Return whether all inputs are constants, or items of a tuple that is computed of constants."""
    return all(
        used.name in program.constants
        or (isinstance(used.meta["val"], tuple | list) and _reads_constants(program, used))
        for used in node.all_input_nodes
    )


def _not_foldable(target: Any) -> str | None:
    if not isinstance(target, torch._ops.OpOverload):
        return None
    if (operator := operator_of(target)) is not None and operator.stored_weight is not None:
        return "it is a weight as it is stored"
    if torch.Tag.nondeterministic_seeded in target.tags:
        return "it is random"
    return "it returns uninitialized memory" if "empty" in target._schema.name else None


def is_constant(program: Program, node: fx.Node) -> bool:
    """Return whether a node is a constant, or is computed of constants alone and the same every time."""
    seen, waiting = {node}, [node]
    while waiting:
        one = waiting.pop()
        if one.name not in program.constants and (one.op == "placeholder" or _not_foldable(one.target)):
            return False
        read = [used for used in one.all_input_nodes if used not in seen]
        seen.update(read)
        waiting += read
    return True


def evaluated(program: Program, node: fx.Node) -> Any:
    """Return the value of a node that is constant."""
    if node.op == "placeholder":
        return program.constants[node.name]
    with torch.no_grad():
        return run_node(node, lambda used: evaluated(program, used))


def _name(program: Program, node: fx.Node) -> str:
    """Return a name for the value: that of the constant it is a form of, or the node's."""
    sources = [used.name for used in node.all_input_nodes if used.name in program.constants]
    return sources[0] if len(sources) == 1 else node.name


def _bytes(node: fx.Node) -> int:
    value = tensor_of(node)
    return value.numel() * value.element_size()


def _size(program: Program) -> int:
    return sum(constant.numel() * constant.element_size() for constant in program.constants.values())


def _freed(program: Program, node: fx.Node) -> float:
    """Return the bytes that folding frees: a constant's readers share them if all of them can be folded."""
    freed = 0.0
    for used in node.all_input_nodes:
        if used.name not in program.constants:
            freed += _freed(program, used) / len(used.users)
            continue
        readers = program.readers(used)
        if all(reader.op == "call_function" and _reads_constants(program, reader) for reader in readers):
            freed += _bytes(used) / len(readers)
    return freed
