"""Operators that torch has under two names, under the one that all rules know.

torch.export keeps the name that a model calls: ``torch.special.expm1`` is another operator than ``torch.expm1``, of the
same arguments and the same kernel. A view and its copy (``permute_copy``) have the same values; nothing in a functional
graph writes to either.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgeopt.ir.nodes import Target, aten

_VIEWS = (
    *("alias", "diagonal", "expand", "narrow", "permute", "split_with_sizes", "squeeze", "t", "transpose"),
    *("unbind", "unfold", "unsqueeze", "view"),
)

_NAMES = {
    "absolute": "abs",
    "arccos": "acos",
    "arccosh": "acosh",
    "arcsin": "asin",
    "arcsinh": "asinh",
    "arctan": "atan",
    "arctan2": "atan2",
    "arctanh": "atanh",
    "clip": "clamp",
    "concat": "cat",
    "concatenate": "cat",
    "divide": "div",
    "fix": "trunc",
    "greater": "gt",
    "greater_equal": "ge",
    "less": "lt",
    "less_equal": "le",
    "multiply": "mul",
    "negative": "neg",
    "not_equal": "ne",
    "special_digamma": "digamma",
    "special_erf": "erf",
    "special_erfc": "erfc",
    "special_erfinv": "erfinv",
    "special_exp2": "exp2",
    "special_expit": "sigmoid",
    "special_expm1": "expm1",
    "special_gammainc": "igamma",
    "special_gammaincc": "igammac",
    "special_gammaln": "lgamma",
    "special_i0": "i0",
    "special_log1p": "log1p",
    "special_log_softmax": "log_softmax.int",
    "special_logit": "logit",
    "special_logsumexp": "logsumexp",
    "special_multigammaln": "mvlgamma",
    "special_polygamma": "polygamma",
    "special_psi": "digamma",
    "special_sinc": "sinc",
    "special_softmax": "softmax.int",
    "subtract": "sub",
    "swapaxes": "transpose.int",
    "swapdims": "transpose.int",
    "true_divide": "div",
    **{f"{view}_copy": view for view in _VIEWS},
}


def _overloads() -> Iterator[tuple[Target, Target]]:
    for alias, name in _NAMES.items():
        packet, (plain, _, single) = getattr(aten, alias), name.partition(".")
        for overload in packet.overloads():
            if not overload.endswith("out"):
                yield getattr(packet, overload), getattr(getattr(aten, plain), single or overload)


PLAIN = dict(_overloads())
"""The operator that stands for each alias, by overload."""
