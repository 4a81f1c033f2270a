"""Architectures from ``transformers`` with random weights, in their smallest published sizes.

``build("swin")`` returns the model and inputs by name; ``build("swin", small=True)`` one with fewer layers, for tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from torch import nn

Inputs = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Entry:
    """A model class of transformers, what its configuration sets, and for tests what is smaller."""

    model: str
    inputs: Callable[[Any], Inputs]
    sets: dict[str, Any] = field(default_factory=dict)
    small: dict[str, Any] = field(default_factory=dict)
    part: Callable[[Any], nn.Module] = lambda model: model


def build(name: str, small: bool = False, **sets: Any) -> tuple[nn.Module, Inputs]:
    """Return a model in evaluation mode with seeded random weights, and inputs for one inference.

    ``sets``: what its configuration sets besides, as ``image_size``.
    """
    entry = ARCHITECTURES[name]
    cls = getattr(transformers, entry.model)
    config = cls.config_class(**{**entry.sets, **(entry.small if small else {}), **sets})
    torch.manual_seed(0)
    model = cls(config).eval()
    for tensor in model.state_dict().values():
        # Batch norms that were never trained would be folded as identities, which proves little.
        if tensor.is_floating_point() and tensor.dim() == 1:
            tensor.add_(0.1 * torch.rand_like(tensor))
    return entry.part(model), entry.inputs(config)


def _image(config: Any) -> Inputs:
    return {"pixel_values": torch.randn(1, 3, 224, 224)}


def _tokens(config: Any) -> Inputs:
    return {"input_ids": torch.randint(0, config.vocab_size, (1, 64)), "attention_mask": torch.ones(1, 64).long()}


def _spectrogram(config: Any) -> Inputs:
    return {"input_features": torch.randn(1, config.num_mel_bins, 2 * config.max_source_positions)}


_VIT_TINY = {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768}
_BERT_SMALL = {"hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8, "intermediate_size": 2048}
_MIT_SHORT = {"depths": [1, 1, 1, 1]}
_EFFICIENTNET_B0 = {"image_size": 224, "width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 1280}
_RESNET_18 = {"layer_type": "basic", "depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512]}
_DISTILBERT = {"dim": 384, "n_layers": 3, "n_heads": 6, "hidden_dim": 1536}
_GPT2 = {"n_embd": 384, "n_layer": 4, "n_head": 6, "use_cache": False}
_WHISPER_TINY = {"max_source_positions": 500, "decoder_layers": 1, "use_cache": False}

ARCHITECTURES = {
    "vit": Entry("ViTModel", _image, _VIT_TINY, {"num_hidden_layers": 2}),
    "deit": Entry("DeiTModel", _image, _VIT_TINY, {"num_hidden_layers": 2}),
    "swin": Entry("SwinModel", _image, small={"embed_dim": 24, "depths": [2, 2], "num_heads": [2, 4]}),
    "convnext": Entry("ConvNextModel", _image, small={"depths": [1, 1, 1, 1], "hidden_sizes": [24, 48, 96, 192]}),
    "mobilenet-v2": Entry("MobileNetV2Model", _image, small={"depth_multiplier": 0.35}),
    "resnet": Entry("ResNetModel", _image, _RESNET_18, {"depths": [1, 1, 1, 1]}),
    "pvt-v2": Entry("PvtV2Model", _image, small=_MIT_SHORT),
    "efficientnet": Entry("EfficientNetModel", _image, _EFFICIENTNET_B0, {"depth_coefficient": 0.3}),
    "segformer": Entry("SegformerModel", _image, small=_MIT_SHORT),
    "poolformer": Entry("PoolFormerModel", _image, small={"depths": [1, 1, 1, 1]}),
    "bert": Entry("BertModel", _tokens, _BERT_SMALL, {"num_hidden_layers": 1, "vocab_size": 1000}),
    "distilbert": Entry("DistilBertModel", _tokens, _DISTILBERT, {"n_layers": 1, "vocab_size": 1000}),
    "gpt2": Entry("GPT2Model", _tokens, _GPT2, {"n_layer": 1, "vocab_size": 1000}),
    "whisper-encoder": Entry(
        "WhisperModel", _spectrogram, _WHISPER_TINY, {"encoder_layers": 1}, lambda model: model.get_encoder()
    ),
}
