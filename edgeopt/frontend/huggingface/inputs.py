"""Sample inputs of a model, made from what its configuration says, and the dimensions of them that may vary."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import nn

from edgeopt.errors import UserError
from edgeopt.frontend.huggingface.folder import Folder
from edgeopt.frontend.inputs import DynamicSpec
from edgeopt.ir.metrics import Sample

Axes = dict[int, tuple[int, int]]
"""By dimension that varies, its least and its largest size."""

BATCH = (1, 16)
TOKENS = 128
"""Tokens in the sample of a text, where the model takes so many."""
LONGEST_TEXT = 512
"""Tokens of the longest text where neither the configuration nor the tokenizer tells."""
SECONDS = (0.1, 1.0, 30.0)
"""Length of the shortest recording, of the sample, and of the longest."""
FRAMES = (8, 100, 3000)
"""The same in frames of 10 ms."""
TEXT = ("input_ids", "attention_mask", "token_type_ids")
"""Inputs of one text, which have one shape."""

_MODALITIES = {
    "text": ("input_ids",),
    "image": ("pixel_values",),
    "audio": ("input_features", "input_values"),
}
"""Names of the inputs that a model of a modality may have."""


@dataclass(frozen=True)
class Inputs:
    """Makes the inputs of a model; ``shapes``: those that the user asked for, by name."""

    model: Any
    folder: Folder
    shapes: Mapping[str, tuple[int, ...]]

    def made(self) -> tuple[Sample, tuple[DynamicSpec, ...]]:
        """Return an array for each input that the model needs, and the dimensions that may vary.

        Raises UserError where the configuration does not tell enough.
        """
        sample: Sample = {}
        dynamic: list[DynamicSpec] = []
        for name in self._names():
            arrays, axes = self._of(name)
            sample |= arrays
            dynamic += [DynamicSpec(one, at, *size, is_required=False) for one in arrays for at, size in axes.items()]
        return sample, tuple(dynamic)

    def _names(self) -> tuple[str, ...]:
        """Return the main input, and one of each other modality that the model reads."""
        main, modalities = self.model.main_input_name, self.model.input_modalities
        names = [main]
        for modality in [modalities] if isinstance(modalities, str) else modalities:
            known = [name for name in _MODALITIES.get(modality, ()) if name in self._arguments]
            names += [] if main in known else known[:1]
        return tuple(dict.fromkeys(names))

    @property
    def _arguments(self) -> Mapping[str, inspect.Parameter]:
        return inspect.signature(self.model.forward).parameters

    def _of(self, name: str) -> tuple[Sample, Axes]:
        match name:
            case "input_ids":
                return self._text()
            case "pixel_values":
                return self._image()
            case "input_values" if self._has_frames():
                return self._spectrogram(name)
            case "input_values":
                return self._recording()
            case "input_features":
                return self._spectrogram(name)
        raise UserError(
            f"a {type(self.model).__name__} reads '{name}', for which edgeopt makes no sample",
            "give the inputs: --sample FILE.npz",
        )

    def _text(self) -> tuple[Sample, Axes]:
        config = self.model.config.get_text_config()
        longest = longest_text(self.model, self.folder)
        shape = self.shapes.get("input_ids", (1, min(TOKENS, longest)))
        ids = _generator().integers(0, self._said("vocab_size", config), shape)
        sample = {"input_ids": ids}
        if "attention_mask" in self._arguments:
            sample["attention_mask"] = np.ones(shape, np.int64)
        if "token_type_ids" in self._arguments and getattr(config, "type_vocab_size", 0) > 1:
            sample["token_type_ids"] = np.zeros(shape, np.int64)
        return sample, {0: BATCH, 1: (1, longest)}

    def _image(self) -> tuple[Sample, Axes]:
        config = getattr(self.model.config, "vision_config", self.model.config)
        height, width = self._size(config)
        shape = self.shapes.get("pixel_values", (1, self._said("num_channels", config, 3), height, width))
        return {"pixel_values": _numbers(shape)}, {0: BATCH}

    def _size(self, config: Any) -> tuple[int, int]:
        """Return height and width: of the configuration or, where that does not tell, of the preprocessor."""
        preprocessor = self._preprocessor
        cut = preprocessor.get("crop_size") if preprocessor.get("do_center_crop") else None
        size = getattr(config, "image_size", None) or cut or preprocessor.get("size")
        if isinstance(size, Mapping):
            edge = size.get("shortest_edge")
            size = (size.get("height", edge), size.get("width", edge))
        sides = size if isinstance(size, list | tuple) else (size, size)
        if len(sides) == 2 and all(isinstance(side, int) and side > 0 for side in sides):
            return int(sides[0]), int(sides[1])
        if "pixel_values" in self.shapes:
            return 0, 0  # that shape is taken
        raise self._untold("the size of images", "pixel_values:1x3x224x224")

    def _recording(self) -> tuple[Sample, Axes]:
        rate = int(self._preprocessor.get("sampling_rate", 16000))
        least, usual, most = (round(seconds * rate) for seconds in SECONDS)
        return {"input_values": _numbers(self.shapes.get("input_values", (1, usual)))}, {0: BATCH, 1: (least, most)}

    def _has_frames(self) -> bool:
        return hasattr(self.model.config, "num_mel_bins")

    def _spectrogram(self, name: str) -> tuple[Sample, Axes]:
        """Make the features of a recording, channels first where the encoder has two frames for each position."""
        config = getattr(self.model.config, "audio_config", self.model.config)
        bins, positions = getattr(config, "num_mel_bins", None), getattr(config, "max_source_positions", None)
        if bins is not None and positions is not None:
            return {name: _numbers(self.shapes.get(name, (1, bins, 2 * positions)))}, {0: BATCH}
        if bins is not None and (frames := getattr(config, "max_length", None)) is not None:
            return {name: _numbers(self.shapes.get(name, (1, frames, bins)))}, {0: BATCH}
        width = self._width(config, bins)
        least, usual, most = FRAMES
        return {name: _numbers(self.shapes.get(name, (1, usual, width)))}, {0: BATCH, 1: (least, most)}

    def _width(self, config: Any, bins: int | None) -> int:
        """Return the number of features in a frame."""
        for key in ("feature_projection_input_dim", "input_feat_per_channel"):
            if isinstance(width := getattr(config, key, None), int):
                return width
        width = bins or self._preprocessor.get("feature_size")
        if not isinstance(width, int):
            raise self._untold("the number of features in a frame", "input_features:1x100x80")
        return width

    @property
    def _preprocessor(self) -> dict[str, Any]:
        return self.folder.json("preprocessor_config.json", {})

    def _said(self, key: str, config: Any, default: int | None = None) -> int:
        value = getattr(config, key, default)
        if not isinstance(value, int) or value < 1:
            raise self._untold(f"'{key}'", "input_ids:1x128:int64")
        return value

    def _untold(self, what: str, example: str) -> UserError:
        return UserError(f"'{self.folder.path}' does not tell {what}", f"give the inputs: --input {example}")


def for_whole_text(asked: Iterable[DynamicSpec], names: Iterable[str]) -> tuple[DynamicSpec, ...]:
    """Return the dimensions asked for, those of one input of a text for all of ``names`` that belong to it."""
    texts = [name for name in TEXT if name in names]
    every = ([replace(spec, name=name) for name in texts] if spec.name in texts else [spec] for spec in asked)
    return tuple({(spec.name, spec.axis): spec for specs in every for spec in specs}.values())


def longest_text(model: Any, folder: Folder) -> int:
    """Return how many tokens a model takes at most, from its positions and its tokenizer."""
    found = [
        getattr(model.config.get_text_config(), "max_position_embeddings", None),
        folder.json("tokenizer_config.json", {}).get("model_max_length"),
    ]
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            # Positions are counted from behind that of the padding.
            found.append(module.num_embeddings - module.padding_idx - 1)
    # Tokenizers without a limit write 1e30.
    known = [size for size in found if isinstance(size, int) and 1 < size < 10**9]
    return min(known, default=LONGEST_TEXT)


def _numbers(shape: tuple[int, ...]) -> np.ndarray:
    return _generator().standard_normal(shape).astype(np.float32)


def _generator() -> np.random.Generator:
    return np.random.default_rng(0)
