"""Jetson: a bundle from which the device builds its own engine, for engines do not travel between platforms.

The bundle holds the ONNX, our plug-ins as source, a script that checks the device, builds, measures and exports what it
measured, and a checker of the golden outputs. ``edgeopt report DIR --import`` reads the measurements back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from pathlib import Path

from edgeopt import onnx
from edgeopt.options import option
from edgeopt.plugins.target import Artifact, Device, Probe, TargetOptions, processor_name
from edgeopt.targets.tensorrt.emulation import NOT_RUN
from edgeopt.targets.tensorrt.family import MODEL, Model, TensorRtFamily, TensorRtOptions, Translated
from edgeopt.targets.tensorrt.features import JetPack, check_precision, jetpack
from edgeopt.targets.tensorrt.jetson.project import PLUGIN_MODEL, write_project
from edgeopt.targets.tensorrt.precision import summary
from edgeopt.targets.tensorrt.profiles import Profile
from edgeopt.targets.tensorrt.rtx.build import check as rtx_check
from edgeopt.targets.tensorrt.rtx.build import versions as rtx_versions

DEFAULT = "jetson-orin"

_CHECKED_FOR = {"fp8": "8.9", "nvfp4": "12.0"}
"""Compute capabilities, among those that TensorRT-RTX builds for, that have a precision; 8.6 has the others."""


@dataclass(frozen=True)
class JetsonOptions(TensorRtOptions):
    """Options of a Jetson."""

    jetpack: str = option("6.2", "JetPack's release on the device.")


class Jetson(TensorRtFamily):
    """A deploy bundle for a Jetson; outputs are compared in ONNX Runtime, times are the device's to tell."""

    name = "jetson"
    Options = JetsonOptions

    @classmethod
    def devices(cls) -> tuple[Device, ...]:
        """Return the devices; Orin is what ``jetson`` alone means."""
        return tuple(sorted(super().devices(), key=lambda device: device.name != DEFAULT))

    @classmethod
    def probe(cls) -> Probe:
        """A bundle needs what writes ONNX; TensorRT-RTX, where installed, checks that it builds."""
        try:
            return Probe(True, {**cls.packages(), **rtx_versions()})
        except PackageNotFoundError:
            return Probe(False, install=onnx.INSTALL)

    def write(self, lowered: Translated, folder: Path, options: TargetOptions) -> Artifact:
        """Write the bundle's files.

        Raises UserError for a dynamic input whose sizes are not known.
        """
        assert isinstance(options, JetsonOptions)
        sizes = self.profiles(lowered.program, options)
        bodies, plugins = self.models(lowered, options)
        files = list(bodies.save(folder / MODEL))
        if plugins is not None:
            files += plugins.save(folder / PLUGIN_MODEL)
        weights = (folder / MODEL).stat().st_size
        files += write_project(folder, self.device, self._jetpack(options), sizes, plugins, weights)
        return Artifact(
            tuple(files),
            lowered.program.inputs,
            lowered.program.outputs,
            {"weights": sum(tensor.nbytes for tensor in lowered.program.constants.values())},
            fallbacks=bodies.kept,
            notes=self._notes(folder, options.precision, bodies, sizes),
            facts=self._facts(options, bodies, plugins, sizes),
        )

    def hardware(self) -> str:
        """Say that the outputs are not the device's."""
        return f"{processor_name()}: {NOT_RUN} (in place of {self.device.name})"

    def check_options(self, options: TargetOptions) -> None:
        """Raise UserError where the device or its JetPack lacks what is asked for."""
        super().check_options(options)
        assert isinstance(options, JetsonOptions)
        check_precision(options.precision, self._capability, self.device.name, self._jetpack(options).tensorrt)

    @property
    def _capability(self) -> str:
        return str(self.device.facts["capability"])

    def _jetpack(self, options: TargetOptions) -> JetPack:
        assert isinstance(options, JetsonOptions)
        return jetpack(options.jetpack, self.device.name, self._capability)

    def _notes(self, folder: Path, precision: str, model: Model, sizes: Sequence[Profile]) -> tuple[str, ...]:
        check = rtx_check(folder / MODEL, _CHECKED_FOR.get(precision, "8.6"), sizes)
        compared = f"outputs that were compared are {NOT_RUN}; times are the device's to tell"
        return (f"layers in the graph: {summary(model.layers)}", compared, check, *model.notes)

    def _facts(
        self, options: JetsonOptions, bodies: Model, plugins: Model | None, sizes: Sequence[Profile]
    ) -> dict[str, object]:
        release = self._jetpack(options)
        names = [value.name for value in bodies.onnx.graph.outputs]
        return {
            "requires": {
                "jetpack": release.name,
                "tensorrt": str(release.tensorrt),
                "cuda": release.cuda,
                "compute_capability": self._capability,
            },
            "opset": bodies.opset,
            "outputs": dict(zip(names, onnx.output_names(bodies.onnx.metadata_props), strict=True)),
            "profiles": [vars(profile) for profile in sizes],
            "layers": bodies.layers,
            "kept_in_fp32": [vars(fallback) for fallback in bodies.kept],
            "plugin_layers": plugins.layers if plugins is not None else [],
        }
