"""A process that exports many times: what torch.export does anew on every call, though it comes out the same, is done
once.

Half of what a small export takes is the preparation of composite operators. Nothing here changes what is exported.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
import torch
from torch._export import utils
from torch._subclasses.fake_impls import op_implementations_dict as fake_rules
from torch.export import decomp_utils, exported_program


class _Kernels(NamedTuple):
    """An operator's kernels in Python before and while its decomposition is overridden, and its rule for fakes."""

    before: dict[Any, Any]
    meanwhile: dict[Any, Any]
    fake_rule: Callable[..., Any]


@contextmanager
def often() -> Iterator[None]:
    """Look for composite operators where new ones are registered, replay how their decomposition is overridden, and
    take what importing left out of garbage collection: to walk a million objects again and again takes a fifth."""
    gc.collect()
    gc.freeze()
    with pytest.MonkeyPatch.context() as patch:
        collected = _collected(utils._collect_all_valid_cia_ops)
        patch.setattr(exported_program, "_collect_all_valid_cia_ops", collected)
        patch.setattr(decomp_utils, "_collect_all_valid_cia_ops", collected)
        patch.setattr(decomp_utils, "_get_decomp_for_cia", _the_same(utils._get_decomp_for_cia))
        replayed = _replayed(exported_program._override_composite_implicit_decomp)
        patch.setattr(exported_program, "_override_composite_implicit_decomp", replayed)
        yield


def _collected(collect: Callable[[], set[Any]]) -> Callable[[], set[Any]]:
    # torch asks for each operator by name, once a namespace.
    known: dict[tuple[str, ...], set[Any]] = {}

    def collected() -> set[Any]:
        registered = torch._C._dispatch_get_registrations_for_dispatch_key("CompositeImplicitAutograd")
        key = (*registered, *torch.ops._dir)
        if key not in known:
            known.clear()
            known[key] = collect()
        return known[key]

    return collected


def _the_same(decomposition: Callable[[Any], Callable[..., Any]]) -> Callable[[Any], Callable[..., Any]]:
    # torch writes a new function for each operator, so that none would be known again.
    known: dict[tuple[Any, Any], Callable[..., Any]] = {}

    def the_same(op: Any) -> Callable[..., Any]:
        key = op, op.py_kernels.get(torch._C.DispatchKey.CompositeImplicitAutograd)
        if key not in known:
            known[key] = decomposition(op)
        return known[key]

    return the_same


def _replayed(override: Callable[[dict[Any, Any]], Any]) -> Callable[[dict[Any, Any]], Any]:
    # torch builds twenty kernels for each of hundreds of operators, and takes all away again.
    known: dict[tuple[Any, Any], _Kernels] = {}

    @contextmanager
    def replayed(handlers: dict[Any, Any]) -> Iterator[None]:
        new = {op: dict(op.py_kernels) for op in handlers if not _is_as_before(op, known.get((op, handlers[op])))}
        with override({op: handlers[op] for op in new}):
            for op, before in new.items():
                known[op, handlers[op]] = _Kernels(before, dict(op.py_kernels), fake_rules[op])
        kernels = {op: known[op, handler] for op, handler in handlers.items()}
        for op in kernels:
            _set_kernels(op, kernels[op].meanwhile)
            fake_rules.setdefault(op, kernels[op].fake_rule)
        try:
            yield
        finally:
            for op in kernels:
                _set_kernels(op, kernels[op].before)
                fake_rules.pop(op, None)

    return replayed


def _is_as_before(op: Any, kernels: _Kernels | None) -> bool:
    return kernels is not None and kernels.before == op.py_kernels


def _set_kernels(op: Any, kernels: dict[Any, Any]) -> None:
    op.py_kernels.clear()
    op.py_kernels.update(kernels)
    op._dispatch_cache.clear()
