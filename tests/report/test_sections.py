"""Sections say what the record holds, and nothing where it holds nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgeopt.analysis.accuracy_tracker import EXACT_BOUND
from edgeopt.records.outputs import NOT_FINITE, Error, OutputComparison
from edgeopt.records.passes import Note, PassRecord
from edgeopt.records.quantization import GateAttempt, LayerSensitivity, PairedLayer, Quantization
from edgeopt.records.run import ArtifactFiles, Run
from edgeopt.report.blocks import Bars, Distribution, ErrorSteps, Section
from edgeopt.report.sections import comparison, sections
from edgeopt.report.sections.quantization import quantization
from edgeopt.report.sections.verdict import caveats
from tests.report.conftest import limit

ALL = ["summary", "warnings", "limits", "passes", "latency", "layers", "fallbacks", "accuracy", "files", "setting"]


def told(run: Run) -> dict[str, Section]:
    return {section.id: section for section in sections(run)}


def but(run: Run, **changes: Any) -> Run:
    return replace(run, **changes)


def facts(run: Run) -> dict[str, tuple[str, str, str]]:
    return {fact.label: (fact.value, fact.detail, fact.tone) for fact in told(run)["summary"].facts}


def test_a_full_run_has_every_section_in_order(run: Run) -> None:
    assert list(told(run)) == ALL


def test_a_run_that_could_not_be_run_says_so(run: Run) -> None:
    nothing: dict[str, Any] = {
        "error": None,
        "latency": None,
        "baseline": None,
        "accuracy": None,
        "outputs": (),
        "verdict": "not run",
    }
    target = replace(run.target, precision_executed=None)
    bare = but(run, **nothing, target=target, not_run="qemu is not installed", limits=(), warnings=(), fallbacks=())
    assert list(told(bare)) == ["summary", "passes", "files", "setting"]
    assert "not run: qemu is not installed" in told(bare)["summary"].lead
    assert facts(bare)["Error"] == ("not measured", "qemu is not installed", "plain")
    assert facts(bare)["Precision"] == ("fp32", "requested; not run", "plain")
    assert "Latency" not in facts(bare)


def test_summary_tells_the_verdict(run: Run) -> None:
    assert facts(run)["Limits"] == ("all hold", "4 stated", "good")
    missed = but(run, limits=(*run.limits, limit("max-size", "bytes", 1000, 2000)))
    assert facts(missed)["Limits"] == ("1 missed", "max-size", "bad")
    assert told(missed)["limits"].tables[0].rows[-1] == ("max-size", "1000 B", "1.95 KiB", "✗ missed by 1000 B", "")
    assert facts(but(run, limits=()))["Limits"] == ("none stated", "", "plain")
    assert facts(but(run, limits=run.limits[4:]))["Limits"] == ("none stated", "the default ones hold", "plain")


def entry(name: str, error: Error | None, reason: str | None = None) -> OutputComparison:
    return OutputComparison(name=name, form="number", error=error, elements=8, differing=3, not_finite=0, reason=reason)


def differing(run: Run) -> Run:
    error = Error(max_abs=2.3, relative=0.23, sqnr_db=12.0, cosine=0.97)
    missed = (
        limit("default-error", "ratio", 1e-3, 0.23, is_default=True, output="small"),
        limit("default-sqnr", "dB", 60.0, 12.0, is_default=True, output="small"),
    )
    outputs = (*run.outputs, entry("small", error))
    return but(run, verdict="differs", error=error, outputs=outputs, limits=missed)


def test_a_difference_is_told_first_with_output_figure_and_remedy(run: Run) -> None:
    run = differing(run)
    assert told(run)["summary"].alarm == (
        "DIFFERS from the original: output 'small' has relative error 2.3e-01, at most 1.0e-03 by default; "
        "output 'small' has SQNR 12.0 dB, at least 60.0 dB by default."
    )
    assert "outputs that differ" in told(run)["summary"].lead
    assert facts(run)["Error"][2] == facts(run)["Limits"][2] == "bad"
    assert caveats(run)[1].startswith("hint: ") and "--accept-difference" in caveats(run)[1]
    accepted = but(run, accepted_difference="the original rounds")
    assert told(accepted)["summary"].alarm.endswith("Accepted: the original rounds")
    assert caveats(accepted) == ()


def test_outputs_that_were_not_compared_are_listed(run: Run) -> None:
    some = but(run, outputs=(*run.outputs, entry("index", None, "ties: 3 of 8")))
    assert told(some)["outputs"].lead == "1 of 2 outputs were compared with the original's."
    assert told(some)["outputs"].tables[0].rows[1] == ("index", "numbers", "-", "-", "3 of 8", "ties: 3 of 8")
    assert caveats(some) == ("not compared: output 'index': ties: 3 of 8",) and not told(some)["summary"].alarm
    none = but(run, verdict="not compared", error=None, outputs=(entry("index", None, "it is empty"),))
    assert told(none)["summary"].alarm == "NOT COMPARED with the original: output 'index': it is empty."
    assert facts(none)["Error"] == ("not measured", "no output could be compared", "bad")
    assert "within" not in told(none)["summary"].lead


def test_a_precision_other_than_requested_is_shown(run: Run) -> None:
    target = replace(run.target, precision_executed="bf16 (9), fp32 (3)")
    assert facts(but(run, target=target))["Precision"] == ("bf16 (9), fp32 (3)", "requested fp32", "plain")


def test_refusals_of_one_reason_are_one_row(run: Run) -> None:
    refused = tuple(Note(rule="r", node=f"n{i}", reason="shared") for i in range(5))
    entry = replace(run.passes[0], refused=refused)
    model = replace(run.model, modules={"n0": "stem", "n2": "head", "n3": "head"})
    table = told(but(run, passes=(entry,), model=model))["passes"].tables[-1]
    assert table.rows == (("r", "shared", "stem, n1, head and 1 more"),)


def test_errors_without_a_finite_value_are_told(run: Run) -> None:
    lost = NOT_FINITE
    entry = PassRecord(name="quantize", kind="calibrated", changed=True, applied=1, seconds=1.0, error=lost)
    row = told(but(run, passes=(entry,)))["passes"].tables[0].rows[0]
    assert row == ("quantize", "calibrated", "1", "0", "∞", "-∞ dB", "1.00 s")


def test_slowest_layers_and_types_come_in_order(run: Run) -> None:
    slowest, types, every = told(run)["layers"].tables
    assert [row[0] for row in slowest.rows[:3]] == ["conv2d_1", "conv2d_2", "conv2d_4"]
    assert types.rows[0] == ("Convolution", "9", "1.13 ms", "98.9 %")
    assert len(every.rows) == 12


def test_layers_bear_the_paths_of_their_modules(run: Run) -> None:
    assert run.latency is not None
    fused = replace(run.latency.layers[0], name="linear,gelu/Erf,relu_1")
    model = replace(run.model, modules={"linear": "mlp.0", "gelu": "mlp.1"})
    changed = replace(run, model=model, latency=replace(run.latency, layers=(fused,)))
    assert told(changed)["layers"].tables[-1].rows[0][:2] == ("linear,gelu/Erf,relu_1", "mlp.0, mlp.1")


def test_layers_without_times(run: Run) -> None:
    assert run.latency is not None
    layers = tuple(replace(layer, median=None, share=None) for layer in run.latency.layers)
    section = told(but(run, latency=replace(run.latency, layers=layers)))["layers"]
    assert section.plots == () and len(section.tables) == 1


def test_plots_carry_their_data_and_say_it_in_words(run: Run) -> None:
    parts = told(run)
    (steps,), (distribution,), (bars,) = parts["passes"].plots, parts["latency"].plots, parts["layers"].plots
    assert isinstance(steps, ErrorSteps) and isinstance(distribution, Distribution) and isinstance(bars, Bars)
    assert steps.steps[-1] == "artifact" and steps.values == (0.0, 0.0, 2.4e-7, 2.6e-7, 3.1e-7)
    assert "fold-batch-norm 2.4e-07" in steps.alt
    assert steps.bound == EXACT_BOUND
    assert [name for name, *_ in distribution.series] == ["this export", "plain export"]
    assert "conv2d_1 213 µs" in bars.alt


def test_comparison_has_one_row_a_run(run: Run) -> None:
    assert run.latency is not None
    other = but(
        run, latency=None, baseline=None, accuracy=None, error=None, limits=(), artifact=ArtifactFiles(files=())
    )
    section = comparison([run, other])
    full, empty = section.tables[0].rows
    assert full == (
        "resnet8",
        "openvino:cpu",
        "fp32",
        "3.1e-07",
        "1.15 ms",
        "1.19 ms",
        "1.31x",
        "344 KiB",
        "87.2 %",
        "✓ holds",
    )
    assert empty == ("resnet8", "openvino:cpu", "fp32", "-", "not run", "-", "-", "0 B", "-", "-")
    assert len(section.plots) == 1
    counted = but(run, latency=replace(run.latency, unit="instructions"))
    assert comparison([run, counted]).plots == ()


@pytest.mark.parametrize("name", ["max-latency", "max-size", "max-error", "min-accuracy"])
def test_limits_are_told_in_their_unit(run: Run, name: str) -> None:
    rows = {row[0]: row for row in told(run)["limits"].tables[0].rows}
    units = {"max-latency": "2.00 ms", "max-size": "391 KiB", "max-error": "1.0e-04", "min-accuracy": "87.0 %"}
    assert rows[name][1] == units[name]


def test_quantization_tells_what_the_gate_tried_and_gave_back(run: Run) -> None:
    attempts = (
        GateAttempt(kept=0, ok=False, error=0.02, accuracy=0.86, bytes=80_000, latency=0.31),
        GateAttempt(kept=1, ok=True, error=0.004, accuracy=0.871, bytes=120_000, latency=0.36),
    )
    layers = (
        LayerSensitivity(layer="conv2d_1", op="aten.conv2d", sqnr_db=18.2),
        LayerSensitivity(layer="linear", op="aten.linear", sqnr_db=44.0),
    )
    done = Quantization(method="mse", quantized=9, kept_float=("conv2d_1",), layers=layers, attempts=attempts)
    paired = PairedLayer(layer="linear", op="aten.linear", full_db=43.4, sqnr_db=41.3)
    both = quantization(replace(run, quantization=replace(done, paired=(paired,))))
    assert both is not None and "without VNNI sum exactly, too: 1." in both.lead
    assert both.tables[2].rows == (("linear", "", "aten.linear", "41.3 dB", "43.4 dB"),)
    section = quantization(replace(run, quantization=done))
    assert section is not None and section.lead == "9 operators run on integers, ranges by mse. In float: conv2d_1."
    tried, sensitive = section.tables
    assert [row[0] for row in tried.rows] == ["0", "1"]
    assert [(row[0], row[4]) for row in sensitive.rows] == [("conv2d_1", "float"), ("linear", "int8")]
    assert quantization(run) is None
