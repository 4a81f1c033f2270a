"""LSTM, GRU and RNN: gates in torch's order, directions side by side.

ONNX stacks the gates of an LSTM as i, o, f, c and those of a GRU as z, r, h; torch as i, f, g, o and r, z, n. Its
states are (directions, batch, hidden), as torch's; its sequence of outputs keeps an axis of directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from edgeopt.frontend.onnx.call import Call, translates
from edgeopt.frontend.onnx.values import Known, Value

_ORDER = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
_ACTIVATIONS = {"LSTM": ["sigmoid", "tanh", "tanh"], "GRU": ["sigmoid", "tanh"], "RNN": ["tanh"]}


@translates("LSTM", "GRU", "RNN", raw=(4,))
def recurrent(
    call: Call,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Value | None = None,
    h0: Tensor | None = None,
    c0: Tensor | None = None,
    peepholes: Tensor | None = None,
) -> Any:
    """Return the outputs of all steps (steps, directions, batch, hidden) and the last states."""
    relu = _check(call, w.shape[0], peepholes)
    _check_lengths(call, x, lengths)
    batch_first = bool(call.get("layout", 0))
    if batch_first:
        x = x.transpose(0, 1)
        h0, c0 = (None if state is None else state.transpose(0, 1) for state in (h0, c0))
    if call.get("direction", "forward") == "reverse":
        x = torch.flip(x, [0])
    directions, hidden = w.shape[0], call.get("hidden_size", r.shape[2])
    zeros = x.new_zeros(directions, x.shape[1], hidden)
    weights = [t for k in range(directions) for t in _weights(call, w[k], r[k], None if b is None else b[k])]
    first = zeros if h0 is None else h0
    settings = (weights, b is not None, 1, 0.0, False, directions == 2, False)
    if call.op == "LSTM":
        y, *states = torch.lstm(x, [first, zeros if c0 is None else c0], *settings)
    else:
        cell = torch.gru if call.op == "GRU" else torch.rnn_relu if relu else torch.rnn_tanh
        y, *states = cell(x, first, *settings)
    y = y.reshape(*y.shape[:2], directions, hidden)
    if call.get("direction", "forward") == "reverse":
        y = torch.flip(y, [0])
    if batch_first:
        return (y, *(state.transpose(0, 1) for state in states))
    return (y.permute(0, 2, 1, 3), *states)


def _check(call: Call, directions: int, peepholes: Any) -> bool:
    """Raise UserError where a cell is not torch's; return whether it is a plain one with ReLU."""
    if peepholes is not None:
        raise call.refused("has peepholes")
    for attribute in ("clip", "input_forget"):
        if call.get(attribute):
            raise call.refused(f"has {attribute} {call.get(attribute)}")
    given = [name.lower() for name in call.get("activations", _ACTIVATIONS[call.op] * directions)]
    relu = call.op == "RNN" and given == ["relu"] * directions
    if given != _ACTIVATIONS[call.op] * directions and not relu:
        raise call.refused(f"has activations {', '.join(given)}")
    if call.op == "GRU" and not call.get("linear_before_reset", 0):
        raise call.refused("resets before its product (linear_before_reset 0)")
    return relu


def _check_lengths(call: Call, x: Tensor, lengths: Value | None) -> None:
    """Raise UserError where sequences may be shorter than the input."""
    steps = x.shape[1 if call.get("layout", 0) else 0]
    if lengths is not None and not (isinstance(lengths, Known) and (lengths.array == steps).all()):
        raise call.refused("reads the lengths of its sequences")


def _weights(call: Call, w: Tensor, r: Tensor, b: Tensor | None) -> list[Tensor]:
    """Return the weights and biases of one direction in torch's order of gates."""
    order = _ORDER[call.op]
    parts = [_reordered(part, order) for part in (w, r)]
    if b is None:
        return parts
    return parts + [_reordered(part, order) for part in torch.chunk(b, 2)]


def _reordered(weight: Tensor, order: Sequence[int]) -> Tensor:
    gates = torch.chunk(weight, len(order))
    return torch.cat([gates[gate] for gate in order]) if len(order) > 1 else weight
