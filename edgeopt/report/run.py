"""Run: the record of one export, and the form of ``report.json``.

Everything a report says is read from here; nothing in here is computed for display. Reading a record needs neither
torch nor a vendor SDK.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from edgeopt.errors import UserError

if TYPE_CHECKING:
    from edgeopt.pipeline import PassRecord

SCHEMA_VERSION: Final = 1
"""Raised whenever a field is added, removed or changes its meaning."""

SAMPLES_KEPT = 500
"""Most single latencies that a record keeps for the plot of their distribution."""

# JSON has no infinity and no NaN; `null` stands for them, and `OutputError` says for which.
Extended = Annotated[float, WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "null"}]})]


class Record(BaseModel):
    """A part of the record: immutable, with no fields but its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", from_attributes=True, use_attribute_docstrings=True)


class OutputError(Record):
    """Distance of outputs from the original's, over all outputs and verification inputs together."""

    max_abs: Extended
    """Largest absolute difference; null where an output is NaN."""
    relative: Extended
    """`max_abs` over the largest absolute reference value; null where that is zero (or an output is NaN)."""
    sqnr_db: Extended
    """Reference power over error power in dB; null where the outputs are equal (infinite), or the reference is zero."""
    cosine: Extended
    """Cosine of the angle between outputs and reference; null where an output is NaN."""

    @model_validator(mode="before")
    @classmethod
    def _restore(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        largest = data.get("max_abs", 0.0)
        if largest is None:
            missing = {"max_abs": math.nan, "relative": math.nan, "sqnr_db": math.nan, "cosine": math.nan}
        else:
            missing = {"relative": math.inf, "sqnr_db": -math.inf if largest else math.inf, "cosine": math.nan}
        return {key: missing.get(key) if value is None else value for key, value in data.items()}


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


class Accuracy(Record):
    """A metric on labelled samples, before and after."""

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


class LayerSensitivity(Record):
    """What quantising one layer alone does to the outputs."""

    layer: str
    """The layer."""
    op: str
    """Its operator."""
    sqnr_db: Extended
    """Reference power over error power of the outputs in dB; null where it is infinite."""


class GateAttempt(Record):
    """One attempt of the accuracy gate: an artifact, compiled and run."""

    kept: int
    """Number of layers kept in float, the most sensitive first."""
    ok: bool
    """Whether the limits on error and accuracy hold."""
    error: Extended
    """Relative error on the verification inputs."""
    accuracy: float | None
    """Accuracy on the labelled samples; null without labels."""
    bytes: int
    """Size of the artifact's files."""
    latency: float
    """Quick median latency, in the unit of `latency`."""


class Quantisation(Record):
    """How the program was quantised."""

    method: str
    """How the ranges of activations were found."""
    recoveries: tuple[str, ...] = ()
    """Passes that recovered accuracy."""
    quantised: int
    """Number of operators that run on integers."""
    kept_float: tuple[str, ...] = ()
    """Layers that stay in float: given back by the accuracy gate, or on request."""
    layers: tuple[LayerSensitivity, ...] = ()
    """Layers by sensitivity, worst first, where the gate had to look."""
    attempts: tuple[GateAttempt, ...] = ()
    """What the gate tried, in order."""


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


class LayerTime(Record):
    """One executed layer."""

    name: str
    """Name in the runtime's graph."""
    type: str
    """What the runtime executed there."""
    median: float | None
    """Median cost in the latency's unit; null where the runtime does not tell."""
    share: float | None
    """Part of all layers' cost, 0 to 1."""
    precision: str | None = None
    """Arithmetic it ran in."""


class Latency(Record):
    """Cost of one inference over many runs."""

    unit: Literal["ms", "instructions"]
    """Unit of all costs."""
    runs: int
    """Number of runs measured."""
    warmup: int
    """Number of runs before, not counted."""
    threads: int
    """Threads of one inference."""
    min: float
    """Least cost."""
    mean: float
    """Mean cost."""
    median: float
    """Median cost."""
    p90: float
    """90th percentile."""
    p95: float
    """95th percentile."""
    p99: float
    """99th percentile."""
    max: float
    """Largest cost."""
    cv: float
    """Coefficient of variation: standard deviation over mean."""
    cpu_median: float | None = None
    """Median process CPU time of one inference; null where cost is not time."""
    samples: Annotated[tuple[float, ...], Field(max_length=SAMPLES_KEPT)] = ()
    """Single costs in rising order, evenly thinned, least and largest kept."""
    layers: tuple[LayerTime, ...] = ()
    """Executed layers in order, profiled in runs of their own."""

    @field_validator("samples", mode="before")
    @classmethod
    def _thin(cls, samples: Iterable[float]) -> tuple[float, ...]:
        # Sorted first: every n-th run would favour what recurs with n, such as the order of alternate measuring.
        values = sorted(samples)
        if len(values) <= SAMPLES_KEPT:
            return tuple(values)
        return tuple(values[i * (len(values) - 1) // (SAMPLES_KEPT - 1)] for i in range(SAMPLES_KEPT))


class Baseline(Record):
    """The plain export of the original model on the same target, measured alternately in the same run."""

    latency: Latency
    """Its latency."""
    speedup: float
    """Its median over the artifact's: above 1 the artifact is faster."""


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


class Limit(Record):
    """A limit that was stated, and whether it holds."""

    name: str
    """The option that states it, such as `max-latency`."""
    limit: float
    """The limit."""
    value: float | None
    """What was measured; null where it could not be."""
    ok: bool
    """Whether it holds."""

    @field_validator("value")
    @classmethod
    def _finite(cls, value: float | None) -> float | None:
        return value if value is not None and math.isfinite(value) else None


class Run(Record):
    """What one export did, as data: the passes, the error after each, the artifact, its cost, the versions."""

    schema_version: Literal[1] = SCHEMA_VERSION
    """Version of this form."""
    model: Model
    """The original model."""
    target: TargetUsed
    """Where the artifact runs."""
    passes: tuple[PassEntry, ...]
    """The passes in the order in which they ran."""
    error: OutputError | None
    """Error of the artifact's outputs against the original's; null where it was not run."""
    accuracy: Accuracy | None = None
    """Accuracy on labelled samples, where labels were given."""
    quantisation: Quantisation | None = None
    """How it was quantised, where it was."""
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
    """Limits that were stated."""
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
        """Whether all stated limits hold."""
        return all(limit.ok for limit in self.limits)

    @property
    def exit_code(self) -> int:
        """0, or 1 where a stated limit is missed."""
        return 0 if self.ok else 1

    def to_json(self) -> str:
        """Return the text of ``report.json``."""
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Run:
        """Read the text of a ``report.json``.

        Raises UserError where it is no report, or one of a newer edgeopt.
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


_INDEX_TYPES = frozenset({"int64", "int32", "bool"})


def executed_precision(layers: Iterable[Any]) -> str | None:
    """Return the precision of ``layers`` in one phrase: a single name, or names with their number of layers.

    Layers that only handle shapes and indices (int64, int32, bool) do not count beside others.
    """
    counts = Counter(layer.precision for layer in layers if layer.precision)
    arithmetic = Counter({name: number for name, number in counts.items() if name not in _INDEX_TYPES})
    counts = arithmetic or counts
    if len(counts) <= 1:
        return next(iter(counts), None)
    return ", ".join(f"{precision} ({number})" for precision, number in counts.most_common())
