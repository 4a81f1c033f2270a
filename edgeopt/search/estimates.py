"""Estimates that say which configurations to try: of each layer alone, its noise and its cost in every format."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from edgeopt.candidate.stages import OnProgress
from edgeopt.ir.metrics import Sample, compare_all
from edgeopt.records.search import LayerFormat
from edgeopt.search.costs import Profile, Sizes, profile
from edgeopt.search.mixed_precision import MixedPrecision
from edgeopt.search.path import Choice
from edgeopt.search.store import Store
from edgeopt.search.trials import Trials


class Estimates:
    """Noise of the outputs by layer and format, and the profile of every format."""

    def __init__(self, configuration: MixedPrecision, sizes: dict[str, Sizes], store: Store) -> None:
        self.configuration, self.sizes, self.store = configuration, sizes, store
        self.noise: dict[str, dict[str, float]] = {}
        self.profiles: dict[str, Profile] = {}

    def measure(self, samples: Iterable[Sample], trials: Trials, on_progress: OnProgress) -> None:
        """Measure noise on the samples, and costs on the target."""
        samples = list(samples)
        original = self.configuration.ready.program
        reference = [original.run(sample) for sample in samples]

        def alone(layer: str, name: str) -> float:
            program, _ = self.configuration.program({layer: name})
            return 10 ** (-compare_all(reference, map(program.run, samples)).sqnr_db / 10)

        layers = self.configuration.layers
        for place, (layer, formats) in enumerate(layers.items(), 1):
            on_progress(f"auto: noise of layer {place} of {len(layers)}, {layer}")
            rest = {
                name: self.store.recall(f"noise {layer} {name}", partial(alone, layer, name), float)
                for name in formats[1:]
            }
            self.noise[layer] = {formats[0]: 0.0, **rest}
        for name in self.configuration.formats:
            on_progress(f"auto: profile with all layers in {name}")
            measure = partial(self._profile, name, trials)
            self.profiles[name] = self.store.recall(f"costs {name}", measure, Profile)

    def choices(self, objective: str) -> dict[str, list[Choice]]:
        """Return what each layer can be in, with its noise and its cost: ``latency`` or ``bytes``."""
        cost = self._latency if objective == "latency" else self._bytes
        return {
            layer: [Choice(name, self.noise[layer][name], cost(layer, name)) for name in formats]
            for layer, formats in self.configuration.layers.items()
        }

    def of_layers(self, chosen: dict[str, str]) -> tuple[LayerFormat, ...]:
        """Return the estimates for the record, with the format that each layer is in."""
        return tuple(
            LayerFormat(layer, self.configuration.operator(layer), chosen[layer], self.noise[layer], self._costs(layer))
            for layer in self.configuration.layers
        )

    def _costs(self, layer: str) -> dict[str, float | None]:
        return {name: self.profiles[name].layers.get(layer) for name in self.configuration.layers[layer]}

    def _latency(self, layer: str, name: str) -> float:
        """Return a layer's cost; by its multiply-accumulates where the runtime does not show it."""
        profile, macs = self.profiles[name], sum(sizes.macs for sizes in self.sizes.values()) or 1
        return profile.layers.get(layer, profile.total * self.sizes[layer].macs / macs)

    def _bytes(self, layer: str, name: str) -> float:
        """Return by how many bytes a layer in a format is larger than in the exact one; below 0 where smaller."""
        plain = self.profiles[self.configuration.formats[0]].bytes
        weights = sum(self.sizes[one].weights for one, able in self.configuration.layers.items() if name in able)
        return (self.profiles[name].bytes - plain) / weights * self.sizes[layer].weights if weights else 0.0

    def _profile(self, name: str, trials: Trials) -> Profile:
        program, _ = self.configuration.program(self.configuration.uniform(name))
        return profile(program, self.sizes, trials.prepared, trials.asking(trials.exact))
