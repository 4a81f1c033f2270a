"""Random programs, exported and run on every target that runs here: ``python -m tests.operators.random_programs``.

The first one that is not as torch eager computes it ends the run.
"""

from __future__ import annotations

import argparse

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from edgeopt.plugins.registry import resolve
from tests import exporting
from tests.operators.programs import program
from tests.operators.runner import THROUGH_EXPORTERS, outcomes, traced

_STEPS = 40


def _check(data: st.DataObject) -> None:
    case = program(data.draw, _STEPS)
    (group,), lost = traced([case])
    assert not lost
    for target in THROUGH_EXPORTERS:
        if resolve(target).probe().found:
            (outcome,) = outcomes(group, target).values()
            assert outcome.kind in ("exact", "close"), f"{target}: {outcome.kind}, {outcome.reason}\n{case.run}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    # Shrinking would compile hundreds of programs.
    drawn = settings(
        max_examples=parser.parse_args().count,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    drawn(given(st.data())(_check))()


if __name__ == "__main__":
    with exporting.often():
        main()
