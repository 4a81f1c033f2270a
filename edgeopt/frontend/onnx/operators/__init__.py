"""Translations of ONNX's operators to torch, one file a family; importing them enters them into the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeopt.frontend.onnx.call import TABLE, Call
from edgeopt.frontend.onnx.operators import (  # noqa: F401
    attention,
    convolution,
    elementwise,
    indexing,
    matrices,
    normalization,
    pooling,
    quantization,
    recurrent,
    reductions,
    resizing,
    shapes,
)
from edgeopt.frontend.onnx.values import Known, Value, tensor


def is_known(domain: str, operator: str) -> bool:
    """Return whether an operator has a translation."""
    return (domain, operator) in TABLE


def translate(call: Call, values: Sequence[Value | None]) -> Any:
    """Return what torch computes for a node: a value or a tuple of values.

    Raises UserError where what must be known, such as a shape, is computed of the model's data.
    """
    entry = TABLE[call.domain, call.op]
    given: list[Any] = []
    for place, value in enumerate(values):
        if value is None or place in entry.raw:
            given.append(value)
        elif place in entry.numbers:
            given.append(_numbers(call, place, value))
        else:
            given.append(tensor(value))
    return entry.translation(call, *given)


def _numbers(call: Call, place: int, value: Value) -> list[Any]:
    if not isinstance(value, Known):
        raise call.refused(f"reads input {place}, sizes or places, of the model's data")
    numbers: list[Any] = value.array.reshape(-1).tolist()
    return numbers
