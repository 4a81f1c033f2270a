"""Run: the record of one export, and the form of ``report.json``.

Everything a report says is read from here; nothing in here is computed for display. Reading a record needs neither
torch nor a vendor SDK.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Final, Literal

from pydantic import JsonValue, ValidationError

from edgeopt.errors import UserError
from edgeopt.records.form import Record
from edgeopt.records.latency import Baseline, Latency
from edgeopt.records.layers import Fallback
from edgeopt.records.limits import Limit
from edgeopt.records.outputs import Error, OutputComparison, OutputNoise
from edgeopt.records.passes import PassRecord
from edgeopt.records.quantization import Quantization
from edgeopt.records.search import Search
from edgeopt.records.swaps import Swaps

SCHEMA_VERSION: Final = 3
"""Raised whenever a field is added, removed or changes its meaning."""

Verdict = Literal["equal", "close", "differs", "not compared", "not run"]


@dataclass(frozen=True, kw_only=True)
class Model(Record):
    """The original model."""

    source: str
    """The file it was loaded from, or the class of a module passed from Python."""
    sha256: str | None
    """Hash of that file; null for a module."""
    format: str
    """What the file holds, told by its content."""
    parameters: int
    """Number of parameters."""
    macs: int | None
    """Multiply-accumulates of one inference on the example inputs; null where they cannot be counted."""
    name: str | None = None
    """Name for people; the file's stem where absent."""
    inputs: tuple[str, ...] = ()
    """Inputs as `name:shape:dtype`."""
    outputs: tuple[str, ...] = ()
    """Outputs as `name:shape:dtype`."""
    modules: Mapping[str, str] = field(default_factory=dict)
    """Paths of the modules that compute the nodes, by node; nodes of the model's own forward are absent."""


@dataclass(frozen=True, kw_only=True)
class TargetUsed(Record):
    """Where the artifact runs and in which arithmetic."""

    name: str
    """The target."""
    device: str
    """The target's device."""
    precision_requested: str
    """The arithmetic asked for."""
    precision_executed: str | None
    """The arithmetic that really ran, read from the runtime: one name, or counts of layers; null where nothing ran."""
    hardware: str | None = None
    """The processor or emulator that ran it."""


@dataclass(frozen=True, kw_only=True)
class Accuracy(Record):
    """A metric on labeled samples, before and after."""

    metric: str
    """Name of the metric."""
    samples: int
    """Number of samples."""
    original: float
    """The original's value."""
    exported: float
    """The artifact's value."""
    agreement: float | None
    """Share of samples on which both give the same answer, 0 to 1."""

    @property
    def drop(self) -> float:
        """By how much the artifact's value is below the original's."""
        return self.original - self.exported


@dataclass(frozen=True, kw_only=True)
class File(Record):
    """A file of the bundle."""

    path: str
    """Path in the bundle."""
    bytes: int
    """Size."""
    sha256: str
    """Hash."""


@dataclass(frozen=True, kw_only=True)
class ArtifactFiles(Record):
    """What was compiled."""

    files: tuple[File, ...]
    """Files that the target needs to run."""
    memory: Mapping[str, int] = field(default_factory=dict)
    """Bytes by kind, such as `weights`, `activations`, `flash`, `ram`."""

    @property
    def bytes(self) -> int:
        """Size of all files together."""
        return sum(file.bytes for file in self.files)


@dataclass(frozen=True, kw_only=True)
class Run(Record):
    """What one export did, as data: the passes, the error after each, the artifact, its cost, the versions."""

    schema_version: Literal[3] = SCHEMA_VERSION
    """Version of this form."""
    model: Model
    """The original model."""
    target: TargetUsed
    """Where the artifact runs."""
    passes: tuple[PassRecord, ...]
    """The passes in the order in which they ran."""
    verdict: Verdict
    """What the comparison with the original says: every element equal; within the default limits; a default limit
    missed; no output could be compared; the artifact could not be run here."""
    accepted_difference: str | None = None
    """Why an artifact was taken that differs."""
    cause: str | None = None
    """Where the difference begins; null where there is none that misses a default limit, or it was not found."""
    error: Error | None
    """Error of the artifact's outputs against the original's, each figure of the output in which it is worst; null
    where it was not run, or no output could be compared."""
    outputs: tuple[OutputComparison, ...] = ()
    """The outputs one by one; empty where it was not run."""
    noise: OutputNoise | None = None
    """The model's own noise; null in records that do not have it."""
    accuracy: Accuracy | None = None
    """Accuracy on labeled samples, where labels were given."""
    swaps: Swaps | None = None
    """What a recipe swapped, where there was one."""
    quantization: Quantization | None = None
    """How it was quantized, where it was."""
    search: Search | None = None
    """How precision auto chose a format for each layer, where it was asked for."""
    artifact: ArtifactFiles
    """What was compiled."""
    latency: Latency | None = None
    """Cost of one inference; null where the artifact was not run or not measured."""
    baseline: Baseline | None = None
    """The plain export to compare with, where asked for."""
    not_run: str | None = None
    """Why the artifact was not run here."""
    fallbacks: tuple[Fallback, ...] = ()
    """Nodes that run elsewhere or otherwise than asked."""
    limits: tuple[Limit, ...] = ()
    """Limits that were stated, those of the device, and those that hold by default."""
    warnings: tuple[str, ...] = ()
    """What a reader should doubt or change."""
    notes: tuple[str, ...] = ()
    """What the target did, worth knowing."""
    options: Mapping[str, JsonValue] = field(default_factory=dict)
    """The options of the export, by flag."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of edgeopt, Python and the packages that took part."""

    @property
    def name(self) -> str:
        """The model's name, or its file's stem."""
        return self.model.name or PurePath(self.model.source).stem

    @property
    def ok(self) -> bool:
        """Whether all limits hold; default ones count as held where a difference was accepted."""
        return all(limit.ok or (limit.is_default and self.is_accepted) for limit in self.limits)

    @property
    def is_accepted(self) -> bool:
        """Whether a difference was accepted."""
        return self.accepted_difference is not None

    def modules_of(self, nodes: Iterable[str]) -> str:
        """Return the paths of the modules that compute these nodes, by commas; empty where none is known."""
        modules = self.model.modules
        return ", ".join(dict.fromkeys(modules[node] for node in nodes if node in modules))

    @property
    def exit_code(self) -> int:
        """0, or 1 where a limit is missed."""
        return 0 if self.ok else 1

    @classmethod
    def from_json(cls, text: str) -> Run:
        """Read the text of a ``report.json``.

        Raises UserError where it is not a report, or one of a newer edgeopt.
        """
        data = _with_version(text)
        try:
            run: Run = cls.json_form().validate_python(data)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise UserError(f"the report is damaged at '{place}': {first['msg']}", "export the model again") from error
        return run


def _with_version(text: str) -> dict[str, Any]:
    """Return the content of a report of the form that is read here."""
    try:
        data = json.loads(text)
    except ValueError as error:
        raise UserError(f"the report is not JSON: {error}", "give the report.json of a bundle") from error
    version = data.get("schema_version") if isinstance(data, dict) else None
    if not isinstance(version, int):
        raise UserError("the file is JSON but no edgeopt report", "give the report.json of a bundle")
    if version != SCHEMA_VERSION:
        remedy = "update edgeopt" if version > SCHEMA_VERSION else "export the model again"
        raise UserError(f"the report has form {version}, this edgeopt reads form {SCHEMA_VERSION}", remedy)
    found: dict[str, Any] = data
    return found
