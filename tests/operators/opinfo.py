"""Cases from torch's own database of operators, which lists samples of every ATen operator."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
import torch.utils._pytree as pytree

from tests.operators.cases import Case

_COUNTS = {torch.float32: 1, torch.int64: 1}
_MOST_SAMPLES = 24
_SECONDS = 5
MOST_ELEMENTS = 4096
_ALLOWED = frozenset([torch.float32, torch.int64, torch.int32, torch.bool])


def names() -> set[str]:
    """Return the names of all operators, under which their cases stand."""
    return {_name(info) for info in _database()}


def cases(start: int = 0, step: int = 1) -> Iterator[Case]:
    """Yield, for every ``step``-th operator, a sample of each type of number."""
    for info in _database()[start::step]:
        for dtype, count in _COUNTS.items():
            if dtype in info.dtypes:
                yield from _cases(info, _name(info), dtype, count)


def _database() -> list[Any]:
    from torch.testing._internal.common_methods_invocations import op_db

    return op_db


def _name(info: Any) -> str:
    plain = info.name.removeprefix("torch.ops.aten.").removeprefix("nn.functional.")
    return ".".join(filter(None, [plain, info.variant_test_name]))


def _cases(info: Any, name: str, dtype: torch.dtype, count: int) -> Iterator[Case]:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with _time_limit():
                samples = [s for s in islice(info.sample_inputs("cpu", dtype), _MOST_SAMPLES) if _is_usual(s)]
        except Exception:  # what some samples need is not installed, or they take too long to make
            return
    for index, sample in _spread(samples, count):
        yield _case(info, name, f"{str(dtype).removeprefix('torch.')} {index}", sample)


def _spread(samples: Sequence[Any], count: int) -> list[tuple[int, Any]]:
    """Return samples at even distances from each other and from both ends, with their places."""
    places = {(2 * step + 1) * len(samples) // (2 * count) for step in range(count)} if samples else set()
    return [(place, samples[place]) for place in sorted(places)]


def _is_usual(sample: Any) -> bool:
    tensors = [leaf for leaf in _leaves(sample) if isinstance(leaf, torch.Tensor)]
    return all(0 < x.numel() <= MOST_ELEMENTS and x.dtype in _ALLOWED and x.layout == torch.strided for x in tensors)


def _leaves(sample: Any) -> list[Any]:
    return pytree.tree_leaves((sample.input, sample.args, sample.kwargs))


def _case(info: Any, name: str, label: str, sample: Any) -> Case:
    leaves, spec = pytree.tree_flatten((sample.input, sample.args, sample.kwargs))
    places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]

    def run(*operands: torch.Tensor) -> Any:
        given = list(leaves)
        for place, operand in zip(places, operands, strict=True):
            given[place] = operand
        value, args, kwargs = pytree.tree_unflatten(given, spec)
        return info.op(value, *args, **kwargs)

    return Case(name, label, run, tuple(leaves[place].detach().contiguous() for place in places))


@contextmanager
def _time_limit() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TimeoutError(f"the samples take more than {_SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
