"""What to test a pass of your own with; part of the public interface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from edgeopt.compare import compare
from edgeopt.errors import PassError
from edgeopt.exported import from_exported
from edgeopt.ledger import EXACT_BOUND
from edgeopt.pipeline import Pass, PassResult, Pipeline
from edgeopt.program import Program, to_numpy

# -- passes --------------------------------------------------------------------------------------------


def to_program(module: torch.nn.Module, inputs: Sequence[Any], dynamic_shapes: Any = None) -> Program:
    """Return a module as a Program; it is put into eval mode. ``dynamic_shapes`` as torch.export takes them."""
    with torch.no_grad():
        exported = torch.export.export(module.eval(), tuple(inputs), dynamic_shapes=dynamic_shapes)
    return from_exported(exported)


def assert_pass(
    pass_: Pass,
    model: Program | torch.nn.Module,
    inputs: Sequence[torch.Tensor] | Mapping[str, torch.Tensor],
    *,
    bound: float = EXACT_BOUND,
    changes: bool | None = None,
) -> PassResult:
    """Assert that a pass keeps its word on a model, and return what it did.

    Asserted are: the outputs on ``inputs`` (in the order of ``program.inputs``, or by name) move by at most
    ``bound`` relative to their largest value; ``changed`` is the truth, and is ``changes`` where that is given;
    the given program is left as it was; the invariants hold; a second run changes nothing.
    """
    program = model if isinstance(model, Program) else to_program(model, tuple(inputs))
    named = inputs if isinstance(inputs, Mapping) else _by_name(program, inputs)
    sample = {name: to_numpy(value) for name, value in named.items()}
    result, again = _run_twice(pass_, program)
    error = compare(program.run(sample), result.program.run(sample))
    assert error.relative <= bound, f"{pass_.name} moved the outputs by {error.relative:.2e} (bound {bound:.0e})"
    assert changes is None or result.changed is changes, f"{pass_.name} says changed={result.changed}\n{program.text()}"
    assert not again.changed, (
        f"{pass_.name} is not idempotent:\n{result.program.text()}\nbecame\n{again.program.text()}"
    )
    return result


def _run_twice(pass_: Pass, program: Program) -> tuple[PassResult, PassResult]:
    # The driver is what holds a pass to its claim and its invariants.
    driver = Pipeline([pass_])
    try:
        result = driver(program)
        return result, driver(result.program)
    except PassError as error:
        raise AssertionError(error.message) from error


def _by_name(program: Program, inputs: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    return {spec.name: value for spec, value in zip(program.inputs, inputs, strict=True)}
