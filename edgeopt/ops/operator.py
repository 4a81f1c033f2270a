"""The descriptor of an operator: all that edgeopt knows of it, told once in the operator's own file.

Schema, torch implementation and shape rule are torch's own to keep: ``torch.library.custom_op`` and ``register_fake``.
What stands here is what torch has no place for. A package of its own registers operators in the same way, names each in
the entry-point group ``edgeopt.operators`` and brings their kernels; see ``samples/third_party_operator``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from edgeopt.errors import UserError
from edgeopt.ops.scripting import Function

Arguments = dict[str, Any]
"""An operator's arguments by name, tensors as their shapes; ``result`` is the shape of what it returns."""


@dataclass(frozen=True)
class Operator:
    """What edgeopt knows of an operator that torch does not.

    ``name``: the schema's, such as ``edgeopt::quantize``; the default overload is meant.
    ``onnx``: imports onnxscript and returns a function of the operator's arguments, either an onnxscript function in
    the domain ``edgeopt`` (kept as a model-local function, so that a native kernel can take its place) or a plain one
    that emits standard operators. None where ONNX has no translation.
    ``reference``: the operator in torch's own operators, for compilers that take no others; arguments are the schema's.
    ``macs``: multiply-accumulates, the products of matrices and the convolutions that define the operator; None: none.
    ``is_discontinuous``: it decides by signs or hashes, so that a rounding error may move its result by a whole step.
    ``stored_weight``: the argument that is a weight in the form in which it is stored. What the operator computes of
    constants alone is then the weight in a wider form, which no pass may put in the constants' place.
    ``kernels``: by a target's name, what makes the operator run there by a kernel that its package brings; the target's
    documentation says what that is.
    """

    name: str
    onnx: Callable[[], Function] | None = None
    reference: Callable[..., Any] | None = None
    macs: Callable[[Arguments], int] | None = None
    is_discontinuous: bool = False
    stored_weight: str | None = None
    kernels: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def namespace(self) -> str:
        """The first half of its name, which all operators of one package share."""
        return self.name.split("::")[0]

    @property
    def overload(self) -> torch._ops.OpOverload:
        """The operator as graphs call it; raises AttributeError where torch does not know it."""
        namespace, name = self.name.split("::")
        overload: torch._ops.OpOverload = getattr(getattr(torch.ops, namespace), name).default
        return overload


OPERATORS: dict[str, Operator] = {}
"""All operators by name; filled by ``register``."""


def register(operator: Operator) -> Operator:
    """Make an operator known, and return it.

    Raises UserError where its name is taken, ValueError where torch does not know it and where ``stored_weight`` is not
    an argument of its schema.
    """
    if operator.name in OPERATORS:
        raise UserError(f"operator '{operator.name}' is defined twice", "uninstall one of the packages that define it")
    try:
        schema = operator.overload._schema
    except (AttributeError, ValueError):
        raise ValueError(f"torch has no operator '{operator.name}': define it before it is registered") from None
    names = [argument.name for argument in schema.arguments]
    if operator.stored_weight is not None and operator.stored_weight not in names:
        raise ValueError(f"operator '{operator.name}' has no argument '{operator.stored_weight}': {', '.join(names)}")
    OPERATORS[operator.name] = operator
    return operator


def operator_of(target: object) -> Operator | None:
    """Return the descriptor of what a node calls, None where it is not a registered operator."""
    return OPERATORS.get(target._schema.name) if isinstance(target, torch._ops.OpOverload) else None


def kernel_for(target: str, called: object) -> Any:
    """Return what the operator that a node calls brings for a target; None where it brings nothing."""
    operator = operator_of(called)
    return None if operator is None else operator.kernels.get(target)


def onnx_functions() -> dict[str, Callable[[], Function]]:
    """Return what operators are in ONNX, by name."""
    return {name: operator.onnx for name, operator in OPERATORS.items() if operator.onnx is not None}
