"""Stage 1 on a block that a closed form solves, so that what is found can be checked."""

from __future__ import annotations

from dataclasses import replace as replace_dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt.distill.batches import split
from edgeopt.distill.distil import Distillation, distil
from edgeopt.distill.loop import TuneOptions
from edgeopt.distill.model import with_constants
from edgeopt.distill.swap import Swap
from edgeopt.errors import UserError
from edgeopt.ir.metrics import Sample
from edgeopt.ir.program import Program
from edgeopt.ir.rewrite import replace
from edgeopt.plugins.testing import to_program
from tests.typed import fixed_shape

OPTIONS = TuneOptions(steps=300, rate=5e-2)


def original() -> Program:
    torch.manual_seed(0)
    return to_program(nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)), (torch.randn(8, 4),))


def swapped(program: Program) -> tuple[Program, Swap]:
    """Return the program with ``tanh(x)`` replaced by ``x * c``, c a number a channel."""
    student = program.clone()
    tanh = next(node for node in student.calls if node.name == "tanh")
    (x,) = tanh.all_input_nodes
    scale = student.add_constant("scale", torch.ones(4))
    new = student.insert(tanh, torch.ops.aten.mul.Tensor, x, scale)
    new.meta["origin"] = "tanh"
    replace(tanh, new)
    student.clean()
    return student, Swap("tanh", (x.name,), (scale.name,))


def samples(program: Program, count: int) -> list[Sample]:
    random = np.random.default_rng(0)
    (spec,) = program.inputs
    return [{spec.name: random.standard_normal(fixed_shape(spec), dtype=np.float32)} for _ in range(count)]


def test_block_is_matched_on_the_originals_inputs() -> None:
    program = original()
    student, swap = swapped(program)
    data = samples(program, 32)
    tuned = distil(program, student, [swap], data, OPTIONS)
    assert tuned.blocks_after["tanh"] < 0.6 * tuned.blocks_before["tanh"]
    rows: dict[str, list[torch.Tensor]] = {"linear": [], "tanh": []}
    for sample in data:
        program.run(sample, lambda node, value: rows[node.name].append(value) if node.name in rows else None)
    x, y = torch.cat(rows["linear"]), torch.cat(rows["tanh"])
    torch.testing.assert_close(tuned.program.constants["scale"], (x * y).sum(0) / (x * x).sum(0), rtol=0.1, atol=0.02)


def test_neither_program_is_written_into() -> None:
    program = original()
    student, swap = swapped(program)
    before = (program.fingerprint(), student.fingerprint())
    distil(program, student, [swap], samples(program, 4), TuneOptions(steps=5), whole=True)
    assert (program.fingerprint(), student.fingerprint()) == before


def test_stages_are_chosen() -> None:
    program = original()
    student, swap = swapped(program)
    quick = TuneOptions(steps=5)
    kept = distil(program, student, [swap], samples(program, 4), quick, blocks=False)
    assert kept.stages == () and kept.program.fingerprint() == student.fingerprint()
    both = distil(program, student, [swap], samples(program, 4), quick, whole=True)
    assert [len(stage.parameters) for stage in both.stages] == [1, 5]


def test_whole_model_is_matched_by_new_and_old_weights() -> None:
    program = original()
    student, swap = swapped(program)
    tuned = distil(program, student, [swap], samples(program, 16), OPTIONS, blocks=False, whole=True)
    assert tuned.outputs_after < 0.8 * tuned.outputs_before
    moved = {name: float((t - student.constants[name]).abs().max()) for name, t in tuned.program.constants.items()}
    assert moved["scale"] > 2 * moved["_2_bias"] > 0


def test_fitted_swaps_are_left_to_the_second_stage() -> None:
    program = original()
    student, swap = swapped(program)
    fitted = replace_dataclass(swap, is_fitted=True)
    tuned = distil(program, student, [fitted], samples(program, 4), TuneOptions(steps=5), whole=True)
    assert len(tuned.stages) == 1 and len(tuned.stages[0].parameters) == 5


def test_progress_is_told() -> None:
    program = original()
    student, swap = swapped(program)
    told: list[tuple[Any, ...]] = []
    options = TuneOptions(steps=20, check_every=10)
    distillation = Distillation(program, *split(samples(program, 4)), options, lambda *facts: told.append(facts))
    distillation.run(student, [swap], whole=False)
    assert [(stage, steps) for stage, steps, _, _ in told] == [("blocks", 10), ("blocks", 20)]
    assert all(0 <= left < options.seconds for *_, left in told)


@pytest.mark.parametrize("count", [0, 1])
def test_one_sample_is_too_few(count: int) -> None:
    program = original()
    student, swap = swapped(program)
    with pytest.raises(UserError, match=f"{count} samples to tune on"):
        distil(program, student, [swap], samples(program, count))


def test_probabilities_are_compared_by_what_their_softmax_reads() -> None:
    layer = nn.Linear(4, 3)
    program = to_program(nn.Sequential(layer, nn.Softmax(-1)), (torch.randn(2, 4),))
    weight = "_0_weight"
    other = with_constants(program, {weight: program.constants[weight] * 1.5})
    data = samples(program, 4)
    (name,) = data[0]
    logits = [layer(torch.from_numpy(sample[name])) for sample in data]
    moved = [x @ other.constants[weight].mT + layer.bias for x in (torch.from_numpy(s[name]) for s in data)]
    expected = torch.stack([(m - y).square().mean() / y.square().mean() for m, y in zip(moved, logits, strict=True)])
    found = Distillation(program, data, data, OPTIONS).output_error(other)
    assert found == pytest.approx(expected.mean().sqrt().item(), rel=1e-5)
    assert program.results[0].target is torch.ops.aten.softmax.int
