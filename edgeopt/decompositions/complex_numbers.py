"""Complex arithmetic in pairs of real tensors, for runtimes that have no complex numbers or compute them wrongly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.node import map_arg

from edgeopt.decompositions import fourier, spectrograms
from edgeopt.decompositions.fourier import NoMatrix, Pair
from edgeopt.decompositions.writing_out import TABLE, is_needed, replace_by
from edgeopt.errors import Placement, Unsupported
from edgeopt.ir.attribution import attribute_to
from edgeopt.ir.nodes import Target, aten, node_arg, run_node
from edgeopt.ir.program import Program, op_name
from edgeopt.ir.rewrite import arguments

_REASON = "complex numbers are computed as pairs of real ones, and this operator has no such form"
_ENDS = "complex numbers do not pass in or out: give torch.view_as_real() of them, and torch.view_as_complex() inside"


def in_pairs(program: Program, target: str) -> None:
    """Rewrite a program in place so that it has real numbers only.

    Raises Unsupported where an input or output is complex, or an operator has no form in pairs.
    """
    nodes = list(program.graph.nodes)
    if not any(_is_complex(node) or _is_complex_inside(node) for node in nodes):
        return
    ends = [(spec.name, "an input") for spec in program.inputs if spec.dtype.is_complex]
    ends += [(spec.name, "an output") for spec in program.outputs if spec.dtype.is_complex]
    if ends:
        raise Unsupported(target, [Placement(name, kind, _ENDS) for name, kind in ends])
    _expand(program)
    placements = _Pairs(program).rewrite()
    if placements:
        raise Unsupported(target, placements)
    program.clean()


def _is_complex(node: object) -> bool:
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    return isinstance(value, torch.Tensor) and value.dtype.is_complex


def _touches(node: fx.Node) -> bool:
    return _is_complex_inside(node) or _is_complex(node) or any(map(_is_complex, node.all_input_nodes))


def _is_complex_inside(node: fx.Node) -> bool:
    """Return whether a node transforms a spectrum that may be given as real numbers to real numbers."""
    return getattr(node.target, "overloadpacket", None) in _TO_REAL


_TO_REAL = frozenset((aten.fft_hfft, aten.fft_hfft2, aten.fft_hfftn, aten.fft_irfft, aten.fft_irfft2, aten.fft_irfftn))


# What torch composes by is written in place, and read under the name of the call alone.
_OUT_OF_PLACE = {aten.transpose_.default: aten.transpose.int, aten.mul_.Tensor: aten.mul.Tensor}


def _expand(program: Program) -> None:
    """Write operators that torch composes of others (``fft_rfft2``, ``stft``) by those."""
    for node in [node for node in program.calls if _touches(node) and is_needed(program, node)]:
        replace_by(program, node, TABLE[node.target].write)
    for node in list(program.calls):
        target = node.target
        if not (_touches(node) and isinstance(target, torch._ops.OpOverload) and target._can_decompose()):
            continue
        sources = node.all_input_nodes

        def call(*values: Any, node: fx.Node = node, sources: list[fx.Node] = sources) -> Any:
            read = dict(zip(sources, values, strict=True)).__getitem__
            return run_node(node, read) if node.target not in _WRITTEN else _written(node, read)

        with program.fake_mode:
            traced = make_fx(call)(*(source.meta["val"] for source in sources)).graph
        copies = dict(zip(traced.find_nodes(op="placeholder"), sources, strict=True))
        for inner in traced.nodes:
            if inner.op == "call_function":
                args, kwargs = map_arg((inner.args, inner.kwargs), copies.__getitem__)
                copies[inner] = program.insert(node, _OUT_OF_PLACE.get(inner.target, inner.target), *args, **kwargs)
                attribute_to(copies[inner], node.name)
        node.replace_all_uses_with(copies[next(iter(traced.find_nodes(op="output"))).args[0]])
        program.graph.erase_node(node)


_WRITTEN: dict[Target, Callable[..., torch.Tensor]] = {aten.istft.default: spectrograms.inverse}
"""What torch composes by asking for values that are not known before it runs."""


def _written(node: fx.Node, read: Callable[[fx.Node], Any]) -> Any:
    *given, returns_complex = map_arg(arguments(node), read).values()
    if returns_complex:
        return run_node(node, read)
    return _WRITTEN[node.target](*given)


# What computes both parts alike, of arguments that are complex, or lists of such.
_MOVES = frozenset(
    getattr(aten, name)
    for names in (
        ("reshape", "view", "_unsafe_view", "permute", "transpose", "t", "expand", "squeeze", "unsqueeze", "flatten"),
        ("slice", "select", "index_select", "gather", "index", "flip", "roll", "cat", "stack", "clone", "repeat"),
        ("contiguous", "alias", "detach", "neg", "sum", "mean", "constant_pad_nd", "lift_fresh_copy"),
    )
    for name in names
)


class _NoForm(Exception):
    """An operator has no form in pairs."""


class _Pairs:
    """The rewriting of one program: the parts of its complex nodes."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._parts: dict[fx.Node, Pair] = {}

    def rewrite(self) -> list[Placement]:
        """Rewrite all nodes; return the first that has no form in pairs."""
        for node in list(self._program.graph.nodes):
            if node.op == "placeholder" and _is_complex(node):
                self._parts[node] = self._split(self._program.constants[node.name])
            elif node.op == "call_function" and _touches(node):
                try:
                    result = self._result(node)
                except (NoMatrix, _NoForm) as error:
                    return [Placement(node.name, op_name(node), str(error) or _REASON)]
                if isinstance(result, tuple):
                    self._parts[node] = result
                else:
                    node.replace_all_uses_with(result)
        for node in reversed(list(self._program.calls)):
            if _touches(node):
                self._program.graph.erase_node(node)
        return []

    def _split(self, tensor: torch.Tensor) -> Pair:
        real, imaginary = tensor.resolve_conj().real.clone(), tensor.resolve_conj().imag.clone()
        return self._program.add_constant("real", real), self._program.add_constant("imaginary", imaginary)

    def _result(self, node: fx.Node) -> Pair | fx.Node:
        packet = getattr(node.target, "overloadpacket", None)
        insert = self._inserter(node)
        if packet in _MOVES:
            return self._of_each(node, insert)
        if rule := _RULES.get(packet):
            result: Pair | fx.Node = rule(insert, *map(self._operand, node.args), **node.kwargs)
            return result
        if packet is aten._fft_c2c:
            return fourier.of_complex(self._program, node, self._parts[node_arg(node, 0)])
        if packet is aten._fft_r2c:
            return fourier.of_real(self._program, node, node_arg(node, 0))
        if packet is aten._fft_c2r:
            return fourier.to_real(self._program, node, self._parts[node_arg(node, 0)])
        raise _NoForm

    def _inserter(self, node: fx.Node) -> Insert:
        def insert(target: Target, *args: Any, **kwargs: Any) -> fx.Node:
            new = self._program.insert(node, target, *args, **kwargs)
            attribute_to(new, node.name)
            return new

        return insert

    def _of_each(self, node: fx.Node, insert: Insert) -> Pair:
        halves, has_indices = [], getattr(node.target, "overloadpacket", None) in _INDEXED
        for part in (0, 1):

            def half(source: fx.Node, part: int = part) -> fx.Node:
                if source in self._parts:
                    return self._parts[source][part]
                is_index = has_indices and source is not node.args[0]
                return source if part == 0 or is_index else insert(aten.zeros_like.default, source)

            args, kwargs = map_arg((node.args, node.kwargs), half)
            halves.append(insert(node.target, *args, **kwargs))
        return halves[0], halves[1]

    def _operand(self, argument: Any) -> Any:
        """Return the parts of a complex node or number, and anything else as it is."""
        if isinstance(argument, fx.Node):
            return self._parts.get(argument, argument)
        return (argument.real, argument.imag) if isinstance(argument, complex) else argument


# -- rules: parts of the operands to parts of the result, or to a real node -------------------------------------------

Insert = Callable[..., fx.Node]
_INDEXED = frozenset((aten.index_select, aten.gather, aten.index))


def _plus(insert: Insert, a: Any, b: Any) -> Any:
    if isinstance(a, fx.Node) or isinstance(b, fx.Node):
        return insert(aten.add.Tensor, *((a, b) if isinstance(a, fx.Node) else (b, a)))
    return a + b


def _times(insert: Insert, a: Any, b: Any) -> Any:
    if isinstance(a, fx.Node) or isinstance(b, fx.Node):
        return insert(aten.mul.Tensor, *((a, b) if isinstance(a, fx.Node) else (b, a)))
    return a * b


def _minus(insert: Insert, a: Any, b: Any) -> Any:
    return insert(aten.sub.Tensor, a, b) if isinstance(a, fx.Node) else _plus(insert, _times(insert, b, -1), a)


def _add(insert: Insert, a: Any, b: Any, alpha: Any = 1) -> Pair:
    if alpha != 1:
        b = _mul(insert, b, alpha)
    (ar, ai), (br, bi) = _pair(insert, a, b), _pair(insert, b, a)
    return _plus(insert, ar, br), _plus(insert, ai, bi)


def _sub(insert: Insert, a: Any, b: Any, alpha: Any = 1) -> Pair:
    return _add(insert, a, b, alpha=-alpha)


def _pair(insert: Insert, value: Any, other: Any) -> tuple[Any, Any]:
    """Return the parts of an operand: a real tensor's imaginary part is zero."""
    if isinstance(value, tuple):
        return value
    return value, insert(aten.zeros_like.default, value) if isinstance(value, fx.Node) else 0


def _mul(insert: Insert, a: Any, b: Any) -> Any:
    if not isinstance(a, tuple) and not isinstance(b, tuple):
        return _times(insert, a, b)
    if not isinstance(a, tuple) or not isinstance(b, tuple):
        (real, imaginary), factor = (a, b) if isinstance(a, tuple) else (b, a)
        return _times(insert, real, factor), _times(insert, imaginary, factor)
    (ar, ai), (br, bi) = a, b
    real = _minus(insert, _times(insert, ar, br), _times(insert, ai, bi))
    return real, _plus(insert, _times(insert, ar, bi), _times(insert, ai, br))


def _div(insert: Insert, a: Any, b: Any) -> Any:
    if not isinstance(b, tuple):
        return tuple(insert(aten.div.Tensor, part, b) for part in a)
    (br, bi) = b
    norm = _plus(insert, _times(insert, br, br), _times(insert, bi, bi))
    real, imaginary = _mul(insert, a, (br, _times(insert, bi, -1)))
    return insert(aten.div.Tensor, real, norm), insert(aten.div.Tensor, imaginary, norm)


def _matmul(insert: Insert, a: Any, b: Any) -> Pair:
    (ar, ai), (br, bi) = _pair(insert, a, b), _pair(insert, b, a)
    (rr, ii), (ri, ir) = (
        [insert(aten.matmul.default, x, y) for x, y in products]
        for products in (((ar, br), (ai, bi)), ((ar, bi), (ai, br)))
    )
    return insert(aten.sub.Tensor, rr, ii), insert(aten.add.Tensor, ri, ir)


def _abs(insert: Insert, a: Pair) -> fx.Node:
    return insert(aten.sqrt.default, _plus(insert, *(_times(insert, part, part) for part in a)))


def _polar(insert: Insert, length: fx.Node, angle: fx.Node) -> Pair:
    cosine, sine = insert(aten.cos.default, angle), insert(aten.sin.default, angle)
    return insert(aten.mul.Tensor, length, cosine), insert(aten.mul.Tensor, length, sine)


def _conjugate(insert: Insert, a: Pair) -> Pair:
    return a[0], insert(aten.neg.default, a[1])


def _angle(insert: Insert, a: Pair) -> fx.Node:
    """Of a conjugate it is turned last: runtimes negate the weights of a product before, which loses the sign of 0."""
    real, imaginary = a
    source = imaginary
    while source.target is aten.clone.default:
        source = node_arg(source, 0)
    if source.target is not aten.neg.default:
        return insert(aten.atan2.default, imaginary, real)
    return insert(aten.neg.default, insert(aten.atan2.default, source.args[0], real))


def _exp(insert: Insert, a: Pair) -> Pair:
    return _polar(insert, insert(aten.exp.default, a[0]), a[1])


def _to_complex(insert: Insert, a: Any, *args: Any, **kwargs: Any) -> Pair:
    """A cast between complex types, or from a real one."""
    dtype = kwargs.get("dtype", args[0] if args else torch.complex64)
    if not isinstance(dtype, torch.dtype) or not dtype.is_complex:
        raise _NoForm
    real, imaginary = (insert(aten.to.dtype, part, dtype.to_real()) for part in _pair(insert, a, None))
    return real, imaginary


_RULES: dict[Any, Callable[..., Any]] = {
    aten.view_as_complex: lambda insert, a: (insert(aten.select.int, a, -1, 0), insert(aten.select.int, a, -1, 1)),
    aten.view_as_real: lambda insert, a: insert(aten.stack.default, list(a), -1),
    aten.complex: lambda insert, real, imaginary: (real, imaginary),
    aten.polar: _polar,
    aten.real: lambda insert, a: a[0],
    aten.imag: lambda insert, a: a[1],
    aten.abs: _abs,
    aten.angle: _angle,
    aten.add: _add,
    aten.sub: _sub,
    aten.mul: _mul,
    aten.div: _div,
    aten.matmul: _matmul,
    aten.mm: _matmul,
    aten.bmm: _matmul,
    aten.exp: _exp,
    aten.to: _to_complex,
    aten._to_copy: _to_complex,
    **dict.fromkeys((aten._conj, aten.conj, aten.conj_physical), _conjugate),
    **dict.fromkeys((aten.resolve_conj, aten.resolve_neg), lambda insert, a: a),
}
