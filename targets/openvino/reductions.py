"""Reductions beside rounding: what OpenVINO's CPU plug-in fuses wrongly is kept apart.

It takes what scales or shifts channels after a reduction into the rounding that follows, and that into the reduction.
Where the reduction drops an axis up to the second without keeping its place, the kernel looks up the channel's factor
at the input's second axis, not at the output's: all channels get the factor of the first. A reduction that keeps its
axes is fused rightly, and dropping them afterwards moves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

_CHANNELS = 1
"""The axis whose factors the plug-in fuses."""
_CHANNELWISE = frozenset(["Add", "Subtract", "Multiply", "Divide", "Relu", "Clamp", "Convert"])
_ROUNDING = "FakeQuantize"


def keep_axes(model: Any) -> None:
    """Let reductions whose results are rounded keep their axes, which are dropped after them."""
    for node in model.get_ordered_ops():
        build = _builders().get(node.get_type_name())
        if build is not None and not node.get_attributes()["keep_dims"] and _moves_channels(node) and _is_rounded(node):
            _keep_axes(node, build)


def _keep_axes(node: Any, build: Callable[..., Any]) -> None:
    from openvino import opset13

    readers = list(node.output(0).get_target_inputs())
    kept = build(node.input_value(0), node.input_value(1), keep_dims=True)
    dropped = opset13.squeeze(kept, node.input_value(1))
    name = node.get_friendly_name()
    kept.set_friendly_name(f"{name}/{node.get_type_name()}")
    dropped.set_friendly_name(name)
    for reader in readers:
        reader.replace_source_output(dropped.output(0))


def _builders() -> dict[str, Callable[..., Any]]:
    """Return by type of node what builds a reduction of floats."""
    from openvino import opset13

    names = ("L1", "L2", "Max", "Mean", "Min", "Prod", "Sum")
    return {f"Reduce{name}": getattr(opset13, f"reduce_{name.lower()}") for name in names}


def _moves_channels(node: Any) -> bool:
    """Whether what was the channels' axis lies elsewhere after a reduction, or may."""
    axes, rank = node.input_value(1).get_node(), node.get_input_partial_shape(0).rank
    if axes.get_type_name() != "Constant" or rank.is_dynamic:
        return True
    return any(axis % rank.get_length() <= _CHANNELS for axis in axes.get_data().reshape(-1).tolist())


def _is_rounded(node: Any) -> bool:
    return any(
        reader.get_type_name() == _ROUNDING or (reader.get_type_name() in _CHANNELWISE and _is_rounded(reader))
        for reader in _readers(node)
    )


def _readers(node: Any) -> Iterator[Any]:
    for port in node.outputs():
        for target in port.get_target_inputs():
            yield target.get_node()
