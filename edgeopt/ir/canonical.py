"""One spelling for each operator, so that rules need to know one only.

torch.export leaves ``aten.linear``, ``aten.layer_norm`` and the like whole; archives that were decomposed to
core ATen spell them ``addmm``, ``native_layer_norm`` and ``convolution``. Everything here is a renaming: the
arithmetic is the same. Asserts on metadata go: tracing has proven them, and ``range_constraints`` keep them.

| found                                              | canonical                      |
|----------------------------------------------------|--------------------------------|
| ``divide``, ``special_erf`` and other aliases      | ``div``, ``erf``               |
| ``_native_batch_norm_legit_no_training`` + getitem | ``aten.batch_norm``            |
| ``native_layer_norm``, ``native_group_norm``       | ``layer_norm``, ``group_norm`` |
| ``convolution``                                    | ``conv1d/2d/3d``, transposed   |
| ``conv2d.padding`` (``valid``, ``same``)           | ``conv2d`` with numbers        |
| ``addmm``, ``mm``, ``matmul``, ``bmm`` of a weight | ``aten.linear``                |
| ``einsum`` that is a product of two matrices       | ``permute``, ``aten.matmul``   |
| ``view``, ``_unsafe_view``                         | ``aten.reshape``               |
| ``t``, ``transpose``                               | ``aten.permute``               |
| ``mul.Scalar`` and the like                        | ``mul.Tensor``                 |
| ``constant_pad_nd``, ``_softmax``                  | ``aten.pad``, ``aten.softmax`` |
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from torch import fx
from torch.fx.node import Argument

from edgeopt.errors import UserError
from edgeopt.ir.aliases import PLAIN
from edgeopt.ir.nodes import Target, aten, node_arg, node_args, rank_of, shape_of, tensor_of
from edgeopt.ir.program import Program, same_size, without_defaults
from edgeopt.ir.provenance import source_line

_CONV = {1: aten.conv1d.default, 2: aten.conv2d.default, 3: aten.conv3d.default}
_CONV_TRANSPOSE = {
    1: aten.conv_transpose1d.default,
    2: aten.conv_transpose2d.input,
    3: aten.conv_transpose3d.input,
}


def canonicalize(program: Program) -> None:
    """Rewrite the program's graph in place to canonical operators.

    Raises UserError where the model was exported in training mode.
    """
    for node in list(program.calls):
        node.target = PLAIN.get(node.target, node.target)
        if rewrite := _REWRITES.get(node.target):
            rewrite(program, node)
    for node in program.calls:
        node.args = without_defaults(node.target, node.args)


def _replace(
    program: Program, node: fx.Node, target: Target, args: tuple[Argument, ...], value: fx.Node | None = None
) -> None:
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


def _batch_norm_of_batch(program: Program, node: fx.Node) -> None:
    if (item := _first_item(node)) is not None:
        x, weight, bias, training, momentum, eps = node.args
        args = (x, weight, bias, None, None, training, momentum, eps, False)
        _replace(program, node, aten.batch_norm.default, args, item)


def _layer_norm(program: Program, node: fx.Node) -> None:
    if (item := _first_item(node)) is not None:
        _replace(program, node, aten.layer_norm.default, (*node.args, False), item)


def _convolution(program: Program, node: fx.Node) -> None:
    x, weight, bias, stride, padding, dilation, transposed, output_padding, groups = node.args
    rank = rank_of(node) - 2
    if transposed:
        args = (x, weight, bias, stride, padding, output_padding, groups, dilation)
        _replace(program, node, _CONV_TRANSPOSE[rank], args)
    else:
        _replace(program, node, _CONV[rank], (x, weight, bias, stride, padding, dilation, groups))


def _named_padding(program: Program, node: fx.Node) -> None:
    """Write ``valid`` and ``same`` out in numbers; ``same`` of an even width pads the end by one more."""
    x, weight = node_arg(node, 0), node_arg(node, 1)
    given, defaults = list(node.args[2:]), [None, [1], "valid", [1], 1]
    values: list[Any] = [*given, *defaults[len(given) :]]
    bias, stride, padding, dilation, groups = values
    kernel = shape_of(weight)[2:]
    rank = len(kernel)
    spread = list(dilation) * (rank // len(dilation))
    total = [step * (size - 1) if padding == "same" else 0 for step, size in zip(spread, kernel, strict=True)]
    if any(width % 2 for width in total):
        widths = [side for width in reversed(total) for side in (width // 2, width - width // 2)]
        x, total = program.insert(node, aten.pad.default, x, widths), [0] * rank
    halves = [width // 2 for width in total]
    strides = list(stride) * (rank // len(stride))
    _replace(program, node, _CONV[rank], (x, weight, bias, strides, halves, spread, groups))


def _group_norm(program: Program, node: fx.Node) -> None:
    if (item := _first_item(node)) is not None:
        x, weight, bias, *_, groups, eps = node.args
        _replace(program, node, aten.group_norm.default, (x, groups, weight, bias, eps, False), item)


def _transpose(program: Program, node: fx.Node) -> None:
    x = node_arg(node, 0)
    order = list(range(rank_of(x)))
    dims: Any = node.args[1:] or (0, -1)
    if order:
        first, second = dims
        order[first], order[second] = order[second], order[first]
    _replace(program, node, aten.permute.default, (x, order))


def _reshape(program: Program, node: fx.Node) -> None:
    # A view asks for strides; in a functional graph only the shape counts.
    _replace(program, node, aten.reshape.default, node.args)


def _pad(program: Program, node: fx.Node) -> None:
    x, widths, *value = node.args
    _replace(program, node, aten.pad.default, (x, widths, "constant", *value))


def _clamp(program: Program, node: fx.Node) -> None:
    """Write both bounds as floats where the result is one: ONNX has no clamp by an integer and a float."""
    x, *bounds = node.args
    if tensor_of(node).is_floating_point() and any(isinstance(bound, int) for bound in bounds):
        floats = [float(bound) if isinstance(bound, int) else bound for bound in bounds]
        _replace(program, node, aten.clamp.default, (x, *floats))


def _softmax(program: Program, node: fx.Node) -> None:
    x, axis, to_float = node.args
    if not to_float:
        _replace(program, node, aten.softmax.int, (x, axis))


def _scalar_to(target: Target) -> Callable[[Program, fx.Node], None]:
    return lambda program, node: _replace(program, node, target, node.args)


def _addmm(program: Program, node: fx.Node) -> None:
    bias, x, matrix = (node_arg(node, index) for index in range(3))
    scaled = any(node.kwargs.get(key, 1) != 1 for key in ("alpha", "beta"))
    if not scaled and shape_of(bias) == shape_of(node)[-1:]:
        _linear(program, node, x, matrix, bias)


def _matmul(program: Program, node: fx.Node) -> None:
    _linear(program, node, node_arg(node, 0), node_arg(node, 1))


def _linear(program: Program, node: fx.Node, x: fx.Node, matrix: fx.Node, bias: fx.Node | None = None) -> None:
    """Replace ``x @ matrix + bias`` where the matrix is a constant of two dimensions, perhaps repeated."""
    source = _unrepeated(matrix)
    is_transposed = source.target is aten.permute.default and source.args[1] == [1, 0]
    constant = program.constant(source.args[0] if is_transposed else source)
    if constant is None or constant.dim() != 2 or not constant.is_floating_point():
        return
    weight: Argument = source.args[0] if is_transposed else program.insert(node, aten.permute.default, source, [1, 0])
    _replace(program, node, aten.linear.default, (x, weight) if bias is None else (x, weight, bias))


def _einsum(program: Program, node: fx.Node) -> None:
    """Write ``bihd,bjhd->bhij`` and the like as a matrix product of the operands, turned where need be."""
    equation, operands = str(node.args[0]), node_args(node, 1)
    plan = _matrix_product(equation.replace(" ", "")) if len(operands) == 2 else None
    # einsum, unlike matmul, repeats an axis of size 1 that is summed over.
    if plan is None or not same_size(shape_of(operands[0])[plan[0][-1]], shape_of(operands[1])[plan[1][-2]]):
        return
    turned = [_permuted(program, node, x, order) for x, order in zip(operands, plan[:2], strict=True)]
    product = program.insert(node, aten.matmul.default, *turned)
    new = _permuted(program, node, product, plan[2])
    new.meta = dict(node.meta)
    node.replace_all_uses_with(new)
    program.graph.erase_node(node)
    _matmul(program, product)


def _matrix_product(equation: str) -> tuple[list[int], list[int], list[int]] | None:
    """Return the orders of axes of left, right and result under which an equation is a matrix product."""
    inputs, arrow, out = equation.partition("->")
    left, comma, right = inputs.partition(",")
    if not (arrow and comma) or "." in equation or any(len(set(term)) < len(term) for term in (left, right, out)):
        return None
    batch = [axis for axis in out if axis in left and axis in right]
    inner = [axis for axis in left if axis in right and axis not in out]
    rows, columns = ([axis for axis in term if axis not in [*batch, *inner]] for term in (left, right))
    # Without a batch the right operand is one matrix, which any number of rows may be multiplied by.
    if len(inner) != 1 or len(columns) != 1 or not rows or (batch and len(rows) != 1):
        return None
    made = [*batch, *rows, *columns]
    if sorted(made) != sorted(out):
        return None
    return (
        [left.index(axis) for axis in [*batch, *rows, *inner]],
        [right.index(axis) for axis in [*batch, *inner, *columns]],
        [made.index(axis) for axis in out],
    )


def _permuted(program: Program, before: fx.Node, x: fx.Node, order: list[int]) -> fx.Node:
    return x if order == sorted(order) else program.insert(before, aten.permute.default, x, order)


def _unrepeated(matrix: fx.Node) -> fx.Node:
    """Return the matrix that was expanded over leading dimensions to ``matrix``."""
    shape = shape_of(matrix)[-2:]
    while matrix.target in (aten.expand.default, aten.reshape.default):
        source = matrix.args[0]
        if not isinstance(source, fx.Node) or shape_of(source)[-2:] != shape:
            break
        matrix = source
    return matrix


def _erase(program: Program, node: fx.Node) -> None:
    program.graph.erase_node(node)


def _refuse_training(program: Program, node: fx.Node) -> None:
    raise UserError(
        f"node '{node.name}'{source_line(node)} is in training mode",
        "call model.eval() before torch.export.export, and give dropout and norms no training=True",
    )


_REWRITES: dict[Target, Callable[[Program, fx.Node], None]] = {
    aten._native_batch_norm_legit_no_training.default: _batch_norm,
    aten._native_batch_norm_legit.no_stats: _batch_norm_of_batch,
    aten._native_batch_norm_legit_functional.default: _refuse_training,
    aten.native_layer_norm.default: _layer_norm,
    aten.convolution.default: _convolution,
    aten.conv1d.padding: _named_padding,
    aten.conv2d.padding: _named_padding,
    aten.conv3d.padding: _named_padding,
    aten.native_group_norm.default: _group_norm,
    aten.addmm.default: _addmm,
    aten.mm.default: _matmul,
    aten.bmm.default: _matmul,
    aten.matmul.default: _matmul,
    aten.einsum.default: _einsum,
    aten.view.default: _reshape,
    aten._unsafe_view.default: _reshape,
    aten.t.default: _transpose,
    aten.transpose.int: _transpose,
    aten.constant_pad_nd.default: _pad,
    aten._softmax.default: _softmax,
    aten.clamp.default: _clamp,
    aten.add.Scalar: _scalar_to(aten.add.Tensor),
    aten.sub.Scalar: _scalar_to(aten.sub.Tensor),
    aten.mul.Scalar: _scalar_to(aten.mul.Tensor),
    aten.div.Scalar: _scalar_to(aten.div.Tensor),
    aten._assert_tensor_metadata.default: _erase,
    aten._assert_scalar.default: _erase,
    aten.sym_constrain_range.default: _erase,
    aten.sym_constrain_range_for_size.default: _erase,
    aten.native_dropout.default: _refuse_training,
}
