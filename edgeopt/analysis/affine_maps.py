"""What arithmetic with constants makes of one value: a scale and a shift per channel, over several operators.

    (x - c) / d * g + b                 =>  (g / d) * x + (b - g * c / d)
    batch_norm(x) + alpha * x           =>  (a + alpha) * x + s                 RepBN, a and s those of the batch norm
    0 * f(x) + a * x + s                =>  a * x + s                           a blend whose other end is reached

Operators may lie between two permutes that undo each other, as around a BatchNorm1d of tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from edgeopt.analysis.affine_folds import Affine
from edgeopt.analysis.layers import describe
from edgeopt.ir.nodes import as_node, aten, node_arg, rank_of
from edgeopt.ir.program import Program, same_spec, spec_of
from edgeopt.ir.rewrite import arguments
from edgeopt.ops.opsets import FACTORS, SUMS

_ARITHMETIC = frozenset({*SUMS, *FACTORS, aten.permute.default, aten.batch_norm.default})
_BATCH_TENSORS = ("running_mean", "running_var", "weight", "bias")


Known = dict[fx.Node, Affine | str]


def compose(program: Program, node: fx.Node, known: Known | None = None) -> Affine | str:
    """Return the map that a node, together with those before it, computes of one value; or why it computes none.

    ``known`` are the answers for nodes that were asked before: of a sum, both operands lead to the same ones.
    """
    known = {} if known is None else known
    pending = [node]
    while pending:  # a network is deeper than calls may nest
        operands = pending[-1].all_input_nodes if pending[-1].target in _ARITHMETIC else []
        if unknown := [operand for operand in operands if operand not in known]:
            pending += unknown
        else:
            current = pending.pop()
            known[current] = _composed(program, current, known)
    return known[node]


def _composed(program: Program, node: fx.Node, known: Known) -> Affine | str:
    """Return the answer for a node, those for its operands being known."""
    if node.target is aten.permute.default:
        return _between_permutes(node, known)
    if node.target in SUMS and len(variables(program, node)) == 2:
        return _sum(node, known)
    own = batch_norm_map(program, node) if node.target is aten.batch_norm.default else _with_constant(program, node)
    inner = own if isinstance(own, str) else known[own.x]
    if isinstance(own, str) or isinstance(inner, str):
        return own
    return _after(own, inner) or own


def variables(program: Program, node: fx.Node) -> list[fx.Node]:
    """Return the operands of a sum or product that are no constants; none where one is a complex number, which no map
    of real numbers has."""
    operands = [value for value in node.args[:2] if not _is_constant(program, value)]
    return [] if any(isinstance(value, complex) for value in operands) else list(map(as_node, operands))


def batch_norm_map(program: Program, node: fx.Node) -> Affine | str:
    """Return scale and shift of a batch norm's running statistics, or why it has none."""
    given = arguments(node)
    if given["training"] or given["running_mean"] is None or given["running_var"] is None:
        return "it normalizes by the statistics of the batch"
    tensors = {name: program.constant(given[name]) for name in _BATCH_TENSORS}
    if computed := [name for name, tensor in tensors.items() if tensor is None and given[name] is not None]:
        return f"its {' and '.join(computed)} are computed at run time"
    wide = {name: tensor.double() for name, tensor in tensors.items() if tensor is not None}
    scale = wide.get("weight", 1) * (wide["running_var"] + given["eps"]).rsqrt()
    shift = wide.get("bias", 0) - scale * wide["running_mean"]
    return Affine(node, given["input"], scale, shift, axis=1)


def _with_constant(program: Program, node: fx.Node) -> Affine | str:
    """Return the map of one sum, difference, product or quotient of a value and a constant."""
    if node.target not in SUMS + FACTORS or len(variables(program, node)) != 1:
        return f"{describe(node)} is not arithmetic of a value and a constant"
    left, right = node.args[:2]
    reverse = _is_constant(program, left)
    x, value = (as_node(right), left) if reverse else (as_node(left), right)
    if not same_spec(node, x):
        return f"it also turns {spec_of(x, x.name)} into {spec_of(node, node.name)}"
    constant = program.constant(value)
    constant = torch.tensor(value, dtype=torch.float64) if constant is None else constant
    axes = [axis - constant.dim() for axis, size in enumerate(constant.shape) if size > 1]
    if len(axes) > 1:
        return f"its constant {spec_of(as_node(value), str(value))} varies along {len(axes)} axes"
    if reverse and node.target is aten.div.Tensor:
        return "it divides by what is computed"
    scale, shift = _scale_and_shift(node, constant.double().flatten(), reverse)
    if not (scale.isfinite().all() and shift.isfinite().all()):
        return "its constant is not finite, or zero and divided by"
    return Affine(node, x, scale, shift, axes[0] + rank_of(node) if axes else None)


def _is_constant(program: Program, value: Any) -> bool:
    return isinstance(value, int | float) or program.constant(value) is not None


def _scale_and_shift(node: fx.Node, constant: torch.Tensor, reverse: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scale and shift of ``x op constant``, or of ``constant op x`` in ``reverse``."""
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    if node.target is aten.mul.Tensor:
        return constant, zero
    if node.target is aten.div.Tensor:
        return 1 / constant, zero
    factor = torch.full_like(one, _sign(node))
    return (factor, constant) if reverse else (one, constant * factor)


def _sign(node: fx.Node) -> float:
    """Return what a sum or difference multiplies its second operand by."""
    alpha = float(arguments(node)["alpha"])
    return alpha if node.target is aten.add.Tensor else -alpha


def _after(outer: Affine, inner: Affine) -> Affine | None:
    """Return the map of both, or None where they differ in their axis."""
    if None not in (outer.axis, inner.axis) and outer.axis != inner.axis:
        return None
    axis = inner.axis if outer.axis is None else outer.axis
    scale, shift = outer.scale * inner.scale, outer.scale * inner.shift + outer.shift
    return Affine(outer.node, inner.x, scale, shift, axis, outer.interior | inner.interior | {inner.node})


def _sum(node: fx.Node, known: Known) -> Affine | str:
    """Return the map of a sum of two maps of the same value."""
    left, right = (_map_or_identity(node_arg(node, index), known) for index in range(2))
    vanishing = [part for part in (left, right) if not part.scale.any()]
    x = right.x if left in vanishing else left.x
    if left.x is not right.x and not vanishing:
        return f"{describe(node)} adds what is made of two values"
    if None not in (left.axis, right.axis) and left.axis != right.axis:
        return f"{describe(node)} adds what varies along two axes"
    if not same_spec(node, x):
        return f"it also turns {spec_of(x, x.name)} into {spec_of(node, node.name)}"
    sign = _sign(node)
    scale, shift = left.scale + sign * right.scale, left.shift + sign * right.shift
    inside = (left.interior | right.interior | {left.node, right.node}) - {x}
    for part in vanishing:
        inside |= _read_only_by(part.x, inside, x)
    return Affine(node, x, scale, shift, right.axis if left.axis is None else left.axis, inside)


def _read_only_by(node: fx.Node, inside: frozenset[fx.Node], x: fx.Node) -> frozenset[fx.Node]:
    """Return a node and those between x and it that nothing outside reads, directly or through each other."""
    found, pending = set(inside), [node]
    while pending:
        current = pending.pop()
        if current is not x and current.op == "call_function" and found.issuperset(current.users):
            found.add(current)
            pending += current.all_input_nodes
    return frozenset(found)


def _map_or_identity(node: fx.Node, known: Known) -> Affine:
    found = known[node]
    one = torch.ones(1, dtype=torch.float64)
    return Affine(node, node, one, torch.zeros_like(one), None) if isinstance(found, str) else found


def _between_permutes(node: fx.Node, known: Known) -> Affine | str:
    """Return the map of what is permuted after it: of x before a permute that this one undoes, or of x permuted
    alike by another node."""
    inner = known[node_arg(node, 0)]
    if isinstance(inner, str):
        return inner
    dims = _dims(node)
    axis = None if inner.axis is None else dims.index(inner.axis)
    inside = inner.interior | {inner.node}
    if inner.x.target is aten.permute.default and [_dims(inner.x)[dim] for dim in dims] == list(range(len(dims))):
        return Affine(node, node_arg(inner.x, 0), inner.scale, inner.shift, axis, inside | {inner.x})
    for other in inner.x.users:
        if other.target is aten.permute.default and _dims(other) == dims and other is not node:
            return Affine(node, other, inner.scale, inner.shift, axis, inside - {other})
    return f"{describe(node)} moves values"


def _dims(permute: fx.Node) -> list[int]:
    return [dim % rank_of(permute) for dim in arguments(permute)["dims"]]
