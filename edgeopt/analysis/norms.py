"""LayerNorm and RMSNorm over the last axis, fused or written out.

    layer   (x - mean(x)) / sqrt(var(x) + eps) * weight + bias
    rms     x / sqrt(mean(x^2) + eps) * weight

Written out, the division may be a product with rsqrt or a power, the square a power or a product, and the
variance ``var`` with no correction or the mean square of the centered value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import fx

from edgeopt.analysis.walk import number, only_reader, source
from edgeopt.ir.nodes import as_node, aten, shape_of
from edgeopt.ir.program import Program, same_size
from edgeopt.ir.rewrite import arguments
from edgeopt.ops.opsets import LAST_AXIS_NORMS


@dataclass(frozen=True)
class Norm:
    """A norm whose result is ``root``. ``weight`` and ``bias`` are constants of shape [channels], or None.

    ``interior`` are the nodes it is written with, ``root`` among them.
    """

    kind: Literal["layer", "rms"]
    root: fx.Node
    input: fx.Node
    weight: fx.Node | None
    bias: fx.Node | None
    eps: float
    interior: frozenset[fx.Node]

    @property
    def channels(self) -> int:
        """Size of the axis that is normalized."""
        return shape_of(self.input)[-1]

    @property
    def is_fused(self) -> bool:
        """Whether it is one operator."""
        return len(self.interior) == 1


def find_norms(program: Program) -> tuple[Norm, ...]:
    """Return the norms of a program in execution order."""
    found = (_fused(node) or _written_out(program, node) for node in program.calls)
    return tuple(norm for norm in found if norm is not None)


def _fused(node: fx.Node) -> Norm | None:
    if node.target not in LAST_AXIS_NORMS:
        return None
    given = arguments(node)
    x = given["input"]
    shape = given["normalized_shape"]
    if len(shape) != 1 or not same_size(shape[0], x.meta["val"].shape[-1]):
        return None
    kind: Literal["layer", "rms"] = "layer" if node.target is aten.layer_norm.default else "rms"
    eps = torch.finfo(x.meta["val"].dtype).eps if given["eps"] is None else given["eps"]
    return Norm(kind, node, x, given["weight"], given.get("bias"), eps, frozenset({node}))


def _written_out(program: Program, node: fx.Node) -> Norm | None:
    for numerator, spread in _quotients(node):
        root = _shifted_root(program, spread)
        if root is None:
            continue
        square_mean, eps = root
        if (x := _centered(numerator)) is not None:
            kind: Literal["layer", "rms"] = "layer"
            if not _is_variance(square_mean, x, numerator):
                continue
        elif _is_mean_square(square_mean, numerator):
            kind, x = "rms", numerator
        else:
            continue
        return _with_affine(program, kind, node, x, eps)
    return None


def _quotients(node: fx.Node) -> Iterator[tuple[fx.Node, fx.Node]]:
    """Yield numerator n and v for which the node is n / sqrt(v)."""
    if node.target is aten.div.Tensor and (bottom := source(node.args[1])) is not None:
        if _is_power(bottom, aten.sqrt.default, 0.5):
            yield _pair(node.args[0], bottom.args[0])
    elif node.target is aten.mul.Tensor:
        for left, right in (node.args[:2], node.args[1::-1]):
            factor = source(right)
            if factor is not None and isinstance(left, fx.Node) and _is_power(factor, aten.rsqrt.default, -0.5):
                yield _pair(left, factor.args[0])


def _pair(numerator: Any, spread: Any) -> tuple[fx.Node, fx.Node]:
    return source(numerator) or numerator, source(spread) or spread


def _is_power(node: fx.Node, root: Any, exponent: float) -> bool:
    return node.target is root or (node.target is aten.pow.Tensor_Scalar and bool(node.args[1] == exponent))


def _shifted_root(program: Program, node: fx.Node) -> tuple[fx.Node, float] | None:
    """Return v and eps of ``v + eps``."""
    if node.target is not aten.add.Tensor:
        return None
    for value, shift in (node.args[:2], node.args[1::-1]):
        eps, v = number(program, shift), source(value)
        if eps is not None and v is not None:
            return v, eps
    return None


def _centered(node: fx.Node) -> fx.Node | None:
    """Return x where the node is ``x - mean(x)`` over the last axis."""
    if node.target is not aten.sub.Tensor:
        return None
    x, mean = source(node.args[0]), source(node.args[1])
    return x if x is not None and mean is not None and _mean_of(mean) is x else None


def _mean_of(node: fx.Node) -> fx.Node | None:
    """Return x where the node is its mean over the last axis, which is kept."""
    if node.target is not aten.mean.dim:
        return None
    given = arguments(node)
    return source(given["self"]) if given["keepdim"] and _is_last(given["dim"], given["self"]) else None


def _is_last(dims: Any, x: fx.Node) -> bool:
    return dims is not None and [dim % x.meta["val"].dim() for dim in dims] == [x.meta["val"].dim() - 1]


def _is_mean_square(node: fx.Node, x: fx.Node) -> bool:
    square = _mean_of(node)
    if square is None:
        return False
    if square.target is aten.pow.Tensor_Scalar:
        return bool(square.args[1] == 2) and source(square.args[0]) is x
    factors = [source(factor) for factor in square.args[:2]]
    return square.target is aten.mul.Tensor and factors == [x, x]


def _is_variance(node: fx.Node, x: fx.Node, centered: fx.Node) -> bool:
    if node.target in (aten.var.correction, aten.var.dim):
        given = arguments(node)
        is_biased = given["correction"] == 0 if "correction" in given else not given["unbiased"]
        return source(given["self"]) is x and given["keepdim"] and is_biased and _is_last(given["dim"], x)
    return _is_mean_square(node, centered) or any(
        _is_mean_square(node, other) for other in x.users if _centered(other) is x
    )


def _with_affine(program: Program, kind: Literal["layer", "rms"], node: fx.Node, x: fx.Node, eps: float) -> Norm:
    """Take in a product with a constant per channel and a sum with another, where nothing else reads between."""
    channels = x.meta["val"].shape[-1]
    root, weight = take_constant(program, node, aten.mul.Tensor, channels)
    bias = None
    if kind == "layer":
        root, bias = take_constant(program, root, aten.add.Tensor, channels)
    return Norm(kind, root, x, weight, bias, eps, frozenset(_between(root, x)))


def take_constant(program: Program, node: fx.Node, target: Any, channels: int) -> tuple[fx.Node, fx.Node | None]:
    """Return the product (or sum) with a constant per channel that alone reads a value, and the constant; or the
    node itself, and None."""
    reader = only_reader(node)
    if reader is None or reader.target is not target or reader.kwargs:
        return node, None
    for operand in reader.args[:2]:
        constant = program.constant(operand)
        if constant is not None and tuple(constant.shape) == (channels,):
            return reader, as_node(operand)
    return node, None


def _between(root: fx.Node, x: fx.Node) -> Iterator[fx.Node]:
    pending, seen = [root], {x}
    while pending:
        node = pending.pop()
        if node in seen or node.op != "call_function":
            continue
        seen.add(node)
        yield node
        pending += node.all_input_nodes
