"""GeForce RTX by TensorRT-RTX: an engine built here, without a GPU, from operators alone (it takes no plug-ins)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from pathlib import Path

from edgeopt.errors import UserError
from edgeopt.options import option
from edgeopt.plugins.target import Artifact, Probe, TargetOptions, processor_name
from edgeopt.targets.tensorrt.emulation import NOT_RUN
from edgeopt.targets.tensorrt.family import MODEL, Model, TensorRtFamily, TensorRtOptions, Translated
from edgeopt.targets.tensorrt.features import check_precision
from edgeopt.targets.tensorrt.precision import summary
from edgeopt.targets.tensorrt.rtx.build import INSTALL, Engine, build, versions

ENGINE = "model.engine"
CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
"""What TensorRT-RTX builds for."""


@dataclass(frozen=True)
class RtxOptions(TensorRtOptions):
    """Options of TensorRT-RTX."""

    also: str = option("", "Further compute capabilities that the engine holds code for, such as 8.9,12.0.")


class Rtx(TensorRtFamily):
    """An engine for GeForce RTX GPUs; outputs are compared in ONNX Runtime, times are the GPU's to tell."""

    name = "rtx"
    Options = RtxOptions

    @classmethod
    def probe(cls) -> Probe:
        """Look for TensorRT-RTX and for what writes ONNX."""
        found = versions()
        try:
            return Probe(True, {**cls.packages(), **found}) if found else Probe(False, install=INSTALL)
        except PackageNotFoundError:
            return Probe(False, install=INSTALL)

    def write(self, lowered: Translated, folder: Path, options: TargetOptions) -> Artifact:
        """Write the ONNX and the engine built from it.

        Raises UserError for a dynamic input whose sizes are not known, EdgeoptError where TensorRT-RTX refuses.
        """
        sizes = self.profiles(lowered.program, options)
        model, _ = self.models(lowered, options)
        files = [*model.save(folder / MODEL), ENGINE]
        engine = build(folder / MODEL, self._capabilities(options), sizes)
        (folder / ENGINE).write_bytes(engine.plan)
        return Artifact(
            tuple(files),
            lowered.program.inputs,
            lowered.program.outputs,
            {"engine": len(engine.plan)},
            fallbacks=model.kept,
            notes=(*self._notes(model, options), f"layers in the network: {_told(engine)}"),
            facts={
                "compute_capabilities": list(self._capabilities(options)),
                "opset": model.opset,
                "profiles": [vars(profile) for profile in sizes],
                "layers": model.layers,
                "kept_in_fp32": [vars(fallback) for fallback in model.kept],
                "network": _network(engine),
            },
        )

    def hardware(self) -> str:
        """Say that the outputs are not the GPU's."""
        return f"{processor_name()}: {NOT_RUN} (in place of {self.device.name})"

    def check_options(self, options: TargetOptions) -> None:
        """Raise UserError where a GPU lacks what is asked for."""
        super().check_options(options)
        for capability in self._capabilities(options):
            if capability not in CAPABILITIES:
                raise UserError(
                    f"TensorRT-RTX does not build for compute capability {capability}",
                    f"choose among: {', '.join(CAPABILITIES)}",
                )
            check_precision(options.precision, capability, f"{self.device.name} ({capability})")

    def _capabilities(self, options: TargetOptions) -> Sequence[str]:
        assert isinstance(options, RtxOptions)
        return tuple(dict.fromkeys([self.device.facts["capability"], *filter(None, options.also.split(","))]))

    def _notes(self, model: Model, options: TargetOptions) -> tuple[str, ...]:
        places = ", ".join(self._capabilities(options))
        return (
            f"layers in the graph: {summary(model.layers)}",
            f"built for compute capability {places} without a GPU; outputs that were compared are {NOT_RUN}",
            *model.notes,
        )


def _network(engine: Engine) -> list[dict[str, str]]:
    return [vars(layer) for layer in engine.layers]


def _told(engine: Engine) -> str:
    """Return ``matrix_multiply fp16 (12), ...``, the most frequent first."""
    counts = Counter(f"{layer.type} {layer.precision}" for layer in engine.layers)
    return ", ".join(f"{kind} ({count})" for kind, count in counts.most_common())
