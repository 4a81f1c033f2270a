"""What is in a model, and what a target's passes would do to it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import fx

from edgeopt.analysis.accuracy_tracker import AccuracyTracker
from edgeopt.analysis.blocks import Block, find_blocks
from edgeopt.analysis.macs import count_macs
from edgeopt.analysis.normalization import Normalizer, find_normalizers
from edgeopt.candidate.options import ExportOptions, split_options
from edgeopt.candidate.pass_list import build_passes
from edgeopt.candidate.stages import OnProgress, Request
from edgeopt.deploy.decisions import Verdicts
from edgeopt.frontend.load import LoadOptions
from edgeopt.frontend.static_shapes import load_for
from edgeopt.ir.metrics import Sample
from edgeopt.ir.program import Program, op_name, spec_of
from edgeopt.passes.pipeline import Pipeline
from edgeopt.plugins.registry import pass_classes, resolve
from edgeopt.records.passes import PassRecord
from edgeopt.report import figures
from edgeopt.report.blocks import Column, Fact, Section, Table
from edgeopt.verification import Inventor

_NAMED = 2
"""Nodes that are named where several are alike."""


@dataclass(frozen=True)
class LayerFacts:
    """One operator of the graph: its result's shape, the parameters it reads, its multiply-accumulates."""

    node: str
    op: str
    shape: str
    parameters: int
    macs: int


@dataclass(frozen=True)
class BlockFacts:
    """A transformer block: where its norm stands, and its attention. Sizes are symbols where they are dynamic.

    ``passes`` says of each pass that considered the attention whether it applies, or why not.
    """

    node: str
    form: str
    fused: bool
    heads: int | str
    kv_heads: int | str
    tokens: int | str
    keys: int | str
    head_size: int | str
    windows: int
    mask: str
    passes: Mapping[str, str]


@dataclass(frozen=True)
class NormalizerFacts:
    """What norms or scales channels: its form, and of each pass that considered it whether it applies, or why not."""

    node: str
    form: str
    channels: int | str
    passes: Mapping[str, str]


@dataclass(frozen=True)
class Inspection:
    """What ``inspect_model`` found; ``operators`` counts calls by name.

    ``passes`` are the target's, ``further`` the exact ones that it leaves out.
    """

    source: str
    format: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: int
    macs: int
    operators: Mapping[str, int]
    layers: tuple[LayerFacts, ...]
    blocks: tuple[BlockFacts, ...]
    normalizers: tuple[NormalizerFacts, ...]
    passes: tuple[PassRecord, ...]
    further: tuple[PassRecord, ...]


def inspect_model(
    model: str | os.PathLike[str], options: LoadOptions, target: str, on_progress: OnProgress = lambda step: None
) -> Inspection:
    """Load a model, count its layers, and try the target's passes on it under the tracker."""
    chosen = resolve(target)
    request = Request(chosen, *split_options(chosen, ExportOptions(load=options), {}))
    on_progress("loading the model")
    loaded = load_for(chosen, model, options)
    program = loaded.program
    samples = Inventor(program, loaded.example, 0, loaded.has_invented_example).samples(2).samples
    macs = count_macs(program, samples[0])
    on_progress("trying the passes")
    prepared, records = Pipeline(build_passes(request), AccuracyTracker(program, samples)).run(program)
    further = _try_further(prepared, samples)
    told = Verdicts(program, prepared, records, further)
    calls = list(program.calls)
    return Inspection(
        source=loaded.source,
        format=loaded.format.value,
        inputs=tuple(map(str, program.inputs)),
        outputs=tuple(map(str, program.outputs)),
        parameters=program.parameters,
        macs=sum(macs.values()),
        operators=dict(sorted(Counter(map(op_name, calls)).items(), key=lambda item: (-item[1], item[0]))),
        layers=tuple(_layer(program, node, macs.get(node.name, 0)) for node in calls),
        blocks=tuple(_block(block, told) for block in find_blocks(told.program)),
        normalizers=tuple(_normalizer(found, told) for found in find_normalizers(told.program)),
        passes=tuple(records),
        further=tuple(further),
    )


def inspection_sections(found: Inspection) -> list[Section]:
    """Return the inspection as sections to print."""
    facts = (
        Fact("File", found.source, found.format),
        Fact("Inputs", ", ".join(found.inputs)),
        Fact("Outputs", ", ".join(found.outputs)),
        Fact("Parameters", figures.magnitude(found.parameters)),
        Fact("MACs", figures.magnitude(found.macs), "multiply-accumulates of one inference"),
        Fact("Operators", str(sum(found.operators.values())), f"{len(found.operators)} kinds"),
    )
    blocks = []
    if found.blocks:
        tables = _block_table(found), _verdict_table((block.node, block.passes) for block in found.blocks)
        blocks.append(Section("blocks", "Attention blocks", "", tables=tables))
    if found.normalizers:
        lead = "What norms or scales channels, and what each pass does to it, or why not."
        told = _verdict_table((one.node, one.passes) for one in found.normalizers)
        blocks.append(Section("normalizers", "Normalizers", lead, tables=(_normalizer_table(found), told)))
    lead = "Exact, and not among this target's; --add-pass runs one."
    further = [Section("further", "Further passes", lead, tables=_pass_tables(found.further))] if found.further else []
    return [
        Section("model", "Model", "", facts=facts),
        Section("layers", "Heaviest layers", "", tables=(_layer_table(found),)),
        *blocks,
        Section("operators", "Operators", "", tables=(_operator_table(found),)),
        Section("passes", "Passes", "What each would do, and where it would not.", tables=_pass_tables(found.passes)),
        *further,
    ]


def _try_further(program: Program, samples: Sequence[Sample]) -> list[PassRecord]:
    """Return what the exact passes that have not run would do, each alone; those that find nothing are left out."""
    found = []
    for name, chosen in pass_classes().items():
        if chosen.kind == "exact" and name not in program.history and not (chosen.needs or chosen.requires):
            _, (record,) = Pipeline([chosen()], AccuracyTracker(program, samples)).run(program)
            found += [record] if record.notes else []
    return found


def _block(block: Block, told: Verdicts) -> BlockFacts:
    a = block.attention
    sizes = (a.heads, a.kv_heads, a.tokens, a.keys, a.head_size, a.windows)
    return BlockFacts(a.root.name, block.form, a.is_fused, *sizes, str(a.mask), told.of_attention(a))


def _normalizer(found: Normalizer, told: Verdicts) -> NormalizerFacts:
    form = f"{found.form} ({found.detail})" if found.detail else found.form
    return NormalizerFacts(found.root.name, form, found.channels, told.of_normalizer(found))


def _block_table(found: Inspection) -> Table:
    def several(one: int | str, other: int | str, word: str) -> str:
        return str(one) if one == other else f"{one} ({other} {word})"

    rows = [
        (
            block.node,
            block.form,
            "fused" if block.fused else "written out",
            several(block.heads, block.kv_heads, "of keys"),
            several(block.tokens, block.keys, "keys") + (f" x {block.windows} windows" if block.windows > 1 else ""),
            str(block.head_size),
            block.mask,
        )
        for block in found.blocks
    ]
    columns = Column("Node", "code"), Column("Form"), Column("Attention"), Column("Heads", "figure")
    return Table((*columns, Column("Tokens", "figure"), Column("Head size", "figure"), Column("Mask")), tuple(rows))


def _verdict_table(found: Iterable[tuple[str, Mapping[str, str]]]) -> Table:
    """Return what each pass says, and of which nodes: blocks are many and alike."""
    nodes: dict[str, dict[str, list[str]]] = {}
    for node, passes in found:
        for name, verdict in passes.items():
            nodes.setdefault(name, {}).setdefault(verdict, []).append(node)
    rows = [(name, verdict, _named(where)) for name, verdicts in nodes.items() for verdict, where in verdicts.items()]
    return Table((Column("Pass"), Column("Verdict", "prose"), Column("Nodes", "code")), tuple(rows))


def _normalizer_table(found: Inspection) -> Table:
    alike: dict[tuple[str, int | str], list[str]] = {}
    for one in found.normalizers:
        alike.setdefault((one.form, one.channels), []).append(one.node)
    rows = [(form, str(channels), str(len(nodes)), _named(nodes)) for (form, channels), nodes in alike.items()]
    columns = Column("Form"), Column("Channels", "figure"), Column("Number", "figure"), Column("Nodes", "code")
    return Table(columns, tuple(rows))


def _named(nodes: Sequence[str]) -> str:
    more = len(nodes) - _NAMED
    return ", ".join(nodes) if more <= 1 else f"{', '.join(nodes[:_NAMED])} and {more} more"


def _layer(program: Program, node: fx.Node, macs: int) -> LayerFacts:
    held = {n.name for n in node.all_input_nodes if n.name in program.constants}
    parameters = sum(program.constants[name].numel() for name in held)
    shape = "x".join(map(str, spec_of(node, "").shape))
    return LayerFacts(node.name, op_name(node), shape, parameters, macs)


def _layer_table(found: Inspection) -> Table:
    heavy = sorted(found.layers, key=lambda layer: (-layer.macs, -layer.parameters))
    rows = [
        (layer.node, layer.op, layer.shape, figures.magnitude(layer.parameters), figures.magnitude(layer.macs))
        for layer in heavy
        if layer.macs or layer.parameters
    ]
    columns = Column("Node", "code"), Column("Operator", "code"), Column("Result", "code")
    return Table((*columns, Column("Parameters", "figure"), Column("MACs", "figure")), tuple(rows))


def _operator_table(found: Inspection) -> Table:
    rows = tuple((name, str(count)) for name, count in found.operators.items())
    return Table((Column("Operator", "code"), Column("Calls", "figure")), rows)


def _pass_tables(passes: Sequence[PassRecord]) -> tuple[Table, ...]:
    rows = tuple((p.name, p.kind, str(p.applied), str(len(p.refused))) for p in passes)
    columns = Column("Pass"), Column("Kind"), Column("Applied", "figure"), Column("Refused", "figure")
    refusals = tuple(dict.fromkeys((p.name, one.node, one.reason or "") for p in passes for one in p.refused))
    applied = Table(columns, rows)
    return (
        (applied, Table((Column("Pass"), Column("Node", "code"), Column("Why not")), refusals))
        if refusals
        else (applied,)
    )
