"""A folder's weights in the model of its class, all of them and nothing made up."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import torch
from torch import nn

from edgeopt.errors import UserError
from edgeopt.foreign import foreign
from edgeopt.frontend.huggingface.folder import Folder
from edgeopt.frontend.keys import disagreement
from edgeopt.frontend.precision import cast_notes


def loaded(folder: Folder, config: Any, kind: Any) -> tuple[Any, tuple[str, ...]]:
    """Return the model in float32 with the folder's weights, and notes on what was done to these.

    Raises UserError where tensors are missing, of other shapes, or left over in a module that the model has: a
    configuration of another model, for transformers fills with random numbers what it does not find.
    """
    state = folder.weights()
    notes = cast_notes((tensor.dtype, torch.float32) for tensor in state.values())
    with foreign(f"'{folder.path}' is not a {kind.__name__}", "check that configuration and weights are of one model"):
        model, report = kind.from_pretrained(
            None,
            config=config,
            state_dict=state,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    missing, unexpected = report["missing_keys"], report["unexpected_keys"]
    foreign_keys = {key for key in unexpected if not _is_in(model, key)}
    shapes = [f"'{name}' is {tuple(own)}, not {tuple(asked)}" for name, own, asked in sorted(report["mismatched_keys"])]
    facts = [disagreement(missing, unexpected - foreign_keys), *shapes[:3]]
    if told := " and ".join(filter(None, facts)):
        raise UserError(
            f"the weights in '{folder.path}' are not those of a {kind.__name__} of its configuration: {told}",
            "give the configuration that the weights were trained with, or the task with --task",
        )
    return model.eval(), (*notes, *_left_out(folder, kind, foreign_keys))


def _is_in(model: nn.Module, key: str) -> bool:
    """Return whether a tensor's name is that of a module that the model has, perhaps with another number."""
    names = {name for name, _ in model.named_modules()}
    container, number, _ = re.split(r"\.(\d+)\.|$", key, maxsplit=1)
    if number is not None and container in names:
        return True
    return re.sub(r"\d+", "*", key.rpartition(".")[0]) in {re.sub(r"\d+", "*", name) for name in names}


def _left_out(folder: Folder, kind: Any, keys: Collection[str]) -> tuple[str, ...]:
    """Return a note on the weights of parts that the model does not have, such as a head of its pretraining."""
    if not keys:
        return ()
    parts = sorted({key.rpartition(".")[0] for key in keys})
    more = f" and {len(parts) - 3} more" if len(parts) > 3 else ""
    return (f"left out, for a {kind.__name__} has no such part: {', '.join(parts[:3])}{more} of '{folder.path}'",)
