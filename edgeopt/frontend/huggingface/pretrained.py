"""From a Hugging Face folder to a module with inputs to trace it with, through transformers' own classes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgeopt.frontend.huggingface.architecture import BODIES, configuration, model_class
from edgeopt.frontend.huggingface.folder import Folder
from edgeopt.frontend.huggingface.inputs import TEXT, Inputs
from edgeopt.frontend.huggingface.library import transformers
from edgeopt.frontend.huggingface.weights import loaded
from edgeopt.frontend.inputs import DynamicSpec
from edgeopt.ir.metrics import Sample


@dataclass(frozen=True)
class Pretrained:
    """A model with the inputs to trace it with; ``dynamic``: dimensions of them that may vary, if the model lets them.

    ``notes`` say what was taken of the folder; ``companions`` are its files that belong into a bundle.
    """

    module: Any
    sample: Sample
    dynamic: tuple[DynamicSpec, ...]
    notes: tuple[str, ...]
    companions: tuple[Path, ...]
    sha256: str


def read_folder(
    path: Path, task: str | None = None, trust: bool = False, shapes: Mapping[str, tuple[int, ...]] | None = None
) -> Pretrained:
    """Read a folder for a task, or for the architecture that its configuration names.

    ``shapes``: of inputs, in place of those made from the configuration. Of a model with encoder and decoder, the
    encoder is taken, unless the head of the task reads both. Raises UserError where the folder is not whole, not safe
    or not of one model, ToolchainMissing without transformers.
    """
    folder = Folder(path, trust)
    folder.check()
    with transformers() as library:
        config = configuration(library, folder)
        kind = model_class(library, folder, config, task)
        model, notes = loaded(folder, config, kind)
        model.config.use_cache = False
        part, taken = _part(model, task)
        sample, dynamic = Inputs(part, folder, shapes or {}).made()
        part.register_forward_pre_hook(_check_texts, with_kwargs=True)
    return Pretrained(part, sample, dynamic, (*taken, *notes), folder.companions(), folder.sha256())


def _part(model: Any, task: str | None) -> tuple[Any, tuple[str, ...]]:
    """Return the part of a model that is exported, and a note where that is not the whole."""
    name = type(model).__name__
    is_body = model.base_model is model
    if task in BODIES and not is_body:
        model, is_body = model.base_model, True
        name = f"{name} without its head"
    reads_both = "decoder_input_ids" in inspect.signature(model.forward).parameters
    if reads_both and (is_body or model.can_generate()):
        return model.get_encoder(), (f"the encoder was taken of a {name}: its decoder is not exported",)
    return model, (f"read as a {name}",)


def _check_texts(module: nn.Module, args: tuple[Any, ...], inputs: Mapping[str, Any]) -> None:
    """Tell torch.export that what belongs to a text has its shape: masks of another batch would be broadcast."""
    texts = [inputs[name] for name in TEXT if inputs.get(name) is not None]
    for other in texts[1:]:
        for axis, size in enumerate(texts[0].shape):
            torch._check(other.shape[axis] == size)
