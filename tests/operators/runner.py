"""Many cases in one program, on one target; what goes wrong is looked for by halving.

A target compiles and runs in a process of its own: a runtime that crashes costs one row.
"""

from __future__ import annotations

import os
import pickle
import re
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import fx
from torch._subclasses import FakeTensorMode

from edgeopt import onnx
from edgeopt.candidate.compile import compiled
from edgeopt.errors import EdgeoptError, Unsupported
from edgeopt.ir.convert import from_exported
from edgeopt.ir.program import Program, op_name, to_numpy
from edgeopt.ir.rewrite import arguments
from edgeopt.passes.pipeline import Pipeline
from edgeopt.plugins.registry import resolve
from edgeopt.plugins.target import Target, TargetOptions
from tests.operators.cases import Case, SideBySide
from tests.operators.judge import ABSOLUTE, difference, is_exact

Kind = Literal["exact", "close", "refused", "not comparable", "wrong", "fault"]

TARGETS = ("reference", "onnx", "openvino")
THROUGH_EXPORTERS = TARGETS[1:]
"""Targets before which operators are written out."""

_RANDOM, _MEMORY = "its numbers are drawn at random", "it returns memory as it finds it"
_UNORDERED = "its sample holds NaN, which the target does not put first as torch does"
_UNTRACED = "torch.export does not take it"


@dataclass(frozen=True)
class Outcome:
    """What became of a case: ``exact``, every number as torch computes it; ``close``, within the judge's bound;
    ``refused`` in one sentence, by torch.export or by edgeopt; ``not comparable``; ``wrong`` numbers; a ``fault`` that
    no sentence explains."""

    kind: Kind
    reason: str = ""

    @property
    def holds(self) -> bool:
        """Whether edgeopt keeps its word."""
        return self.kind not in ("wrong", "fault")


@dataclass(frozen=True)
class Group:
    """Cases as one program, by the index that the program's outputs bear, and what to feed it."""

    cases: dict[int, Case]
    program: Program
    feed: dict[str, np.ndarray]

    def only(self, indices: Sequence[int]) -> Group:
        """Return the part of the program that computes some of the cases."""
        program = self.program.clone()
        kept = [pair for pair in zip(program.output_names, program.results, strict=True) if _index(pair[0]) in indices]
        program.output_node.args = (tuple(result for _, result in kept),)
        program.output_names = tuple(name for name, _ in kept)
        program.clean()
        # Random numbers are drawn even where nothing reads them.
        for node in (*reversed(list(program.calls)), *program.input_nodes):
            if not node.users:
                program.graph.erase_node(node)
        feed = {spec.name: self.feed[spec.name] for spec in program.inputs}
        return Group({index: self.cases[index] for index in indices}, program, feed)


def _traced(cases: Sequence[Case]) -> Group:
    operands = [operand.clone() for case in cases for operand in case.operands]
    with torch.no_grad():
        exported = torch.export.export(SideBySide(cases).eval(), tuple(operands))
    names = [f"operand_{index}" for index in range(len(operands))]
    feed = {name: to_numpy(operand) for name, operand in zip(names, operands, strict=True)}
    return Group(dict(enumerate(cases)), from_exported(exported, names), feed)


def _owners(program: Program, condition: Callable[[fx.Node], bool]) -> set[int]:
    """Return the indices of the cases that have an input or a call of which a condition holds."""
    owners = (_owner(program, node) for node in (*program.input_nodes, *program.calls) if condition(node))
    return {index for index in owners if index is not None}


def _owner(program: Program, node: fx.Node) -> int | None:
    """Return the index of the case that a node belongs to: that of the outputs it leads to."""
    pending = [node]
    while pending:
        reader = pending.pop()
        if reader in program.results:
            return _index(program.output_names[program.results.index(reader)])
        pending += list(reader.users)
    return None


def _index(output: str) -> int:
    return int(output.removeprefix("output_").split("_")[0])


def traced(cases: Sequence[Case]) -> tuple[list[Group], dict[str, Outcome]]:
    """Return the cases in as few programs as torch.export takes them in, and what became of the others."""
    apart = [case for case in cases if not _runs_on_shapes(case)]
    groups, lost = _traced_together([case for case in cases if case not in apart])
    for case in apart:
        more, reasons = _traced_together([case])
        groups, lost = groups + more, {**lost, **reasons}
    return groups, lost


def _runs_on_shapes(case: Case) -> bool:
    """Return whether a case runs on tensors without values and leaves its operands as they are."""
    # The layers' own weights stay as they are.
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    operands = [mode.from_tensor(operand) for operand in case.operands]
    versions = [operand._version for operand in operands]
    try:
        with mode, torch.no_grad():
            case.run(*operands)
    except Exception:  # whatever it is, torch.export is to name it
        return False
    return versions == [operand._version for operand in operands]


def _traced_together(cases: Sequence[Case]) -> tuple[list[Group], dict[str, Outcome]]:
    if not cases:
        return [], {}
    try:
        return [_traced(cases)], {}
    except Exception as error:
        if len(cases) > 1:
            middle = len(cases) // 2
            (first, lost), (second, other) = _traced_together(cases[:middle]), _traced_together(cases[middle:])
            return first + second, {**lost, **other}
        reason = _sentence(error) if isinstance(error, EdgeoptError) else _UNTRACED
        return [], {cases[0].name: Outcome("refused", reason)}


@cache
def _ready(name: str) -> None:
    """Import what a target compiles with, which takes seconds: once for all processes that are forked from this one."""
    target = resolve(name)
    program = _prepared(_traced([Case("abs", "first", torch.abs, (torch.ones(1),))]).program, target)
    if name in THROUGH_EXPORTERS:
        onnx.translate(program)


def _prepared(program: Program, target: Target) -> Program:
    return Pipeline([step.build() for step in target.pipeline(_options(target))])(program).program


def _options(target: Target) -> TargetOptions:
    return target.Options(**target.device.options)


def outcomes(group: Group, target: str) -> dict[str, Outcome]:
    """Return what becomes of each case of a group on a target."""
    _ready(target)
    idle = _not_comparable(group.program)
    left = [index for index in group.cases if index not in idle]
    found = {group.cases[index].name: outcome for index, outcome in idle.items()}
    return {**found, **(_outcomes(group.only(left), target) if left else {})}


def _outcomes(group: Group, target: str) -> dict[str, Outcome]:
    results = _in_a_process_of_its_own(lambda: _run(group, target))
    if not isinstance(results, Outcome | list):
        return {case.name: _judged(case, results, index) for index, case in group.cases.items()}
    refused = dict(results) if isinstance(results, list) else {}
    if isinstance(results, Outcome) and len(group.cases) == 1:
        refused = dict.fromkeys(group.cases, results)
    if refused.keys() == group.cases.keys():
        return {group.cases[index].name: outcome for index, outcome in refused.items()}
    left = [index for index in group.cases if index not in refused]
    # What is refused beside others is tried without them: what translates a whole program may take it alone.
    parts = (left, list(refused)) if refused else _parts(group, left, results)
    return {name: found for part in parts if part for name, found in _outcomes(group.only(part), target).items()}


def _parts(group: Group, left: list[int], failure: Outcome | list[Any]) -> tuple[list[int], list[int]]:
    """Return the cases in two parts: those that a failure names and the others, or else halves."""
    named = _named(group, failure.reason) if isinstance(failure, Outcome) else set()
    apart = named if 0 < len(named) < len(left) else set(left[: len(left) // 2])
    return [index for index in left if index in apart], [index for index in left if index not in apart]


def _named(group: Group, reason: str) -> set[int]:
    """Return the cases whose nodes or outputs a sentence seems to name: they are tried apart, before halves are."""
    named = {name.removeprefix("node_") for name in re.findall(r"node_\w+|(?<=')\w+(?=')", reason)}
    found = _owners(group.program, lambda node: node.name in named)
    found |= {int(index) for index in re.findall(r"output_(\d+)_\d+", reason)}
    return found & group.cases.keys()


def _run(group: Group, name: str) -> Any:
    """Return results by name; or the cases that are refused by index; or the outcome of all of them together."""
    target = resolve(name)
    program = group.program
    try:
        program = _prepared(program, target)
        with tempfile.TemporaryDirectory() as folder:
            candidate = compiled(program, Path(folder), target, _options(target), [group.feed])
            with closing(candidate.open()) as session:
                return session.run(group.feed)
    except Unsupported as error:
        return _unplaced(program, error) or Outcome("refused", _sentence(error))
    except EdgeoptError as error:
        return Outcome("refused" if error.hint else "fault", _sentence(error))
    except Exception as error:
        return Outcome("fault", _sentence(error))


def _unplaced(program: Program, error: Unsupported) -> list[tuple[int, Outcome]]:
    """Return the cases that cannot be placed, where the nodes tell which they are."""
    owners = {name: _index(name) for name in program.output_names}
    found = []
    for placement in error.placements:
        node = program.node(placement.node)
        index = owners.get(placement.node) if node is None else _owner(program, node)
        if index is not None:
            found.append((index, Outcome("refused", f"{placement.op}: {placement.reason}")))
    return found


def _judged(case: Case, results: dict[str, np.ndarray], index: int) -> Outcome:
    expected = case.expected()
    noise = case.noise(expected)
    got = [results[f"output_{index}_{place}"] for place in range(len(expected))]
    for place, (wanted, found, level) in enumerate(zip(expected, got, noise, strict=True)):
        if (fault := difference(wanted, found, level, ABSOLUTE.get(case.operator, 0.0))) is not None:
            if case.orders_nan:
                return Outcome("not comparable", _UNORDERED)
            return Outcome("wrong", f"output {place}: {fault}")
    return Outcome("exact" if all(map(is_exact, expected, got)) else "close")


def _in_a_process_of_its_own(function: Callable[[], Any]) -> Any:
    """Return what a function returns, pickled by a forked process; an outcome where that process is killed.

    This process must never have run a model itself: a fork has none of the threads of a runtime, and waits for them.
    """
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            with os.fdopen(writing, "wb") as stream:
                stream.write(_pickled(function))
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        content = stream.read()
    _, status = os.waitpid(child, 0)
    return pickle.loads(content) if content else Outcome("fault", f"the process ended with status {status}")


def _pickled(function: Callable[[], Any]) -> bytes:
    try:
        return pickle.dumps(function())
    except Exception as error:
        return pickle.dumps(Outcome("fault", _sentence(error)))


def _not_comparable(program: Program) -> dict[int, Outcome]:
    """Return the cases, by index, whose values torch itself does not promise, and why."""
    reasons = ((node, _MEMORY if "empty" in op_name(node) else _RANDOM) for node in program.calls if _is_open(node))
    found = {_owner(program, node): Outcome("not comparable", reason) for node, reason in reasons}
    return {index: outcome for index, outcome in found.items() if index is not None}


def _is_open(node: fx.Node) -> bool:
    """Return whether an operator draws numbers, or returns memory as it finds it."""
    given = arguments(node)
    # Attention and recurrent layers bear the tag for their dropout.
    is_still = given.get("dropout_p") == 0 or given.get("train", given.get("training")) is False
    is_tagged = torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
    return (is_tagged and not is_still) or "empty" in op_name(node)


def _sentence(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:2])[:240]}"
