"""--precision auto: a format for each layer, chosen by measured error and measured cost under the stated limits.

1. Each layer alone is put into each format it can be in, and the noise of the outputs is measured.
2. Each format is tried on all layers that can be in it; the runtime's profile tells what each layer costs there.
3. Both together give a path of configurations, from the most exact to the cheapest (see edgeopt.search.path).
4. Configurations along the path are compiled, run and measured; then by bisection those where the limits begin to fail.

What is chosen was measured as a whole: estimates only say what to try. Measurements are kept (edgeopt.search.store).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice, pairwise

from edgeopt.analysis.macs import count_macs
from edgeopt.calib.cache import program_digest
from edgeopt.calib.data import open_data
from edgeopt.candidate.limits import Measured, answers_hold, costs_hold
from edgeopt.candidate.stages import OnProgress, Prepared, Request, measured
from edgeopt.distill.loop import TuneOptions
from edgeopt.errors import ToolchainMissing, UserError
from edgeopt.ir.program import Program, first_origin
from edgeopt.ir.rewrite import arguments
from edgeopt.plugins.target import AUTO, FLOATS
from edgeopt.records.search import Search, Trial
from edgeopt.search.costs import Sizes, owners
from edgeopt.search.estimates import Estimates
from edgeopt.search.mixed_precision import BINARY, MixedPrecision
from edgeopt.search.path import Mix, exchange_path, pareto, spread
from edgeopt.search.store import Store
from edgeopt.search.trials import Trials, Tried

_NOISE_SAMPLES = 16
_TRIED = 8
"""Configurations along a path that are measured whatever the limits."""


def searched(prepared: Prepared, request: Request, on_progress: OnProgress) -> tuple[Prepared, Request]:
    """Return the program with a format chosen for each layer, and the request with that of what stays in float.

    Where another precision than ``auto`` is asked for both are returned as they are. Raises UserError where there is
    no data, or nothing to choose among, and where the target does not run here.
    """
    if request.target_options.precision != AUTO:
        return prepared, request
    try:
        return _Search(prepared, request, on_progress).run()
    except ToolchainMissing as missing:
        raise UserError(
            f"precision 'auto' measures on the target, which does not run here: {missing.message}", missing.hint
        ) from missing


class _Search:
    def __init__(self, prepared: Prepared, request: Request, on_progress: OnProgress) -> None:
        options, stage = request.options, prepared.stage
        assert stage is not None
        assert options.quant.calib is not None
        on_progress("auto: preparing each format")
        self.prepared, self.request, self.on_progress, self.stage = prepared, request, on_progress, stage
        self.limits = options.limits
        self.data = open_data(options.quant.calib, prepared.program.inputs, options.load.trust)
        formats = options.search.chosen(request.target.mixed_here())
        self.floats = tuple(name for name in formats if name in FLOATS)
        per_layer = [*self.floats[:1], *(name for name in formats if name not in FLOATS)]
        self.configuration = MixedPrecision(
            stage.ready, stage.scheme, options.quant, self.data, per_layer, options.skip_passes
        )
        if not self.configuration.layers:
            raise UserError(f"no layer can be in another format than {per_layer[0]}", "name others with --format")
        self.store = Store(self._facts(formats))
        self.trials = Trials(self.configuration, self.floats, prepared, request, self.store)
        self.estimates = Estimates(self.configuration, self._sizes(), self.store)

    def run(self) -> tuple[Prepared, Request]:
        try:
            self._tune_signs()
            self.estimates.measure(islice(self.data, _NOISE_SAMPLES), self.trials, self.on_progress)
            rest = self._try_uniform()
            for objective in ("latency", "bytes") if self.limits.max_size is not None else ("latency",):
                self._walk(exchange_path(self.estimates.choices(objective)), rest)
        finally:
            self.trials.close()
        return self._settled()

    def _tune_signs(self) -> None:
        if BINARY in self.configuration.formats:
            options = TuneOptions(
                steps=self.request.options.search.binary_steps, seconds=3600.0, checkpoint=self.store.beside(".pt")
            )
            self.configuration.tune_signs(
                options, lambda stage, step, error, left: self.on_progress(f"auto: layers of signs, step {step}")
            )

    def _facts(self, formats: Sequence[str]) -> tuple[object, ...]:
        """Return all that measurements depend on."""
        request, labeled = self.request, self.prepared.labeled
        target, options = request.target, request.options
        return (
            program_digest(self.stage.ready.program),
            self.data.digest(),
            None if labeled is None else labeled.data.digest(),
            [(name, array.tobytes()) for sample in self.prepared.samples for name, array in sorted(sample.items())],
            (target.name, target.device.name, target.hardware(), request.target_options),
            sorted(target.probe().versions.items()),
            (options.quant, options.search, formats),
        )

    def _sizes(self) -> dict[str, Sizes]:
        program = self.stage.ready.program
        macs = count_macs(program, self.prepared.samples[0])
        nodes = {layer: self.configuration.nodes[layer] for layer in self.configuration.layers}
        return {
            layer: Sizes(
                first_origin(node), macs.get(layer, 0), program.constants[arguments(node)["weight"].name].numel()
            )
            for layer, node in nodes.items()
        }

    # -- trials ----------------------------------------------------------------------------------------

    def _try(self, mix: Mix, rest: str) -> Trial:
        return self.trials.of(mix, rest, self.on_progress)

    def _try_uniform(self) -> str:
        """Try each format on all layers; return that of what stays in float: the fastest under which answers hold."""
        exact = self.configuration.uniform(self.configuration.formats[0])
        floats = {rest: self._try(exact, rest) for rest in self.floats or ("",)}
        for name in self.configuration.formats[1:]:
            for rest in floats:
                self._try(self.configuration.uniform(name), rest)
        able = [rest for rest, trial in floats.items() if self._answers(trial)] or list(floats)[:1]
        return max(able, key=lambda rest: floats[rest].speedup)

    def _walk(self, path: Sequence[Mix], rest: str) -> None:
        """Try configurations along a path, and by bisection those where the limits begin, or cease, to hold."""
        holding = {place: self._holds(self._try(path[place], rest)) for place in spread(len(path), _TRIED)}
        places = sorted(holding)
        turns = [(a, b) for a, b in pairwise(places) if holding[a] != holding[b]]
        low, high = turns[-1] if turns else (0, 0)
        while high - low > 1:
            middle = (low + high) // 2
            if self._holds(self._try(path[middle], rest)) == holding[low]:
                low = middle
            else:
                high = middle

    def _holds(self, trial: Trial) -> bool:
        return self._answers(trial) if self.limits.on_answers else self._affordable(trial)

    def _answers(self, trial: Trial) -> bool:
        return answers_hold(self.limits, measured(trial.error, trial.accuracy, self.prepared.labeled))

    def _affordable(self, trial: Trial) -> bool:
        return costs_hold(self.limits, Measured(latency=trial.latency, bytes=trial.bytes))

    # -- the choice ------------------------------------------------------------------------------------

    def _settled(self) -> tuple[Prepared, Request]:
        chosen = self._chosen()
        one = self.trials.made[chosen]
        self.on_progress("auto: building what was chosen")
        program, records = self.configuration.program(one.mix, self.stage.tracker, self.stage.on_pass)
        prepared = replace(
            self.prepared,
            program=program,
            records=(*self.prepared.records, *records),
            stage=self.stage if self.configuration.on_integers(one.mix) else None,
            searched=self._record(chosen),
            formats=self._formats(one, program),
        )
        return prepared, self.trials.asking(one.rest)

    def _chosen(self) -> str:
        """Return the trial to export: under limits on answers the fastest, else the most exact.

        Where no trial holds all limits, those on answers come first.
        """
        made = {key: one.trial for key, one in self.trials.made.items()}
        answering = {key: trial for key, trial in made.items() if self._answers(trial)} or made
        able = {key: trial for key, trial in answering.items() if self._affordable(trial)}
        if not able or not self.limits.on_answers:
            able = able or answering
            return min(able, key=lambda key: (able[key].error.relative, -able[key].speedup))
        return max(able, key=lambda key: (able[key].speedup, -able[key].bytes))

    def _record(self, chosen: str) -> Search:
        made = self.trials.made
        front = pareto({key: _respects(one.trial) for key, one in made.items()})
        trials = tuple(
            replace(one.trial, ok=self._answers(one.trial) and self._affordable(one.trial), on_front=key in front)
            for key, one in made.items()
        )
        layers = self.estimates.of_layers(made[chosen].formats)
        return Search(trials, list(made).index(chosen), layers, self.store.reused)

    def _formats(self, chosen: Tried, program: Program) -> dict[str, str]:
        """Return by node of the program the format of the layer that it computes."""
        return {node: chosen.formats[layer] for node, layer in owners(program, self.estimates.sizes).items()}


def _respects(trial: Trial) -> tuple[float, ...]:
    """Return in what configurations compete; less is better."""
    return trial.error.relative, -trial.speedup, float(trial.bytes)
