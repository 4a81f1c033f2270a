"""Plots are text in SVG, equal for equal data, and draw what has no place on an axis."""

from __future__ import annotations

import math
import sys
import warnings
from xml.etree import ElementTree

import pytest

from edgeopt.report.blocks import Bars, Distribution, ErrorSteps, Front, Plot
from edgeopt.report.plots import svg

PLOTS: dict[str, Plot] = {
    "exact": ErrorSteps("t", "a", ("fold", "artifact"), (0.0, 0.0), 1e-5),
    "lost": ErrorSteps("t", "a", ("fold", "quantize", "artifact"), (1e-7, math.inf, math.nan), 1e-5),
    "one run": Distribution("t", "a", "ms", (("this export", 1.0, (1.0,)),)),
    "two series": Distribution(
        "t", "a", "instructions", (("this export", 4.6e7, (4.6e7, 4.7e7)), ("plain export", 6e7, (6e7,)))
    ),
    "huge steps": ErrorSteps("t", "a", ("fold", "artifact"), (1e308, 5e-324), 1e-5),
    "huge runs": Distribution("t", "a", "ms", (("this export", 1.7e308, (-1e308, 1.7e308)),)),
    "huge bars": Bars("t", "a", (("conv", 1.7e308, "1 ms"), ("linear", -1.7e308, "1 ms"))),
    "huge front": Front("t", "a", ((1.7e308, 0.1, "a", True, True), (1.0, 5e-324, "b", False, True))),
    "zero": Bars("t", "a", (("conv", 0.0, "0 ms"),)),
    "names": Bars("t", "a", (('<b> "$x$" & \x1b[0m', 1.0, "1 ms"), ("层", 2.0, "2 ms"), ("x" * 90, 3.0, "3 ms"))),
}


def texts(image: str) -> list[str]:
    image = image.replace(
        "<svg ", '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
    )
    return [element.text or "" for element in ElementTree.fromstring(image).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("name", PLOTS)
def test_draws_the_same_each_time_without_a_warning(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = svg(PLOTS[name])
    assert texts(first)
    assert first == svg(PLOTS[name])


def test_values_without_a_place_on_the_axis_are_named() -> None:
    assert "equal" in texts(svg(PLOTS["exact"]))
    assert {"∞", "NaN"} <= set(texts(svg(PLOTS["lost"])))


def test_names_are_shortened_and_cannot_break_out() -> None:
    shown = texts(svg(PLOTS["names"]))
    assert shown[0] == '<b> "$x$" & ?[0m'
    assert "层" in shown
    assert any("…" in text and len(text) <= 44 for text in shown)


def test_colors_follow_the_page() -> None:
    image = svg(PLOTS["two series"])
    assert "#0" not in image
    assert "var(--accent)" in image and "var(--second)" in image


def test_without_matplotlib_a_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert svg(PLOTS["exact"]) == (
        "<p>Not drawn, for matplotlib is not installed; install it with: pip install 'edgeopt[plots]'</p>"
    )
