"""What stands where a transformer norms or scales its channels, by the name the field gives it.

    LayerNorm, RMSNorm   see ``norms``; perhaps with a factor behind them (LayerNorm scaling, 1 / sqrt(depth))
    BatchNorm            gamma * (x - mean) / sqrt(var + eps) + beta, with stored statistics
    RepBN                BatchNorm(x) + alpha * x
    PRepBN               lambda * LayerNorm(x) + (1 - lambda) * RepBN(x), in mid-schedule; at its end it is RepBN
    UN                   a * x + s, as Unified Normalization is in evaluation, and a norm replaced by numbers
    LayerScale           a * x, of a layer's result, before it is added to the stream
    DyT                  gamma * tanh(alpha * x) + beta
    BHyT                 gamma * tanh(k * x / sqrt(mean(x^2) + eps)), the mean perhaps taken from another norm

Looked for in a program whose constants are folded.

Sources: Guo et al., SLAB, ICML 2024 (RepBN, PRepBN); Yang et al., Unified Normalization, ACM MM 2022; Touvron et al.,
Going deeper with Image Transformers, ICCV 2021 (LayerScale); Zhu et al., Transformers without Normalization, CVPR 2025
(DyT); Sun et al., The Curse of Depth in Large Language Models, 2025 (LayerNorm scaling).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import fx

from edgeopt.analysis.affine_folds import Affine
from edgeopt.analysis.affine_maps import compose, variables
from edgeopt.analysis.channels import moves
from edgeopt.analysis.layers import is_layer
from edgeopt.analysis.norms import Norm, find_norms, take_constant
from edgeopt.analysis.walk import before_moves, number, only_reader, readers, source
from edgeopt.ir.nodes import aten, node_arg
from edgeopt.ir.program import Program
from edgeopt.ops.opsets import FACTORS, SUMS

_NAMES = {"layer": "LayerNorm", "rms": "RMSNorm"}


@dataclass(frozen=True)
class Normalizer:
    """One of the forms, whose result is ``root``. ``parts`` are the nodes it is written with, ``root`` among them;
    ``detail`` tells what its form leaves open."""

    form: str
    root: fx.Node
    input: fx.Node
    parts: frozenset[fx.Node]
    detail: str = ""

    @property
    def channels(self) -> int | str:
        """Size of the last axis, which is that of the channels of tokens."""
        size = self.root.meta["val"].shape[-1]
        return size if isinstance(size, int) else str(size)


def find_normalizers(program: Program) -> tuple[Normalizer, ...]:
    """Return the normalizers of a program in execution order, none of them part of another."""
    norms = find_norms(program)
    candidates = [*_bounded(program, norms), *_blends(program, norms)]
    candidates += [_norm(program, norm) for norm in norms] + list(_maps(program))
    found: list[Normalizer] = []
    for candidate in candidates:
        if not any(candidate.root in larger.parts for larger in found):
            found.append(candidate)
    place = {node: index for index, node in enumerate(program.graph.nodes)}
    return tuple(sorted(found, key=lambda one: place[one.root]))


def _norm(program: Program, norm: Norm) -> Normalizer:
    detail = [] if norm.is_fused else ["written out"]
    reader = only_reader(norm.root)
    parts = norm.interior
    if reader is not None and (factor := _factor(program, reader)) is not None:
        parts, detail = parts | {reader}, [*detail, f"times {factor[0]:.4g}"]
    return Normalizer(_NAMES[norm.kind], norm.root, norm.input, parts, ", ".join(detail))


# -- blends and maps -----------------------------------------------------------------------------------


def _blends(program: Program, norms: Sequence[Norm]) -> Iterator[Normalizer]:
    """Yield lambda * norm(x) + affine(x)."""
    by_root = {norm.root: norm for norm in norms}
    for node in program.calls:
        if node.target is not aten.add.Tensor or not _is_sum_of_two(program, node):
            continue
        first, second = node_arg(node, 0), node_arg(node, 1)
        for one, other in ((first, second), (second, first)):
            factor, value = _factor(program, one) or (1.0, one)
            rest, norm = compose(program, other), by_root.get(value)
            if norm is None or isinstance(rest, str) or not _batch_norms(rest):
                continue
            if before_moves(rest.x) is before_moves(norm.input):
                parts = norm.interior | rest.interior | {one, other, node}
                yield Normalizer("PRepBN", node, norm.input, parts, f"lambda {factor:.4g} on its {_NAMES[norm.kind]}")


def _maps(program: Program) -> Iterator[Normalizer]:
    """Yield the maps a * x + s that no larger one contains."""
    maps = [found for node in program.calls if isinstance(found := compose(program, node), Affine)]
    inner = {part for affine in maps for part in affine.interior}
    for affine in maps:
        if affine.node not in inner and (form := _form_of_map(program, affine)) is not None:
            yield Normalizer(form, affine.node, affine.x, affine.interior | {affine.node})


def _form_of_map(program: Program, affine: Affine) -> str | None:
    if _batch_norms(affine):
        parts = affine.interior | {affine.node}
        return "RepBN" if any(_is_sum_of_two(program, part) for part in parts) else "BatchNorm"
    if affine.scale.numel() == 1 or affine.x.op == "placeholder":
        return None
    made = before_moves(affine.x)
    reader = only_reader(affine.node)
    if made is not None and is_layer(made) and reader is not None and _is_sum_of_two(program, reader):
        return "LayerScale"
    stands_on_sum = made is not None and _is_sum_of_two(program, made)
    return "UN" if stands_on_sum or _only_layers_read(affine.node) else None


def _batch_norms(affine: Affine) -> list[fx.Node]:
    return [part for part in affine.interior | {affine.node} if part.target is aten.batch_norm.default]


def _is_sum_of_two(program: Program, node: fx.Node) -> bool:
    return node.target in SUMS and len(variables(program, node)) == 2


def _only_layers_read(node: fx.Node) -> bool:
    found = list(readers(node))
    return bool(found) and all(is_layer(r) or (moves(r) and _only_layers_read(r)) for r in found)


# -- bounded -------------------------------------------------------------------------------------------


def _bounded(program: Program, norms: Sequence[Norm]) -> Iterator[Normalizer]:
    """Yield a tanh with a scale per channel behind it, before which stands a factor, or a factor and an RMSNorm."""
    by_root = {norm.root: norm for norm in norms if norm.kind == "rms" and norm.weight is None}
    for tanh in (node for node in program.calls if node.target is aten.tanh.default):
        channels = tanh.meta["val"].shape[-1]
        scaled, weight = take_constant(program, tanh, aten.mul.Tensor, channels)
        if weight is None:
            continue
        root, _ = take_constant(program, scaled, aten.add.Tensor, channels)
        parts, node = {tanh, scaled, root}, source(tanh.args[0])
        while node is not None and (factor := _factor(program, node)) is not None:
            parts.add(node)
            node = source(factor[1])
        if node in by_root:
            yield Normalizer("BHyT", root, by_root[node].input, frozenset(parts) | by_root[node].interior)
        elif node is not None and (x := _over_a_spread(node)) is not None:
            yield Normalizer("BHyT", root, x, frozenset(parts) | {node}, "by the spread of another norm")
        elif node is not None and len(parts) > len({tanh, scaled, root}):
            yield Normalizer("DyT", root, node, frozenset(parts))


def _over_a_spread(node: fx.Node) -> fx.Node | None:
    """Return x where the node multiplies or divides x by one number a token."""
    if node.target not in FACTORS:
        return None
    for x, by in (node.args[:2], node.args[1::-1]):
        if isinstance(x, fx.Node) and isinstance(by, fx.Node) and tuple(by.meta["val"].shape[-1:]) == (1,):
            return x if tuple(x.meta["val"].shape[-1:]) != (1,) else None
    return None


def _factor(program: Program, node: object) -> tuple[float, fx.Node] | None:
    """Return c and x where the node is c * x or x / c, with one number c."""
    if not isinstance(node, fx.Node) or node.target not in FACTORS:
        return None
    for value, by in (node.args[:2], node.args[1::-1]):
        factor = number(program, by)
        if factor is not None and isinstance(value, fx.Node):
            if node.target is aten.mul.Tensor:
                return factor, value
            return (1 / factor, value) if value is node.args[0] and factor else None
    return None
