"""Fold per-channel scales and shifts, and constant factors, into neighbouring linears and convolutions.

Before => after, W a linear or convolution:

    W (gamma * norm(x) + beta) + b  =>  (W diag(gamma)) norm(x) + (b + W beta)       layer, group and RMS norm
    g * (W x + b) + c               =>  (diag(g) W) x + (g * b + c)                  LayerScale, x * c, x / c, x + c
    W (g * x + c) + b               =>  (W diag(g)) x + (b + W c)                    input scaling
    (c * q) K^T, q = W x + b        =>  ((c W) x + c b) K^T                          scaling of attention

A norm that several layers read (query, key, value) goes into all of them or none. Between the map and the layer
there may be operators that only move, select or average values, as long as the channel axis comes through whole;
a common factor also passes through a matrix product.

Not when: the constant varies along more than one axis; a weight is shared (a tied embedding would have to be
copied) or computed at run time; a value between is also read elsewhere; an activation stands between; zeros are
padded while the shift is not zero; the channels are not the same axis; the weight is 16 bits wide.

Source: Jiang et al., Pre-RMSNorm and Pre-CRMSNorm Transformers, NeurIPS 2023, appendix on absorbing the norm's
affine part; Touvron et al., Going deeper with Image Transformers, ICCV 2021, for LayerScale.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from edgeopt.folding.affine import Affine, Fold, fold_forward, into_readers, is_beside_layer
from edgeopt.folding.rule import AffineRule
from edgeopt.program import Program, redefine, same_spec, spec_of
from edgeopt.rewrite import Match, Pattern, Rewrite, Rule, arguments, op

aten = torch.ops.aten

_NORMS = (aten.layer_norm.default, aten.group_norm.default, aten.rms_norm.default)
_SUMS = (aten.add.Tensor, aten.sub.Tensor)
_FACTORS = (aten.mul.Tensor, aten.div.Tensor)


class NormIntoLayers(Rule):
    """W (gamma * norm(x) + beta) + b => (W diag(gamma)) norm(x) + (b + W beta), for all W that read the norm."""

    def pattern(self) -> Pattern:
        """Draw a norm with a scale or shift."""
        return op(*_NORMS, where=_has_affine)

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
        norm = program.insert(m.root, m.root.target, *given.values())  # type: ignore[arg-type]
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
        return op(*_SUMS, *_FACTORS, where=_is_candidate)

    def affine(self, program: Program, node: fx.Node) -> Affine | str:
        """Return the factor or summand as a map per channel."""
        left, right = node.args[:2]
        reverse = _is_constant(program, left)
        x, value = (right, left) if reverse else (left, right)
        if not same_spec(node, x):  # type: ignore[arg-type]
            return f"it also turns {spec_of(x, x.name)} into {spec_of(node, node.name)}"  # type: ignore[arg-type, union-attr]
        constant = program.constant(value)
        constant = torch.tensor(value) if constant is None else constant
        axes = [axis - constant.dim() for axis, size in enumerate(constant.shape) if size > 1]
        if len(axes) > 1:
            return f"its constant {spec_of(value, value.name)} varies along {len(axes)} axes"  # type: ignore[arg-type, union-attr]
        if reverse and node.target is aten.div.Tensor:
            return "it divides by what is computed"
        scale, shift = _scale_and_shift(node, constant.double().flatten(), reverse)
        if not (scale.isfinite().all() and shift.isfinite().all()):
            return "its constant is not finite, or zero and divided by"
        return Affine(node, x, scale, shift, axes[0] + node.meta["val"].dim() if axes else None)  # type: ignore[arg-type]


class FoldAffine(Rewrite):
    """Fold scales and shifts into neighbouring linears and convolutions."""

    name = "fold-affine"
    rules = (NormIntoLayers(), ArithmeticIntoLayer())


def _has_affine(program: Program, node: fx.Node) -> bool:
    given = arguments(node)
    return given["weight"] is not None or given.get("bias") is not None


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
    variables = [value for value in node.args[:2] if not _is_constant(program, value)]
    value = node.meta["val"]
    if len(variables) != 1 or not isinstance(value, torch.Tensor) or not value.is_floating_point():
        return False
    return is_beside_layer(node, variables[0])  # type: ignore[arg-type]


def _is_constant(program: Program, value: Any) -> bool:
    return isinstance(value, int | float) or program.constant(value) is not None


def _scale_and_shift(node: fx.Node, constant: torch.Tensor, reverse: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scale and shift of ``x op constant``, or of ``constant op x`` in ``reverse``."""
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    if node.target is aten.mul.Tensor:
        return constant, zero
    if node.target is aten.div.Tensor:
        return 1 / constant, zero
    alpha: Any = node.kwargs.get("alpha", 1)
    factor = torch.full_like(one, alpha if node.target is aten.add.Tensor else -alpha)
    return (factor, constant) if reverse else (one, constant * factor)
