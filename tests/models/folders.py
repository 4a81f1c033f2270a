"""Small folders of Hugging Face with random weights, one a kind of model, as ``save_pretrained`` writes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as hf

_TEXT: dict[str, Any] = {"vocab_size": 50, "max_position_embeddings": 32}
_LAYER: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
_ENCODER: dict[str, Any] = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
}
_SPEECH: dict[str, Any] = {
    "vocab_size": 12,
    "conv_dim": [8, 8],
    "conv_kernel": [10, 8],
    "conv_stride": [5, 8],
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
}


def _detr() -> Any:
    stages: dict[str, Any] = {"hidden_sizes": [8, 8, 16, 16], "depths": [1] * 4, "out_features": ["stage4"]}
    backbone = hf.ResNetConfig(embedding_size=8, layer_type="basic", **stages)
    own: dict[str, Any] = {"use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None}
    return hf.DetrForObjectDetection(hf.DetrConfig(backbone_config=backbone, num_queries=5, **own, **_ENCODER))


def _whisper() -> Any:
    tokens: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3}
    sizes: dict[str, Any] = {"vocab_size": 60, "num_mel_bins": 8, "max_source_positions": 20}
    sizes |= {"max_target_positions": 16}
    quiet: dict[str, Any] = {"suppress_tokens": None, "begin_suppress_tokens": None}
    return hf.WhisperForConditionalGeneration(hf.WhisperConfig(**tokens, **sizes, **quiet, **_ENCODER))


def _segformer() -> Any:
    config = hf.SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[2, 1],
        hidden_sizes=[8, 16],
        patch_sizes=[3, 3],
        strides=[2, 2],
        num_attention_heads=[1, 2],
        mlp_ratios=[2, 2],
        decoder_hidden_size=16,
    )
    return hf.SegformerForSemanticSegmentation(config)


def _clip() -> Any:
    text = {"vocab_size": 50, "max_position_embeddings": 16, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    image = {"image_size": 16, "patch_size": 8}
    return hf.CLIPModel(
        hf.CLIPConfig(text_config={**text, **_LAYER}, vision_config={**image, **_LAYER}, projection_dim=8)
    )


_MODELS: dict[str, Callable[[], Any]] = {
    "bert": lambda: hf.BertForSequenceClassification(hf.BertConfig(**_TEXT, **_LAYER)),
    "roberta": lambda: hf.RobertaModel(
        hf.RobertaConfig(
            vocab_size=50, max_position_embeddings=34, type_vocab_size=1, pad_token_id=1, hidden_act="relu", **_LAYER
        )
    ),
    "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(num_key_value_heads=1, **_TEXT, **_LAYER)),
    "t5": lambda: hf.T5ForConditionalGeneration(
        hf.T5Config(vocab_size=50, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    ),
    "bart": lambda: hf.BartModel(hf.BartConfig(**_TEXT, **_ENCODER)),
    "vit": lambda: hf.ViTForImageClassification(hf.ViTConfig(image_size=16, patch_size=8, **_LAYER)),
    "resnet": lambda: hf.ResNetForImageClassification(
        hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    ),
    "yolos": lambda: hf.YolosForObjectDetection(
        hf.YolosConfig(image_size=[16, 24], patch_size=8, num_detection_tokens=5, **_LAYER)
    ),
    "detr": _detr,
    "segformer": _segformer,
    "ast": lambda: hf.ASTForAudioClassification(
        hf.ASTConfig(max_length=32, num_mel_bins=16, patch_size=8, time_stride=8, frequency_stride=8, **_LAYER)
    ),
    "wav2vec2": lambda: hf.Wav2Vec2ForCTC(hf.Wav2Vec2Config(**_SPEECH, **_LAYER)),
    "whisper": _whisper,
    "clip": _clip,
}
_SIZES = {
    "resnet": {"size": {"shortest_edge": 32}},
    "segformer": {"size": {"height": 32, "width": 32}},
    "detr": {"size": {"shortest_edge": 64, "longest_edge": 100}},
}
KINDS = tuple(_MODELS)


def save(kind: str, folder: Path) -> Path:
    """Write a folder with the random model of a kind; return it."""
    torch.manual_seed(0)
    _MODELS[kind]().save_pretrained(folder)
    if kind in _SIZES:
        (folder / "preprocessor_config.json").write_text(json.dumps(_SIZES[kind]))
    return folder
