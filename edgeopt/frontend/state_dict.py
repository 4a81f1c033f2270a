"""Of several mappings of names to tensors the one that fits a module best, put into it: exactly, or not at all."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from edgeopt.errors import UserError
from edgeopt.foreign import foreign
from edgeopt.frontend.keys import disagreement
from edgeopt.frontend.precision import cast_notes

State = Mapping[str, torch.Tensor]

_WRAPPERS = re.compile(r"\b(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""What torch.compile and others put into the names of a module's tensors, anywhere."""
_DEPTH = 4
"""Most parts of the prefix of a name that are taken off."""


@dataclass(frozen=True)
class _Fit:
    """One way to read a state dict: names below ``prefix``, without the parts of wrappers where ``is_bare``."""

    entry: str
    prefix: str
    is_bare: bool
    state: State
    others: tuple[str, ...]
    """Names that do not stand below the prefix."""

    @property
    def place(self) -> str:
        """Where it stands, for a message."""
        return f"'{self.entry}.{self.prefix}'" if self.entry else f"'{self.prefix}'"

    def rank(self, own: State) -> tuple[int, int]:
        """Return how many tensors the module has, in the same shape, and, negative, how many it lacks."""
        matches = sum(name in own and own[name].shape == tensor.shape for name, tensor in self.state.items())
        return matches, -len(self.state.keys() - own.keys())

    def is_like(self, other: _Fit) -> bool:
        """Return whether both hold the same values under the same names."""
        alike = self.state.keys() == other.state.keys()
        return alike and all(torch.equal(tensor, other.state[name]) for name, tensor in self.state.items())


def fill(
    source: str, model: nn.Module, states: Mapping[str, State], arch: str, preferred: Collection[str] = ()
) -> tuple[nn.Module, tuple[str, ...]]:
    """Return the module with that of the state dicts which fits best, and notes on which that was.

    ``states``: by the entries of the file that lead to them; ``preferred``: entries to take where others fit as well.
    Raises UserError where tensors are missing, left over, or of other shapes, and where several fit.
    """
    own = model.state_dict()
    fits = [fit for entry, state in states.items() for fit in _readings(entry, state)]
    best = max(fits, key=lambda fit: (*fit.rank(own), fit.entry in preferred, not fit.is_bare, -len(fit.prefix)))
    _refuse_misfit(source, best, own, arch)
    rivals = [fit for fit in fits if fit.rank(own) == best.rank(own) and not fit.is_like(best)]
    if best.entry in preferred:
        rivals = [fit for fit in rivals if fit.entry in preferred]
    if rivals:
        raise UserError(
            f"in '{source}' several state dicts fit {arch}: {best.place} and {rivals[0].place}",
            "save the one that is meant by itself: torch.save(state_dict, path)",
        )
    with foreign(f"'{source}' does not fit {arch}", "check that both are one version"):
        model.load_state_dict(best.state)
    stored = {(best.state[name].dtype, tensor.dtype) for name, tensor in own.items()}
    return model, (*_told(source, best), *cast_notes(stored))


def _readings(entry: str, state: State) -> Iterator[_Fit]:
    """Yield the ways to read a state dict, that without any change first."""
    bare = {_WRAPPERS.sub("", name): tensor for name, tensor in state.items()}
    for is_bare, named in ((False, state), (True, bare)):
        if is_bare and bare.keys() == state.keys():
            continue
        for prefix in _prefixes(named):
            below = {name.removeprefix(prefix): tensor for name, tensor in named.items() if name.startswith(prefix)}
            yield _Fit(entry, prefix, is_bare, below, tuple(name for name in named if not name.startswith(prefix)))


def _prefixes(names: Iterable[str]) -> Iterator[str]:
    found = {"": None}
    for name in names:
        parts = name.split(".")[:-1][:_DEPTH]
        found |= {".".join(parts[: count + 1]) + ".": None for count in range(len(parts))}
    yield from found


def _refuse_misfit(source: str, best: _Fit, own: State, arch: str) -> None:
    shapes = [
        f"'{name}' is {tuple(best.state[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in best.state and best.state[name].shape != tensor.shape
    ]
    facts = [disagreement(own.keys() - best.state.keys(), best.state.keys() - own.keys()), *shapes[:3]]
    if told := " and ".join(filter(None, facts)):
        place = f" (entry '{best.entry}')" if best.entry else ""
        raise UserError(f"'{source}'{place} does not fit {arch}: {told}", "check that both are one version")


def _told(source: str, fit: _Fit) -> Iterator[str]:
    if fit.entry:
        yield f"the state dict in entry '{fit.entry}' was taken from '{source}'"
    if fit.prefix:
        yield f"the prefix '{fit.prefix}' was taken from the names in '{source}'"
    if fit.is_bare:
        yield f"the names of torch.compile and other wrappers were taken out of those in '{source}'"
    if fit.others:
        parts = sorted({name.split(".")[0] for name in fit.others})
        more = f" and {len(parts) - 5} more" if len(parts) > 5 else ""
        yield f"left out of '{source}', for the architecture has no such part: {', '.join(parts[:5])}{more}"
