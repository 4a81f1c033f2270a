"""Fold per-channel scales and shifts, and constant factors, into neighboring linears and convolutions.

Before => after, W a linear or convolution:

    W (gamma * norm(x) + beta) + b  =>  (W diag(gamma)) norm(x) + (b + W beta)       layer, group and RMS norm
    g * (W x + b) + c               =>  (diag(g) W) x + (g * b + c)                  LayerScale, x * c, x / c, x + c
    W (g * x + c) + b               =>  (W diag(g)) x + (b + W c)                    input scaling, UN, DyT, BHyT
    W (BN(x) + alpha * x) + b       =>  (W diag(a + alpha)) x + (b + W s)            RepBN; PRepBN at lambda 0
    W pad(g * x + c) + b            =>  (W diag(g)) pad(x + c / g) + b               zeros padded: the shift stays
    g * (gamma * norm(x) + beta) + c  =>  (g * gamma) * norm(x) + (g * beta + c)     where no layer can take g and c
    (c * q) K^T, q = W x + b        =>  ((c W) x + c b) K^T                          scaling of attention

Sums and products in a row, and sums of two maps of one value, are taken together; a product with zeros, as PRepBN's
LayerNorm at lambda 0, is left out. A norm that several layers read (query, key, value) goes into all of them or none.
Between the map and the layer there may be operators that only move, select or average values, as long as the channel
axis comes through whole; a common factor also passes through a matrix product.

Not when: the constant varies along more than one axis; a weight is shared (a tied embedding would have to be
copied) or computed at run time; a value between is also read elsewhere; an activation stands between; zeros are
padded after a norm with a shift, which the norm computes at no cost; a channel whose scale is zero has a shift and
zeros are padded; PRepBN is in mid-schedule; the channels are not the same axis; the weight is 16 bits wide.

Source: Guo et al., SLAB, ICML 2024, for RepBN; Yang et al., Unified Normalization, ACM MM 2022; Jiang et al.,
Pre-RMSNorm and Pre-CRMSNorm Transformers, NeurIPS 2023, appendix on absorbing the norm's affine part; Touvron et al.,
Going deeper with Image Transformers, ICCV 2021, for LayerScale.
"""

from __future__ import annotations

import torch
from torch import fx

from edgeopt.analysis.affine_folds import Affine, Fold, fold_forward, into_readers, is_beside_layer
from edgeopt.analysis.affine_maps import compose, variables
from edgeopt.analysis.layers import describe
from edgeopt.ir.nodes import aten
from edgeopt.ir.pass_base import AFFINE_FOLDED
from edgeopt.ir.program import Program, dtype_name, origin, redefine
from edgeopt.ir.rewrite import Match, Pattern, Rewrite, Rule, arguments, op
from edgeopt.ops.opsets import FACTORS, LAST_AXIS_NORMS, NORMS, SUMS
from edgeopt.passes.exact.affine_rule import AffineRule


class NormIntoLayers(Rule):
    """W (gamma * norm(x) + beta) + b => (W diag(gamma)) norm(x) + (b + W beta), for all W that read the norm."""

    def pattern(self) -> Pattern:
        """Draw a norm with a scale or shift."""
        return op(*NORMS, where=_has_affine)

    def check(self, program: Program, m: Match) -> str | None:
        """Refuse where a reader cannot take the scale and shift."""
        found = self._plan(program, m.root)
        return found if isinstance(found, str) else None

    def rewrite(self, program: Program, m: Match) -> fx.Node:
        """Fold, and keep the norm without scale and shift."""
        found = self._plan(program, m.root)
        assert not isinstance(found, str)
        fold_forward(program, *found)
        given = arguments(m.root)
        given.update({name: None for name in ("weight", "bias") if name in given})
        norm = program.insert(m.root, m.root.target, *given.values())
        norm.meta["origin"] = origin(m.root)
        redefine(norm)
        return norm

    def _plan(self, program: Program, norm: fx.Node) -> tuple[Affine, Fold] | str:
        affine = _norm_affine(program, norm)
        if isinstance(affine, str):
            return affine
        fold = into_readers(program, affine)
        return fold if isinstance(fold, str) else (affine, fold)


class ArithmeticIntoLayer(AffineRule):
    """g * (W x + b) + c => (diag(g) W) x + (g * b + c), or W (g * x + c) + b => (W diag(g)) x + (b + W c)."""

    def pattern(self) -> Pattern:
        """Draw a sum, difference, product or quotient of a layer's input or output with a constant."""
        return op(*SUMS, *FACTORS, where=_is_candidate)

    def affine(self, program: Program, node: fx.Node) -> Affine | str:
        """Return what the root, with the arithmetic before it, computes of one value."""
        return compose(program, node)


class ArithmeticIntoNorm(Rule):
    """g * (gamma * norm(x) + beta) + c => (g * gamma) * norm(x) + (g * beta + c), where no layer can take g and c."""

    allows_sharing = True

    def pattern(self) -> Pattern:
        """Draw arithmetic on a layer or RMS norm that nothing else reads."""
        return op(*SUMS, *FACTORS, where=lambda program, node: _after_norm(program, node) is not None)

    def check(self, program: Program, m: Match) -> str | None:
        """Refuse a shift that an RMS norm has no place for, and constants along another axis."""
        found = _after_norm(program, m.root)
        assert found is not None
        own = _norm_affine(program, found.x)
        if isinstance(own, str):
            return own
        if (dtype := m.root.meta["val"].dtype) not in (torch.float32, torch.float64):
            return f"{describe(found.x)} is {dtype_name(dtype)}, which would round the product"
        if found.axis not in (None, own.axis):
            return f"its constant varies along axis {found.axis}, the channels are axis {own.axis}"
        return f"{describe(found.x)} has no shift" if found.shifts and found.x.target is aten.rms_norm.default else None

    def rewrite(self, program: Program, m: Match) -> fx.Node:
        """Insert the norm with the scale and shift of both."""
        found = _after_norm(program, m.root)
        own = None if found is None else _norm_affine(program, found.x)
        assert isinstance(found, Affine) and isinstance(own, Affine)
        given, like = arguments(found.x), m.root.meta["val"]
        shape = given["normalized_shape"]
        scale = (found.scale * own.scale).expand(shape).to(like.dtype).contiguous()
        given["weight"] = program.add_constant(f"{found.x.name}_weight", scale)
        if "bias" in given:
            shift = (found.scale * own.shift + found.shift).expand(shape).to(like.dtype).contiguous()
            given["bias"] = program.add_constant(f"{found.x.name}_bias", shift)
        return program.insert(m.root, found.x.target, *given.values())


class FoldAffine(Rewrite):
    """Fold scales and shifts into neighboring linears and convolutions."""

    name = "fold-affine"
    ensures = frozenset({AFFINE_FOLDED})
    rules = (NormIntoLayers(), ArithmeticIntoLayer(), ArithmeticIntoNorm())


def _has_affine(program: Program, node: fx.Node) -> bool:
    given = arguments(node)
    return given["weight"] is not None or given.get("bias") is not None


def _after_norm(program: Program, node: fx.Node) -> Affine | None:
    """Return what a node, with the arithmetic before it, makes of a norm that it alone reads."""
    found = compose(program, node)
    if isinstance(found, str) or found.x.target not in LAST_AXIS_NORMS:
        return None
    inside = found.interior | {node}
    if not found.scale.any():  # the end of a blend: the sum it stands in leaves the norm out
        return None
    return found if all(inside.issuperset(part.users) for part in (found.x, *found.interior)) else None


def _norm_affine(program: Program, norm: fx.Node) -> Affine | str:
    given = arguments(norm)
    tensors = {name: program.constant(given.get(name)) for name in ("weight", "bias")}
    if computed := [name for name, tensor in tensors.items() if tensor is None and given.get(name) is not None]:
        return f"its {' and '.join(computed)} are computed at run time"
    shape = given.get("normalized_shape", [0])
    if len(shape) > 1:
        return f"its scale and shift vary along {len(shape)} axes"
    scale, shift = tensors["weight"], tensors["bias"]
    axis = norm.meta["val"].dim() - 1 if "normalized_shape" in given else 1
    scale = torch.ones(1) if scale is None else scale
    shift = torch.zeros(1) if shift is None else shift
    return Affine(norm, given["input"], scale.double(), shift.double(), axis)


def _is_candidate(program: Program, node: fx.Node) -> bool:
    value = node.meta["val"]
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        return False
    found, operands = compose(program, node), variables(program, node)
    if isinstance(found, str):
        return len(operands) == 1 and is_beside_layer(node, operands[0])
    return is_beside_layer(node, found.x)
