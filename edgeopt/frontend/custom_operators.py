"""Operators that other libraries define: imported on request, written out where they have a decomposition."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch._decomp import decomposition_table
from torch._export.utils import _get_decomp_for_cia
from torch.export import ExportedProgram

from edgeopt.errors import UserError
from edgeopt.foreign import foreign, quiet
from edgeopt.frontend.archive import operators
from edgeopt.frontend.quantized import NAMESPACE, define_operators
from edgeopt.frontend.user_code import user_code
from edgeopt.ops import register_all
from edgeopt.ops.custom import custom_operators

_ENTRIES = 8
"""Most names that a message lists."""


def import_modules(names: Iterable[str], trust: bool) -> None:
    """Import the modules that define operators.

    Raises UserError where one fails, and where their code is not trusted to run.
    """
    for name in names:
        if not trust:
            raise UserError(f"--import {name} would run code", "add --trust if you trust it")
        with user_code(f"--import {name} fails", "name a module that Python finds from here: package.module"):
            importlib.import_module(name)


def check_operators(path: Path) -> None:
    """Raise UserError where an archive calls operators that are not known to torch, for it says so of the file."""
    register_all()
    called = operators(path)
    if any(name.startswith(f"{NAMESPACE}.") for name in called):
        define_operators()
    missing = sorted(name for name in called if not _is_known(name))
    if not missing:
        return
    more = f" and {len(missing) - _ENTRIES} more" if len(missing) > _ENTRIES else ""
    raise UserError(
        f"'{path}' calls operators that nothing here defines: {', '.join(missing[:_ENTRIES])}{more}",
        "name the module that defines them: --import MODULE --trust; or install a package that names them in the "
        "entry-point group edgeopt.operators",
    )


def _is_known(name: str) -> bool:
    namespace, operator, *overload = name.split(".")
    packet = getattr(getattr(torch.ops, namespace), operator, None)
    return packet is not None and all(hasattr(packet, one) for one in overload)


def written_out(exported: ExportedProgram) -> tuple[ExportedProgram, tuple[str, ...]]:
    """Return a program with its custom operators in the form of their decompositions, where they have one, and a note
    on which these are.

    Raises UserError where a decomposition fails.
    """
    tried: dict[Any, Callable[..., Any]] = {}
    while rules := {op: rule for op in _custom(exported) if op not in tried and (rule := _decomposition(op))}:
        tried |= rules
        names = ", ".join(str(op) for op in rules)
        remedy = "correct the decomposition, or replace the operator in the model"
        with foreign(f"the decomposition of {names} fails", remedy), quiet():
            exported = exported.run_decompositions(dict(tried))
    if not tried:
        return exported, ()
    return exported, (f"custom operators in the form of their decompositions: {', '.join(map(str, tried))}",)


def _custom(exported: ExportedProgram) -> Iterable[torch._ops.OpOverload]:
    return custom_operators(exported.graph.nodes)


def _decomposition(op: torch._ops.OpOverload) -> Callable[..., Any] | None:
    # Of a composite operator not op.decompose: torch puts what the table holds in place of what that calls.
    return decomposition_table.get(op) or (_get_decomp_for_cia(op) if op._can_decompose() else None)
