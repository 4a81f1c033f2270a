"""insert-qdq: mark what is computed on integers, by quantize and dequantize around it.

Before: ``y = conv(x, w, b)``, then ReLU, with calibrated ranges of ``x`` and of the ReLU's result.
After:  ``y = relu(conv(dq(q(x)), dq(w_int8), dq(b_int32)))``, and where the scheme wants integer results ``dq(q(y))``.

A target recognizes ``dq -> operator -> q`` as its integer operator; everywhere else the program computes what that
operator will, up to the rounding of its requantization.

Where the pairs stand:

* on what integer operators read, as early as possible: above reshapes, permutes and max pools, which then move
  bytes instead of floats; below an activation function that the operator before it absorbs;
* one pair for all readers of a value; the operands of a concatenation share the map of its result;
* weights are stored as int8, a scale for each output channel, biases as int32 at the accumulator's scale; where the
  scheme has a codebook, weights are its sixteen integers; where it shifts, all scales are powers of two;
* by token, where the scheme wants it, on what linears read: its scales are found as the network runs;
* where the scheme wants it, what a product of activations reads as its second operand has zero point 0, and
  constants are added as int8.

Not applied to an operator whose weight is computed at run time, whose operands were not calibrated, whose sum
broadcasts, whose sum or mean no product reads, that joins ranges too different for one map or reads what does, or that
is kept in higher precision on request.
Source: H. Wu et al., Integer Quantization for Deep Learning Inference: Principles and Empirical Evaluation, 2020.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import torch
from torch import fx

from edgeopt.ir.context import Context
from edgeopt.ir.nodes import Target, aten, node_arg
from edgeopt.ir.pass_base import INTEGER_LAYERS, Note, PassResult
from edgeopt.ir.program import Program, Range
from edgeopt.ir.rewrite import arguments
from edgeopt.ir.selective import SelectivePass
from edgeopt.ops.quantize import DEQUANTIZE, QUANTIZE
from edgeopt.ops.token_linear import ROUND_TOKENS
from edgeopt.quant import codebook
from edgeopt.quant.float4 import Element
from edgeopt.quant.pairs import for_paired_weight, to_paired_integers
from edgeopt.quant.power_of_two import to_powers
from edgeopt.quant.qparams import Affine, fitting_bias, for_activation, for_bias, for_weight, symmetric, to_integers
from edgeopt.quant.scheme import CONCATENATIONS, POOLS, PRODUCTS, SUMS, WEIGHTED, Scheme
from edgeopt.quant.sums import MOST_PRODUCTS, fitting_sums

NO_RANGE = "no range was calibrated for"
"""Beginning of the reason why an operator whose operands have no range stays in float."""
_LEAST_LEVELS = 16
"""Integers that a joined value keeps at least: four bits."""

# Ranges that follow from the function: a softmax or sigmoid in steps of 1/256, as integer kernels have it.
_FIXED: dict[Target, Range] = {
    aten.softmax.int: Range((0.0,), (255 / 256,)),
    aten.sigmoid.default: Range((0.0,), (255 / 256,)),
}


@dataclass(frozen=True)
class InsertQdq(SelectivePass):
    """Quantize the operators that ``scheme`` runs on integers, those in ``keep`` (node names) excepted."""

    name = "insert-qdq"
    kind = "calibrated"
    stage = "quantize"
    ensures = frozenset({INTEGER_LAYERS})

    scheme: Scheme

    def run(self, program: Program, context: Context) -> PassResult:
        """Quantize a copy of ``program``, whose ``ranges`` are calibrated."""
        program = program.clone()
        chosen, notes = choose(program, self.scheme, self.keep)
        _Placement(program, self.scheme, frozenset(chosen), _ranges(program, self.scheme, chosen)).place()
        program.clean()
        return PassResult(program, bool(chosen), notes)


def choose(program: Program, scheme: Scheme, keep: Collection[str] = ()) -> tuple[list[fx.Node], tuple[Note, ...]]:
    """Return the operators that will run on integers, and a note for each that could, here or elsewhere."""
    chosen, notes = [], []
    for node in program.calls:
        if (left := scheme.in_float.get(node.target)) is not None:
            notes.append(Note("run-on-integers", node.name, left))
        if node.target not in scheme.integer or is_quantized(node, scheme):
            continue
        reason = "kept in higher precision" if node.name in keep else _refusal(program, node, scheme)
        notes.append(Note("run-on-integers", node.name, reason))
        if reason is None:
            chosen.append(node)
    return chosen, tuple(notes)


def is_quantized(node: fx.Node, scheme: Scheme) -> bool:
    """Whether an operator already reads integers, possibly through moves."""
    for used in operands(node):
        if used.target is ROUND_TOKENS:
            return True
        while used.target in scheme.moves:
            used = moved_value(used)
        if used.target is DEQUANTIZE:
            return True
    return False


def operands(node: fx.Node) -> list[fx.Node]:
    """Return the activations that an integer operator reads (not its weight and bias): all but joins read the first."""
    found = arguments(node)
    if node.target in CONCATENATIONS:
        return list(found["tensors"])
    if node.target in SUMS:
        return [value for value in (found["self"], found["other"]) if isinstance(value, fx.Node)]
    if node.target in PRODUCTS:
        return [value for key, value in found.items() if key in ("self", "other", "mat2")]
    return [next(iter(found.values()))]


def tail(node: fx.Node, scheme: Scheme) -> fx.Node:
    """Return the node that an integer operator ends with: the activation function it absorbs, or itself."""
    readers = list(node.users)
    return readers[0] if len(readers) == 1 and readers[0].target in scheme.fused else node


def _refusal(program: Program, node: fx.Node, scheme: Scheme) -> str | None:
    """Return why an operator cannot run on integers, or None."""
    if node.meta["val"].dtype != torch.float32:
        return f"it computes in {node.meta['val'].dtype}"
    if node.target in WEIGHTED:
        found = arguments(node)
        bias = found["bias"]
        if program.constant(found["weight"]) is None or (bias is not None and program.constant(bias) is None):
            return "its weight or bias is computed at run time"
        if (products := found["weight"].meta["val"][0].numel()) > MOST_PRODUCTS:
            return f"the sum of its {products} products may leave 32 bits"
    if node.target in SUMS and (reason := _sum_refusal(program, node, scheme)):
        return reason
    if node.target in PRODUCTS and any(program.constant(used) is not None for used in operands(node)):
        return "it multiplies by a constant that is not a layer's weight"
    if node.target in SUMS | POOLS and _stays_float(node, scheme):
        return "no product reads its result as integers"
    if _by_token(node, scheme):
        return None
    values = [used for used in operands(node) if program.constant(used) is None]
    missing = [used.name for used in values if _range(program.ranges, used) is None]
    if missing:
        return f"{NO_RANGE} {', '.join(missing)}"
    return _join_refusal(program, node, scheme) if scheme.float_beside else None


def _join_refusal(program: Program, node: fx.Node, scheme: Scheme) -> str | None:
    """A join of ranges that differ much leaves the smaller ones few integers, wherever it is read as integers."""
    for source in (node, *operands(node)):
        while source.target in scheme.moves | scheme.fused:
            source = moved_value(source)
        joined = _range(program.ranges, source) if source.target in CONCATENATIONS else None
        for used in operands(source) if joined else ():
            found = _range(program.ranges, used)
            levels = 256 * _width(found) / _width(joined) if found and joined and _width(found) else 256
            if levels < _LEAST_LEVELS:
                return f"{used.name} would be left {levels:.1f} of 256 integers by what it is joined with"
    return None


def _width(found: Range) -> float:
    """Return how far a range of one tensor reaches, zero included."""
    return max(found.high[0], 0.0) - min(found.low[0], 0.0)


def _sum_refusal(program: Program, node: fx.Node, scheme: Scheme) -> str | None:
    """A residual connection adds two activations of one shape; anything else is cheaper in float."""
    read = operands(node)
    constants = sum(program.constant(used) is not None for used in read)
    if len(read) != 2 or constants > scheme.constant_sums:
        return "it adds a constant"
    if read[0].meta["val"].shape != read[1].meta["val"].shape:
        return "it broadcasts"
    return None if arguments(node)["alpha"] == 1 else "it scales an operand"


def _stays_float(node: fx.Node, scheme: Scheme) -> bool:
    may = not scheme.integer_results or node.target in scheme.float_results
    return may and not _feeds_integers(tail(node, scheme), scheme)


def _feeds_integers(node: fx.Node, scheme: Scheme) -> bool:
    """Whether a product reads a value, possibly through moves, pools and sums: these alone do not want integers."""
    pending, seen = [node], {node}
    while pending:
        for reader in pending.pop().users:
            if reader.target in scheme.integer and reader.target not in SUMS | POOLS:
                return True
            if reader.target in (SUMS | POOLS | scheme.moves) and (end := tail(reader, scheme)) not in seen:
                seen.add(end)
                pending.append(end)
    return False


def _by_token(node: fx.Node, scheme: Scheme) -> bool:
    return scheme.per_token and node.target is aten.linear.default


def _range(ranges: Mapping[str, Range], node: fx.Node) -> Range | None:
    return _FIXED.get(node.target) or ranges.get(node.name)


def _ranges(program: Program, scheme: Scheme, chosen: Collection[fx.Node]) -> Mapping[str, Range]:
    """Return the ranges to quantize with: the program's, of which those of second operands of products have their zero
    at integer 0 where the scheme wants it, and so have those of what they are moved from."""
    if not scheme.symmetric_products:
        return program.ranges
    ranges = dict(program.ranges)
    for node in [operands(node)[1] for node in chosen if node.target in PRODUCTS]:
        while node.target in scheme.moves:
            node = moved_value(node)
        if (found := program.ranges.get(node.name)) is not None:
            largest = max(-found.low[0], found.high[0])
            ranges[node.name] = Range((-largest * 128 / 127,), (largest,))
    return ranges


@dataclass
class _Placement:
    """The rewriting of one program: where pairs stand and which nodes read them."""

    program: Program
    scheme: Scheme
    chosen: frozenset[fx.Node]
    ranges: Mapping[str, Range]
    pairs: dict[tuple[fx.Node, Range], fx.Node] = field(default_factory=dict)
    tokens: dict[fx.Node, fx.Node] = field(default_factory=dict)

    def place(self) -> None:
        for node in [n for n in self.program.calls if n in self.chosen]:
            if _by_token(node, self.scheme):
                self._quantize_by_token(node)
                continue
            for used in dict.fromkeys(operands(node)):
                if node.target in SUMS and (values := self.program.constant(used)) is not None:
                    node.replace_input_with(used, self._constant(node, used, values, self._stored(values)))
                else:
                    self._quantize_operand(node, used)
            if node.target in WEIGHTED:
                self._quantize_constants(node)
            if self.scheme.integer_results and not _stays_float(node, self.scheme):
                self._quantize_result(node)

    def _quantize_by_token(self, node: fx.Node) -> None:
        found = arguments(node)
        source, old = found["input"], found["weight"]
        weight = self.program.constants[old.name]
        if source not in self.tokens:
            before = source.next if source.op == "call_function" else next(self.program.calls)
            self.tokens[source] = self.program.insert(before, ROUND_TOKENS, source)
        node.replace_input_with(source, self.tokens[source])
        node.replace_input_with(old, self._constant(node, old, weight, fitting_sums(for_weight(weight), weight)))

    def _quantize_operand(self, node: fx.Node, used: fx.Node) -> None:
        if node.target in CONCATENATIONS and (shared := _range(self.ranges, node)):
            if used not in self.pairs.values() or self.pairs.get((_quantized_value(used), shared)) is not used:
                node.replace_input_with(used, self._pair(used, shared))
            return
        if used.target is DEQUANTIZE:
            return
        reader, source = node, used
        moved = []
        while self._moves_integers(source):
            reader, source = source, moved_value(source)
            moved.append(reader)
        if source.target is not DEQUANTIZE:
            found = _range(self.ranges, source)
            assert found is not None
            reader.replace_input_with(source, self._pair(source, found))
        if self.scheme.integer_results:
            for move in reversed(moved):
                self._repeat_pair(move)

    def _moves_integers(self, node: fx.Node) -> bool:
        """Whether a node only moves what integer operators alone read, and its source can be quantized."""
        if node.target not in self.scheme.moves or not _keeps_zero(node):
            return False
        source = moved_value(node)
        known = source.target is DEQUANTIZE or _range(self.ranges, source) is not None
        return known and all(reader in self.chosen or self._moves_integers(reader) for reader in node.users)

    def _quantize_result(self, node: fx.Node) -> None:
        end = tail(node, self.scheme)
        readers = [reader for reader in end.users if reader.target is not QUANTIZE]
        # What only a concatenation reads takes its map at once, rather than being converted to it.
        joined = len(readers) == 1 and readers[0].target in CONCATENATIONS and readers[0] in self.chosen
        if readers and (found := _range(self.ranges, readers[0] if joined else end)) is not None:
            pair = self._pair(end, found)
            for reader in readers:
                reader.replace_input_with(end, pair)

    def _repeat_pair(self, move: fx.Node) -> None:
        """Quantize the result of a move as its source is: it changes no value and tells that bytes were moved."""
        if any(reader.target is QUANTIZE for reader in move.users):
            return
        source, readers = moved_value(move), list(move.users)
        pair = self._insert_pair(move, node_arg(source, 1), node_arg(source, 2))
        for reader in readers:
            reader.replace_input_with(move, pair)

    def _pair(self, source: fx.Node, found: Range) -> fx.Node:
        """Return the dequantized end of the pair behind ``source`` for that range."""
        if (source, found) not in self.pairs:
            spread = symmetric(found, self.scheme.activation) if self.scheme.symmetric else found
            affine = self._for_activation(spread)
            scale = self.program.add_constant(f"{source.name}_scale", affine.scale)
            zero_point = self.program.add_constant(f"{source.name}_zero_point", affine.zero_point)
            self.pairs[source, found] = self._insert_pair(source, scale, zero_point)
        return self.pairs[source, found]

    def _stored(self, values: torch.Tensor) -> Affine:
        """The map of a constant that is added to activations."""
        return self._for_activation(Range((float(values.min()),), (float(values.max()),)))

    def _for_activation(self, found: Range) -> Affine:
        affine = for_activation(found, self.scheme.activation)
        return to_powers(affine) if self.scheme.shifts else affine

    def _insert_pair(self, source: fx.Node, scale: fx.Node, zero_point: fx.Node) -> fx.Node:
        before = source.next if source.op == "call_function" else next(self.program.calls)
        q = self.program.insert(before, QUANTIZE, source, scale, zero_point, 0, self.scheme.activation)
        return self.program.insert(before, DEQUANTIZE, q, scale, zero_point, 0)

    def _quantize_constants(self, node: fx.Node) -> None:
        found = arguments(node)
        weight, bias = self.program.constants[found["weight"].name], found["bias"]
        input_scale = self._input_scale(found["input"])
        values = self.program.constants[bias.name] if bias is not None and self.scheme.integer_bias else None
        element, order = self.scheme.codebook_of(node), self.scheme.order_of(node)
        affine = for_paired_weight(weight, order) if element is None else codebook.for_weight(weight, element)
        affine = fitting_sums(affine, weight)
        affine = affine if values is None else fitting_bias(affine, values, input_scale)
        affine = to_powers(affine) if self.scheme.shifts else affine
        if values is not None:
            node.replace_input_with(bias, self._constant(node, bias, values, for_bias(input_scale, affine)))
        if element is None:
            integers = to_paired_integers(weight, affine, order)
        else:
            integers = codebook.to_integers(weight, affine, element)
        node.replace_input_with(found["weight"], self._integers(node, found["weight"], integers, affine, element))

    def _input_scale(self, node: fx.Node) -> torch.Tensor:
        while node.target is not DEQUANTIZE:
            node = moved_value(node)
        scale = self.program.constant(node.args[1])
        assert scale is not None
        return scale

    def _constant(self, node: fx.Node, old: fx.Node, values: torch.Tensor, affine: Affine) -> fx.Node:
        """Return the dequantized end of a constant stored as the integers nearest to it."""
        return self._integers(node, old, to_integers(values, affine), affine)

    def _integers(
        self, node: fx.Node, old: fx.Node, integers: torch.Tensor, affine: Affine, element: Element | None = None
    ) -> fx.Node:
        """Return the dequantized end of a constant stored as ``integers``, those of an element where one is given."""
        q = self.program.add_constant(f"{old.name}_q", integers)
        scale = self.program.add_constant(f"{old.name}_scale", affine.scale)
        zero_point = self.program.add_constant(f"{old.name}_zero_point", affine.zero_point)
        named = () if element is None else (element.name,)
        return self.program.insert(node, DEQUANTIZE, q, scale, zero_point, affine.axis, *named)


def moved_value(node: fx.Node) -> fx.Node:
    """Return what a move moves: its first argument."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    return source


def _quantized_value(pair: fx.Node) -> fx.Node:
    """Return what the pair that ends with this node quantizes."""
    return moved_value(moved_value(pair))


def _keeps_zero(node: fx.Node) -> bool:
    """Whether a move brings in no value but zero: a padding other than by zeros does."""
    if node.target is not aten.pad.default:
        return True
    found = arguments(node)
    return found["mode"] == "constant" and not found["value"]
