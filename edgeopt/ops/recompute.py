"""Gradients of an operator by running its form again: what lies between is made anew, not kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def register_gradients(operator: Any, form: Callable[..., torch.Tensor]) -> None:
    """Give a custom operator the gradients of ``form``, which takes the operator's arguments."""
    operator.register_autograd(lambda ctx, gradient: _backward(ctx, gradient, form), setup_context=_save)


def _save(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    tensors = [value if isinstance(value, torch.Tensor) else None for value in inputs]
    ctx.save_for_backward(*tensors)
    ctx.settings = [None if isinstance(value, torch.Tensor) else value for value in inputs]


def _backward(ctx: Any, gradient: torch.Tensor, form: Callable[..., torch.Tensor]) -> tuple[torch.Tensor | None, ...]:
    inputs = [
        value if tensor is None else tensor.detach()
        for tensor, value in zip(ctx.saved_tensors, ctx.settings, strict=True)
    ]
    wanted = [index for index, needed in enumerate(ctx.needs_input_grad) if needed]
    for index in wanted:
        inputs[index].requires_grad_()
    with torch.enable_grad():
        out = form(*inputs)
    found = torch.autograd.grad(out, [inputs[index] for index in wanted], gradient)
    by_index = dict(zip(wanted, found, strict=True))
    return tuple(by_index.get(index) for index in range(len(inputs)))
