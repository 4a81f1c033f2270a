"""Small modules for the tests of passes, and what those look for in the result."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn

from edgeopt.ir.pass_base import PassResult
from edgeopt.ir.program import Program, op_name

Module = TypeVar("Module", bound=nn.Module)

if TYPE_CHECKING:

    class Part(torch.Tensor):
        """Either kind of part to its function: a tensor, or a layer or a list of layers."""

        weight: torch.Tensor
        running_mean: torch.Tensor
        running_var: torch.Tensor

        def __call__(self, *inputs: Any, **options: Any) -> torch.Tensor: ...

        def __getitem__(self, index: Any) -> Part: ...


class Call(nn.Module):
    """A function as a module; ``parts`` are its submodules, ``self.name`` within the function."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Part: ...

    def __init__(self, function: Callable[..., Any], **parts: nn.Module | torch.Tensor) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            if isinstance(part, torch.Tensor):
                self.register_buffer(name, part)
            else:
                self.add_module(name, part)

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(self, *inputs)


class Branches(nn.Module):
    """Modules side by side on one input, so that many variants cost one trace."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(branch(x) for branch in self.branches)


def randomized(module: Module) -> Module:
    """Give norms and biases values under which a wrong fold shows; the defaults, 1 and 0, hide it."""
    with torch.no_grad():
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif name.endswith(("running_mean", "bias")):
                tensor.normal_(0.0, 0.5)
            elif tensor.dim() == 1 and tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
    return module


def ops(result: PassResult | Program) -> list[str]:
    """Return the operators that are left, in order, without their namespace."""
    program = result if isinstance(result, Program) else result.program
    return [op_name(node).removeprefix("aten.") for node in program.calls]


def reasons(result: PassResult) -> list[str]:
    """Return why rules refused."""
    return [note.reason for note in result.notes if note.reason is not None]
