from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt.distill.distil import distil
from edgeopt.distill.loop import TuneOptions
from edgeopt.errors import UserError
from edgeopt.ir.context import EMPTY, SAMPLES, Context
from edgeopt.ir.program import Program
from edgeopt.passes.exact.fold_affine import FoldAffine
from edgeopt.passes.pipeline import Pipeline
from edgeopt.passes.substitution.replace_layernorm import ReplaceLayernorm
from edgeopt.plugins.testing import assert_pass, to_program
from tests.passes.builders import ops, randomized, reasons
from tests.typed import fixed_shape

C = 8


class Branch(nn.Module):
    def __init__(self, norm: type[nn.Module]) -> None:
        super().__init__()
        self.norm, self.up, self.down = norm(C), nn.Linear(C, 16), nn.Linear(16, C)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(self.up(self.norm(x)).relu())


class Model(nn.Module):
    """A stem, two branches, and a norm before the pooled head."""

    def __init__(self, norm: type[nn.Module] = nn.LayerNorm) -> None:
        super().__init__()
        self.stem, self.branches = nn.Linear(6, C), nn.Sequential(Branch(norm), Branch(norm))
        self.norm, self.head = norm(C), nn.Linear(C, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.branches(self.stem(x))).mean(1))


def program_of(norm: type[nn.Module] = nn.LayerNorm) -> Program:
    torch.manual_seed(0)
    return to_program(randomized(Model(norm)), (torch.randn(4, 5, 6),))


def samples(program: Program, count: int = 12) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    (spec,) = program.inputs
    return [{spec.name: random.standard_normal(fixed_shape(spec), dtype=np.float32)} for _ in range(count)]


def given(data: list[dict[str, np.ndarray]]) -> Context:
    return EMPTY.adding(SAMPLES, data)


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.RMSNorm])
def test_no_norm_is_left_after_folding(norm: type[nn.Module]) -> None:
    program = program_of(norm)
    swapped = Pipeline([ReplaceLayernorm()])(program, given(samples(program))).program
    result = assert_pass(FoldAffine(), swapped, {k: torch.from_numpy(v) for k, v in samples(program)[0].items()})
    assert ops(result) == ["linear", *["linear", "relu", "linear", "add.Tensor"] * 2, "mean.dim", "linear"]


def test_starts_at_the_least_squares_fit() -> None:
    program = program_of()
    data = samples(program)
    result = Pipeline([ReplaceLayernorm()])(program, given(data)).program
    values: dict[str, list[torch.Tensor]] = {"linear": [], "layer_norm": []}
    for sample in data:
        program.run(sample, lambda n, v: values[n.name].append(v.reshape(-1, C)) if n.name in values else None)
    x, y = (torch.cat(values[name]).double() for name in ("linear", "layer_norm"))
    for channel in range(C):
        columns = torch.stack([x[:, channel], torch.ones(len(x)).double()], 1)
        a, s = torch.linalg.lstsq(columns, y[:, channel]).solution
        assert float(result.constants["layer_norm_scale"][channel]) == pytest.approx(float(a), rel=1e-4)
        assert float(result.constants["layer_norm_shift"][channel]) == pytest.approx(float(s), rel=1e-4, abs=1e-5)


def test_tuning_the_model_lowers_its_error() -> None:
    program = program_of()
    swap, context = ReplaceLayernorm(), given(samples(program))
    result = swap(program, context)
    options = TuneOptions(steps=200, rate=5e-2, batch=1)
    tuned = distil(program, result.program, result.swaps, samples(program, 64), options, whole=True)
    assert tuned.outputs_after < 0.9 * tuned.outputs_before
    assert len(result.notes) == 3 and "layer_norm" not in ops(result)
    again = Pipeline([swap])(result.program, context)
    assert not again.changed


def test_what_is_kept_stays() -> None:
    program = program_of()
    result = Pipeline([ReplaceLayernorm(keep={"layer_norm_1"})])(program, given(samples(program)))
    assert ops(result).count("layer_norm") == 1
    assert [note.node for note in result.notes if note.reason is not None] == ["layer_norm_1"]


def test_unified_normalization_divides_by_the_samples_mean_square() -> None:
    program = program_of()
    data = samples(program)
    apart = Pipeline([ReplaceLayernorm()])(program, given(data)).program
    result = ReplaceLayernorm(form="un")(program, given(data))
    swapped = result.program
    inputs: list[torch.Tensor] = []
    for sample in data:
        program.run(sample, lambda n, v: inputs.append(v.reshape(-1, C)) if n.name == "linear" else None)
    spread = (torch.cat(inputs).square().mean(0) + 1e-5).sqrt()
    torch.testing.assert_close(swapped.constants["layer_norm_spread"], spread)
    assert not any("spread" in name for swap in result.swaps for name in swap.parameters)
    # Both forms start at the same function, and both fold away.
    first = data[0]
    one, other = (next(iter(p.run(first).values())) for p in (apart, swapped))
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    folded = assert_pass(FoldAffine(), swapped, {k: torch.from_numpy(v) for k, v in first.items()})
    assert "div.Tensor" not in ops(folded) and ops(folded).count("linear") == 6


@pytest.mark.parametrize("form", ["repbn", "un"])
def test_the_norm_fades_while_the_model_is_tuned(form: str) -> None:
    program = program_of()
    data = samples(program, 40)
    result = ReplaceLayernorm(form=form, progressive=0.5)(program, given(data))
    swapped = result.program
    assert ops(swapped).count("layer_norm") == 3
    plain = Pipeline([ReplaceLayernorm(form=form)])(program, given(data)).program
    one, other = (next(iter(p.run(data[0]).values())) for p in (swapped, plain))
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    tuned = distil(program, swapped, result.swaps, data, TuneOptions(steps=120, check_every=5), whole=True)
    assert tuned.outputs_after < 0.95 * tuned.outputs_before
    # What is left behind is judged, and folds, without the norm.
    faded = [name for name in tuned.program.constants if name.endswith("_lambda")]
    assert len(faded) == 3 and not any(tuned.program.constants[name] for name in faded)
    folded = assert_pass(FoldAffine(), tuned.program, {k: torch.from_numpy(v) for k, v in data[0].items()})
    assert ops(folded) == ["linear", *["linear", "relu", "linear", "add.Tensor"] * 2, "mean.dim", "linear"]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"form": "batch"}, "no form 'batch'"), ({"progressive": 1.5}, "a progressive part of 1.5")],
)
def test_what_is_no_form_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ReplaceLayernorm(**options)


def test_a_channel_that_never_varies_is_refused() -> None:
    module = nn.Sequential(nn.Linear(6, C), nn.LayerNorm(C))
    nn.init.zeros_(module.get_parameter("0.weight"))
    program = to_program(module, (torch.randn(2, 6),))
    result = Pipeline([ReplaceLayernorm()])(program, given(samples(program)))
    assert not result.changed and reasons(result) == ["a channel of its input never varies on the samples"]
