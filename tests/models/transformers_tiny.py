"""The field's transformers at a size that traces in seconds: random weights, two blocks or stages, no download."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

from edgeopt.ir.program import Program
from edgeopt.plugins.testing import to_program
from tests.models.normalizers import with_normalizer
from tests.passes.builders import randomized
from tests.typed import fixed_shape

NAMES = (
    "vit",
    "deit",
    "swin",
    "swin_padded",
    "pvt_v2",
    "bert",
    "minilm",
    "distilbert",
    "gpt2",
    "whisper_encoder",
    "llama",
)

_KINDS = ((torch.float32, 1e-5, 0), (torch.float64, 1e-10, 1))
CASES = [
    pytest.param(name, *kind, marks=[pytest.mark.nightly] if (place + seed) % 2 else [], id=f"{name}-{kind[0]}")
    for place, name in enumerate(NAMES)
    for seed, kind in enumerate(_KINDS)
]
"""Name, floats, bound of the error and seed: every model in one of two kinds by day, in both at night."""

_VOCABULARY, _LENGTH = 50, 10


@cache
def program(
    name: str,
    attention: str = "sdpa",
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    normalizer: str = "layer",
) -> Program:
    """Return the traced model; ``attention`` is ``sdpa`` (fused) or ``eager`` (written out), ``normalizer`` what
    stands in the place of its LayerNorms."""
    pytest.importorskip("transformers")
    torch.manual_seed(seed)
    model, inputs = _BUILDERS[name](attention)
    if normalizer != "layer":
        with_normalizer(model, normalizer)
    model = randomized(model).to(dtype)
    cast = [x.to(dtype) if x.is_floating_point() else x for x in inputs]
    return to_program(model, cast)


def inputs(name: str, program: Program, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return random inputs of a model, some tokens padded where it takes a mask."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for spec in program.inputs:
        if spec.name == "attention_mask":
            found[spec.name] = (torch.arange(_LENGTH) < torch.tensor([[_LENGTH], [_LENGTH - 3]])).long()
        elif spec.dtype.is_floating_point:
            found[spec.name] = torch.randn(fixed_shape(spec), generator=generator, dtype=spec.dtype)
        else:
            found[spec.name] = torch.randint(0, _VOCABULARY, fixed_shape(spec), generator=generator)
    return found


class _First(nn.Module):
    """A model that returns its first output only."""

    def __init__(self, model: nn.Module, **options: Any) -> None:
        super().__init__()
        self.model = model
        self.options = options


class _OfImages(_First):
    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.model(pixel_values, return_dict=False, **self.options)[0]
        return y


class _OfText(_First):
    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.model(
            input_ids=input_ids, attention_mask=attention_mask, return_dict=False, **self.options
        )[0]
        return y


Built = tuple[nn.Module, tuple[torch.Tensor, ...]]


def _common(attention: str) -> dict[str, Any]:
    return {
        "hidden_size": 32,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "intermediate_size": 64,
        "attn_implementation": attention,
    }


def _image(side: int = 32) -> tuple[torch.Tensor, ...]:
    return (torch.randn(1, 3, side, side),)


def _text() -> tuple[torch.Tensor, ...]:
    return torch.randint(0, _VOCABULARY, (2, _LENGTH)), torch.ones(2, _LENGTH, dtype=torch.long)


def _vit(attention: str) -> Built:
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(image_size=32, patch_size=8, **_common(attention))
    return _OfImages(ViTModel(config, add_pooling_layer=False)), _image()


def _deit(attention: str) -> Built:
    from transformers import DeiTConfig, DeiTModel

    config = DeiTConfig(image_size=32, patch_size=8, **_common(attention))
    return _OfImages(DeiTModel(config, add_pooling_layer=False)), _image()


def _swin(attention: str, side: int = 32) -> Built:
    from transformers import SwinConfig, SwinForImageClassification

    sizes: dict[str, Any] = {
        "attn_implementation": attention,
        "num_labels": 5,
        "embed_dim": 16,
        "depths": [2, 2],
        "num_heads": [2, 4],
        "window_size": 4,
    }
    config = SwinConfig(image_size=side, patch_size=2, **sizes)
    model = SwinForImageClassification(config)
    for name, table in model.named_parameters():
        if name.endswith("relative_position_bias_table"):
            nn.init.normal_(table)
    return _OfImages(model), _image(side)


def _swin_padded(attention: str) -> Built:
    """Return one whose map of 18 x 18 tokens is padded to windows of 4 x 4."""
    return _swin(attention, side=36)


def _pvt_v2(attention: str) -> Built:
    from transformers import PvtV2Config, PvtV2ForImageClassification

    labels: dict[str, Any] = {"num_labels": 5}
    config = PvtV2Config(
        image_size=32,
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[2, 1],
        hidden_sizes=[16, 32],
        patch_sizes=[7, 3],
        strides=[4, 2],
        num_attention_heads=[1, 2],
        mlp_ratios=[2, 2],
        **labels,
    )
    return _OfImages(PvtV2ForImageClassification(config)), _image()


def _bert(attention: str) -> Built:
    from transformers import BertConfig, BertModel

    config = BertConfig(vocab_size=_VOCABULARY, max_position_embeddings=16, **_common(attention))
    return _OfText(BertModel(config, add_pooling_layer=False)), _text()


def _minilm(attention: str) -> Built:
    """Return the BERT of sentence encoders: the mean of the tokens that count, at length 1."""
    from transformers import BertConfig, BertModel

    class Mean(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            tokens = self.model(input_ids=input_ids, attention_mask=attention_mask, return_dict=False)[0]
            counts = attention_mask[..., None].to(tokens.dtype)
            return nn.functional.normalize((tokens * counts).sum(1) / counts.sum(1).clamp_min(1e-9))

    config = BertConfig(vocab_size=_VOCABULARY, max_position_embeddings=16, **_common(attention))
    return Mean(BertModel(config, add_pooling_layer=False)), _text()


def _distilbert(attention: str) -> Built:
    from transformers import DistilBertConfig, DistilBertModel

    sizes: dict[str, Any] = {
        "attn_implementation": attention,
        "dim": 32,
        "n_layers": 2,
        "n_heads": 4,
        "hidden_dim": 64,
        "max_position_embeddings": 16,
    }
    config = DistilBertConfig(vocab_size=_VOCABULARY, **sizes)
    return _OfText(DistilBertModel(config)), _text()


def _gpt2(attention: str) -> Built:
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes: dict[str, Any] = {
        "attn_implementation": attention,
        "n_positions": 16,
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    config = GPT2Config(vocab_size=_VOCABULARY, **sizes)
    return _OfText(GPT2LMHeadModel(config), use_cache=False), _text()


def _whisper_encoder(attention: str) -> Built:
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    sizes: dict[str, Any] = {
        "attn_implementation": attention,
        "d_model": 32,
        "encoder_layers": 2,
        "encoder_attention_heads": 4,
        "encoder_ffn_dim": 64,
    }
    config = WhisperConfig(num_mel_bins=8, max_source_positions=10, **sizes)
    return _OfImages(WhisperEncoder(config)), (torch.randn(1, 8, 20),)


def _llama(attention: str) -> Built:
    from transformers import LlamaConfig, LlamaModel

    config = LlamaConfig(
        vocab_size=_VOCABULARY, max_position_embeddings=16, num_key_value_heads=2, **_common(attention)
    )
    return _OfText(LlamaModel(config), use_cache=False), _text()


_BUILDERS = {
    "vit": _vit,
    "deit": _deit,
    "swin": _swin,
    "swin_padded": _swin_padded,
    "pvt_v2": _pvt_v2,
    "bert": _bert,
    "minilm": _minilm,
    "distilbert": _distilbert,
    "gpt2": _gpt2,
    "whisper_encoder": _whisper_encoder,
    "llama": _llama,
}
