"""Remove operators that change nothing, and merge movements of data that follow each other.

Before => after:

    dropout(x), clone(x), alias(x), detach(x), to(x, its own dtype)      =>  x
    x * 1, x / 1, x + 0, x - 0, x ^ 1                                    =>  x
    reshape, expand, slice to x's own shape; pad by 0; identity permute  =>  x
    reshape(reshape(x, s), t)                                            =>  reshape(x, t)
    permute(permute(x, p), q)                                            =>  permute(x, p[q])
    reshape(linear(reshape(x)), (..., O))                                =>  linear(reshape(x, (..., I)))

The graph is functional, so a copy has no meaning, and values are addressed by shape, so a memory format has none.

Not when: a dropout is in training mode; dtype or shape would change (a product with 1 may promote or broadcast);
shapes are equal for some inputs of a dynamic program only; a middle value of a merged linear is read elsewhere.

Source: what is left over by tracing; all rules hold by definition of the operators.
"""

from __future__ import annotations

from typing import Any

from torch import fx

from edgeopt.ir.nodes import as_node, aten, node_arg, shape_of
from edgeopt.ir.program import Program, same_size, same_spec
from edgeopt.ir.rewrite import Match, Pattern, Rewrite, Rule, any_, arguments, op

_DROPOUTS = (aten.dropout.default, aten.feature_dropout.default, aten.alpha_dropout.default)
_COPIES = (
    aten.alias.default,
    aten.clone.default,
    aten.contiguous.default,
    aten.detach.default,
    aten.lift_fresh_copy.default,
)
_CASTS = (aten._to_copy.default, aten.to.dtype, aten.to.dtype_layout, aten.to.device, aten.type_as.default)
_NEUTRAL = {
    aten.add.Tensor: 0,
    aten.sub.Tensor: 0,
    aten.mul.Tensor: 1,
    aten.div.Tensor: 1,
    aten.pow.Tensor_Scalar: 1,
}
_RESHAPES = (
    aten.flatten.using_ints,
    aten.reshape.default,
    aten.squeeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.unflatten.int,
    aten.unsqueeze.default,
)
_RESIZES = (*_RESHAPES, aten.expand.default, aten.repeat.default, aten.slice.Tensor)


class DropDropout(Rule):
    """dropout(x) => x."""

    def pattern(self) -> Pattern:
        """Draw a dropout."""
        return op(*_DROPOUTS, input=any_("x"))

    def check(self, program: Program, m: Match) -> str | None:
        """Refuse one that drops."""
        return "it is in training mode" if arguments(m.root)["train"] else None

    def rewrite(self, program: Program, m: Match) -> fx.Node:
        """Pass the input on."""
        return as_node(m["x"])


class DropNoop(Rule):
    """A copy, a cast to the same dtype, a neutral operand, or a movement that moves nothing => x."""

    allows_sharing = True

    def pattern(self) -> Pattern:
        """Draw what gives back its first input."""
        return op(where=_is_noop)

    def rewrite(self, program: Program, m: Match) -> fx.Node:
        """Pass the input on."""
        return as_node(_input(program, m.root))


class MergeReshapes(Rule):
    """reshape(reshape(x, s), t) => reshape(x, t)."""

    allows_sharing = True

    def pattern(self) -> Pattern:
        """Draw two operators in a row that only change the shape."""
        return op(*_RESHAPES, where=_follows_reshape)

    def check(self, program: Program, m: Match) -> str | None:
        """Refuse a shape that cannot be written down."""
        return None if _target_shape(m.root) is not None else "two of its dimensions are dynamic"

    def rewrite(self, program: Program, m: Match) -> fx.Node:
        """Reshape once."""
        return program.insert(m.root, aten.reshape.default, node_arg(m.root, 0).args[0], _target_shape(m.root))


class MergePermutes(Rule):
    """permute(permute(x, p), q) => permute(x, p[q])."""

    allows_sharing = True

    def pattern(self) -> Pattern:
        """Draw two permutes in a row."""
        return op(aten.permute.default, self=op(aten.permute.default, self=any_("x"), dims=any_("p")), dims=any_("q"))

    def rewrite(self, program: Program, m: Match) -> fx.Node:
        """Permute once."""
        return program.insert(m.root, aten.permute.default, m["x"], [m["p"][axis] for axis in m["q"]])


class UnwrapLinear(Rule):
    """reshape(linear(reshape(x)), (..., O)) => linear(reshape(x, (..., I))): a linear keeps leading dimensions."""

    allows_sharing = True

    def pattern(self) -> Pattern:
        """Draw a linear between reshapes."""
        flat = op(aten.reshape.default, self=any_("x"))
        linear = op(aten.linear.default, name="linear", input=flat)
        return op(aten.reshape.default, self=linear, where=_keeps_last_axis)

    def check(self, program: Program, m: Match) -> str | None:
        """Refuse where the flat result is needed too."""
        others = [reader.name for reader in m["linear"].users if reader is not m.root]
        return f"{m['linear'].name} is also read by {', '.join(others)}" if others else None

    def rewrite(self, program: Program, m: Match) -> fx.Node:
        """Give x its final leading dimensions first."""
        inputs, sizes = shape_of(node_arg(m["linear"], 0))[-1], arguments(m.root)["shape"]
        x = program.insert(m.root, aten.reshape.default, m["x"], [*sizes[:-1], inputs])
        return program.insert(m.root, aten.linear.default, x, *m["linear"].args[1:])


class RemoveNoops(Rewrite):
    """Remove what changes nothing."""

    name = "remove-noops"
    rules = (DropDropout(), DropNoop(), UnwrapLinear(), MergeReshapes(), MergePermutes())


def _is_noop(program: Program, node: fx.Node) -> bool:
    x = _input(program, node)
    if not isinstance(x, fx.Node) or not same_spec(node, x):
        return False
    return node.target in (*_COPIES, *_CASTS, *_RESIZES) or node.target in _NEUTRAL or _moves_nothing(node)


def _input(program: Program, node: fx.Node) -> Any:
    """Return what a no-op would pass on: its first input, or of a sum or product the operand that is not neutral."""
    if node.target not in _NEUTRAL:
        return node.args[0] if node.args else None
    left, right = node.args[:2]
    if _is_neutral(program, right, _NEUTRAL[node.target]):
        return left
    commutes = node.target in (aten.mul.Tensor, aten.add.Tensor) and node.kwargs.get("alpha", 1) == 1
    return right if commutes and _is_neutral(program, left, _NEUTRAL[node.target]) else None


def _is_neutral(program: Program, value: Any, neutral: int) -> bool:
    if isinstance(value, int | float):
        return value == neutral
    constant = program.constant(value)
    return constant is not None and bool((constant == neutral).all())


def _moves_nothing(node: fx.Node) -> bool:
    given = arguments(node)
    if node.target is aten.permute.default:
        rank = len(given["dims"])
        return [dim % rank for dim in given["dims"]] == list(range(rank))
    if node.target is aten.pad.default:
        return not any(given["pad"])
    return node.target is aten.roll.default and not any(given["shifts"])


def _follows_reshape(program: Program, node: fx.Node) -> bool:
    source = node.args[0]
    return isinstance(source, fx.Node) and source.target in _RESHAPES


def _target_shape(node: fx.Node) -> list[Any] | None:
    """Return the arguments that reshape to a node's shape."""
    if node.target is aten.reshape.default:
        return list(arguments(node)["shape"])
    shape = [size if isinstance(size, int) else -1 for size in node.meta["val"].shape]
    return shape if shape.count(-1) <= 1 else None


def _keeps_last_axis(program: Program, node: fx.Node) -> bool:
    shape, source = shape_of(node), shape_of(node_arg(node, 0))
    return len(shape) > 0 and len(source) > 0 and same_size(shape[-1], source[-1])
