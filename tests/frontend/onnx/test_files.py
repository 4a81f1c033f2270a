"""ONNX files as they are found: dynamic, damaged, hostile; names, and what is said of what is not supported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import edgeopt
import edgeopt.frontend.onnx.module as onnx_module
from edgeopt.deploy.bundle import open_bundle
from edgeopt.errors import UserError
from edgeopt.frontend.archive import Format, identify
from edgeopt.frontend.inputs import DynamicSpec, InputSpec
from edgeopt.frontend.load import LoadOptions, load
from edgeopt.ir.provenance import constant_path, place
from tests.frontend.onnx.graphs import Array, reference

WEIGHT = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)


def perceptron(shape: list[Any], opset: int = 17) -> onnx.ModelProto:
    """A linear layer, ReLU, and a reshape whose sizes are computed of the input's."""
    nodes = [
        helper.make_node("Gemm", ["input.1", "fc.weight", "fc.bias"], ["h"], "/fc/Gemm", transB=1),
        helper.make_node("Relu", ["h"], ["r"], "/relu/Relu"),
        helper.make_node("Shape", ["input.1"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "axes"], ["n1"]),
        helper.make_node("Concat", ["n1", "two"], ["to"], axis=0),
        helper.make_node("Reshape", ["r", "to"], ["class.scores"], "/Reshape"),
    ]
    constants = {
        "fc.weight": WEIGHT,
        "fc.bias": WEIGHT[:, 0],
        "zero": np.array(0),
        "axes": np.array([0]),
        "two": np.array([2, -1]),
    }
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("class.scores", TensorProto.FLOAT, [None, 2, 2])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def saved(model: onnx.ModelProto, path: Path) -> Path:
    onnx.save(model, path)
    return path


def test_names_of_inputs_outputs_nodes_and_weights_are_the_files(tmp_path: Path) -> None:
    loaded = load(saved(perceptron([5, 3]), tmp_path / "m.onnx"))
    program = loaded.program
    assert loaded.format is Format.ONNX
    assert [spec.name for spec in program.inputs] == ["input_1"]
    assert program.output_names == ("class.scores",)
    assert loaded.notes == ("input 'input.1' is called 'input_1'",)
    (linear,) = program.graph.find_nodes(op="call_function", target=torch.ops.aten.linear.default)
    assert place(linear) == " in module '/fc/Gemm'"
    assert constant_path(linear.args[1]) == "fc_weight"
    assert not any("sym_size" in node.name for node in program.calls), "the sizes of a static model are numbers"


@pytest.mark.parametrize("batch", [1, 5])
def test_sizes_that_the_file_leaves_open_may_vary(tmp_path: Path, batch: int) -> None:
    path = saved(perceptron(["n", 3]), tmp_path / "m.onnx")
    program = load(path).program
    x = np.random.default_rng(1).standard_normal((batch, 3)).astype(np.float32)
    found, expected = program.run({"input_1": x}), reference(path, {"input.1": x})
    np.testing.assert_allclose(found["class.scores"], expected["class.scores"], rtol=1e-5, atol=1e-6)


def test_an_input_spec_fixes_what_the_file_leaves_open_and_dynamic_bounds_it(tmp_path: Path) -> None:
    path = saved(perceptron(["n", 3]), tmp_path / "m.onnx")
    static = load(path, LoadOptions(inputs=(InputSpec("input_1", (6, 3)),))).program
    assert static.inputs[0].shape == (6, 3)
    bounded = load(path, LoadOptions(dynamic=(DynamicSpec("input_1", 0, 1, 8),))).program
    assert [int(bounds.upper) for bounds in bounded.range_constraints.values()] == [8]
    with pytest.raises(UserError, match=r"input 'input.1' is given as 6x4"):
        load(path, LoadOptions(inputs=(InputSpec("input_1", (6, 4)),)))


def test_older_opsets_are_converted_and_later_ones_refused(tmp_path: Path) -> None:
    model = perceptron([5, 3], 9)
    model.graph.node[4].input.pop()
    model.graph.node[4].attribute.append(helper.make_attribute("axes", [0]))
    assert load(saved(model, tmp_path / "old.onnx")).program.output_names == ("class.scores",)
    with pytest.raises(UserError, match="opset 25; supported: 11 to 24"):
        load(saved(perceptron([5, 3], 25), tmp_path / "new.onnx"))


def test_a_branch_that_is_known_is_taken_and_another_is_refused(tmp_path: Path) -> None:
    def branch(name: str, op: str) -> onnx.GraphProto:
        result = helper.make_tensor_value_info(f"{name}.y", TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(op, ["x"], [f"{name}.y"])], name, [], [result])

    def model(condition: list[onnx.NodeProto]) -> onnx.ModelProto:
        chosen = helper.make_node(
            "If", ["c"], ["y"], "if", then_branch=branch("a", "Exp"), else_branch=branch("b", "Abs")
        )
        info = helper.make_tensor_value_info
        graph = helper.make_graph(
            [*condition, chosen],
            "g",
            [info("x", TensorProto.FLOAT, [2]), info("flag", TensorProto.BOOL, [])],
            [info("y", TensorProto.FLOAT, [2])],
            [numpy_helper.from_array(np.array(2), "two")],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    known = [helper.make_node("Size", ["x"], ["s"]), helper.make_node("Equal", ["s", "two"], ["c"])]
    program = load(saved(model(known), tmp_path / "known.onnx")).program
    assert [node.name for node in program.calls] == ["exp"]
    of_data = [helper.make_node("Identity", ["flag"], ["c"])]
    with pytest.raises(UserError, match=r"node 'if' \(If\) branches by the values of the model's data"):
        load(saved(model(of_data), tmp_path / "data.onnx"))


def test_what_has_no_translation_is_listed_by_name(tmp_path: Path) -> None:
    model = perceptron([5, 3])
    for name, op in (("a", "Unique"), ("b", "Compress"), ("c", "Unique")):
        model.graph.node.append(helper.make_node(op, ["r", "zero"][: 1 + (op == "Compress")], [name], f"node_{name}"))
    with pytest.raises(UserError, match=r"Compress \(1, first 'node_b'\), Unique \(2, first 'node_a'\)"):
        onnx_module.OnnxModule(model)


def external(location: str, **more: str) -> onnx.ModelProto:
    """A model whose weight is said to stand in another file."""
    model = perceptron([5, 3])
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        weight.external_data.add(key=key, value=value)
    return model


def test_external_data_beside_the_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(WEIGHT.tobytes())
    loaded = load(saved(external("weights.bin"), tmp_path / "m.onnx"))
    assert any(np.array_equal(tensor.numpy(), WEIGHT) for tensor in loaded.program.constants.values())


@pytest.mark.parametrize("location", ["../w.bin", "/etc/passwd", "a/../../w.bin", "..\\w.bin", "C:/w.bin", ""])
def test_external_data_outside_of_the_folder_is_refused(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes())
    path = folder / "m.onnx"
    path.write_bytes(external(location).SerializeToString())
    with pytest.raises(UserError, match="leaves its folder"):
        load(path)


def _link(folder: Path) -> onnx.ModelProto:
    (folder / "other").write_bytes(WEIGHT.tobytes())
    (folder / "link").symlink_to(folder / "other")
    return external("link")


def _short(folder: Path) -> onnx.ModelProto:
    (folder / "w.bin").write_bytes(WEIGHT.tobytes())
    return external("w.bin", offset="8", length="48")


def _huge(folder: Path) -> onnx.ModelProto:
    model = perceptron([5, 3])
    model.graph.initializer[0].dims[:] = [2**31, 2**31]
    return model


def _unsorted(folder: Path) -> onnx.ModelProto:
    model = perceptron([5, 3])
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    return model


def _absurd(folder: Path) -> onnx.ModelProto:
    model = perceptron([5, 3])
    model.graph.initializer.append(numpy_helper.from_array(np.array([2**40, 2**20]), "sizes"))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["sizes"], ["zeros"], "fill"))
    return model


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_link, "which is a link"),
        (_short, r"bytes 8..56 of 'w.bin', which has 48"),
        (lambda folder: external("missing.bin"), "needs the file 'missing.bin' beside it"),
        (_huge, "is not legal ONNX"),
        (_unsorted, "is not legal ONNX"),
        (_absurd, r"node 'fill' \(ConstantOfShape\) returns .* GiB"),
    ],
)
def test_damaged_and_hostile_models_are_refused(
    tmp_path: Path, make: Callable[[Path], onnx.ModelProto], said: str
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(make(tmp_path).SerializeToString())
    with pytest.raises(UserError, match=said):
        load(path)


def test_truncated_files_and_too_large_ones_are_refused(tmp_path: Path) -> None:
    content = perceptron([5, 3]).SerializeToString()
    for index in range(8):
        path = tmp_path / f"{index}.onnx"
        path.write_bytes(content[: len(content) * (index + 1) // 9])
        with pytest.raises(UserError):
            load(path)
    (tmp_path / "whole.bin").write_bytes(content)
    assert identify(tmp_path / "whole.bin") is Format.ONNX
    with pytest.raises(UserError, match=f"holds {len(content)} bytes"):
        load(tmp_path / "whole.bin", LoadOptions(max_archive_bytes=100))


def quantized(scale: Array | np.generic, zero_point: Array | np.generic, **attributes: Any) -> onnx.ModelProto:
    """Quantize, dequantize, and a layer of weights that stand as integers."""
    steps = np.full(4, 0.01, np.float32)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], "quantize", **attributes),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"], "dequantize", **attributes),
        helper.make_node("DequantizeLinear", ["w", "steps"], ["real"], "weight", axis=0),
        helper.make_node("Gemm", ["d", "real"], ["y"], "fc", transB=1),
    ]
    constants = {"scale": scale, "zero": zero_point, "w": np.round(WEIGHT * 50).astype(np.int8), "steps": steps}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [5, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [5, 4])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def test_scales_and_zero_points_are_carried_through(tmp_path: Path) -> None:
    path = saved(quantized(np.float32(0.02), np.int8(-3)), tmp_path / "q.onnx")
    program = load(path).program
    assert [node.name for node in program.calls] == ["quantize", "dequantize", "dequantize_1", "linear"]
    held = {name: tensor for name, tensor in program.constants.items()}
    assert held["scale"].item() == pytest.approx(0.02) and held["zero"].item() == -3
    x = np.random.default_rng(2).standard_normal((5, 3)).astype(np.float32)
    np.testing.assert_allclose(program.run({"x": x})["y"], reference(path, {"x": x})["y"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("zero_point", "said"),
    [(np.int16(0), "quantizes to int16"), (np.uint16(9), "quantizes to uint16")],
)
def test_integers_that_no_scheme_holds_are_refused(tmp_path: Path, zero_point: Any, said: str) -> None:
    with pytest.raises(UserError, match=rf"node 'quantize' \(QuantizeLinear\) {said}"):
        load(saved(quantized(np.float32(0.02), zero_point), tmp_path / "q.onnx"))


def test_resizing_keeps_a_batch_that_varies(tmp_path: Path) -> None:
    """Torch asks for the layout of what it resizes, which compares sizes: that fixes none of them."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Resize", ["c", "", "scales"], ["y"], mode="linear"),
    ]
    weight = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *sizes])
        for name, sizes in (("x", (3, 8, 8)), ("y", (4, 16, 16)))
    ]
    constants = [
        numpy_helper.from_array(weight, "w"),
        numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales"),
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = saved(model, tmp_path / "resize.onnx")
    run = edgeopt.export(str(path), "cpu", tmp_path / "out", baseline=False, max_seconds=0.01)
    assert run.ok
    session = open_bundle(tmp_path / "out")
    for batch in (1, 3):
        x = np.random.default_rng(batch).standard_normal((batch, 3, 8, 8)).astype(np.float32)
        np.testing.assert_allclose(session.run({"x": x})["y"], reference(path, {"x": x})["y"], rtol=1e-4, atol=1e-5)
