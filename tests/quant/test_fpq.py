import pytest
import torch

from edgeopt.quant.fp4 import E2M1
from edgeopt.quant.fpq import Found, Rounded, minmax, search


def case(rows=300):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(24, 32, generator=generator) ** 3
    x = torch.randn(rows, 32, generator=generator) @ torch.randn(32, 32, generator=generator)
    return weight, x * torch.logspace(0, 1.5, 32, base=2)


def error(found: Found, weight: torch.Tensor, x: torch.Tensor) -> float:
    return float((found.apply(x, weight) - x @ weight.T).square().mean())


@pytest.mark.parametrize("activations", [False, True], ids=["weights", "both"])
def test_no_round_errs_more_and_unseen_data_gain(activations):
    weight, x = case(600)
    found = search(weight, x[:300], activations)
    assert list(found.errors) == sorted(found.errors, reverse=True) and len(found.errors) == (4 if activations else 2)
    assert found.errors[-1] < 0.8 * found.errors[0]
    plain = minmax(weight, x[:300] if activations else None)
    assert error(found, weight, x[300:]) < 0.85 * error(plain, weight, x[300:])
    assert (found.activation is not None) == activations


def test_shifts_are_exact_before_rounding():
    weight, x = case()
    shift = torch.randint(0, 4, (32,))
    factor = torch.exp2(shift.float())
    assert torch.equal((x * factor) * (1 / factor), x)
    shifted, plain = (x * factor).double() @ (weight / factor).double().T, x.double() @ weight.double().T
    assert torch.allclose(shifted, plain, rtol=1e-12)


def test_small_channels_are_shifted_up():
    weight, x = case()
    x[:, 3] = x.abs().max()
    found = search(weight, x, activations=True)
    assert found.shift[3] == 0 and found.shift.max() >= 1 and torch.equal(found.shift, found.shift.round())


def test_values_have_four_bits():
    weight, x = case()
    found = search(weight, x, activations=True)
    numbers = found.weight(weight / torch.exp2(found.shift)) / found.weight.scale
    distance = (numbers.abs().unsqueeze(-1) - torch.tensor(found.weight.element.magnitudes)).abs().amin(-1)
    assert distance.max() < 1e-5
    assert Rounded(E2M1, torch.tensor(2.0))(torch.tensor([100.0, 2.9])).tolist() == [12.0, 3.0]
