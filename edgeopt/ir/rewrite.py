"""Rules: a pattern that draws a subgraph, a check that says why not, a rewrite. And the pass made of rules.

A pattern names an operator's arguments as its schema does::

    op(aten.batch_norm.default, input=op(*CONVS, input=any_("x"), weight=const("weight"), name="conv"), name="bn")

Interior operators must have no reader outside the match unless the rule says ``allows_sharing``.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, ClassVar

import torch
from torch import fx

from edgeopt.errors import PassError
from edgeopt.ir.context import Context
from edgeopt.ir.pass_base import Note, Pass, PassResult
from edgeopt.ir.program import Program, origin, same_spec, spec_of

Condition = Callable[[Program, fx.Node], bool]

_MAX_SWEEPS = 100


@dataclass(frozen=True)
class Pattern:
    """One point of a drawn subgraph; made by ``op``, ``const`` and ``any_``."""

    name: str | None
    is_call: bool = False
    targets: frozenset[Callable[..., Any]] = frozenset()
    arguments: Mapping[str, Pattern] = field(default_factory=dict)
    commutative: bool = False
    where: Condition | None = None
    is_constant: bool = False
    optional: bool = False


def op(
    *targets: Callable[..., Any],
    name: str | None = None,
    commutative: bool = False,
    where: Condition | None = None,
    **arguments: Pattern,
) -> Pattern:
    """Match a call of one of ``targets`` (none: of any) whose arguments, by schema name, match the given patterns.

    ``commutative`` also tries the two given arguments swapped. ``where(program, node)`` narrows what is drawn: a
    node that fails it is not a candidate, whereas one that fails the rule's ``check`` is reported as refused.
    """
    return Pattern(name, True, frozenset(targets), arguments, commutative, where)


def const(name: str, optional: bool = False) -> Pattern:
    """Match a constant of the program; with ``optional`` also an absent argument (None)."""
    return Pattern(name, is_constant=True, optional=optional)


def any_(name: str) -> Pattern:
    """Match anything and bind it."""
    return Pattern(name)


class Match:
    """A found subgraph: ``m["conv"]`` is what the pattern named ``conv`` matched; ``m.root`` its last node."""

    def __init__(self, root: fx.Node, bindings: Mapping[str, Any], interior: Sequence[fx.Node]) -> None:
        self.root = root
        self.bindings = dict(bindings)
        self.interior = tuple(interior)

    def __getitem__(self, name: str) -> Any:
        return self.bindings[name]

    def shared(self) -> str | None:
        """Return the reason if an interior node is read from outside the match."""
        inside = {self.root, *self.interior}
        for node in self.interior:
            if outside := [reader.name for reader in node.users if reader not in inside]:
                return f"{node.name} is also read by {', '.join(outside)}"
        return None


class Rule(ABC):
    """One rewrite. Its docstring is its theorem: before => after, the algebra, when it does not apply."""

    allows_sharing: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """The rule's id: its class name in kebab case."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", type(self).__name__).lower()

    @abstractmethod
    def pattern(self) -> Pattern:
        """Draw the subgraph."""

    def check(self, program: Program, m: Match) -> str | None:
        """Return the reason not to apply, or None."""
        return None

    @abstractmethod
    def rewrite(self, program: Program, m: Match) -> fx.Node:
        """Build the replacement (``program.insert(m.root, ...)``) and return the node that replaces the root."""


class Rewrite(Pass):
    """A pass made of rules, applied in order of the graph until none applies."""

    rules: ClassVar[Sequence[Rule]] = ()

    def run(self, program: Program, context: Context) -> PassResult:
        """Apply the rules to a copy of ``program``."""
        program = program.clone()
        applied: list[Note] = []
        for _ in range(_MAX_SWEEPS):
            done, refused = self._sweep(program)
            applied += done
            program.clean()
            if not done:
                return PassResult(program, bool(applied), (*applied, *refused))
        raise PassError(f"{self.name} still rewrites after {_MAX_SWEEPS} sweeps", "a rule undoes another's work")

    def _sweep(self, program: Program) -> tuple[list[Note], list[Note]]:
        applied, refused = [], []
        patterns = [(rule, rule.pattern()) for rule in self.rules]
        for node in list(program.calls):
            for rule, pattern in patterns:
                # A node without readers was replaced earlier in this sweep.
                if not node.users or (m := match(program, pattern, node)) is None:
                    continue
                reason = (None if rule.allows_sharing else m.shared()) or rule.check(program, m)
                if reason is not None:
                    refused.append(Note(rule.name, node.name, reason))
                    continue
                _substitute(node, rule.rewrite(program, m))
                applied.append(Note(rule.name, node.name))
        return applied, refused


def replace(old: fx.Node, new: fx.Node) -> None:
    """Let every reader of ``old`` read ``new``, and erase ``old``.

    Raises PassError where shape or dtype differ.
    """
    if not same_spec(old, new):
        specs = f"{spec_of(old, old.name)} by {spec_of(new, new.name)}"
        raise PassError(f"a rule replaced {specs}", "a replacement keeps shape and dtype")
    old.replace_all_uses_with(new)
    old.graph.erase_node(old)


def match(program: Program, pattern: Pattern, node: fx.Node) -> Match | None:
    """Return the first match of ``pattern`` whose root is ``node``."""
    for bindings, interior in _match(program, pattern, node):
        return Match(node, bindings, [n for n in interior if n is not node])
    return None


def arguments(node: fx.Node) -> dict[str, Any]:
    """Return a call's arguments by schema name, defaults filled in."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return {str(i): value for i, value in enumerate(node.args)}
    values: dict[str, Any] = {}
    for index, argument in enumerate(node.target._schema.arguments):
        if argument.name in node.kwargs:
            values[argument.name] = node.kwargs[argument.name]
        elif index < len(node.args):
            values[argument.name] = node.args[index]
        else:
            values[argument.name] = argument.default_value
    return values


def _match(program: Program, pattern: Pattern, value: Any) -> Iterator[tuple[dict[str, Any], list[fx.Node]]]:
    own = {pattern.name: value} if pattern.name else {}
    if pattern.is_constant:
        if program.constant(value) is not None or (pattern.optional and value is None):
            yield own, []
    elif not pattern.is_call:
        yield own, []
    elif _is_drawn(program, pattern, value):
        for order in _orders(pattern):
            yield from _match_arguments(program, order, value, own)


def _is_drawn(program: Program, pattern: Pattern, value: Any) -> bool:
    if not isinstance(value, fx.Node) or value.op != "call_function":
        return False
    if pattern.targets and value.target not in pattern.targets:
        return False
    return pattern.where is None or pattern.where(program, value)


def _orders(pattern: Pattern) -> Iterator[dict[str, Pattern]]:
    yield dict(pattern.arguments)
    if pattern.commutative:
        (first, a), (second, b) = pattern.arguments.items()
        yield {first: b, second: a}


def _match_arguments(
    program: Program, patterns: Mapping[str, Pattern], node: fx.Node, own: dict[str, Any]
) -> Iterator[tuple[dict[str, Any], list[fx.Node]]]:
    found = arguments(node)
    if any(name not in found for name in patterns):
        return
    choices = [list(_match(program, pattern, found[name])) for name, pattern in patterns.items()]
    for combination in product(*choices):
        bindings, interior = dict(own), [node]
        for more, nodes in combination:
            bindings.update(more)
            interior += nodes
        yield bindings, interior


def _substitute(old: fx.Node, new: fx.Node) -> None:
    # A new node stands for the root; one that was there before stands for what it stood for.
    if not new.users:
        new.meta.setdefault("origin", origin(old))
    replace(old, new)
