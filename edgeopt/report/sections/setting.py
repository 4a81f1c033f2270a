"""The model, the options and the versions that took part: what it takes to repeat the export."""

from __future__ import annotations

import json

from edgeopt.records.run import Run
from edgeopt.report import figures
from edgeopt.report.blocks import Column, Section, Table
from edgeopt.report.figures import ABSENT


def setting(run: Run) -> Section:
    """Return the model, the options and the versions."""
    model = run.model
    facts = (
        ("source", model.source),
        ("format", model.format),
        ("sha256", model.sha256 or ABSENT),
        ("inputs", ", ".join(model.inputs) or ABSENT),
        ("outputs", ", ".join(model.outputs) or ABSENT),
        ("parameters", figures.magnitude(model.parameters)),
        ("multiply-accumulates", ABSENT if model.macs is None else figures.magnitude(model.macs)),
    )
    options = tuple(
        (name, value if isinstance(value, str) else json.dumps(value)) for name, value in run.options.items()
    )
    tables = (
        Table((Column("Model"), Column("", "code")), facts),
        *((Table((Column("Option"), Column("", "code")), options),) if options else ()),
        *((Table((Column("Version"), Column("", "code")), tuple(run.versions.items())),) if run.versions else ()),
    )
    return Section("setting", "Model, options, versions", "", items=run.notes, tables=tables, detail=True)
