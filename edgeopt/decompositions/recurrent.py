"""LSTMs that project their hidden state, step by step.

    i, f, g, o = W x[t] + U h[t-1] + b;   c[t] = sigmoid(f) c[t-1] + sigmoid(i) tanh(g)
    h[t] = P (sigmoid(o) tanh(c[t]))

ONNX's LSTM has no projection. The length is fixed: each step is written out.

Source: H. Sak, A. Senior, F. Beaufays, Long Short-Term Memory Based Recurrent Neural Network Architectures for Large
Vocabulary Speech Recognition, 2014, arXiv:1402.1128.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from edgeopt.decompositions.writing_out import Arguments, decomposes


def _is_projected(given: Arguments) -> bool:
    hidden, cell = given["hx"]
    return bool(hidden.shape[-1] != cell.shape[-1])


@decomposes(torch.ops.aten.lstm.input, where=_is_projected)
def projected_lstm(
    x: torch.Tensor, states: Sequence[torch.Tensor], weights: Sequence[torch.Tensor], has_biases: bool, *options: Any
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the hidden state at each step, and the last hidden and cell state of each layer and direction."""
    layers, _dropout, _train, is_bidirectional, is_batch_first = options
    directions = 2 if is_bidirectional else 1
    steps = x.transpose(0, 1) if is_batch_first else x
    last: list[tuple[torch.Tensor, torch.Tensor]] = []
    count = 5 if has_biases else 3
    for layer in range(layers):
        results = []
        for direction in range(directions):
            index = layer * directions + direction
            own = list(weights[index * count : (index + 1) * count])
            result, state = _direction(steps, (states[0][index], states[1][index]), own, direction == 1)
            results.append(result)
            last.append(state)
        steps = torch.cat(results, -1)
    hidden, cell = (torch.stack(values) for values in zip(*last, strict=True))
    return (steps.transpose(0, 1) if is_batch_first else steps), hidden, cell


def _direction(
    steps: torch.Tensor, state: tuple[torch.Tensor, torch.Tensor], weights: list[torch.Tensor], backward: bool
) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    of_input, of_hidden, *biases, projection = weights
    bias, other = biases or (None, None)
    inputs = functional.linear(steps, of_input, bias)
    hidden, cell = state
    results: dict[int, torch.Tensor] = {}
    order = range(steps.shape[0])
    for step in reversed(order) if backward else order:
        gates = inputs[step] + functional.linear(hidden, of_hidden, other)
        enter, forget, candidate, leave = gates.chunk(4, -1)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(candidate)
        hidden = functional.linear(torch.sigmoid(leave) * torch.tanh(cell), projection)
        results[step] = hidden
    return torch.stack([results[step] for step in order]), (hidden, cell)
