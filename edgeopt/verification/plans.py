"""What invented samples consist of, and how that is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from edgeopt.verification.draws import Floats, Masks
from edgeopt.verification.sizes import Place

Part = Literal["floats", "masks", "integers", "sizes"]


@dataclass(frozen=True)
class Plan:
    """One sample: what its floats, masks and sizes are, and whether its integers cover all that is legal."""

    floats: Floats
    masks: Masks
    sizes: Place
    integers: Literal["legal", "example"] = "legal"

    def form(self, part: Part) -> str:
        """Return what a part is."""
        return str(getattr(self, part))

    def spared(self, part: Part, form: str) -> Plan:
        """Return the plan with one part exchanged."""
        return replace(self, **{part: form})  # type: ignore[arg-type]


PLANS = (
    Plan("scale 1", "head", "example"),
    Plan("scale 0.1", "tail", "least"),
    Plan("scale 10", "full", "largest"),
    Plan("noisy example", "random", "example"),
    Plan("scale 1", "empty row", "between"),
    Plan("positive", "none", "example"),
    Plan("scale 1", "full row", "between"),
)
SPARING: tuple[tuple[Part, str], ...] = (
    ("floats", "noisy example"),
    ("floats", "scaled example"),
    ("masks", "example"),
    ("integers", "example"),
    ("sizes", "example"),
)
"""What stands in for a part on which the original fails: floats with noise that keeps their signs, or with one factor,
which also keeps their order and what else holds between them."""

_NAMES = {
    ("floats", "scale 1"): "normal numbers",
    ("floats", "scale 0.1"): "normal numbers a tenth as large",
    ("floats", "scale 10"): "normal numbers ten times as large",
    ("floats", "positive"): "positive numbers",
    ("floats", "noisy example"): "the example's numbers with noise on each",
    ("masks", "head"): "masks that are true at first positions alone",
    ("masks", "tail"): "masks that are true at last positions alone",
    ("masks", "random"): "random masks",
    ("masks", "full"): "masks that are true everywhere",
    ("masks", "none"): "masks that are false everywhere",
    ("masks", "empty row"): "masks with a row that is false everywhere",
    ("masks", "full row"): "masks with a row that is true everywhere",
    ("integers", "legal"): "integers from all over their legal range",
    ("sizes", "least"): "the least sizes",
    ("sizes", "between"): "sizes between the least and the largest",
    ("sizes", "largest"): "the largest sizes",
}


def told(left_out: dict[tuple[Part, str], str]) -> Iterator[str]:
    """Yield a sentence for each reason why the original does not take what was invented."""
    for reason in dict.fromkeys(left_out.values()):
        names = [_NAMES[key] for key, other in left_out.items() if other == reason]
        yield f"left out of verification: {', '.join(names)}, for there {reason}"
