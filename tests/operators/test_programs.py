"""Random programs of supported operators: what is exported is torch eager, on every target that runs here."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from edgeopt.plugins.registry import resolve
from tests.operators.programs import program
from tests.operators.runner import THROUGH_EXPORTERS, outcomes, traced

_STEPS, _FEW, _MANY = 40, 3, 200


def _check(data: st.DataObject) -> None:
    case = program(data.draw, _STEPS)
    (group,), lost = traced([case])
    assert not lost
    for target in THROUGH_EXPORTERS:
        if not (probe := resolve(target).probe()).found:
            pytest.skip(str(probe.install))
        (outcome,) = outcomes(group, target).values()
        assert outcome.kind in ("exact", "close"), f"{target}: {outcome.kind}, {outcome.reason}\n{case.run}"


# Shrinking would compile hundreds of programs.
_SETTINGS = settings(
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@settings(_SETTINGS, max_examples=_FEW)
@given(st.data())
def test_a_random_program_is_exported_as_it_computes(data: st.DataObject) -> None:
    _check(data)


@pytest.mark.nightly
@settings(_SETTINGS, max_examples=_MANY)
@given(st.data())
def test_many_random_programs_are_exported_as_they_compute(data: st.DataObject) -> None:
    _check(data)
