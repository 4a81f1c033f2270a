"""What is in a model, and what a target's passes would do to it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from torch import fx

from edgeopt.cost import count_macs
from edgeopt.evidence import OnStep, Request
from edgeopt.inputs import verification_samples
from edgeopt.ledger import Ledger
from edgeopt.load import LoadOptions, load
from edgeopt.options import ExportOptions, split_options
from edgeopt.pipeline import Pipeline
from edgeopt.prepare import build_passes
from edgeopt.program import Program, op_name, spec_of
from edgeopt.registry import resolve
from edgeopt.report import figures
from edgeopt.report.blocks import Column, Fact, Section, Table
from edgeopt.report.run import PassEntry


@dataclass(frozen=True)
class LayerFacts:
    """One operator of the graph: its result's shape, the parameters it reads, its multiply-accumulates."""

    node: str
    op: str
    shape: str
    parameters: int
    macs: int


@dataclass(frozen=True)
class Inspection:
    """What ``inspect_model`` found; ``operators`` counts calls by name."""

    source: str
    format: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: int
    macs: int
    operators: Mapping[str, int]
    layers: tuple[LayerFacts, ...]
    passes: tuple[dict, ...]


def inspect_model(
    model: str | os.PathLike[str], options: LoadOptions, target: str, on_step: OnStep = lambda step: None
) -> Inspection:
    """Load a model, count its layers, and try the target's passes on it under the ledger."""
    chosen = resolve(target)
    request = Request(chosen, *split_options(chosen, ExportOptions(load=options), {}))
    on_step("loading the model")
    loaded = load(model, options)
    program = loaded.program
    samples = verification_samples(program, loaded.example or None, 2, 0)
    macs = count_macs(program, samples[0])
    on_step("trying the passes")
    _, records = Pipeline(build_passes(request), Ledger(program, samples)).run(program)
    calls = list(program.calls)
    counts: dict[str, int] = {}
    for node in calls:
        counts[op_name(node)] = counts.get(op_name(node), 0) + 1
    return Inspection(
        source=loaded.source,
        format=loaded.format.value,
        inputs=tuple(map(str, program.inputs)),
        outputs=tuple(map(str, program.outputs)),
        parameters=program.parameters,
        macs=sum(macs.values()),
        operators=dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
        layers=tuple(_layer(program, node, macs.get(node.name, 0)) for node in calls),
        passes=tuple(PassEntry.of(record).model_dump(mode="json") for record in records),
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
    return [
        Section("model", "Model", "", facts=facts),
        Section("layers", "Heaviest layers", "", tables=(_layer_table(found),)),
        Section("operators", "Operators", "", tables=(_operator_table(found),)),
        Section("passes", "Passes", "What each would do, and where it would not.", tables=_pass_tables(found)),
    ]


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


def _pass_tables(found: Inspection) -> tuple[Table, ...]:
    rows = tuple((p["name"], p["kind"], str(p["applied"]), str(len(p["refused"]))) for p in found.passes)
    columns = Column("Pass"), Column("Kind"), Column("Applied", "figure"), Column("Refused", "figure")
    refusals = tuple((p["name"], r["node"], r["reason"]) for p in found.passes for r in p["refused"])
    applied = Table(columns, rows)
    return (
        (applied, Table((Column("Pass"), Column("Node", "code"), Column("Why not")), refusals))
        if refusals
        else (applied,)
    )
