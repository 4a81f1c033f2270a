"""What passes share that swap softmax attention for another form: where they may, whether it pays, what is tuned."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, field
from dataclasses import replace as replace_fields

from torch import fx

from edgeopt.analysis.attention import Attention, find_attentions
from edgeopt.analysis.walk import layer_before
from edgeopt.distill.swap import Start, Swap, Swapper, SwapResult, inputs_of, kept
from edgeopt.ir.context import TIMER, Context, Timer
from edgeopt.ir.nodes import aten
from edgeopt.ir.pass_base import Note
from edgeopt.ir.program import Program, origin
from edgeopt.ir.rewrite import arguments, replace
from edgeopt.passes.substitution.pays import Measured

Inserted = tuple[fx.Node, tuple[str, ...]]
"""A node with the attention's value, and the names of the constants that come with it."""

PAYS_FROM = 1.5
"""How many multiplications of the softmax one of the other form may take the place of at most: it is bound by memory
where a softmax is not."""


@dataclass(frozen=True)
class AttentionSwap(Swapper):
    """Swap every attention that may be swapped. ``force`` swaps also where it does not pay."""

    uses = (TIMER,)

    force: bool = field(default=False, kw_only=True)

    @abstractmethod
    def refuses(self, program: Program, attention: Attention) -> str | None:
        """Return why the form cannot stand for an attention, or None: its mask, what it needs of the tokens."""

    @abstractmethod
    def multiplications(self, tokens: int, keys: int, size: int, values: int) -> int:
        """Return those of the form for one head, learned matrices included."""

    @abstractmethod
    def insert(self, program: Program, attention: Attention, key: fx.Node) -> Inserted:
        """Insert the form before the attention's root; ``key`` is [batch, heads, keys, size]."""

    def start_of(self, attention: Attention, added: tuple[str, ...]) -> Start | None:
        """Return how the constants named ``added`` are found before they are tuned; None where they stay."""
        return None

    def run(self, program: Program, context: Context) -> SwapResult:
        """Swap in a copy of ``program``; nothing is tuned yet."""
        swapped = program.clone()
        measured = self._measured(context.get(TIMER))
        swaps, notes = [], []
        for attention in find_attentions(swapped):
            if origin(attention.root) in self.keep:
                notes.append(kept(self.name, attention.root))
                continue
            reason = self._refuses(swapped, attention, measured)
            notes.append(Note(self.name, attention.root.name, reason))
            if reason is None:
                swaps.append(self._swap(swapped, attention))
        # What is tuned is evaluated in the swapped program, whose dead nodes and constants must not be met.
        swapped.clean()
        found = tuple(
            replace_fields(swap, parameters=tuple(name for name in swap.parameters if name in swapped.constants))
            for swap in swaps
        )
        figures = tuple(text for text in measured.figures.values() if text) if measured is not None else ()
        return SwapResult(swapped, bool(swaps), tuple(notes), swaps=found, figures=figures)

    def _measured(self, timer: Timer | None) -> Measured | None:
        form = replace_fields(self.everywhere, force=True)
        return Measured(timer, lambda softmax: form(softmax).program) if timer is not None else None

    def _refuses(self, program: Program, attention: Attention, measured: Measured | None) -> str | None:
        if (reason := self.refuses(program, attention)) is not None:
            return reason
        if attention.heads != attention.kv_heads:
            return f"{attention.heads} query heads share {attention.kv_heads} of keys"
        if attention.query.meta["val"].dim() != 4 or attention.windows > 1:
            return f"its tokens are cut into {attention.windows} windows of {attention.tokens}, or heads are no axis"
        return None if self.force else self._does_not_pay(attention, measured)

    def _does_not_pay(self, attention: Attention, measured: Measured | None) -> str | None:
        """Return the figures where it would be slower: estimated first, and measured where the estimate says yes."""
        tokens, keys, size = attention.tokens, attention.keys, attention.head_size
        values = attention.root.meta["val"].shape[-1]
        if not (
            isinstance(tokens, int) and isinstance(keys, int) and isinstance(size, int) and isinstance(values, int)
        ):
            return "its number of tokens is known at run time only: whether it pays cannot be told"
        softmax, linear = tokens * keys * (size + values), self.multiplications(tokens, keys, size, values)
        if softmax < PAYS_FROM * linear:
            return (
                f"at {tokens} tokens the softmax takes {softmax} multiplications a head and the linear form "
                f"{linear}: it would not pay"
            )
        return measured(attention) if measured is not None else None

    def _swap(self, program: Program, attention: Attention) -> Swap:
        """Insert the form with its parameters, and let it take the attention's place."""
        root, label, key = attention.root, origin(attention.root), attention.key
        if attention.key_is_transposed:
            key = program.insert(root, aten.permute.default, key, [0, 1, 3, 2])
        new, added = self.insert(program, attention, key)
        new.meta["origin"] = label
        known, weights = _projections(program, attention)
        replace(root, new)
        return Swap(label, inputs_of(program, new, known), (*added, *weights), start=self.start_of(attention, added))


def grid_of(tokens: int | str) -> int | None:
    """Return the side of the square grid that tokens are, perhaps after a class token; None where they are none."""
    if not isinstance(tokens, int):
        return None
    side = math.isqrt(tokens)
    return side if tokens - side * side <= 1 else None


def _projections(program: Program, attention: Attention) -> tuple[list[fx.Node], tuple[str, ...]]:
    """Return the values that queries, keys and values are projected from, and the projections' weights."""
    known, weights = [], []
    for node in (attention.query, attention.key, attention.value):
        if (layer := layer_before(node)) is None:
            known.append(node)
            continue
        given = arguments(layer)
        known.append(given["input"])
        weights += [given[k].name for k in ("weight", "bias") if program.constant(given.get(k)) is not None]
    return known, tuple(dict.fromkeys(weights))
