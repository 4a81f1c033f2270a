"""What the artifact is made of and what memory it takes."""

from __future__ import annotations

from edgeopt.records.run import Run
from edgeopt.report import figures
from edgeopt.report.blocks import Column, Section, Table


def files(run: Run) -> Section:
    """Return memory by kind, and the files with their hashes."""
    sizes = tuple((kind, figures.size(count)) for kind, count in run.artifact.memory.items())
    memory = (Table((Column("Memory"), Column("Size", "figure")), sizes),) if sizes else ()
    columns = (Column("File", "code"), Column("Size", "figure"), Column("SHA-256", "code"))
    rows = tuple((file.path, figures.size(file.bytes), file.sha256) for file in run.artifact.files)
    lead = f"The target needs {figures.size(run.artifact.bytes)} of files."
    return Section("files", "Memory and files", lead, tables=(*memory, Table(columns, rows)), detail=True)
