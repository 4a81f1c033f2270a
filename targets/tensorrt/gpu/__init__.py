"""TensorRT on this machine's GPU: builds the engine, runs it, compares and measures it."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError
from pathlib import Path

from edgeopt import onnx
from edgeopt.errors import ToolchainMissing
from edgeopt.plugins.target import Artifact, Probe, Session, TargetOptions
from edgeopt.targets.tensorrt.family import MODEL, TensorRtFamily, Translated
from edgeopt.targets.tensorrt.features import Version, check_precision
from edgeopt.targets.tensorrt.gpu import sdk
from edgeopt.targets.tensorrt.gpu.session import GpuSession
from edgeopt.targets.tensorrt.precision import summary

ENGINE = "model.engine"
OUTPUTS = "outputs.json"


class TensorRt(TensorRtFamily):
    """An engine for the GPU that is here; it does not run on another."""

    name = "tensorrt"
    has_plain_export = True

    @classmethod
    def probe(cls) -> Probe:
        """Look for TensorRT, for a GPU, and for what writes ONNX."""
        try:
            return Probe(True, {**cls.packages(), **sdk.versions(), "gpu": sdk.gpu().name})
        except ToolchainMissing as missing:
            return Probe(False, install=missing.install)
        except PackageNotFoundError:
            return Probe(False, install=onnx.INSTALL)

    def write(self, lowered: Translated, folder: Path, options: TargetOptions) -> Artifact:
        """Write the ONNX and the engine built from it.

        Raises UserError for a dynamic input whose sizes are not known, EdgeoptError where TensorRT refuses.
        """
        sizes = self.profiles(lowered.program, options)
        model, _ = self.models(lowered, options)
        files = [*model.save(folder / MODEL), ENGINE, OUTPUTS]
        plan = sdk.build(folder / MODEL, sizes)
        (folder / ENGINE).write_bytes(plan)
        names = [str(value.name) for value in model.onnx.graph.outputs]
        outputs = dict(zip(names, onnx.output_names(model.onnx.metadata_props), strict=True))
        (folder / OUTPUTS).write_text(json.dumps(outputs) + "\n", "utf-8")
        return Artifact(
            tuple(files),
            lowered.program.inputs,
            lowered.program.outputs,
            {"engine": len(plan)},
            fallbacks=model.kept,
            notes=(f"layers in the graph: {summary(model.layers)}", *model.notes),
            facts={"gpu": vars(sdk.gpu()), "opset": model.opset, "layers": model.layers},
        )

    def open(self, folder: Path, options: TargetOptions) -> Session:
        """Load the engine.

        Raises ToolchainMissing without TensorRT or a GPU.
        """
        outputs = json.loads((folder / OUTPUTS).read_text("utf-8"))
        return GpuSession((folder / ENGINE).read_bytes(), outputs)

    def hardware(self) -> str:
        """Return the GPU with its clock."""
        found = sdk.gpu()
        return f"{found.name} ({found.clock_mhz} MHz, driver {found.driver})"

    def check_options(self, options: TargetOptions) -> None:
        """Raise UserError where the GPU or its TensorRT lacks what is asked for."""
        super().check_options(options)
        try:
            found, release = sdk.gpu(), Version.parse(_short(sdk.versions()["tensorrt"]))
        except ToolchainMissing:
            return  # export says so by the probe
        check_precision(options.precision, found.capability, found.name, release)


def _short(release: str) -> str:
    """Return ``10.13`` for ``10.13.3.9``."""
    return ".".join(release.split(".")[:2])
