"""A calibrated program with each layer in a format of its own."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import islice

import torch
from torch import fx

from edgeopt.analysis.accuracy_tracker import AccuracyTracker
from edgeopt.calib.cache import cache_folder
from edgeopt.calib.calibrate import Calibrate
from edgeopt.calib.data import CALIBRATION, CalibrationData
from edgeopt.candidate.quantize import Calibrated, OnPass, QuantOptions, keeps_float, quantized
from edgeopt.distill.distil import Distillation
from edgeopt.distill.loop import OnProgress, TuneOptions
from edgeopt.distill.tuned import SetTuned
from edgeopt.ir.context import SAMPLES
from edgeopt.ir.pass_base import Pass, PassResult
from edgeopt.ir.program import Program, op_name, origin
from edgeopt.ir.selective import FITS, FittedResult, SelectivePass
from edgeopt.passes.exact.standard import PACKED
from edgeopt.passes.pipeline import Pipeline
from edgeopt.passes.quantization.insert_qdq import choose
from edgeopt.passes.quantization.weight_only import WeightOnlyQuantization
from edgeopt.passes.substitution.binarize import Binarize
from edgeopt.quant.blockwise import FORMATS
from edgeopt.quant.codebook import CODEBOOKS
from edgeopt.quant.scheme import WEIGHTED, Scheme
from edgeopt.records.passes import PassRecord
from edgeopt.search.path import Mix

BINARY, INT8 = "binary", "int8"
_SIGN_SAMPLES = 256


class MixedPrecision:
    """Makes programs whose layers are in given formats, the first of which they are in already.

    ``layers`` names by layer the formats it can be in; layers that can be in the first one alone are not among them.
    """

    def __init__(
        self,
        ready: Calibrated,
        scheme: Scheme,
        options: QuantOptions,
        data: CalibrationData,
        formats: Sequence[str],
        skipped: Collection[str] = (),
    ) -> None:
        self.ready, self.scheme, self.options = ready, scheme, options
        self.samples = list(islice(data, _SIGN_SAMPLES)) if BINARY in formats else []
        self.context = ready.context.adding(CALIBRATION, data).adding(SAMPLES, self.samples)
        self.formats = tuple(formats)
        self._packing = [step for build in PACKED if (step := build.build()).name not in skipped]
        self.nodes = {node.name: node for node in ready.program.calls if node.target in WEIGHTED}
        # Where all is on integers, four bits are sixteen of them; beside floats they have scales in blocks.
        self.codebooks = CODEBOOKS if formats[0] == INT8 else {}
        blocks = [name for name in formats if name in FORMATS and name not in self.codebooks]
        self._stored = {name: self._fit(WeightOnlyQuantization(name)) for name in blocks}
        self._tuned: dict[str, torch.Tensor] = {}
        self._binary: set[str] = set()
        if BINARY in formats:
            swapped = {note.node for note in self._fit(Binarize()).notes if note.reason is None}
            self._binary = swapped & self.nodes.keys()
        self.layers = self._find_layers()

    def operator(self, layer: str) -> str:
        """Return the operator of a layer as reports show it."""
        return op_name(self.nodes[layer])

    def uniform(self, name: str) -> Mix:
        """Return the configuration with every layer in one format that can be, and the rest in the first."""
        return {layer: name if name in able else self.formats[0] for layer, able in self.layers.items()}

    def on_integers(self, mix: Mix) -> bool:
        """Whether any layer of a configuration runs on integers."""
        return bool(self.codebooks) or INT8 in mix.values()

    def tune_signs(self, options: TuneOptions, on_progress: OnProgress) -> None:
        """Match each layer of signs to the original's output, all in one pass of the original."""
        if not self._binary:
            return
        swapped = self._binarize(self._binary).run(self.ready.program, self.context)
        samples = self.samples
        held = max(1, len(samples) // 8)
        distillation = Distillation(self.ready.program, samples[held:], samples[:held], options, on_progress)
        self._tuned = distillation.tune_blocks(swapped.program, swapped.swaps, options).parameters

    def program(
        self, mix: Mix, tracker: AccuracyTracker | None = None, on_pass: OnPass | None = None
    ) -> tuple[Program, tuple[PassRecord, ...]]:
        """Return the program with its layers in the formats of ``mix``, and what its passes did."""
        mix = {**dict.fromkeys(self.nodes, self.formats[0]), **mix}
        signs, integers = _in(mix, BINARY), _in(mix, INT8, *self.codebooks)
        # Signs leave the other layers as they are named here; the folds that follow may not, and see no stored weight.
        swaps: list[Pass] = [self._binarize(signs), *([SetTuned(self._tuned)] if self._tuned else [])] if signs else []
        stored = [
            WeightOnlyQuantization(name, keep=self.nodes.keys() - found)
            for name in self._stored
            if (found := _in(mix, name))
        ]
        calibrate = [Calibrate(self.options.calib_method, cache_folder())] if signs and integers else []
        last = calibrate if integers else self.ready.finishing
        program, records = self.ready.program, list[PassRecord]()
        for passes in ([*swaps, *stored], self._packing if signs else [], last):
            program, done = Pipeline(passes, tracker, on_pass).run(program, self.context)
            records += done
        if not integers:
            return program, tuple(records)
        labels = {_label(self.nodes[layer]): mix[layer] for layer in integers}
        chosen = {node.name: labels[_label(node)] for node in program.calls if _is_layer_of(node, labels)}
        books = {layer: self.codebooks[name] for layer, name in chosen.items() if name in self.codebooks}
        scheme, ready = replace(self.scheme, codebooks=books), replace(self.ready, program=program)
        program, more = quantized(ready, scheme, self.options, self._kept(program, chosen), tracker, on_pass)
        return program, (*records, *more)

    def _fit(self, step: SelectivePass) -> PassResult:
        """Run a pass on all layers, and let later runs know what it fitted."""
        result = step(self.ready.program, self.context)
        assert isinstance(result, FittedResult)
        known = self.context.get(FITS)
        self.context = self.context.adding(FITS, {**(known if known is not None else {}), step: result.fits})
        return result

    def _binarize(self, layers: Collection[str]) -> Binarize:
        return Binarize(keep=frozenset(origin(node) for layer, node in self.nodes.items() if layer not in layers))

    def _find_layers(self) -> dict[str, tuple[str, ...]]:
        able = {name: {note.node for note in done.notes if note.reason is None} for name, done in self._stored.items()}
        able[INT8] = {node.name for node in choose(self.ready.program, self.scheme)[0]} & self.nodes.keys()
        for name, element in self.codebooks.items():
            scheme = replace(self.scheme, codebook=element)
            able[name] = {layer for layer in able[INT8] if scheme.codebook_of(self.nodes[layer]) is not None}
        able[BINARY] = self._binary
        kept = keeps_float(self.ready.program, self.options)
        found = {
            layer: (self.formats[0], *(name for name in self.formats[1:] if layer in able.get(name, ())))
            for layer in self.nodes
            if layer not in kept
        }
        return {layer: names for layer, names in found.items() if len(names) > 1}

    # -- layers on integers ----------------------------------------------------------------------------

    def _kept(self, program: Program, integers: Collection[str]) -> set[str]:
        """Return what stays in float: other layers, and what computes on the results of any of them."""
        chosen, _ = choose(program, self.scheme)
        return {node.name for node in chosen if not self._is_integer(node, integers)}

    def _is_integer(self, node: fx.Node, integers: Collection[str]) -> bool:
        if node.target in WEIGHTED:
            return node.name in integers
        return _layers_before(node) <= set(integers)


def _label(node: fx.Node) -> str:
    """Return the label of the layer that a node is, folded or not."""
    return origin(node).rstrip("'")


def _is_layer_of(node: fx.Node, labels: Collection[str]) -> bool:
    return node.target in WEIGHTED and _label(node) in labels


def _in(mix: Mapping[str, str], *names: str) -> set[str]:
    return {layer for layer, chosen in mix.items() if chosen in names}


def _layers_before(node: fx.Node) -> set[str]:
    """Return the nearest layers that a node computes from."""
    pending, found, seen = list(node.all_input_nodes), set(), set()
    while pending:
        current = pending.pop()
        if current.target in WEIGHTED:
            found.add(current.name)
        elif current not in seen:
            seen.add(current)
            pending += current.all_input_nodes
    return found
