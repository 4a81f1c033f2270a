"""How the program was quantized, and what the accuracy gate gave back."""

from __future__ import annotations

from edgeopt.records.quantization import LayerSensitivity, PairedLayer, Quantization
from edgeopt.records.run import Run
from edgeopt.report import figures
from edgeopt.report.blocks import Column, Section, Table

_SHOWN = 10
_NAMED = (Column("Layer", "code"), Column("Module", "code"), Column("Operator", "code"))


def quantization(run: Run) -> Section | None:
    """Return the method, the gate's attempts and the layers that hurt most."""
    one = run.quantization
    if one is None:
        return None
    lead = f"{one.quantized} operators run on integers, ranges by {one.method}."
    if one.paired:
        lead += f" Layers rounded so that processors without VNNI sum exactly, too: {len(one.paired)}."
    if one.kept_float:
        lead += f" In float: {', '.join(one.kept_float)}."
    tables = tuple(table for table in (_attempts(run, one), _layers(run, one), _paired(run, one)) if table.rows)
    return Section("quantization", "Quantization", lead, tables=tables, detail=True)


def _attempts(run: Run, one: Quantization) -> Table:
    columns = ("In float", "Error", "Accuracy", "Size", "Latency")
    unit = run.latency.unit if run.latency else "ms"
    rows = tuple(
        (
            str(attempt.kept),
            figures.scientific(attempt.error),
            "-" if attempt.accuracy is None else figures.percent(attempt.accuracy),
            figures.size(attempt.bytes),
            figures.cost(attempt.latency, unit),
            figures.verdict(attempt.ok),
        )
        for attempt in one.attempts
    )
    return Table((*(Column(title, "figure") for title in columns), Column("Limits")), rows)


def _layers(run: Run, one: Quantization) -> Table:
    columns = (*_NAMED, Column("SQNR alone", "figure"), Column("Runs in"))
    rows = tuple(
        (*_named(run, layer), f"{layer.sqnr_db:.1f} dB", "float" if layer.layer in one.kept_float else "int8")
        for layer in one.layers[:_SHOWN]
    )
    return Table(columns, rows)


def _paired(run: Run, one: Quantization) -> Table:
    columns = (*_NAMED, Column("Weight SQNR", "figure"), Column("With VNNI alone", "figure"))
    rows = tuple((*_named(run, layer), f"{layer.sqnr_db:.1f} dB", f"{layer.full_db:.1f} dB") for layer in one.paired)
    return Table(columns, rows)


def _named(run: Run, layer: LayerSensitivity | PairedLayer) -> tuple[str, str, str]:
    return layer.layer, run.modules_of([layer.layer]), layer.op
