"""How long functions are, how many parameters they take, and how often types are not checked."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch

from edgeopt.ops import register_all
from edgeopt.ops.operator import OPERATORS

ROOT = Path(__file__).parents[1]
FOLDERS = ("edgeopt", "targets", "calib", "kernels", "samples", "benchmarks", "tests")
PYTHON_LINES, C_LINES, PARAMETERS, IGNORES = 40, 80, 7, 25
Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def sources(*suffixes: str, folders: tuple[str, ...] = FOLDERS) -> dict[Path, str]:
    files = (file for folder in folders for suffix in suffixes for file in (ROOT / folder).rglob(f"*{suffix}"))
    return {file.relative_to(ROOT): file.read_text() for file in files}


@cache
def functions() -> list[tuple[str, Function, int]]:
    """Every function of Python's with its place and its lines, those of functions in it left out: they are counted
    themselves. What onnxscript reads is a program of ONNX's, which has no functions of Python to be cut into."""
    found = []
    for file, text in sources(".py").items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, Function) and "script" not in map(ast.unparse, node.decorator_list):
                found.append((f"{file}:{node.lineno} {node.name}", node, length(node) - sum(map(length, inside(node)))))
    return found


def inside(node: ast.AST) -> Iterator[Function]:
    """The functions right inside a function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function):
            yield child
        else:
            yield from inside(child)


def length(function: Function) -> int:
    return (function.end_lineno or 0) - function.lineno + 1


def parameters(function: Function) -> list[str]:
    given = function.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    several = [one for one in (given.vararg, given.kwarg) if one is not None]
    return [one.arg for one in (*named, *several) if one.arg not in ("self", "cls")]


def test_no_python_function_is_long() -> None:
    found = [f"{name}: {lines} lines" for name, _, lines in functions() if lines > PYTHON_LINES]
    assert not found, "\n".join(found)


def test_no_c_function_is_long() -> None:
    """Of C as clang-format writes it: a body ends with a brace in the first column. What is naked is assembly."""
    found = []
    for file, text in sources(".c", ".h", folders=("kernels/mcu",)).items():
        for function in re.finditer(r"^\w[^;{}]*\)\s*\{\n.*?^\}", text, re.M | re.S):
            head, lines = function.group().splitlines()[0], function.group().count("\n") + 1
            if lines > C_LINES and "naked" not in head:
                found.append(f"{file}: {lines} lines from {head}")
    assert not found, "\n".join(found)


def test_no_function_takes_many_parameters_but_those_of_an_operators_schema() -> None:
    """All but two of a function's parameters are of one operator's schema where they are many, whether it is of ours or
    of torch's; what translates a node of ONNX takes the node's inputs."""
    register_all()
    overloads = [*(operator.overload for operator in OPERATORS.values()), torch.ops.aten.istft.default]
    schemas = [{one.name for one in overload._schema.arguments} for overload in overloads]
    found = []
    for name, function, _ in functions():
        taken = parameters(function)
        of_onnx = any(ast.unparse(one).startswith("translates(") for one in function.decorator_list)
        if len(taken) > PARAMETERS and not of_onnx and min(len(set(taken) - schema) for schema in schemas) > 2:
            found.append(f"{name}: {len(taken)} parameters")
    assert not found, "\n".join(found)


def test_types_are_checked_nearly_everywhere() -> None:
    lines = [
        (f"{file}:{i}", line) for file, text in sources(".py").items() for i, line in enumerate(text.splitlines(), 1)
    ]
    ignored = [
        place for place, line in lines if re.search(r"\S.*#\s*type:\s*ignore\b", line) and "re.search" not in line
    ]
    assert len(ignored) <= IGNORES, "\n".join(ignored)
    switched_off = [place for place, line in lines if line.startswith("# mypy:")]
    assert not switched_off, "\n".join(switched_off)
