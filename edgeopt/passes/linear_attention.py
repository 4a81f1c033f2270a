"""Replace softmax attention by linear attention, distilled from the original on unlabelled data.

Before => after, with the feature map phi of choice and W_q, W_k learned, a matrix a head:

    softmax(s * Q K^T) V  =>  phi(Q W_q) (phi(K W_k)^T V) / (phi(Q W_q) sum_j phi(K W_k)_j)

in time and memory linear in the tokens (see edgeopt.ops.linear_attention for the maps, among them forms that are
not normalised). W_q and W_k start as multiples of the identity; every block is matched to the original's output on
the original's inputs, and with ``whole`` the model to its outputs. With ``relu`` and tokens that are a square grid,
perhaps after a class token, a depthwise convolution of the values is added, which starts at zero: that is SLA.

Trained, not exact: its error is measured. Not when: a mask or bias is added other than a causal one; several query
heads share a key; the tokens are cut into windows; their number is unknown; or the multiplications saved do not pay
at this number of tokens, which ``force`` overrules. A linear attention is bound by memory where a softmax is not,
so it has to save half as many multiplications again: on a CPU, 64 channels a head and no learned matrices, the
crossover was measured between 64 and 144 tokens.

Source: Zhang et al., The Hedgehog & the Porcupine, ICLR 2024; Zhang et al., LoLCATs, ICLR 2025, for the distillation;
Guo et al., SLAB, ICML 2024, for the convolution.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import fx

from edgeopt.ops.feature_maps import LEARNED, feature_map
from edgeopt.ops.linear_attention import KINDS, LINEAR_ATTENTION
from edgeopt.pipeline import Kind, Note, PassResult
from edgeopt.program import Program, origin
from edgeopt.rewrite import replace
from edgeopt.structures.attention import Attention, find_attentions
from edgeopt.structures.masks import Mask
from edgeopt.tune.distil import Sample, Swap, Tuned, distil
from edgeopt.tune.loop import OnProgress, TuneOptions

aten = torch.ops.aten

_PAYS_FROM = 1.5
"""How many multiplications of the softmax one of the linear form may take the place of at most."""
_KERNEL = 5


class LinearAttention:
    """Swap every attention that may be swapped and tune the swaps on ``samples``.

    ``teacher`` is the original where other trained passes ran before. ``tuned`` holds the errors before and after
    tuning once the pass has run.
    """

    name = "linear-attention"
    kind: Kind = "trained"

    def __init__(
        self,
        samples: Iterable[Sample],
        feature_map: str = "hedgehog-split-softmax",
        options: TuneOptions | None = None,
        whole: bool = False,
        force: bool = False,
        teacher: Program | None = None,
        on_progress: OnProgress = lambda stage, steps, error, left: None,
    ) -> None:
        if feature_map not in KINDS:
            raise ValueError(f"feature map '{feature_map}' is none of {', '.join(sorted(KINDS))}")
        self.samples, self.feature_map, self.options = samples, feature_map, options
        self.whole, self.force, self.teacher, self.on_progress = whole, force, teacher, on_progress
        self.tuned: Tuned | None = None

    def __call__(self, program: Program) -> PassResult:
        """Swap and tune a copy of ``program``."""
        swapped = program.clone()
        swaps, notes = [], []
        for attention in find_attentions(swapped):
            reason = self._refuses(attention)
            notes.append(Note(self.name, attention.root.name, reason))
            if reason is None:
                swaps.append(self._swap(swapped, attention))
        if not swaps:
            return PassResult(swapped, False, tuple(notes))
        # What is tuned is evaluated in the tuned program, whose dead nodes must not be met.
        swapped.clean()
        self.tuned = distil(
            program,
            swapped,
            swaps,
            self.samples,
            self.options,
            whole=self.whole,
            teacher=self.teacher,
            on_progress=self.on_progress,
        )
        return PassResult(self.tuned.program, True, tuple(notes))

    def _refuses(self, attention: Attention) -> str | None:
        mask = attention.mask
        if mask not in (Mask(), Mask(causal=True)):
            return f"its mask is more than causal: {mask}"
        if mask.causal and attention.tokens != attention.keys:
            return f"it is causal, with {attention.tokens} queries for {attention.keys} keys"
        if attention.heads != attention.kv_heads:
            return f"{attention.heads} query heads share {attention.kv_heads} of keys"
        if attention.query.meta["val"].dim() != 4 or attention.windows > 1:
            return f"its tokens are cut into {attention.windows} windows of {attention.tokens}, or heads are no axis"
        sizes = (attention.tokens, attention.keys, attention.head_size, attention.root.meta["val"].shape[-1])
        if not all(isinstance(size, int) for size in sizes):
            return "its number of tokens is known at run time only"
        softmax, linear = _multiplications(*sizes, self.feature_map)  # type: ignore[arg-type]
        if not self.force and softmax < _PAYS_FROM * linear:
            return (
                f"at {attention.tokens} tokens the softmax takes {softmax} multiplications a head and the linear form "
                f"{linear}: it would not pay"
            )
        return None

    def _swap(self, program: Program, attention: Attention) -> Swap:
        """Insert the operator with its parameters, and let it take the attention's place."""
        root, query, value = attention.root, attention.query, attention.value
        key = attention.key
        if attention.key_is_transposed:
            key = program.insert(root, aten.permute.default, key, [0, 1, 3, 2])
        learned = [_identity(program, attention, f"{root.name}_{side}_map", self.feature_map) for side in "qk"]
        operands: list[fx.Node] = [query, key]
        maps: list[fx.Node | None] = [None] * 4
        if self.feature_map in LEARNED:
            maps = [learned[0], None, learned[1], None]
        else:
            operands = [program.insert(root, aten.matmul.default, x, w) for x, w in zip(operands, learned, strict=True)]
        branch, grid = self._depthwise(program, attention)
        new = program.insert(
            root,
            LINEAR_ATTENTION,
            *operands,
            value,
            self.feature_map,
            attention.mask.causal,
            *maps,
            branch,
            None,
            grid,
        )
        new.meta["origin"] = origin(root)
        name = root.name
        inputs = tuple(dict.fromkeys(node.name for node in (query, attention.key, value)))
        replace(root, new)
        parameters = [node.name for node in (*learned, branch) if node is not None]
        return Swap(name, new.name, inputs, tuple(parameters))

    def _depthwise(self, program: Program, attention: Attention) -> tuple[fx.Node | None, list[int] | None]:
        side = math.isqrt(attention.tokens)  # type: ignore[arg-type]
        first = attention.tokens - side * side  # type: ignore[operator]
        if self.feature_map != "relu" or attention.mask.causal or attention.keys != attention.tokens or first > 1:
            return None, None
        like = attention.value.meta["val"]
        weight = torch.zeros(like.shape[-1], 1, _KERNEL, _KERNEL, dtype=like.dtype)
        return program.add_constant(f"{attention.root.name}_depthwise", weight), [side, side]


def _identity(program: Program, attention: Attention, name: str, kind: str) -> fx.Node:
    """Add the matrix [heads, d, d] that a query or key is multiplied by, at half of the scale each."""
    size: int = attention.head_size  # type: ignore[assignment]
    # The other maps scale by 1 / sqrt(d) themselves, or do not depend on scale.
    scale = attention.scale if kind in LEARNED else attention.scale * size**0.5
    matrix = torch.eye(size, dtype=attention.query.meta["val"].dtype) * scale**0.5
    return program.add_constant(name, matrix.repeat(int(attention.heads), 1, 1))


def _multiplications(tokens: int, keys: int, size: int, values: int, kind: str) -> tuple[int, int]:
    """Return those of the softmax and of the linear form for one head, its learned matrices included."""
    example = torch.zeros(1, size)
    # A learned map returns both signs of what its matrix gives; the two kinds without a map keep their channels.
    features = (
        2 * size if kind in LEARNED else size if kind in ("inline", "flow") else feature_map(kind, example).shape[-1]
    )
    linear = (tokens + keys) * (size * size + features * values)
    return tokens * keys * (size + values), linear
