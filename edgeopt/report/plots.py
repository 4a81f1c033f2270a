"""Plots as inline SVG: text stays text, colors follow the page's scheme, equal data gives equal bytes."""

from __future__ import annotations

import hashlib
import io
import math
import re
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import quoteattr

from edgeopt.report import figures
from edgeopt.report.blocks import Bars, Distribution, ErrorSteps, Front, Plot, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 4.6
"""Inches; small, so that text stays readable where a phone shrinks the plot."""
BINS = 40
INSTALL = "pip install 'edgeopt[plots]'"
LEAST, MOST = 1e-100, 1e100
"""Numbers beyond these, which only a damaged report holds, are drawn as zero and as infinity: axes reach no further."""
LABEL = 36
"""Most characters of a label."""

# Stand-ins that matplotlib draws with; the page's CSS variables take their place.
INK, MUTED, GRID, FIRST, SECOND, BAD = "#010101", "#020202", "#030303", "#040404", "#050505", "#060606"
VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--line)",
    FIRST: "var(--accent)",
    SECOND: "var(--second)",
    BAD: "var(--bad)",
}
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "edgeopt",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "lines.linewidth": 2,
}


def svg(plot: Plot) -> str:
    """Return ``plot`` as an ``<svg>`` element that carries its alternative text; without matplotlib, a sentence."""
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        return f"<p>Not drawn, for matplotlib is not installed; install it with: {INSTALL}</p>"
    with rc_context(STYLE), warnings.catch_warnings():
        # The reader's browser draws the text, with fonts of its own.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure = Figure(figsize=(WIDTH, _height(plot)), layout="constrained")
        axes = figure.subplots()
        _DRAW[type(plot)](plot, axes)
        return _inline(figure, plot)


def _height(plot: Plot) -> float:
    return 0.3 + 0.42 * len(plot.bars) if isinstance(plot, Bars) else 2.7


def _draw_error_steps(plot: ErrorSteps, axes: Axes) -> None:
    shown = [value for value in (*plot.values, plot.bound) if _is_drawable(value)]
    # Zero and infinity have no place on a logarithmic axis: they stand at its ends, marked as what they are.
    low, high = min(shown) / 20, max(shown) * 8
    heights = [value if _is_drawable(value) else low if value < LEAST else high for value in plot.values]
    places = range(len(heights))
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0e}")
    axes.set_ylim(low / 2, high * 2)
    axes.axhline(plot.bound, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.text(len(heights) - 0.6, plot.bound * 1.25, f"bound of exact passes {plot.bound:.0e}", ha="right", color=MUTED)
    axes.plot(places, heights, color=FIRST, marker="o", markersize=7)
    for place in _turns(plot.values):
        value = plot.values[place]
        text = "equal" if value == 0 else figures.scientific(value)
        color = INK if math.isfinite(value) else BAD
        axes.annotate(text, (place, heights[place]), (0, 9), textcoords="offset points", ha="center", color=color)
    crowded = len(heights) > 4 or max(map(len, plot.steps)) > 14
    turned: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if crowded else {}
    axes.set_xticks(list(places), [_short(step, 24) for step in plot.steps], **turned)
    axes.set_xlim(-0.6, len(heights) - 0.4)
    axes.minorticks_off()
    axes.tick_params(length=0)
    axes.grid(axis="y")


def _bounded(value: float) -> float:
    return min(max(value, -MOST), MOST)


def _is_drawable(value: float) -> bool:
    """Return whether a value has a place on a logarithmic axis."""
    return LEAST < value < MOST


def _turns(values: Sequence[float]) -> list[int]:
    """Return where a value is worth telling: the first, those twice or half the one told before, the last."""
    told = [0]
    for place, value in enumerate(values):
        before = values[told[-1]]
        if value != before and not before / 2 < value < before * 2:
            told.append(place)
    if len(values) - 1 - told[-1] > len(values) // 8:
        told.append(len(values) - 1)
    return told


def _draw_distribution(plot: Distribution, axes: Axes) -> None:
    series = [(name, _bounded(median), [*map(_bounded, costs)]) for name, median, costs in plot.series]
    values = sorted(value for *_, samples in series for value in samples)
    # The few slowest would squeeze the rest into a few bins; they are counted in the last one.
    slow = min(values[math.ceil(0.99 * len(values)) - 1], 2 * max(median for _, median, _ in series))
    low, high = values[0], max(slow, values[0] * 1.001)
    edges = [low + (high - low) * i / BINS for i in range(BINS + 1)]
    for (name, median, samples), color in zip(series, (FIRST, SECOND), strict=False):
        clipped = [min(value, high) for value in samples]
        label = f"{name}, median {figures.cost(median, plot.unit)}"
        shares = [100 / len(samples)] * len(samples)
        axes.hist(clipped, edges, weights=shares, histtype="stepfilled", color=color, alpha=0.5, label=label)
        axes.axvline(median, color=color, linewidth=1.6)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.4g}" if value < 1e4 else figures.magnitude(value))
    axes.set_xlabel(f"{plot.unit}, slower runs in the last bar")
    axes.set_ylabel("% of runs")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=1, frameon=False, borderpad=0, handlelength=1)
    axes.tick_params(length=0)
    axes.grid(axis="y")


def _draw_bars(plot: Bars, axes: Axes) -> None:
    lengths = [_bounded(length) for _, length, _ in plot.bars]
    longest = max(lengths) or 1.0
    for place, ((label, _, text), length) in enumerate(zip(plot.bars, lengths, strict=True)):
        axes.barh(place, longest, height=0.3, color=GRID)
        axes.barh(place, length, height=0.3, color=FIRST)
        axes.text(0, place - 0.25, _short(label), va="bottom")
        axes.text(longest, place - 0.25, text, va="bottom", ha="right", color=MUTED)
    axes.set_ylim(len(plot.bars) - 0.75, -0.85)
    axes.set_xlim(0, longest)
    axes.set_axis_off()


def _draw_front(plot: Front, axes: Axes) -> None:
    shown = [point for point in plot.points if abs(point[0]) < MOST and _is_drawable(point[1])]
    axes.set_yscale("log")
    line = [point for point in sorted(shown) if not any(o[0] >= point[0] and o[1] < point[1] for o in shown)]
    axes.plot([point[0] for point in line], [point[1] for point in line], color=GRID, linewidth=1.5, zorder=1)
    for speedup, error, name, is_chosen, is_ok in shown:
        color = FIRST if is_ok else MUTED
        axes.plot(speedup, error, "o", markersize=11 if is_chosen else 6, color=color, alpha=1 if is_ok else 0.5)
        if is_chosen:
            axes.annotate(_short(name), (speedup, error), (0, 12), textcoords="offset points", ha="center", color=INK)
    axes.margins(0.2)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0e}")
    axes.set_xlabel("speed-up over the most exact configuration; pale: a limit is missed")
    axes.set_ylabel("relative error")
    axes.minorticks_off()
    axes.tick_params(length=0)
    axes.grid(axis="both")


_DRAW: dict[type, Callable[[Any, Axes], None]] = {
    ErrorSteps: _draw_error_steps,
    Distribution: _draw_distribution,
    Bars: _draw_bars,
    Front: _draw_front,
}


def _short(name: str, most: int = LABEL) -> str:
    label = printable(name)
    if len(label) <= most:
        return label
    return f"{label[: most // 2 - 1]}…{label[-most // 2 :]}"


def _inline(figure: Figure, plot: Plot) -> str:
    buffer = io.StringIO()
    undated = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=undated)
    body = buffer.getvalue().partition("<svg")[2].partition(">")[2]
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.DOTALL)
    body = re.sub(r"font-family: [^;\"]*; ", "", body)
    for color, variable in VARIABLES.items():
        body = body.replace(color, variable)
    width, height = (72 * inches for inches in figure.get_size_inches())
    view = f'viewBox="0 0 {width:g} {height:g}"'
    return f'<svg {view} role="img" aria-label={quoteattr(plot.alt)}>{_own_ids(body, plot)}'


def _own_ids(body: str, plot: Plot) -> str:
    prefix = "p" + hashlib.sha256(repr(plot).encode()).hexdigest()[:8]
    body = re.sub(r'\bid="', f'id="{prefix}-', body)
    return re.sub(r'(href="|url\()#', rf"\1#{prefix}-", body)
