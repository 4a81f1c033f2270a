"""Take the mean out of a pre-norm network's residual stream, so that its LayerNorms become RMSNorms.

Before => after, with C = I - 11^T/d, which takes a vector's mean off each of its d entries:

    x = E[tokens] + P + sum_l (W_l h_l + b_l)       =>  x' = (E C)[tokens] + P C + sum_l (C W_l h_l + C b_l)
    gamma * (x - mean(x)) / sqrt(var(x) + eps) + beta  =>  gamma * x' / sqrt(mean(x'^2) + eps) + beta

since x' = C x has the mean 0 and the variance of x. Weights change once, at export; a norm loses one reduction
and one subtraction. Sums, common factors, averages over tokens, and movements of data lie between as they are.

Not when: the stream is an output, or read by anything but LayerNorms (a convolution, a projection of the pooled
stream); something writes it whose mean is in no weight (an activation, a norm with scale and shift: post-norm
networks) or in a weight used elsewhere (tied embeddings); channels are scaled one by one (LayerScale: fold-affine
first); tokens are joined along channels, where each has a mean of its own and the norm takes off only one (the
patch merging of Swin). With ``centering`` a source of the first two kinds is centered by an operation of its own,
where that frees more norms than it costs.

With ``compress`` the last channel, minus the sum of the others, is not kept: the stream has d - 1 channels and the
norms become CRMSNorms, x' / sqrt((sum(x'^2) + sum(x')^2) / d + eps), where their scale and shift are folded and layers
alone read them. It saves one channel in d and leaves an odd number of them, which most kernels run slower.

Source: Jiang et al., Pre-RMSNorm and Pre-CRMSNorm Transformers, NeurIPS 2023, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import fx

from edgeopt.analysis.norms import Norm
from edgeopt.analysis.residual_stream import Obstacle, Source, Stream, find_streams
from edgeopt.ir.context import Context
from edgeopt.ir.nodes import aten, node_arg
from edgeopt.ir.pass_base import Note, Pass, PassResult
from edgeopt.ir.program import Program, origin, redefine
from edgeopt.ir.rewrite import arguments, replace
from edgeopt.passes.exact import crms as compression

_OUTPUT_AXIS = 0
"""Axis of the outputs in the weight of a linear or convolution."""


@dataclass(frozen=True)
class PreRmsnorm(Pass):
    """Replace the LayerNorms of each legal stream by RMSNorms; ``centering`` and ``compress`` as above."""

    name = "pre-rmsnorm"

    centering: bool = False
    compress: bool = False

    def run(self, program: Program, context: Context) -> PassResult:
        """Rewrite every legal stream of a copy of the program; refuse the others with all reasons."""
        program = program.clone()
        obstacles = [obstacle for stream in find_streams(program) for obstacle in self._obstacles(stream)]
        refused = [Note(self.name, obstacle.node.name, obstacle.reason) for obstacle in obstacles]
        applied: list[Note] = []
        while (stream := self._last_legal(program)) is not None:
            applied += [Note(self.name, norm.root.name) for norm in stream.norms]
            reason = compression.refuses(program, stream) if self.compress else None
            if self.compress and reason is None:
                compression.compress(program, stream)
            else:
                refused += [Note("crmsnorm", norm.root.name, reason) for norm in stream.norms if reason]
                _to_rms(program, stream)
            program.clean()
        return PassResult(program, bool(applied), (*applied, *refused))

    def _last_legal(self, program: Program) -> Stream | None:
        # The last first: a LayerNorm without scale and shift is known to bring no mean into the streams after it.
        return next((s for s in reversed(find_streams(program)) if not self._obstacles(s)), None)

    def _obstacles(self, stream: Stream) -> list[Obstacle]:
        sources: list[Source] = list(stream.sources.values())
        if not self.centering or stream.obstacles:
            return [*stream.obstacles, *sources]
        if len(sources) < len(stream.norms):
            return []
        count = f"{len(sources)} centerings for {len(stream.norms)} norms would not pay"
        return [Obstacle(source.node, f"{source.reason}; {count}") for source in sources]


def _center(program: Program, stream: Stream) -> None:
    """Take the mean over channels out of everything that writes the stream."""
    tables: dict[fx.Node, fx.Node] = {}
    for writer, axis in stream.writers.items():
        if writer.op == "placeholder":
            _swap(writer, _centered(program, writer, axis), stream)
        elif writer.target is aten.embedding.default:
            table = node_arg(writer, 0)
            if table not in tables:
                tables[table] = _centered(program, table, 1)
            writer.replace_input_with(table, tables[table])
        else:
            given = arguments(writer)
            for constant in filter(None, (given["weight"], given["bias"])):
                writer.replace_input_with(constant, _centered(program, constant, _OUTPUT_AXIS))
    for source in stream.sources.values():
        _swap(source.node, _minus_mean(program, source, stream), stream)
    for node in stream.axes:
        redefine(node)


def _centered(program: Program, constant: fx.Node, axis: int) -> fx.Node:
    values = program.constants[constant.name]
    wide = values.double()
    return program.add_constant(constant.name, (wide - wide.mean(axis, keepdim=True)).to(values.dtype))


def _minus_mean(program: Program, source: Source, stream: Stream) -> fx.Node:
    """Insert ``x - mean(x)`` before the first node of the stream that reads a source."""
    inside = _readers(source.node, stream)
    before = next(node for node in program.graph.nodes if node in inside)
    mean = program.insert(before, aten.mean.dim, source.node, [source.axis], True)
    return program.insert(before, aten.sub.Tensor, source.node, mean)


def _swap(old: fx.Node, new: fx.Node, stream: Stream) -> None:
    """Let the stream read ``new`` in the place of ``old``."""
    for reader in _readers(old, stream):
        reader.replace_input_with(old, new)


def _readers(node: fx.Node, stream: Stream) -> set[fx.Node]:
    """Return the nodes of the stream, and of the norms that read it, that read a node."""
    own = {user for norm in stream.norms if norm.input is node for user in norm.interior}
    return {user for user in node.users if user in stream.axes or user in own}


def _to_rms(program: Program, stream: Stream) -> None:
    _center(program, stream)
    for norm in stream.norms:
        _replace_norm(program, norm)


def _replace_norm(program: Program, norm: Norm) -> None:
    # Read it anew: a source may have been centered since the norm was found.
    x = arguments(norm.root)["input"] if norm.is_fused else norm.input
    new = program.insert(norm.root, aten.rms_norm.default, x, [norm.channels], norm.weight, norm.eps)
    if norm.bias is not None:
        new = program.insert(norm.root, aten.add.Tensor, new, norm.bias)
    new.meta["origin"] = origin(norm.root)
    replace(norm.root, new)
