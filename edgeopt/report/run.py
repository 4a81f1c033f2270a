"""Run: the record of one export, and the form of ``report.json``.

Everything a report says is read from here; nothing in here is computed for display. Reading a record needs neither
torch nor a vendor SDK.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import PurePath
from typing import TYPE_CHECKING, Final, Literal

from pydantic import JsonValue, ValidationError, field_validator

from edgeopt.errors import UserError
from edgeopt.report.form import OutputError, Record
from edgeopt.report.latency import Baseline, Latency
from edgeopt.report.quantized import Quantization
from edgeopt.report.searched import Search
from edgeopt.report.swapped import Swaps

if TYPE_CHECKING:
    from edgeopt.ir.pass_base import PassRecord

SCHEMA_VERSION: Final = 2
"""Raised whenever a field is added, removed or changes its meaning."""


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


class Refusal(Record):
    """A place that a rule matched and left alone."""

    rule: str
    """The rule."""
    node: str
    """The node of the graph."""
    reason: str
    """Why."""


class PassEntry(Record):
    """What one pass did."""

    name: str
    """The pass."""
    kind: Literal["exact", "calibrated", "trained"]
    """Its promise."""
    changed: bool
    """Whether the graph differs after it."""
    applied: int
    """Number of places rewritten."""
    rules: dict[str, int] = {}
    """Number of places rewritten, by rule."""
    refused: tuple[Refusal, ...] = ()
    """Places matched and left alone, with reasons."""
    seconds: float
    """Time it took."""
    error: OutputError | None
    """Error of the program after it against the original; null where it was not measured."""

    @classmethod
    def of(cls, record: PassRecord) -> PassEntry:
        """Return the entry for what the pipeline recorded."""
        return cls(
            name=record.name,
            kind=record.kind,
            changed=record.changed,
            applied=len(record.applied),
            rules=dict(sorted(Counter(note.rule for note in record.applied).items())),
            refused=tuple(Refusal.model_validate(note) for note in record.refused),
            seconds=record.seconds,
            error=None if record.error is None else OutputError.model_validate(record.error),
        )


class OutputNoise(Record):
    """What rounding alone does to the original's outputs, whoever computes them."""

    outputs: dict[str, float]
    """By output, the largest difference that rounding makes over the largest absolute value."""
    reason: str | None = None
    """Why the original was not also run in float64; null where it was."""

    @property
    def largest(self) -> float:
        """The noise of the noisiest output; 0 where there is none."""
        return max(self.outputs.values(), default=0.0)


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


class File(Record):
    """A file of the bundle."""

    path: str
    """Path in the bundle."""
    bytes: int
    """Size."""
    sha256: str
    """Hash."""


class ArtifactFiles(Record):
    """What was compiled."""

    files: tuple[File, ...]
    """Files that the target needs to run."""
    memory: dict[str, int] = {}
    """Bytes by kind, such as `weights`, `activations`, `flash`, `ram`."""

    @property
    def bytes(self) -> int:
        """Size of all files together."""
        return sum(file.bytes for file in self.files)


class FallbackEntry(Record):
    """A node that runs elsewhere or otherwise than asked."""

    node: str
    """The node."""
    op: str
    """Its operator."""
    reason: str
    """Why."""
    share: float | None = None
    """Its part of the time, 0 to 1, where known."""


class OutputEntry(Record):
    """One output of the artifact against the original's."""

    name: str
    """The output."""
    form: Literal["number", "index", "decision", "exact"]
    """What it holds: floats; places of values (top-k, argmax, sort); other integers or booleans that floats decided;
    integers or booleans that no float took part in."""
    error: OutputError | None
    """Its error over all verification inputs; of an index that of the values it points at; null: not compared."""
    elements: int
    """Number of elements over all verification inputs."""
    differing: int
    """How many of them are not equal."""
    not_finite: int
    """How many are NaN or infinite where the original is not, or the other way round."""
    reason: str | None = None
    """Why it was not compared."""


class Limit(Record):
    """A limit, stated or by default, and whether it holds."""

    name: str
    """The option that states it, such as `max-latency`, or the name of a default limit."""
    direction: Literal["most", "least"]
    """Whether the limit is the most or the least that is allowed."""
    unit: Literal["latency", "bytes", "share", "ratio", "cosine", "dB", "elements", "number"]
    """Unit of limit and value: `latency` as under `latency`, `share` from 0 to 1, `ratio` of an error to the largest
    value."""
    limit: float
    """The limit."""
    value: float | None
    """What was measured; null where it could not be, or is not finite."""
    ok: bool
    """Whether it holds."""
    is_default: bool = False
    """Whether it holds for every export, stated or not."""
    output: str | None = None
    """The output that is worst in it, of a default limit."""

    @field_validator("value")
    @classmethod
    def _finite(cls, value: float | None) -> float | None:
        return value if value is not None and math.isfinite(value) else None


class Run(Record):
    """What one export did, as data: the passes, the error after each, the artifact, its cost, the versions."""

    schema_version: Literal[2] = SCHEMA_VERSION
    """Version of this form."""
    model: Model
    """The original model."""
    target: TargetUsed
    """Where the artifact runs."""
    passes: tuple[PassEntry, ...]
    """The passes in the order in which they ran."""
    verdict: Literal["equal", "close", "differs", "not compared", "not run"]
    """What the comparison with the original says: every element equal; within the default limits; a default limit
    missed; no output could be compared; the artifact could not be run here."""
    accepted_difference: str | None = None
    """Why an artifact was taken that differs."""
    cause: str | None = None
    """Where the difference begins; null where there is none that misses a default limit, or it was not found."""
    error: OutputError | None
    """Error of the artifact's outputs against the original's, each figure of the output in which it is worst; null
    where it was not run, or no output could be compared."""
    outputs: tuple[OutputEntry, ...] = ()
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
    fallbacks: tuple[FallbackEntry, ...] = ()
    """Nodes that run elsewhere or otherwise than asked."""
    limits: tuple[Limit, ...] = ()
    """Limits that were stated, those of the device, and those that hold by default."""
    warnings: tuple[str, ...] = ()
    """What a reader should doubt or change."""
    notes: tuple[str, ...] = ()
    """What the target did, worth knowing."""
    options: dict[str, JsonValue] = {}
    """The options of the export, by flag."""
    versions: dict[str, str] = {}
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

    @property
    def exit_code(self) -> int:
        """0, or 1 where a limit is missed."""
        return 0 if self.ok else 1

    def to_json(self) -> str:
        """Return the text of ``report.json``."""
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Run:
        """Read the text of a ``report.json``.

        Raises UserError where it is not a report, or one of a newer edgeopt.
        """
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
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise UserError(f"the report is damaged at '{place}': {first['msg']}", "export the model again") from error
