"""A node of an ONNX graph as its translation sees it, and the table that translations are entered in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from edgeopt.errors import UserError, quoted

MICROSOFT = "com.microsoft"
_OTHERWISE = "write the node by other operators, for example as the model is exported to ONNX, or give the torch model"


@dataclass(frozen=True)
class Call:
    """One node: its ``name`` for messages, ``opset`` of its domain, ``attributes``, and how many ``outputs`` it has."""

    name: str
    op: str
    domain: str
    opset: int
    attributes: Mapping[str, Any]
    outputs: int

    def get(self, attribute: str, default: Any = None) -> Any:
        """Return an attribute, or the default where it is not given."""
        return self.attributes.get(attribute, default)

    def refused(self, what: str) -> UserError:
        """Return the error that says what of this node is not supported."""
        return UserError(f"node '{self.name}' ({self.op}) {what}", _OTHERWISE)

    def require(self, attribute: str, *allowed: Any) -> None:
        """Raise UserError where an attribute is given and is none of the allowed values."""
        value = self.get(attribute, allowed[0])
        if value not in allowed:
            raise self.refused(f"has {attribute} {quoted(value)}; supported: {', '.join(map(str, allowed))}")


T = TypeVar("T", bound=Callable[..., Any])
Translation = Callable[..., Any]
"""Takes the Call and its inputs (absent ones are None), and returns a value or a tuple of values."""


@dataclass(frozen=True)
class Entry:
    """A translation, and the positions of its inputs that are no tensors to it.

    Those of ``numbers`` are Python lists of numbers, which must be known; those of ``raw`` are values as they are.
    """

    translation: Translation
    numbers: tuple[int, ...] = ()
    raw: tuple[int, ...] = ()


TABLE: dict[tuple[str, str], Entry] = {}
"""Translations by domain and operator; the modules of ``edgeopt.frontend.onnx.operators`` fill it."""


def translates(
    *operators: str, domain: str = "", numbers: tuple[int, ...] = (), raw: tuple[int, ...] = ()
) -> Callable[[T], T]:
    """Enter a function into the table for these operators of ONNX."""

    def enter(function: T) -> T:
        for operator in operators:
            TABLE[domain, operator] = Entry(function, numbers, raw)
        return function

    return enter
