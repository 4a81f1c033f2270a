"""The samples that a program is verified on: the example first, then invented ones that are able to find faults.

An invented sample has floats at one scale, one pattern of masks, sizes at one place of their bounds, and integers from
all over their legal range. Where the original itself fails on it, or answers with NaN, the part that is to blame gives
way to the example's own values, and that is told.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeopt.errors import EdgeoptError, UserError
from edgeopt.ir.metrics import Arrays, Sample
from edgeopt.ir.program import Program
from edgeopt.verification.draws import Draw
from edgeopt.verification.kinds import kind_of
from edgeopt.verification.plans import PLANS, SPARING, Part, Plan, told
from edgeopt.verification.sizes import sizes_at, sizes_of, unreached


@dataclass(frozen=True)
class VerificationInputs:
    """Samples, the example first, and a sentence for each kind of input that was left out."""

    samples: tuple[Sample, ...]
    left_out: tuple[str, ...] = ()


class Inventor:
    """Draws samples and tries them on the original.

    ``example``: the first sample. ``left_out``: by part and form, why the original does not take what was invented.
    """

    def __init__(self, program: Program, example: Arrays, seed: int, is_invented: bool = False) -> None:
        """``is_invented``: the example, too, is edgeopt's own; one without arrays is made here.

        Raises UserError where the original fails on the example, or answers with NaN.
        """
        is_invented = is_invented or not example
        known = {} if is_invented else example
        self.program = program
        self.inputs = tuple(kind_of(program, node, known.get(node.name)) for node in program.input_nodes)
        self.sizes = sizes_of(program, example)
        self.draw = Draw(program, example)
        self.seed = seed
        self.left_out: dict[tuple[Part, str], str] = {}
        self._stands_in: dict[tuple[Part, str], str] = {}
        self._infinite: frozenset[str] | None = None
        self.example = self._example(example, is_invented)
        self.draw.example = self.example

    def samples(self, count: int) -> VerificationInputs:
        """Return up to ``count`` samples, each with an array for every input: the example, then invented ones."""
        invented = (self._invented(PLANS[index % len(PLANS)], index) for index in range(count - 1))
        samples = (self.example, *(sample for sample in invented if sample is not None))
        beyond = unreached(self.program, self.sizes) if count > 1 else ()
        cut = (f"verified at smaller sizes than the stated ones: {', '.join(beyond)}",) if beyond else ()
        return VerificationInputs(samples, (*told(self.left_out), *cut))

    def _invented(self, plan: Plan, index: int) -> Sample | None:
        """Return the sample of an index, after a plan; None where the original takes nothing like it."""
        for part in self._parts():
            plan = plan.spared(part, self._stands_in.get((part, plan.form(part)), plan.form(part)))
        sample = self._drawn(plan, index)
        if (reason := self._failure(sample)) is None:
            return sample
        sparing = [(part, form) for part, form in SPARING if part in self._parts() and plan.form(part) != form]
        for part, form in sparing:
            sample = self._drawn(plan.spared(part, form), index)
            if self._failure(sample) is None:
                self._leave_out(plan, part, form, reason)
                return sample
        last = plan
        for part, form in sparing:
            self._leave_out(plan, part, form, reason)
            last = last.spared(part, form)
        sample = self._drawn(last, index)
        return sample if self._failure(sample) is None else None

    def _leave_out(self, plan: Plan, part: Part, form: str, reason: str) -> None:
        self.left_out[part, plan.form(part)] = reason
        self._stands_in[part, plan.form(part)] = form

    def _parts(self) -> set[Part]:
        """Return what samples consist of here."""
        kinds: dict[str, Part] = {"floats": "floats", "masks": "masks"}
        found = {kinds.get(one.kind, "integers") for one in self.inputs}
        return found | {"sizes"} if self.sizes else found

    def _example(self, example: Arrays, is_invented: bool) -> Sample:
        """Return the example, or one of our own where it is not the user's and the original fails on it.

        Raises UserError where the original fails on that, too.
        """
        reason = self._failure(dict(example)) if example else "there is none"
        if reason is None:
            return dict(example)
        if not is_invented:
            raise UserError(
                f"the original fails on its own example inputs: {reason}",
                "give a sample that the model is meant for, with --sample FILE.npz",
            )
        for masks in ("full", "none"):
            sample = self._drawn(Plan("scale 1", masks, "example"), -1)
            if (reason := self._failure(sample)) is None:
                return sample
        raise UserError(
            f"the original takes no inputs that edgeopt could make up: {reason}",
            "give a sample that the model is meant for, with --sample FILE.npz",
        )

    def _drawn(self, plan: Plan, index: int) -> Sample:
        sizes = sizes_at(self.program, plan.sizes, self.sizes)
        sample = {}
        for place, one in enumerate(self.inputs):
            # Of its own for each input: what stands in for one leaves the others as they were.
            generator = np.random.default_rng([self.seed, index + 1, place])
            if one.kind == "floats":
                # NumPy draws a number where there are no dimensions.
                sample[one.name] = np.asarray(self.draw.floats(one, plan.floats, sizes, generator))
            elif one.kind == "masks":
                sample[one.name] = self.draw.masks(one, plan.masks, sizes, generator)
            elif plan.integers == "example":
                sample[one.name] = self.draw.given(one, sizes)
            else:
                sample[one.name] = self.draw.integers(one, sizes, generator)
        return sample

    def _failure(self, sample: Sample) -> str | None:
        """Return why the original does not take a sample, or None where it does.

        Infinite outputs are taken where the example's, which is tried first, are infinite, too.
        """
        try:
            outputs = self.program.run(sample)
        except EdgeoptError as error:
            return f"the original fails ({error.message.rstrip('.')})"
        floats = {name: array for name, array in outputs.items() if array.dtype.kind == "f"}
        if name := next((name for name, array in floats.items() if np.isnan(array).any()), None):
            return f"the original's output '{name}' is NaN"
        infinite = frozenset(name for name, array in floats.items() if np.isinf(array).any())
        if self._infinite is None:
            self._infinite = infinite
        beyond = sorted(infinite - self._infinite)
        return f"the original's output '{beyond[0]}' is infinite" if beyond else None
