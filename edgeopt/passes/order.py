"""Where passes stand: what is added runs last of its stage, and what cannot hold is refused before anything runs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from edgeopt.errors import UserError
from edgeopt.ir.context import Context
from edgeopt.ir.pass_base import STAGES, Pass


def adding(passes: Sequence[Pass], added: Iterable[Pass]) -> list[Pass]:
    """Return the passes with each of ``added`` at the end of its stage."""
    check_stages(passes)
    return sorted([*passes, *added], key=_stage)  # the sort is stable


def skipping(passes: Sequence[Pass], names: Collection[str], ensured: frozenset[str] = frozenset()) -> list[Pass]:
    """Return the passes without those of these names. ``ensured``: the properties that the program has.

    Raises UserError where one that is left requires what only a skipped one ensures.
    """
    left = [step for step in passes if step.name not in names]
    skipped = [step for step in passes if step.name in names]
    for step, missing in _unmet(left, ensured):
        makers = {one.name for one in skipped if missing & one.ensures}
        if makers:
            raise UserError(
                f"pass '{step.name}' requires {_list(missing)}, which the skipped pass '{min(makers)}' ensures",
                f"skip '{step.name}' as well, or neither",
            )
    return left


def check_needs(passes: Iterable[Pass], context: Context) -> None:
    """Raise UserError where a pass needs what there is not."""
    for step in passes:
        for need in step.needs:
            if need not in context:
                raise UserError(f"pass '{step.name}' needs {need.name}", need.remedy)


def check_requirements(passes: Iterable[Pass], ensured: frozenset[str] = frozenset()) -> None:
    """Raise UserError where a pass requires what no pass before it ensures, nor the program it begins with."""
    for step, missing in _unmet(passes, ensured):
        raise UserError(
            f"pass '{step.name}' requires {_list(missing)}, and no pass before it ensures that",
            "leave it out, or add one that does (see edgeopt passes)",
        )


def check_stages(passes: Iterable[Pass]) -> None:
    """Raise UserError where a pass stands after one of a later stage."""
    last: Pass | None = None
    for step in passes:
        if last is not None and _stage(step) < _stage(last):
            raise UserError(
                f"pass '{step.name}' of stage '{step.stage}' stands after '{last.name}' of stage '{last.stage}'",
                f"the order of stages is {', '.join(STAGES)}",
            )
        last = step


def _unmet(passes: Iterable[Pass], ensured: frozenset[str]) -> Iterable[tuple[Pass, frozenset[str]]]:
    """Yield the passes that require what none before them ensures, and that."""
    for step in passes:
        if missing := step.requires - ensured:
            yield step, missing
        ensured |= step.ensures


def _stage(step: Pass) -> int:
    return STAGES.index(step.stage)


def _list(properties: Iterable[str]) -> str:
    return " and ".join(f"'{name}'" for name in sorted(properties))
