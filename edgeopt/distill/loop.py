"""The loop under every stage of tuning: seeded order, Adam, cosine decay, early stop, budget, checkpoints.

Same seed, data and steps give the same weights. A budget in seconds stops where the machine happens to be.
"""

from __future__ import annotations

import io
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from edgeopt.errors import UserError
from edgeopt.files import replacing
from edgeopt.foreign import foreign

T = TypeVar("T")
Parameters = dict[str, torch.Tensor]
OnProgress = Callable[[str, int, float, float], None]
"""Is told the stage, steps done, the held-out error, and the seconds left of the budget."""


_WARM_UP = 10
"""Steps over which the rate rises: Adam's first steps know nothing of the gradients' size."""


@dataclass(frozen=True)
class TuneOptions:
    """``steps`` and ``seconds`` bound tuning, whichever ends first: steps each stage, seconds all of them together.

    ``rate`` is Adam's for new parameters in stage 1; it falls to 0 over the budget along a cosine. ``model_part``: the
    rate of stage 2 as part of it; ``old_part``: that of weights which the original has, larger loses before it gains.
    ``rank``: old weights are tuned in stage 2 by updates of that rank, at the rate of new parameters (see
    edgeopt.distill.low_rank); 0 tunes them themselves. ``blocks_part`` and ``label_part``: weights, in the loss of
    stage 2, of the blocks' squared relative errors and of the cross-entropy with labels, beside the outputs' error.
    ``batch``: samples a step, where the model takes any number. Every ``check_every`` steps the held-out error is
    measured, and tuning stops after ``patience`` such checks in a row that found none lower. ``checkpoint`` names the
    files to continue from and to keep, one a stage: its name with the stage's added.
    """

    steps: int = 500
    seconds: float = 300.0
    rate: float = 1e-2
    model_part: float = 0.2
    old_part: float = 0.1
    rank: int = 0
    blocks_part: float = 0.0
    label_part: float = 0.0
    batch: int = 16
    check_every: int = 20
    patience: int = 10
    seed: int = 0
    checkpoint: Path | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "seconds", "rate", "model_part", "old_part", "batch", "check_every", "patience"):
            if getattr(self, name) <= 0:
                raise UserError(f"{name} is {getattr(self, name)}", "it must be above 0")
        for name in ("rank", "blocks_part", "label_part"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name)}", "it must be 0, which leaves it out, or above")


@dataclass(frozen=True)
class Outcome:
    """Held-out error before and after, the best parameters, the steps done and why it ended."""

    before: float
    after: float
    parameters: Parameters
    steps: int
    ended: str


class Loop:
    """One stage: ``loss`` of a training item is minimized, ``error`` over the held-out ones decides."""

    def __init__(
        self,
        stage: str,
        parameters: Mapping[str, torch.Tensor],
        slower: Mapping[str, float],
        schedule: Callable[[float], bool] = lambda spent: True,
    ) -> None:
        """``slower`` gives by name the factor on the rate of parameters that need a smaller one. ``schedule`` is told
        before each step which part of the budget is spent; while it returns False, no check counts as in vain."""
        self.stage, self.schedule = stage, schedule
        self.parameters = {name: tensor.detach().clone().requires_grad_() for name, tensor in parameters.items()}
        self.slower = dict(slower)

    def run(
        self,
        training: Sequence[T],
        loss: Callable[[Parameters, T], torch.Tensor],
        error: Callable[[Parameters], float],
        options: TuneOptions,
        on_progress: OnProgress = lambda stage, steps, error, left: None,
    ) -> Outcome:
        """Tune until the budget is spent or nothing improves; return the best parameters seen."""
        optimizer = torch.optim.Adam(self._groups())
        state = _State(before=self._measure(error))
        state.best, state.best_error = _copy(self.parameters), state.before
        self._resume(state, optimizer, options)
        start = time.monotonic() - state.seconds
        while (ended := _ended(state, options)) is None:
            for group in optimizer.param_groups:
                group["lr"] = options.rate * group["part"] * _decayed(state, options)
            patient = self.schedule(_spent(state, options))
            optimizer.zero_grad()
            loss(self.parameters, training[_pick(state.step, len(training), options.seed)]).backward()
            optimizer.step()
            state.step += 1
            state.seconds = time.monotonic() - start
            if state.step % options.check_every == 0 or _ended(state, options) is not None:
                self._check(state, optimizer, error, options)
                state.stalled *= patient
                on_progress(self.stage, state.step, state.best_error, _seconds_left(state, options))
        return Outcome(state.before, state.best_error, state.best, state.step, ended)

    def _groups(self) -> list[dict[str, Any]]:
        """Return the parameters by the part of the rate that they learn at."""
        parts = {name: self.slower.get(name, 1.0) for name in self.parameters}
        return [
            {"params": [self.parameters[name] for name in parts if parts[name] == part], "part": part}
            for part in sorted(set(parts.values()))
        ]

    def _measure(self, error: Callable[[Parameters], float]) -> float:
        with torch.no_grad():
            return error(self.parameters)

    def _check(
        self, state: _State, optimizer: torch.optim.Adam, error: Callable[[Parameters], float], options: TuneOptions
    ) -> None:
        found = self._measure(error)
        # `<` is false for NaN too: a run that diverged counts as one that does not improve.
        if found < state.best_error:
            state.best, state.best_error, state.stalled = _copy(self.parameters), found, 0
        else:
            state.stalled += 1
        if (path := self._checkpoint(options)) is not None:
            _save(path, state, self.parameters, optimizer)

    def _checkpoint(self, options: TuneOptions) -> Path | None:
        given = options.checkpoint
        return None if given is None else given.with_name(f"{given.name}.{self.stage}")

    def _resume(self, state: _State, optimizer: torch.optim.Adam, options: TuneOptions) -> None:
        path = self._checkpoint(options)
        if path is None or not path.exists():
            return
        with foreign(f"checkpoint '{path}' cannot be read", "remove it to start anew"):
            self._restore(path, state, optimizer)

    def _restore(self, path: Path, state: _State, optimizer: torch.optim.Adam) -> None:
        saved: dict[str, Any] = torch.load(path, weights_only=True)
        shapes = {name: tensor.shape for name, tensor in saved["parameters"].items()}
        if shapes != {name: tensor.shape for name, tensor in self.parameters.items()}:
            raise UserError(f"checkpoint '{path}' is of another model or swap", "remove it to start anew")
        with torch.no_grad():
            for name, tensor in saved["parameters"].items():
                self.parameters[name].copy_(tensor)
        optimizer.load_state_dict(saved["optimizer"])
        for name in ("step", "seconds", "before", "best", "best_error", "stalled"):
            setattr(state, name, saved[name])


@dataclass
class _State:
    before: float
    step: int = 0
    seconds: float = 0.0
    best_error: float = float("inf")
    stalled: int = 0
    best: Parameters = field(default_factory=dict)


def _pick(step: int, count: int, seed: int) -> int:
    """Return the item of a step: each epoch has an order of its own, which the seed and its number give."""
    epoch, place = divmod(step, count)
    return random.Random(seed * 1_000_003 + epoch).sample(range(count), count)[place]


def _ended(state: _State, options: TuneOptions) -> str | None:
    if state.step >= options.steps:
        return f"after {state.step} steps"
    if state.stalled >= options.patience:
        return f"after {state.step} steps, {state.stalled} checks without an improvement"
    return f"after {options.seconds:.0f} s, {state.step} steps" if state.seconds >= options.seconds else None


def _decayed(state: _State, options: TuneOptions) -> float:
    """Return the part of the rate that is left: a short rise, then half a cosine over what ends first."""
    return min(1.0, (state.step + 1) / _WARM_UP) * (1 + math.cos(math.pi * min(_spent(state, options), 1.0))) / 2


def _spent(state: _State, options: TuneOptions) -> float:
    return max(state.step / options.steps, state.seconds / options.seconds)


def _seconds_left(state: _State, options: TuneOptions) -> float:
    """Return the seconds until the budget ends, by steps at the pace so far or by time."""
    return max(0.0, min(options.seconds - state.seconds, state.seconds / state.step * (options.steps - state.step)))


def _copy(parameters: Parameters) -> Parameters:
    return {name: tensor.detach().clone() for name, tensor in parameters.items()}


def _save(path: Path, state: _State, parameters: Parameters, optimizer: torch.optim.Adam) -> None:
    content = {"parameters": _copy(parameters), "optimizer": optimizer.state_dict(), **vars(state)}
    saved = io.BytesIO()  # torch ends the process where the disk is full
    torch.save(content, saved)
    with replacing(path) as temporary:
        temporary.write_bytes(saved.getbuffer())
