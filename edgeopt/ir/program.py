"""Program: an exported model on its way to a target.

A Program holds a functional ATen graph whose placeholders are of two kinds: constants (weights, buffers and
whatever passes add; ``Program.constants`` maps their names to tensors) and inputs. Tensors are immutable by
convention: a pass adds a new constant and never writes into an old one, so that clones share their memory.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import fx
from torch._subclasses import FakeTensor, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import statically_known_true

from edgeopt.errors import PassError, UserError
from edgeopt.foreign import translated
from edgeopt.ir.nodes import Target, node_args, run_node
from edgeopt.ir.provenance import source_line

Observer = Callable[[fx.Node, Any], Any]


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape and dtype of an input or output; a dynamic dimension is a symbol such as ``s77``."""

    name: str
    shape: tuple[int | str, ...]
    dtype: torch.dtype

    def __str__(self) -> str:
        return f"{self.name}:{'x'.join(map(str, self.shape)) or 'scalar'}:{dtype_name(self.dtype)}"


@dataclass(frozen=True)
class Range:
    """Observed range of an activation in real values: one entry per tensor, or one per channel."""

    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass
class Program:
    """A functional graph, its constants, and what has been learnt of it.

    ``output_names`` are fixed at loading and survive every rewrite. ``range_constraints`` are torch.export's
    bounds of the dynamic dimensions. ``ranges`` maps node names to calibrated ranges; ``history`` names the
    passes that have run, ``ensured`` the properties that these ensured (see edgeopt.ir.pass_base).
    """

    graph: fx.Graph
    constants: dict[str, torch.Tensor]
    output_names: tuple[str, ...]
    range_constraints: dict[Any, Any] = field(default_factory=dict)
    ranges: dict[str, Range] = field(default_factory=dict)
    history: tuple[str, ...] = ()
    ensured: frozenset[str] = frozenset()

    # -- what is in it ---------------------------------------------------------------------------------

    @property
    def output_node(self) -> fx.Node:
        """The graph's single ``output`` node; its only argument is the tuple of results."""
        return self.graph.output_node()

    @property
    def results(self) -> tuple[fx.Node, ...]:
        """The nodes whose values are the outputs, in the order of ``output_names``."""
        return tuple(node_args(self.output_node, 0))

    @property
    def input_nodes(self) -> tuple[fx.Node, ...]:
        """The placeholders that the caller feeds."""
        return tuple(n for n in self.graph.nodes if n.op == "placeholder" and n.name not in self.constants)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Specs of the inputs, in the order of the graph."""
        return tuple(spec_of(node, node.name) for node in self.input_nodes)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Specs of the outputs, in the order of ``output_names``."""
        return tuple(spec_of(node, name) for name, node in zip(self.output_names, self.results, strict=True))

    @property
    def calls(self) -> Iterator[fx.Node]:
        """The operator nodes in execution order."""
        return (node for node in self.graph.nodes if node.op == "call_function")

    @property
    def parameters(self) -> int:
        """Number of floating-point elements among the constants, shared ones counted once."""
        tensors = {t.data_ptr(): t for t in self.constants.values() if t.is_floating_point()}
        return sum(t.numel() for t in tensors.values())

    @property
    def is_dynamic(self) -> bool:
        """Whether an input has a dynamic dimension."""
        return any(isinstance(dim, str) for spec in self.inputs for dim in spec.shape)

    def constant(self, node: object) -> torch.Tensor | None:
        """Return the tensor behind a constant placeholder, or None for anything else."""
        return self.constants.get(node.name) if isinstance(node, fx.Node) and node.op == "placeholder" else None

    def node(self, name: str) -> fx.Node | None:
        """Return the node of that name, or None."""
        return next((node for node in self.graph.nodes if node.name == name), None)

    def readers(self, constant: fx.Node) -> list[fx.Node]:
        """Return the nodes that read a constant under whatever name: tied constants share their memory."""
        tensor = self.constants[constant.name]
        placeholders = self.graph.find_nodes(op="placeholder")
        return [user for node in placeholders if _is_tied(self.constant(node), tensor) for user in node.users]

    # -- running ---------------------------------------------------------------------------------------

    def evaluate(self, inputs: Mapping[str, torch.Tensor], observe: Observer | None = None) -> dict[str, torch.Tensor]:
        """Evaluate the graph in torch; inputs and outputs by name. Gradients flow where torch lets them.

        ``observe(node, value)`` sees the value of every operator; what it returns, if anything, takes its place. Values
        are freed after their last use.
        """
        values: dict[fx.Node, Any] = {}
        readers = {node: len(node.users) for node in self.graph.nodes}
        for node in self.graph.nodes:
            if node.op == "output":
                break
            if node.op == "placeholder":
                values[node] = self.constants[node.name] if node.name in self.constants else inputs[node.name]
                continue
            values[node] = _call(node, values)
            if observe is not None and (other := observe(node, values[node])) is not None:
                values[node] = other
            for used in node.all_input_nodes:
                readers[used] -= 1
                if readers[used] == 0:
                    del values[used]
        return {name: values[node] for name, node in zip(self.output_names, self.results, strict=True)}

    def run(self, inputs: Mapping[str, np.ndarray], observe: Observer | None = None) -> dict[str, np.ndarray]:
        """Evaluate without gradients, on and to numpy arrays; bfloat16 goes in and out as float32."""
        with torch.no_grad():
            tensors = {spec.name: _to_tensor(inputs[spec.name], spec.dtype) for spec in self.inputs}
            return {name: to_numpy(value) for name, value in self.evaluate(tensors, observe).items()}

    # -- changing --------------------------------------------------------------------------------------

    def clone(self) -> Program:
        """Return a copy with a graph of its own; tensors are shared."""
        graph = copy.deepcopy(self.graph)
        for old, new in zip(self.graph.nodes, graph.nodes, strict=True):
            new.name = old.name  # copying renames what is a name of Python's own
        return Program(
            graph,
            dict(self.constants),
            self.output_names,
            self.range_constraints,
            dict(self.ranges),
            self.history,
            self.ensured,
        )

    def add_constant(self, name: str, tensor: torch.Tensor) -> fx.Node:
        """Add a constant and return its placeholder; ``name`` is made unique and legal."""
        placeholders = [node for node in self.graph.nodes if node.op == "placeholder"]
        constants = [node for node in placeholders if node.name in self.constants]
        if constants:
            context = self.graph.inserting_after(constants[-1])
        else:
            context = self.graph.inserting_before(next(iter(self.graph.nodes)))
        with context:
            node = self.graph.placeholder(name)
        # A placeholder's target is its argument name: it must follow the name that fx made unique.
        node.target = node.name
        self.constants[node.name] = tensor.detach()
        node.meta["val"] = self.fake_mode.from_tensor(tensor.detach(), static_shapes=True)
        return node

    def insert(self, before: fx.Node, target: Target, *args: Any, **kwargs: Any) -> fx.Node:
        """Insert a call before a node; it takes over the node's source line and its shape is inferred.

        Trailing arguments that equal the schema's defaults are left out: a call has one spelling.
        """
        args = without_defaults(target, args)
        with self.graph.inserting_before(before):
            node = self.graph.create_node("call_function", target, args, kwargs, name=short_name(target))
        node.meta = {key: before.meta[key] for key in ("stack_trace", "nn_module_stack") if key in before.meta}
        node.meta["val"] = self.infer(node)
        return node

    def clean(self) -> None:
        """Remove dead operators and unread constants, and infer the shapes of new nodes."""
        self.graph.eliminate_dead_code()
        for node in list(self.graph.nodes):
            if node.op == "placeholder" and node.name in self.constants and not node.users:
                self.graph.erase_node(node)
                del self.constants[node.name]
        for node in self.calls:
            if "val" not in node.meta:
                node.meta["val"] = self.infer(node)

    def infer(self, node: fx.Node) -> Any:
        """Return the fake value (shape and dtype) of a node whose arguments are inferred; no dynamic size is fixed.

        torch compares sizes on the way, to choose a layout, and would hold them to what it found.
        """
        mode = self.fake_mode
        with mode, mode.shape_env.suppress_guards() if mode.shape_env is not None else nullcontext():
            return _call(node, {used: used.meta["val"] for used in node.all_input_nodes})

    @property
    def fake_mode(self) -> FakeTensorMode:
        """The fake tensor mode that the graph's shapes live in."""
        for node in self.graph.nodes:
            if isinstance(value := node.meta.get("val"), FakeTensor):
                return value.fake_mode
        return FakeTensorMode()

    # -- identity --------------------------------------------------------------------------------------

    def text(self, written: Callable[[Any], str] = str) -> str:
        """Return the graph as stable text: a line a node, constants by shape and dtype.

        ``written`` spells sizes that are known only at run time.
        """
        lines = []
        for node in self.graph.nodes:
            if node.op == "output":
                lines.append(f"return {_format(node.args[0])}")
            elif node.op == "placeholder":
                kind = "constant" if node.name in self.constants else "input"
                lines.append(f"{kind} {spec_of(node, node.name, written)}")
            else:
                arguments = [_format(a) for a in node.args]
                arguments += [f"{key}={_format(value)}" for key, value in node.kwargs.items()]
                lines.append(f"{node.name} = {op_name(node)}({', '.join(arguments)})")
        return "\n".join(lines) + "\n"

    def fingerprint(self) -> str:
        """Return a hash of the text and of the constants' identity; equal while nothing was rewritten."""
        tensors = "".join(f"{name}@{t.data_ptr()}.{t._version}" for name, t in sorted(self.constants.items()))
        return hashlib.sha256((self.text(_as_traced) + tensors).encode()).hexdigest()

    def verify(self) -> None:
        """Check the invariants that every pass must keep.

        Raises PassError naming the first broken one: a malformed graph, a constant without a tensor, a node
        without a shape, or a changed number of outputs.
        """
        try:
            self.graph.lint()
        except (RuntimeError, ValueError) as error:
            raise PassError(f"the graph is malformed: {error}") from error
        names = {node.name for node in self.graph.nodes if node.op == "placeholder"}
        if missing := sorted(set(self.constants) - names):
            raise PassError(f"constants without a placeholder: {', '.join(missing)}")
        if bare := [node.name for node in self.calls if "val" not in node.meta]:
            raise PassError(f"nodes without a shape: {', '.join(bare)}")
        if len(self.results) != len(self.output_names):
            raise PassError(f"{len(self.results)} results for {len(self.output_names)} output names")


def op_name(node: fx.Node) -> str:
    """Return an operator's name as reports show it: ``aten.conv2d`` rather than ``aten.conv2d.default``."""
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        namespace, name = target._schema.name.split("::")
        overload = target._overloadname
        return f"{namespace}.{name}" if overload == "default" else f"{namespace}.{name}.{overload}"
    return str(getattr(target, "__name__", target))


def spec_of(node: fx.Node, name: str, written: Callable[[Any], str] = str) -> TensorSpec:
    """Return the spec of a node's value under the given name; ``written`` spells sizes known only at run time."""
    value = node.meta["val"]
    if not isinstance(value, torch.Tensor):
        return TensorSpec(name, (), torch.int64)
    shape = tuple(dim if isinstance(dim, int) else written(dim) for dim in value.shape)
    return TensorSpec(name, shape, value.dtype)


def same_size(one: int | torch.SymInt, other: int | torch.SymInt) -> bool:
    """Return whether two dimensions are equal for all inputs that the program admits."""
    return statically_known_true(one == other)


def same_shape(one: fx.Node, other: fx.Node) -> bool:
    """Return whether two tensors have equal shapes for all inputs that the program admits."""
    a, b = one.meta["val"].shape, other.meta["val"].shape
    return len(a) == len(b) and all(map(same_size, a, b))


def same_spec(one: fx.Node, other: fx.Node) -> bool:
    """Return whether two nodes have tensors of equal shape and dtype."""
    a, b = one.meta["val"], other.meta["val"]
    if not isinstance(a, torch.Tensor) or not isinstance(b, torch.Tensor):
        return type(a) is type(b)
    return a.dtype == b.dtype and same_shape(one, other)


def origin(node: fx.Node) -> str:
    """Return the label of the value that a node computes; nodes of two programs with one label correspond."""
    return str(node.meta.get("origin", node.name))


def first_origin(node: fx.Node) -> str:
    """Return the label of the value that a node computed before it was redefined."""
    return origin(node).rstrip("'")


def redefine(node: fx.Node) -> None:
    """Say that a node now computes another value than before, for which the original has no counterpart."""
    node.meta["origin"] = origin(node) + "'"


def dtype_name(dtype: torch.dtype) -> str:
    """Return ``float32`` for ``torch.float32``."""
    return str(dtype).removeprefix("torch.")


def numpy_dtype(dtype: torch.dtype) -> np.dtype:
    """Return the type in which values of ``dtype`` travel as arrays: bfloat16, which numpy lacks, as float32."""
    return np.dtype("float32" if dtype == torch.bfloat16 else dtype_name(dtype))


def to_numpy(value: Any) -> np.ndarray:
    """Return a tensor or number as an array; bfloat16, which numpy lacks, becomes float32.

    Raises UserError where numpy has no such type, as of complex numbers of 32 bits.
    """
    tensor = torch.as_tensor(value).detach().resolve_conj().resolve_neg()
    try:
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    except TypeError:
        name = dtype_name(tensor.dtype)
        raise UserError(f"numpy has no type for {name}", "convert it in forward() to a type that it has") from None


def _to_tensor(array: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    tensor = torch.from_numpy(np.asarray(array, order="C"))
    return tensor.to(dtype) if dtype == torch.bfloat16 else tensor


def without_defaults(target: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return positional arguments without those at the end that equal the defaults of the operator's schema."""
    schema = target._schema.arguments if isinstance(target, torch._ops.OpOverload) else []
    count = len(args) if schema else 0
    while count and schema[count - 1].has_default_value() and _equals(args[count - 1], schema[count - 1].default_value):
        count -= 1
    return args[:count] if schema else args


def _equals(value: object, default: object) -> bool:
    if isinstance(value, list | tuple):
        defaults = default if isinstance(default, list | tuple) else [default] * len(value)
        return len(value) == len(defaults) and all(map(_equals, value, defaults))
    return type(value) is type(default) and value == default


def short_name(target: Target) -> str:
    """Return an operator's bare name, as nodes are called after: ``conv2d``."""
    if isinstance(target, torch._ops.OpOverload):
        return target._schema.name.split("::")[1]
    return str(getattr(target, "__name__", target))


def _is_tied(one: torch.Tensor | None, other: torch.Tensor) -> bool:
    return one is not None and (one is other or (one.nbytes > 0 and one.data_ptr() == other.data_ptr()))


def _call(node: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
    try:
        return run_node(node, values.__getitem__)
    except Exception as error:
        fact = f"node '{node.name}' ({op_name(node)}){source_line(node)} cannot be computed"
        raise translated(error, fact, "give inputs that the model is meant for, with --sample FILE.npz") from error


def _as_traced(size: torch.SymInt) -> str:
    """Spell a size as it was traced.

    Sizes belong to all copies of a program: what inferring a shape in one proves of them, such as that two lengths are
    the same, would otherwise be read as a change of the others.
    """
    return str(size.node._expr)


def _format(value: Any) -> str:
    if isinstance(value, fx.Node):
        return f"%{value.name}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_format(v) for v in value)}]"
    return str(value)
