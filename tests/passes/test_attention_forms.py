"""Agent attention and SOFT in a softmax attention's place: swapped, tuned, refused, exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import edgeopt
from edgeopt.deploy.overrides import Overrides
from edgeopt.distill.distil import distil
from edgeopt.distill.swap import SwapResult
from edgeopt.errors import UserError
from edgeopt.ir.program import Program
from edgeopt.passes.pipeline import Pipeline
from edgeopt.passes.substitution.agent_attention import AgentAttention
from edgeopt.passes.substitution.attention_swap import AttentionSwap
from edgeopt.passes.substitution.hashed_attention import HashedAttention
from edgeopt.passes.substitution.soft_attention import SoftAttention
from edgeopt.passes.substitution.value_convolution import add_convolution
from edgeopt.plugins.testing import to_program
from tests.passes.builders import Call, ops, reasons
from tests.passes.test_linear_attention import HEADS, QUICK, WIDTH, Layer, model, samples
from tests.typed import some

FORMS: dict[str, tuple[type[AttentionSwap], dict[str, Any], str]] = {
    "agent-attention": (AgentAttention, {"agents": 4}, "edgeopt.agent_attention"),
    "soft-attention": (SoftAttention, {"landmarks": 4}, "edgeopt.soft_attention"),
    "hashed-attention": (HashedAttention, {"bits": 8}, "edgeopt.hashed_attention"),
}


def swapped(program: Program, form: str, **options: Any) -> SwapResult:
    cls, settings, _ = FORMS[form]
    return cls(**settings, force=True, **options)(program)


@pytest.mark.parametrize(("tokens", "fused"), [(64, False), (65, True)])
@pytest.mark.parametrize("form", FORMS)
def test_every_attention_is_swapped_and_can_be_tuned(form: str, tokens: int, fused: bool) -> None:
    program = model(fused, tokens=tokens)
    swap = swapped(program, form)
    result = swap.program
    assert ops(result).count(FORMS[form][2]) == 2
    assert not {"softmax.int", "scaled_dot_product_attention"} & set(ops(result))
    found = distil(program, result, swap.swaps, samples(program, 24), QUICK)
    assert all(found.blocks_after[label] < 0.97 * before for label, before in found.blocks_before.items())
    assert found.outputs_after < found.outputs_before
    # What is added for images looks at them: it has learned something.
    filters = [v for name, v in found.program.constants.items() if name.endswith("_convolution")]
    assert len(filters) == (0 if form == "hashed-attention" else 2) and all(bool(v.any()) for v in filters)


def test_agents_start_as_agent_attention_of_the_same_projections() -> None:
    q, k, v = (torch.randn(2, HEADS, 50, 8) for _ in range(3))
    program = to_program(Attention(), (q, k, v))
    result = swapped(program, "agent-attention").program
    expected = torch.ops.edgeopt.agent_attention(q, k, v, [4, 4], [7, 7], 8**-0.5)
    torch.testing.assert_close(value(result, q, k, v), expected)


def test_soft_starts_at_the_average_of_the_queries_it_covers() -> None:
    q, k, v = (torch.randn(2, HEADS, 50, 8) for _ in range(3))
    result = swapped(to_program(Attention(), (q, k, v)), "soft-attention", normalized=False).program
    x = q * 8**-0.25
    images = x[:, :, 1:].mT.unflatten(-1, (7, 7)).flatten(0, 1)
    marks = nn.functional.avg_pool2d(images, 2).flatten(2).mT.unflatten(0, (2, HEADS))
    torch.testing.assert_close(value(result, q, k, v), torch.ops.edgeopt.soft_attention(x, marks, v, 20, False))


@pytest.mark.parametrize("filters", [HEADS * 8, HEADS])
def test_the_convolution_is_of_channels_as_images(filters: int) -> None:
    given, weight = torch.randn(2, HEADS, 50, 8), torch.randn(filters, 1, 3, 3)
    program = to_program(Call(lambda m, x: 2 * x), (given,))
    (root,) = program.calls
    (x,) = root.all_input_nodes
    new, _ = add_convolution(program, root, x, x, weight, 7)
    root.replace_input_with(x, new)
    images = given[:, :, 1:].permute(0, 1, 3, 2).reshape(2, HEADS * 8, 7, 7)
    each = weight if filters > HEADS else weight.repeat_interleave(8, 0)
    local = nn.functional.conv2d(images, each, padding=1, groups=HEADS * 8).reshape(2, HEADS, 8, 49).mT
    expected = given.clone()
    expected[:, :, 1:] += local
    torch.testing.assert_close(value(program, given), 2 * expected)


@pytest.mark.parametrize(
    ("form", "tokens", "mask", "reason"),
    [
        ("agent-attention", 64, True, "an agent gathers all keys, and there is a mask"),
        ("soft-attention", 64, True, "its kernel is of all tokens, and there is a mask"),
        ("hashed-attention", 64, True, "a code gathers all keys, and there is a mask"),
        ("soft-attention", 60, False, "its 60 tokens are no square grid"),
    ],
)
def test_refusals(form: str, tokens: int, mask: bool, reason: str) -> None:
    program = to_program(Layer(True, mask), (torch.randn(1, tokens, WIDTH),))
    cls, settings, _ = FORMS[form]
    result = Pipeline([cls(**settings, force=True)])(program)
    assert not result.changed and reason in reasons(result)[0]


def test_tokens_that_are_no_image_have_their_agents_in_a_row() -> None:
    found = swapped(model(tokens=60), "agent-attention")
    result = found.program
    (first, _) = [node for node in result.calls if node.target is torch.ops.edgeopt.agent_attention.default]
    assert first.args[3:5] == ([1, 16], [1, 60]) and not any("convolution" in n for n in found.swaps[0].parameters)


@pytest.mark.parametrize("form", FORMS)
def test_it_is_swapped_where_it_pays(form: str) -> None:
    cls, settings, _ = FORMS[form]
    assert Pipeline([cls(**settings)])(model(tokens=576)).changed
    (reason, _) = reasons(Pipeline([cls(**settings)])(model(tokens=16)))
    assert "it would not pay" in reason


def test_settings_are_checked() -> None:
    with pytest.raises(UserError, match="0 agents"):
        AgentAttention(agents=0)
    with pytest.raises(UserError, match="0 iterations"):
        SoftAttention(iterations=0)
    with pytest.raises(UserError, match="unknown form 'papers'"):
        HashedAttention(form="papers")


@pytest.mark.parametrize("form", FORMS)
def test_a_recipe_exports_it_to_every_target_that_runs_here(form: str, tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(6, WIDTH), Layer(True, False), nn.Linear(WIDTH, 3))
    batch = {0: torch.export.Dim("batch", min=1, max=8)}
    exported = torch.export.export(module.eval(), (torch.randn(2, 36, 6),), dynamic_shapes=(batch,))
    np.savez(tmp_path / "tune.npz", input=np.random.default_rng(0).standard_normal((24, 36, 6), dtype=np.float32))
    (setting, count), *_ = FORMS[form][1].items()
    recipe = tmp_path / "form.toml"
    recipe.write_text(f'[[passes]]\nname = "{form}"\n{setting} = {count}\n[tune]\nbudget = 12\n')
    options: Overrides = {"recipe": str(recipe), "tune_data": str(tmp_path / "tune.npz"), "force": True}
    options |= {"baseline": False, "max_seconds": 0.05}
    outputs = {}
    for target in ("reference", "onnx", "openvino"):
        run = edgeopt.export(exported, target, tmp_path / target, **options)
        assert run.ok and [layer.by for layer in some(run.swaps).layers] == [form]
        outputs[target] = np.load(tmp_path / target / "golden.npz")
    for target in ("onnx", "openvino"):
        for name in outputs["reference"].files:
            np.testing.assert_allclose(outputs[target][name], outputs["reference"][name], rtol=1e-3, atol=1e-4)


class Attention(nn.Module):
    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return nn.functional.scaled_dot_product_attention(q, k, v)


def value(program: Program, *inputs: torch.Tensor) -> torch.Tensor:
    sample = {spec.name: x.numpy() for spec, x in zip(program.inputs, inputs, strict=True)}
    return torch.from_numpy(next(iter(program.run(sample).values())))
