"""One spelling for each operator, so that rules need to know one only.

torch.export leaves ``aten.linear``, ``aten.layer_norm`` and the like whole; archives that were decomposed to
core ATen spell them ``addmm``, ``native_layer_norm`` and ``convolution``. Everything here is a renaming: the
arithmetic is the same.

| found                                              | canonical                      |
|----------------------------------------------------|--------------------------------|
| ``_native_batch_norm_legit_no_training`` + getitem | ``aten.batch_norm``            |
| ``native_layer_norm`` + getitem                    | ``aten.layer_norm``            |
| ``convolution``                                    | ``conv1d/2d/3d``, transposed   |
| ``addmm(bias, x, t(weight))``                      | ``aten.linear``                |
"""

from __future__ import annotations

import operator
from collections.abc import Callable

import torch
from torch import fx

from edgeopt.errors import UserError
from edgeopt.program import Program

aten = torch.ops.aten

_CONV = {1: aten.conv1d.default, 2: aten.conv2d.default, 3: aten.conv3d.default}
_CONV_TRANSPOSE = {
    1: aten.conv_transpose1d.default,
    2: aten.conv_transpose2d.input,
    3: aten.conv_transpose3d.input,
}


def canonicalise(program: Program) -> None:
    """Rewrite the program's graph in place to canonical operators.

    Raises UserError where the model was exported in training mode.
    """
    for node in list(program.calls):
        if rewrite := _REWRITES.get(node.target):  # type: ignore[arg-type]
            rewrite(program, node)
    for node in program.calls:
        _drop_defaults(node)


def _drop_defaults(node: fx.Node) -> None:
    """Shorten a call's positional arguments by those that equal the schema's defaults."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return
    args = list(node.args)
    schema = node.target._schema.arguments
    while args and schema[len(args) - 1].has_default_value() and _equals(args[-1], schema[len(args) - 1].default_value):
        args.pop()
    node.args = tuple(args)


def _equals(value: object, default: object) -> bool:
    if isinstance(value, list | tuple):
        defaults = default if isinstance(default, list | tuple) else [default] * len(value)
        return len(value) == len(defaults) and all(map(_equals, value, defaults))
    return type(value) is type(default) and value == default


def _replace(program: Program, node: fx.Node, target: Callable, args: tuple, value: fx.Node | None = None) -> None:
    """Replace ``node`` (or its reader ``value``) by one call and keep shape and source line."""
    old = value or node
    new = program.insert(old, target, *args)
    new.meta = dict(old.meta)
    old.replace_all_uses_with(new)
    program.graph.erase_node(old)


def _first_item(node: fx.Node) -> fx.Node | None:
    """Return the only reader of a tuple-valued node if it takes element 0."""
    readers = [reader for reader in node.users if reader.users]
    if len(readers) == 1 and readers[0].target is operator.getitem and readers[0].args[1] == 0:
        return readers[0]
    return None


def _batch_norm(program: Program, node: fx.Node) -> None:
    if (item := _first_item(node)) is not None:
        x, weight, bias, mean, var, momentum, eps = node.args
        args = (x, weight, bias, mean, var, False, momentum, eps, False)
        _replace(program, node, aten.batch_norm.default, args, item)


def _layer_norm(program: Program, node: fx.Node) -> None:
    if (item := _first_item(node)) is not None:
        _replace(program, node, aten.layer_norm.default, (*node.args, False), item)


def _convolution(program: Program, node: fx.Node) -> None:
    x, weight, bias, stride, padding, dilation, transposed, output_padding, groups = node.args
    rank = node.meta["val"].dim() - 2
    if transposed:
        args = (x, weight, bias, stride, padding, output_padding, groups, dilation)
        _replace(program, node, _CONV_TRANSPOSE[rank], args)
    else:
        _replace(program, node, _CONV[rank], (x, weight, bias, stride, padding, dilation, groups))


def _addmm(program: Program, node: fx.Node) -> None:
    bias, x, transposed = node.args
    is_transpose = isinstance(transposed, fx.Node) and transposed.target in (aten.t.default, aten.permute.default)
    scaled = any(node.kwargs.get(key, 1) != 1 for key in ("alpha", "beta"))
    if is_transpose and not scaled and isinstance(bias, fx.Node) and bias.meta["val"].dim() == 1:
        _replace(program, node, aten.linear.default, (x, transposed.args[0], bias))  # type: ignore[union-attr]


def _refuse_training(program: Program, node: fx.Node) -> None:
    raise UserError(
        f"the model was exported in training mode (node '{node.name}')",
        "call model.eval() before torch.export.export and save it again",
    )


_REWRITES: dict[Callable, Callable[[Program, fx.Node], None]] = {
    aten._native_batch_norm_legit_no_training.default: _batch_norm,
    aten._native_batch_norm_legit_functional.default: _refuse_training,
    aten.native_layer_norm.default: _layer_norm,
    aten.convolution.default: _convolution,
    aten.addmm.default: _addmm,
    aten.native_dropout.default: _refuse_training,
}
