"""Names stay each one's own on the way from a model to ONNX and OpenVINO, and the interface keeps the model's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx as onnx_package
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgeopt import onnx
from edgeopt.errors import EdgeoptError
from edgeopt.ir.naming import distinct
from edgeopt.ir.program import Program
from edgeopt.onnx import names as onnx_names
from edgeopt.plugins.registry import resolve
from edgeopt.plugins.testing import to_program
from edgeopt.targets.openvino.sdk import core

_WORDS = ["x", "a", "a__2", "a__1", "a__output", "x__output", "Add_0", "node_a", "b", "b/Add_0", "edgeopt//0"]
_TYPE = ir.TensorType(ir.DataType.FLOAT)


@given(st.lists(st.sampled_from(["a", "a_2", "a_3", "a_2_2", "b"]), max_size=8))
def test_distinct_names_grant_the_first_wish(wishes: list[str]) -> None:
    names = distinct(wishes)
    assert len(set(names)) == len(wishes)
    assert [names[wishes.index(wish)] for wish in wishes] == wishes


def _value(name: str) -> ir.Value:
    return ir.Value(name=name, type=_TYPE, shape=ir.Shape([2]))


class _Drawn:
    """A random legal model: sums of earlier values, branches that read them from inside, constants in all graphs."""

    def __init__(self, data: st.DataObject) -> None:
        self._data, self._left = data, [f"{word}{end}" for end in ("", "__3", "_x") for word in _WORDS]
        x, keep = _value(self._name()), ir.Value(name="keep", type=ir.TensorType(ir.DataType.BOOL), shape=ir.Shape([]))
        graph = ir.Graph([x, keep], [], nodes=[], opset_imports={"": 20}, name="main")
        self._keep = keep
        known = [x, self._constant(graph)]
        for _ in range(data.draw(st.integers(1, 4))):
            known.append(self._step(graph, known))
        graph.outputs.extend(data.draw(st.lists(st.sampled_from(known[2:]), min_size=1, max_size=3, unique=True)))
        self.model = ir.Model(graph, ir_version=10)
        wished = st.lists(
            st.sampled_from(_WORDS), min_size=len(graph.outputs), max_size=len(graph.outputs), unique=True
        )
        self.outputs = data.draw(wished)

    def _name(self) -> str:
        return self._left.pop(self._data.draw(st.integers(0, len(self._left) - 1)))

    def _constant(self, graph: ir.Graph) -> ir.Value:
        value = _value(self._name())
        value.const_value = ir.tensor(np.array([1, len(self._left)], np.float32), name=value.name)
        graph.register_initializer(value)
        return value

    def _step(self, graph: ir.Graph, known: list[ir.Value]) -> ir.Value:
        if self._data.draw(st.booleans()):
            return self._add(graph, known)
        branches = {name: self._branch(known) for name in ("then_branch", "else_branch")}
        attributes = [ir.AttrGraph(name, branch) for name, branch in branches.items()]
        return self._append(graph, ir.Node("", "If", [self._keep], attributes, outputs=[_value(self._name())]))

    def _branch(self, known: list[ir.Value]) -> ir.Graph:
        graph = ir.Graph([], [], nodes=[], name="branch")
        graph.outputs.append(self._add(graph, [*known, self._constant(graph)]))
        return graph

    def _add(self, graph: ir.Graph, known: list[ir.Value]) -> ir.Value:
        read = [self._data.draw(st.sampled_from(known)) for _ in range(2)]
        return self._append(graph, ir.Node("", "Add", read, outputs=[_value(self._name())]))

    def _append(self, graph: ir.Graph, node: ir.Node) -> ir.Value:
        if (owner := self._data.draw(st.sampled_from([None, *_WORDS]))) is not None:
            node.metadata_props["edgeopt.node"] = owner
        graph.append(node)
        return node.outputs[0]


def _answers(model: ir.Model) -> list[list[np.ndarray]]:
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    x, keep = (value.name for value in session.get_inputs())
    return [session.run(None, {x: np.ones(2, np.float32), keep: np.array(which)}) for which in (True, False)]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_graph_is_legal_under_any_names(data: st.DataObject) -> None:
    drawn = _Drawn(data)
    inputs, before = [str(value.name) for value in drawn.model.graph.inputs], _answers(drawn.model)
    onnx_names.set_names(drawn.model, drawn.outputs)
    onnx_package.checker.check_model(ir.to_proto(drawn.model), full_check=True)
    graph = drawn.model.graph
    assert [value.name for value in graph.inputs] == inputs
    wished = [f"{name}__output" if name in inputs else name for name in drawn.outputs]
    assert [v.name for v in graph.outputs] == distinct([*inputs, *wished], "__")[len(inputs) :]
    nodes = [node.name for node in graph.all_nodes()]
    assert len(set(nodes)) == len(nodes)
    np.testing.assert_equal(_answers(drawn.model), before)


class _Named(nn.Module):
    """Outputs, arguments and weights under names that have been taken before, here or by what exporters write."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(5))
        self.heads = nn.ModuleDict({"class": nn.Linear(5, 5), "lambda": nn.Linear(5, 2), "class_": nn.Linear(5, 3)})

    def forward(self, query: torch.Tensor, input: torch.Tensor) -> dict[str, Any]:
        turned = input.permute(0, 2, 1) + 1
        return {
            "a_b": query + self.query,
            "a": {"b": input * 2},
            "boxes_0": input - 1,
            "boxes": [turned, (turned * 2).permute(2, 0, 1)],
            "permute": turned.permute(2, 1, 0),
            "frac": torch.frac(input * 3),
            "trunc": torch.trunc(input * 3),
            "class": self.heads["class"](input),
            "heads_class_weight": self.heads["class_"](input),
            "input": self.heads["lambda"](input),
            "input__output": input,
        }


_OUTPUTS = ["a_b", "a_b_2", "boxes_0", "boxes_0_2", "boxes_1", "permute", "frac", "trunc", "class"]
_OUTPUTS += ["heads_class_weight", "input", "input__output"]


@pytest.fixture(scope="module")
def named() -> tuple[Program, dict[str, np.ndarray], dict[str, np.ndarray]]:
    torch.manual_seed(0)
    inputs = (torch.randn(2, 3, 5), torch.randn(2, 3, 5))
    module = _Named().eval()
    program = to_program(module, inputs)
    arrays = dict(zip(("query", "input"), (value.numpy() for value in inputs), strict=True))
    leaves = [leaf.detach().numpy() for leaf in torch.utils._pytree.tree_leaves(module(*inputs))]
    return program, arrays, dict(zip(_OUTPUTS, leaves, strict=True))


def test_the_programs_names_are_its_own(named: tuple[Program, Any, Any]) -> None:
    program, arrays, expected = named
    assert list(program.output_names) == _OUTPUTS
    assert [spec.name for spec in program.inputs] == list(arrays)
    assert "query_2" in program.constants
    for name, got in program.run(arrays).items():
        np.testing.assert_allclose(got, expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_names_that_are_taken_change_no_value(named: tuple[Program, Any, Any], target: str, tmp_path: Path) -> None:
    program, arrays, expected = named
    chosen = resolve(target)
    artifact = chosen.compile(program, tmp_path, chosen.Options())
    assert not artifact.notes
    got = chosen.open(tmp_path, chosen.Options()).run(arrays)
    assert list(got) == _OUTPUTS
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_a_loop_keeps_what_its_branches_return(tmp_path: Path) -> None:
    """torch.onnx writes loops and branches, of which one returns what was computed outside of it."""
    torch.manual_seed(0)
    bags = torch.tensor([[0, 1, 2], [3, 0, 0], [4, 5, 6]])
    program, target = to_program(nn.EmbeddingBag(10, 4, mode="mean", padding_idx=0), (bags,)), resolve("onnx")
    target.compile(program, tmp_path, target.Options())
    inputs = {program.inputs[0].name: bags.numpy()}
    got = target.open(tmp_path, target.Options()).run(inputs)
    np.testing.assert_allclose(got["output"], program.run(inputs)["output"], rtol=1e-5)


def test_an_input_bears_one_name_however_openvino_reads_the_program(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise EdgeoptError("no luck")

    class Sliced(nn.Module):
        def forward(self, input: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"all": input[:, :].clone() + 1, "input": input}

    monkeypatch.setattr(onnx, "translate", fail)
    program, target = to_program(Sliced(), (torch.zeros(2, 3),)), resolve("openvino")
    target.compile(program, tmp_path, target.Options())
    model = core().read_model(tmp_path / "model.xml")
    assert [port.get_names() for port in model.inputs] == [{"input"}]
