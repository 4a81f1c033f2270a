"""Verification inputs that find faults, and what is said where the original does not take them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt.analysis.accuracy_tracker import AccuracyTracker
from edgeopt.errors import UserError
from edgeopt.frontend.inputs import DynamicSpec, InputSpec
from edgeopt.frontend.load import Loaded, LoadOptions, load
from edgeopt.frontend.static_shapes import fix_shapes
from edgeopt.verification import Inventor, VerificationInputs

aten = torch.ops.aten


def loaded(module: nn.Module, specs: Sequence[str] = (), dynamic: Sequence[str] = (), **sample: np.ndarray) -> Loaded:
    """Load a module from specs of its inputs, or from a sample."""
    options = LoadOptions(tuple(map(InputSpec.parse, specs)), sample or None, tuple(map(DynamicSpec.parse, dynamic)))
    return load(module, options)


def invented(one: Loaded, count: int = 8) -> VerificationInputs:
    return Inventor(one.program, one.example, 0, one.has_invented_example).samples(count)


class Tokens(nn.Module):
    """Reads words by their number less three, with a mask of 0 and 1."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 4)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.words(ids.to(torch.int32).unsqueeze(0) - 3).squeeze(0) * mask.unsqueeze(-1)


def test_inputs_without_dimensions_are_arrays() -> None:
    class Scaled(nn.Module):
        def forward(self, x: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
            return x * k

    found = invented(loaded(Scaled(), x=np.ones((2, 3), np.float32), k=np.asarray(2.0, np.float32)))
    assert all(type(sample["k"]) is np.ndarray and sample["k"].shape == () for sample in found.samples)


def test_tokens_are_drawn_from_all_rows_and_masks_in_all_patterns() -> None:
    one = loaded(Tokens(), ("ids:2x6:int64", "mask:2x6:int64"), ("ids:1=1..8", "mask:1=1..8"))
    samples = invented(one).samples
    assert len(samples) == 8
    assert {int(s["ids"].min()) for s in samples[1:]} == {3} and {int(s["ids"].max()) for s in samples[1:]} == {13}
    masks = [s["mask"] for s in samples]
    assert {tuple(np.unique(mask)) for mask in masks} == {(0,), (1,), (0, 1)}
    assert any((mask == 0).all(1).any() and mask.any() for mask in masks), "an empty row beside others"
    assert any((np.diff(mask) <= 0).all() and (np.diff(mask) < 0).any() for mask in masks), "a padded tail"


def test_dynamic_sizes_are_at_both_ends_and_between() -> None:
    one = loaded(Tokens(), ("ids:2x6:int64", "mask:2x6:int64"), ("ids:1=1..20", "mask:1=1..20"))
    found = invented(one)
    widths = [sample["ids"].shape[1] for sample in found.samples]
    assert widths[0] == 6 and {1, 20} < set(widths) and len(set(widths)) == 4
    assert all(sample["ids"].shape == sample["mask"].shape for sample in found.samples)
    assert found.left_out == ()


def test_dimensions_that_are_multiples_of_another(tmp_path: Path) -> None:
    class Fours(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.view(-1, 4, x.shape[1]).sum(1)

    batch = 4 * torch.export.Dim("fours", min=1, max=16)
    torch.export.save(
        torch.export.export(Fours(), (torch.ones(8, 3),), dynamic_shapes=({0: batch},)), tmp_path / "m.pt2"
    )
    one = load(tmp_path / "m.pt2")
    sizes = {sample["x"].shape[0] for sample in invented(one).samples}
    assert {4, 8, 64} <= sizes and all(size % 4 == 0 for size in sizes)
    assert fix_shapes(one.program).inputs[0].shape == (4, 3)
    with pytest.raises(UserError, match=r"dimension 0 of input 'x' is 6, not 4\*"):
        invented(load(tmp_path / "m.pt2", LoadOptions(sample={"x": np.ones((6, 3), np.float32)})))


def test_sizes_out_of_proportion_are_cut_and_that_is_said() -> None:
    one = loaded(Tokens(), ("ids:2x6:int64", "mask:2x6:int64"), ("ids:1=1..100000", "mask:1=1..100000"))
    (said,) = invented(one).left_out
    assert said.startswith("verified at smaller sizes than the stated ones: dimension 1 of input 'ids' up to ")
    assert said.endswith(" of 100000")


def test_floats_come_at_several_scales_and_signs() -> None:
    samples = invented(loaded(nn.ReLU(), ("input:2x50",))).samples
    sizes = [float(np.abs(sample["input"]).mean()) for sample in samples]
    assert min(sizes) < 0.12 and max(sizes) > 6
    assert min(float(sample["input"].min()) for sample in samples) < 0
    assert any((sample["input"] > 0).all() for sample in samples)


class Padded(nn.Module):
    """An encoder layer whose padding is an input."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
        return self.layer(x, src_key_padding_mask=padding)


@pytest.mark.parametrize("fill", [0.0, float("-inf")])
def test_a_padding_mask_that_is_computed_wrong_is_found(fill: float) -> None:
    one = loaded(Padded(), ("x:2x5x8", "padding:2x5:bool"))
    samples = invented(one).samples
    wrong = one.program.clone()
    node = next(node for node in wrong.calls if node.target is aten.masked_fill.Scalar)
    mask = node.args[1]
    # Nothing is masked; or what is not padding is.
    node.args = (node.args[0], mask if fill == 0.0 else wrong.insert(node, aten.logical_not.default, mask), fill)
    error = AccuracyTracker(one.program, samples).measure(wrong)
    assert error is not None and error.relative > 0.1


class LogPower(nn.Module):
    def forward(self, power: torch.Tensor) -> torch.Tensor:
        return torch.log(power)


def test_a_positive_example_is_varied_with_its_sign_kept() -> None:
    power = np.random.default_rng(0).uniform(0.1, 2, (2, 5)).astype(np.float32)
    found = invented(loaded(LogPower(), power=power))
    assert len(found.samples) == 8 and all((sample["power"] > 0).all() for sample in found.samples)
    assert len({sample["power"].tobytes() for sample in found.samples}) == 8
    assert found.left_out == (
        "left out of verification: normal numbers, normal numbers a tenth as large, normal numbers ten times as large, "
        "for there the original's output 'output' is NaN",
    )


class Cholesky(nn.Module):
    def forward(self, matrix: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = torch.linalg.cholesky(matrix)
        return y


def test_an_example_with_a_structure_is_scaled_as_a_whole() -> None:
    matrix = (np.ones((6, 6)) + 1e-4 * np.eye(6)).astype(np.float32)
    found = invented(loaded(Cholesky(), matrix=matrix))
    for sample in found.samples:
        factors = sample["matrix"] / matrix
        assert np.ptp(factors) < 1e-5 and 0.5 < factors[0, 0] < 1.5
    assert len({sample["matrix"].tobytes() for sample in found.samples}) == 8
    assert "positive-definite" in found.left_out[0]


@pytest.mark.parametrize(
    ("module", "spec", "reason"),
    [(LogPower(), "power:2x5", "'output' is NaN"), (Cholesky(), "matrix:3x3", "not positive-definite")],
)
def test_without_an_example_a_sample_is_asked_for(module: nn.Module, spec: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        invented(loaded(module, (spec,)))
    assert "--sample" in (caught.value.hint or "") and "\n" not in caught.value.message


def test_an_example_that_the_original_fails_on_is_refused() -> None:
    one = loaded(Cholesky(), matrix=-np.eye(3, dtype=np.float32))
    with pytest.raises(UserError, match=r"fails on its own example inputs: .*not positive-definite"):
        invented(one)


class Bags(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bags = nn.EmbeddingBag(9, 4)

    def forward(self, words: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        return self.bags(words, offsets)


def test_offsets_of_bags_rise_from_zero() -> None:
    found = invented(loaded(Bags(), ("words:7:int64", "offsets:3:int64")))
    for sample in found.samples:
        assert sample["offsets"][0] == 0 and (np.diff(sample["offsets"]) >= 0).all() and sample["offsets"].max() <= 7
        assert sample["words"].min() >= 0 and sample["words"].max() < 9
    assert len(found.samples) == 8 and found.left_out == ()


class Picking(nn.Module):
    """Integers that index: by gather, by a list of rows, and as classes."""

    def forward(self, x: torch.Tensor, places: torch.Tensor, rows: torch.Tensor, kind: torch.Tensor) -> torch.Tensor:
        picked = torch.gather(x, 1, places)[rows]
        return picked + torch.nn.functional.one_hot(kind, 3)


def test_indices_stay_within_what_they_index() -> None:
    one = loaded(Picking(), ("x:4x6", "places:4x3:int64", "rows:2:int64", "kind:2:int64"))
    samples = invented(one).samples[1:]
    for name, most in (("places", 5), ("rows", 3), ("kind", 2)):
        assert {(int(s[name].min()), int(s[name].max())) for s in samples} == {(0, most)}


class Additive(nn.Module):
    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return torch.softmax(x + mask, -1)


def test_additive_masks_are_masks_and_an_empty_row_is_left_out_where_it_gives_nan() -> None:
    mask = np.triu(np.full((5, 5), -np.inf, np.float32), 1)
    found = invented(loaded(Additive(), x=np.zeros((5, 5), np.float32), mask=mask))
    assert all(set(np.unique(sample["mask"])) <= {0.0, -np.inf} for sample in found.samples)
    assert len({sample["mask"].tobytes() for sample in found.samples}) >= 4
    assert any("false everywhere" in said and "is NaN" in said for said in found.left_out)


def test_what_is_drawn_depends_on_the_seed_alone() -> None:
    one = loaded(Tokens(), ("ids:2x6:int64", "mask:2x6:int64"))
    first, again = invented(one).samples, invented(one).samples
    assert all(np.array_equal(a[name], b[name]) for a, b in zip(first, again, strict=True) for name in a)
    other = Inventor(one.program, one.example, 1, True).samples(8).samples
    assert not np.array_equal(first[1]["ids"], other[1]["ids"])
