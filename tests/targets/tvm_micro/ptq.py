"""A plain post-training quantiser for the MLPerf Tiny models: min-max ranges of observed activations, weights
symmetric per output channel. It gives the planner and printer integer graphs without the rest of the house."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from edgeopt.kernels import reference
from edgeopt.kernels.reference import AddFactors, Clamp, Window
from edgeopt.targets.tvm_micro.integer_graph import (
    Add, AvgPool2d, Conv2d, DepthwiseConv2d, IntegerGraph, Linear, Node, Softmax, Tensor,
)  # fmt: skip
from tests.models import mlperf_tiny


def quantised(name: str, samples: int = 64) -> IntegerGraph:
    """The integer graph of an MLPerf Tiny model."""
    model = mlperf_tiny.build(name)
    return _Quantiser(name, model, torch.from_numpy(mlperf_tiny.example_inputs(name, samples))).graph()


def inputs(name: str, graph: IntegerGraph, samples: int) -> np.ndarray:
    """Real or seeded inputs of the model as the graph's int8, samples along axis 0, HWC."""
    x = mlperf_tiny.example_inputs(name, samples)
    tensor = graph.tensors[graph.inputs[0]]
    hwc = x.reshape(len(x), -1, *x.shape[2:]).transpose(0, 2, 3, 1) if x.ndim == 4 else x
    return np.clip(np.round(hwc / tensor.scale) + tensor.zero_point, -128, 127).astype(np.int8)


class _Quantiser:
    def __init__(self, name: str, model: nn.Module, x: torch.Tensor) -> None:
        self.name, self.model = name, model
        self.values = {"input": x}
        with torch.no_grad():
            for layer, sources in model.wiring:
                self.values[layer] = self.module(layer)(*(self.values[s] for s in sources))
        self.tensors: dict[str, Tensor] = {}
        self.nodes: list[Node] = []
        self.source = {"input": "input"}  # layer -> tensor that holds its integers
        self.padding: dict[str, tuple[int, int, int, int]] = {}

    def module(self, layer: str) -> nn.Module:
        return self.model.get_submodule(layer.replace("#", "_"))

    def users(self, layer: str) -> list[str]:
        return [name for name, sources in self.model.wiring if layer in sources]

    def tensor(self, layer: str) -> Tensor:
        """The tensor of a layer's output, quantised over its observed range."""
        if layer not in self.tensors:
            v = self.values[layer]
            low, high = min(0.0, float(v.min())), max(0.0, float(v.max()))
            scale = (high - low) / 255 or 1.0
            shape = tuple(v.shape[2:]) + (v.shape[1],) if v.ndim == 4 else (1, 1, v.shape[1])
            self.tensors[layer] = Tensor(layer, shape, scale, int(np.clip(round(-128 - low / scale), -128, 127)))
        return self.tensors[layer]

    def graph(self) -> IntegerGraph:
        self.tensor("input")
        done: set[str] = set()
        for layer, sources in self.model.wiring:
            if layer not in done:
                done |= self.place(layer, sources)
        last = self.source[self.model.wiring[-1][0]]
        return IntegerGraph(self.tensors, tuple(self.nodes), ("input",), (last,), self.name)

    def place(self, layer: str, sources: tuple[str, ...]) -> set[str]:
        """Add the node of a layer; return the layers that it covers."""
        module = self.module(layer)
        if isinstance(module, nn.ZeroPad2d):
            left, right, top, bottom = module.padding
            self.padding[layer] = (top, left, bottom, right)
            self.source[layer] = self.source[sources[0]]
            return {layer}
        if isinstance(module, nn.Flatten):
            self.source[layer] = self.source[sources[0]]
            return {layer}
        covered, last, norm = [layer], layer, None
        while len(follow := self.users(last)) == 1 and isinstance(
            self.module(follow[0]), (nn.BatchNorm1d, nn.BatchNorm2d, nn.ReLU)
        ):
            last = follow[0]
            covered.append(last)
            norm = self.module(last) if not isinstance(self.module(last), nn.ReLU) else norm
        relu = isinstance(self.module(last), nn.ReLU)
        x = [self.tensors[self.source[s]] for s in sources]
        if isinstance(module, nn.Softmax):
            out = Tensor(last, x[0].shape, 1 / 256, -128)
            self.tensors[last] = out
            self.nodes.append(Softmax(layer, (x[0].name,), last, reference.exp_table(x[0].scale)))
        else:
            out = self.tensor(last)
            clamp = Clamp(out.zero_point, out.zero_point if relu else -128)
            self.nodes.append(self.node(layer, module, norm, x, out, clamp, self.padding.get(sources[0])))
        self.source |= dict.fromkeys(covered, last)
        return set(covered)

    def node(self, layer, module, norm, x, out, clamp, pad) -> Node:  # noqa: ANN001
        names, target = tuple(t.name for t in x), out.name
        if isinstance(module, mlperf_tiny.Add):
            f = AddFactors.of(x[0].scale, x[0].zero_point, x[1].scale, x[1].zero_point, out.scale, out.zero_point)
            return Add(layer, names, target, f, clamp.low)
        if isinstance(module, nn.AvgPool2d):
            kernel = (module.kernel_size,) * 2 if isinstance(module.kernel_size, int) else tuple(module.kernel_size)
            m = int(reference.multiplier(x[0].scale / out.scale / (16 * kernel[0] * kernel[1])))
            return AvgPool2d(layer, names, target, Window(kernel, kernel), m, x[0].zero_point, clamp)
        weights, bias, multiplier = _weights(module, norm, x[0].scale, out.scale)
        common = (layer, names, target)
        if isinstance(module, nn.Linear):
            return Linear(*common, weights, bias, multiplier, x[0].zero_point, clamp)
        pad = pad or (*module.padding, *module.padding)
        window = Window(tuple(module.kernel_size), tuple(module.stride), pad)
        if module.groups > 1:
            return DepthwiseConv2d(*common, weights[:, 0], bias, multiplier, x[0].zero_point, clamp, window)
        return Conv2d(*common, weights.transpose(0, 2, 3, 1), bias, multiplier, x[0].zero_point, clamp, window)


def _weights(module: nn.Module, norm: nn.Module | None, in_scale: float, out_scale: float) -> tuple[np.ndarray, ...]:
    """int8 weights, int32 bias and multiplier, batch normalisation folded in."""
    w = module.weight.detach().double().numpy()
    b = np.zeros(len(w)) if module.bias is None else module.bias.detach().double().numpy()
    if norm is not None:
        gain = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach().double().numpy()
        w = w * gain.reshape(-1, *(1,) * (w.ndim - 1))
        b = (b - norm.running_mean.double().numpy()) * gain + norm.bias.detach().double().numpy()
    peak = np.abs(w).reshape(len(w), -1).max(axis=1)
    # A channel that batch normalisation has all but switched off keeps its bias inside int32.
    scale = np.maximum(peak / 127, np.abs(b) / (in_scale * 2**30) + 1e-12)
    q = np.round(w / scale.reshape(-1, *(1,) * (w.ndim - 1))).astype(np.int8)
    bias = np.round(b / (in_scale * scale)).astype(np.int32)
    return q, bias, reference.multiplier(in_scale * scale / out_scale).astype(np.int32)
