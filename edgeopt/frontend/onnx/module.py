"""An ONNX graph as a module of torch: each node a module under its own name, which reports and messages then give.

``forward`` takes the inputs in the graph's order and returns the outputs by name. Tracing it computes sizes and
conditions that are known, and leaves operators over tensors alone in the program.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from edgeopt.errors import EdgeoptError, UserError
from edgeopt.foreign import translated
from edgeopt.frontend.inputs import memory
from edgeopt.frontend.onnx import operators
from edgeopt.frontend.onnx.call import Call
from edgeopt.frontend.onnx.dtypes import torch_tensor
from edgeopt.frontend.onnx.folding import folded
from edgeopt.frontend.onnx.values import Known, Value, tensor

if TYPE_CHECKING:
    import onnx

_MOST = 12
"""Most operators that a message names."""
Values = dict[str, Value]


class _Block(nn.Module):
    """A graph: the main one, or a branch, which reads values of the graphs around it."""

    def __init__(self, graph: onnx.GraphProto, opsets: Mapping[str, int]) -> None:
        super().__init__()
        self._stored: dict[str, str] = {}
        self._arrays: dict[str, Any] = {}
        self._nodes: list[tuple[onnx.NodeProto, nn.Module]] = []
        self._outputs = [value.name for value in graph.output]
        for proto in graph.initializer:
            self._store(proto.name, torch_tensor(proto))
        for node in graph.node:
            if node.op_type == "Constant":
                self._store(node.output[0], _constant(node))
                continue
            name = self._free(node.name or node.op_type)
            kind = _Branches if node.op_type == "If" else _Operation
            self.add_module(name, kind(node, node.name or node.op_type, opsets))
            self._nodes.append((node, self.get_submodule(name)))

    def _store(self, name: str, values: torch.Tensor) -> None:
        path = self._free(name)
        self.register_buffer(path, values)
        self._stored[name] = path
        has_numpy = (values.dtype.itemsize > 1 and values.dtype != torch.bfloat16) or not values.is_floating_point()
        self._arrays[name] = (values if has_numpy else values.float()).numpy()

    def _free(self, name: str) -> str:
        """Return a name that torch takes for a part of this module, and that is none of one yet."""
        name = name.replace(".", "_") or "constant"
        while hasattr(self, name):
            name += "_"
        return name

    def compute(self, around: Values) -> Values:
        """Return the outputs by name, of the values that are known around this graph."""
        values = dict(around)
        for name, path in self._stored.items():
            values[name] = Known(self._arrays[name], getattr(self, path))
        for node, module in self._nodes:
            if isinstance(module, _Branches):
                results = module(values)
            else:
                results = module(*(values[name] if name else None for name in node.input))
            values.update(zip(node.output, results, strict=False))
        return {name: values[name] for name in self._outputs}


class OnnxModule(_Block):
    """The main graph of a model.

    Raises UserError where it holds operators without a translation: all of them are named.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        opsets = {_domain(entry.domain): entry.version for entry in model.opset_import}
        _refuse_unknown(model.graph)
        super().__init__(model.graph, opsets)
        inputs = [value for value in model.graph.input if value.name not in self._stored]
        self.input_names = [value.name for value in inputs]
        self._named = [[dim.dim_param for dim in value.type.tensor_type.shape.dim] for value in inputs]

    def forward(self, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute the outputs; sizes of one name in the file are equal."""
        sizes: dict[str, Any] = {}
        for value, dims in zip(inputs, self._named, strict=True):
            for size, dim in zip(value.shape, dims, strict=True):
                torch._check(not dim or sizes.setdefault(dim, size) == size)
        results = self.compute(dict(zip(self.input_names, inputs, strict=True)))
        return {name: tensor(value) for name, value in results.items()}


class _Operation(nn.Module):
    """One node; takes and returns values."""

    def __init__(self, node: onnx.NodeProto, name: str, opsets: Mapping[str, int]) -> None:
        super().__init__()
        domain = _domain(node.domain)
        attributes = {attribute.name: _attribute(attribute) for attribute in node.attribute}
        self.call = Call(name, node.op_type, domain, opsets.get(domain, 1), attributes, len(node.output))

    def forward(self, *values: Value | None) -> Sequence[Value]:
        """Compute the node: of known elements by Python, else by torch."""
        call = self.call
        try:
            if (results := folded(call, values)) is None:
                found = operators.translate(call, values)
                results = list(found) if isinstance(found, tuple) else [found]
        except (EdgeoptError, GuardOnDataDependentSymNode):
            raise
        except Exception as error:
            shapes = ", ".join(str(tuple(v.shape)) for v in values if isinstance(v, torch.Tensor))
            fact = f"node '{call.name}' ({call.op}) cannot be computed of shapes {shapes or 'none'}"
            raise translated(
                error, fact, "give other sizes of inputs (--input NAME:SHAPE), or repair the file"
            ) from error
        for result in results:
            _refuse_size(call, result)
        return results


class _Branches(nn.Module):
    """``If``: the branch that its condition chooses, which must be known as the model is traced."""

    def __init__(self, node: onnx.NodeProto, name: str, opsets: Mapping[str, int]) -> None:
        super().__init__()
        branches = {attribute.name: attribute.g for attribute in node.attribute}
        self.then_branch = _Block(branches["then_branch"], opsets)
        self.else_branch = _Block(branches["else_branch"], opsets)
        self._call = Call(name, node.op_type, "", 1, {}, len(node.output))
        self._condition = node.input[0]

    def forward(self, values: Values) -> Sequence[Value]:
        """Return the outputs of one branch."""
        condition = values[self._condition]
        if not isinstance(condition, Known):
            raise self._call.refused("branches by the values of the model's data")
        branch = self.then_branch if condition.array.all() else self.else_branch
        return list(branch.compute(values).values())


def _refuse_size(call: Call, value: Value) -> None:
    """Raise UserError where a tensor takes more than this machine's memory: shapes may be absurd, and cost nothing."""
    if isinstance(value, torch.Tensor) and all(isinstance(size, int) for size in value.shape):
        size = math.prod(value.shape) * value.element_size()
        if size > memory():
            raise UserError(
                f"node '{call.name}' ({call.op}) returns {size / 2**30:,.0f} GiB, more than this machine's memory",
                "give smaller inputs, or do not use this file",
            )


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _constant(node: onnx.NodeProto) -> torch.Tensor:
    """Return what a node ``Constant`` holds."""
    attribute = node.attribute[0]
    value = _attribute(attribute)
    if attribute.name == "value":
        return torch_tensor(value)
    dtype = _OF_CONSTANTS.get(attribute.name)
    if dtype is None:
        raise UserError(f"node '{node.name}' (Constant) holds {attribute.name}", "give a model of numbers")
    return torch.tensor(value, dtype=dtype)


_OF_CONSTANTS = {
    "value_float": torch.float32,
    "value_floats": torch.float32,
    "value_int": torch.int64,
    "value_ints": torch.int64,
}


def _attribute(attribute: onnx.AttributeProto) -> Any:
    from onnx.helper import get_attribute_value

    value = get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, list) and value and isinstance(value[0], bytes):
        return [item.decode(errors="replace") for item in value]
    return list(value) if hasattr(value, "__len__") and not isinstance(value, str) and attribute.type > 5 else value


def nodes_of(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of a graph and of the graphs inside it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from nodes_of(inner)


def _refuse_unknown(graph: onnx.GraphProto) -> None:
    unknown: dict[str, list[str]] = {}
    for node in nodes_of(graph):
        domain = _domain(node.domain)
        if not operators.is_known(domain, node.op_type) and (domain or node.op_type not in ("Constant", "If")):
            unknown.setdefault(f"{domain}.{node.op_type}".lstrip("."), []).append(node.name)
    if unknown:
        told = [f"{op} ({len(names)}, first '{names[0]}')" for op, names in sorted(unknown.items())]
        more = f", and {len(told) - _MOST} more" if len(told) > _MOST else ""
        raise UserError(
            f"the ONNX model holds operators that have no translation: {', '.join(told[:_MOST])}{more}",
            "write them by other operators as the model is exported to ONNX, or give the torch model",
        )
