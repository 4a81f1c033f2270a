"""Families of torch's operators that more than one room asks for, each named once.

Tuples, so that patterns made of them are the same in every run. What a target computes on integers is its scheme's to
say: see ``edgeopt.quant.scheme``.
"""

from __future__ import annotations

from edgeopt.ir.nodes import Target, aten

SUMS = (aten.add.Tensor, aten.sub.Tensor)
"""Elementwise sums and differences."""

FACTORS = (aten.mul.Tensor, aten.div.Tensor)
"""Elementwise products and quotients."""

PRODUCTS = (aten.matmul.default, aten.bmm.default)
"""Products of two matrices, or of batches of them."""

CONVOLUTIONS: dict[Target, int] = {aten.conv1d.default: 1, aten.conv2d.default: 2, aten.conv3d.default: 3}
"""Convolutions, by how many axes of space they have."""

TRANSPOSED_CONVOLUTIONS: dict[Target, int] = {
    aten.conv_transpose1d.default: 1,
    aten.conv_transpose2d.input: 2,
    aten.conv_transpose3d.input: 3,
}
"""Transposed convolutions, likewise."""

LAST_AXIS_NORMS = (aten.layer_norm.default, aten.rms_norm.default)
"""Norms over the last axes."""

NORMS = (aten.layer_norm.default, aten.group_norm.default, aten.rms_norm.default)
"""Norms of each sample on its own, with a scale and a shift."""

DTYPE_CASTS = (aten._to_copy.default, aten.to.dtype)
"""Casts to a type that is an argument."""

CASTS = (*DTYPE_CASTS, aten.type_as.default)
"""Casts to a type that is an argument, or another tensor's."""

RIGHT_SHIFTS = (aten.__rshift__.Scalar, aten.bitwise_right_shift.Tensor_Scalar)
"""Shifts of integers by a number."""

FILLS = (aten.masked_fill.Scalar, aten.masked_fill.Tensor)
"""What writes one value where a mask is set."""

AT_LEAST = (aten.ge.Scalar, aten.gt.Scalar)
"""Comparisons with a number that large values pass."""

AT_MOST = (aten.le.Scalar, aten.lt.Scalar)
"""Comparisons with a number that small values pass."""
