"""Where a call stands in the library, and what it is printed as."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from edgeopt.kernels.mcu.reference import Clamp, Window
from edgeopt.targets.mcu.graph.tensor import Tensor


@dataclass(frozen=True)
class Printed:
    """A node in C: constant tables, and the arguments of each call of its kernel."""

    tables: Sequence[str]
    calls: Sequence[Sequence[str]]


class Site(ABC):
    """Place ``index`` of the library, where a call sees ``x`` of its first operand and ``y`` of its output.

    ``table`` is the name of what the codes of its weights are looked up in.
    """

    def __init__(self, index: int, x: Tensor, y: Tensor, table: str | None) -> None:
        self.index, self.x, self.y, self.table = index, x, y, table

    @abstractmethod
    def at(self, tensor: str) -> str:
        """Pointer to a tensor."""

    @property
    @abstractmethod
    def scratch(self) -> str:
        """Pointer to the scratch of the call."""

    @property
    def rows(self) -> str:
        """Number of positions of the first operand."""
        return str(self.x.shape[0] * self.x.shape[1])

    @property
    def count(self) -> str:
        """Number of values of the output."""
        return str(self.y.size)

    @property
    def window(self) -> str:
        """Pointer to the window."""
        return f"&window_{self.index}"

    @property
    def words(self) -> str:
        """The constants, and what their codes are looked up in."""
        return f"weights_{self.index}, {self.table}" if self.table else f"weights_{self.index}"

    @property
    def halves(self) -> str:
        """The constants as 16-bit numbers."""
        return f"(const uint16_t *)(const void *)weights_{self.index}"

    @property
    def bytes(self) -> str:
        """The constants as bytes."""
        return f"(const int8_t *)(const void *)weights_{self.index}"

    @property
    def beside(self) -> str:
        """The constants as bytes, one for each value of the output."""
        return self.bytes

    def window_table(
        self, window: Window, clamp: Clamp, in_zero: int = 0, channels: tuple[int, int] | None = None
    ) -> str:
        """The geometry of a window over ``x``; ``channels`` of input and output where they are not the tensors'."""
        inputs, outputs = channels or (self.x.shape[2], self.y.shape[2])
        sizes = (*self.x.shape[:2], inputs, *self.y.shape[:2], outputs)
        ends = (in_zero, clamp.zero, clamp.low, clamp.high)
        fields = ", ".join(map(str, (*sizes, *window.kernel, *window.stride, *window.padding[:2], *ends)))
        return f"static const eo_window window_{self.index} = {{{fields}}};"


def read_at(pointer: str, offset: int) -> str:
    """A pointer so many bytes on, to read."""
    return f"(const int8_t *){pointer} + {offset}" if offset else pointer


def write_at(pointer: str, offset: int) -> str:
    """A pointer so many bytes on, to write."""
    return f"(int8_t *){pointer} + {offset}" if offset else pointer
