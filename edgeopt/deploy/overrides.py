"""The keywords of ``export``, for type checkers and for readers. Written by ``python docs/make_overrides.py``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np

from edgeopt.candidate.limits import Limits
from edgeopt.candidate.measure import MeasurePlan
from edgeopt.candidate.options import SearchOptions
from edgeopt.candidate.quantize import QuantOptions
from edgeopt.frontend.inputs import DynamicSpec, InputSpec
from edgeopt.frontend.load import LoadOptions
from edgeopt.recipes.options import SwapOptions


class Overrides(TypedDict, total=False):
    """The options of an export, of the targets that come with edgeopt, and the parts that they stand in.

    Options of another package's target are unknown here: type checkers take them from a ``dict[str, Any]``.
    """

    inputs: str | InputSpec | Sequence[str | InputSpec] | Mapping[str, Any]
    """Input, as x:1x3x32x32."""
    sample: str | os.PathLike[str] | Mapping[str, np.ndarray] | None
    """Sample inputs, by name."""
    dynamic: str | DynamicSpec | Sequence[str | DynamicSpec]
    """Dimension that may vary."""
    arch: str | None
    """What builds the module of a state dict."""
    imports: tuple[str, ...] | list[str]
    """Module that defines custom operators (with --trust)."""
    task: str | None
    """Task of a Hugging Face folder (default: that of its configuration)."""
    fixed: bool
    """Keep the sizes of a Hugging Face folder's inputs fixed."""
    float32: bool
    """Take the model in float32 where it has other floating-point types, inputs and outputs among it."""
    trust: bool
    """Allow code from pickled models, folders and data functions to run."""
    max_archive_bytes: int
    """Largest unpacked size of an archive."""
    data: os.PathLike[str] | str | None
    """Labeled samples (.npz with 'labels') to state the accuracy on."""
    calib: os.PathLike[str] | str | None
    """Calibration data for int8: .npz, folder, or module:function."""
    calib_method: str
    """minmax, moving-average, percentile, entropy, mse (default)."""
    ranges: os.PathLike[str] | str | None
    """Calibrated ranges from edgeopt calibrate."""
    recover: tuple[str, ...] | list[str]
    """Recover int8 accuracy by this pass alone; repeatable."""
    keep_float: tuple[str, ...] | list[str]
    """Layer or module that stays in float; repeatable."""
    format: tuple[str, ...] | list[str]
    """Format that --precision auto may choose; repeatable."""
    binary_steps: int
    """Steps of tuning binary layers before they are judged."""
    recipe: os.PathLike[str] | str | None
    """Swap layers by a recipe: exact, slab, linear, binary, or a file."""
    tune: str | None
    """Budget of tuning what a recipe swaps (default: the recipe's)."""
    tune_data: os.PathLike[str] | str | None
    """Unlabeled samples to tune on (default: those of --calib)."""
    checkpoint: os.PathLike[str] | str | None
    """Keep tuning's state here, and continue from it."""
    force: bool
    """Swap also where it does not pay."""
    baseline: bool
    """Also measure the plain export (default: on)."""
    strict: bool
    """Make any fallback an error."""
    max_latency: float | None
    """Limit of the median, in ms or instructions."""
    max_size: int | None
    """Limit of the artifact's files, or of its flash."""
    min_accuracy: str | float | None
    """Limit of the accuracy on --data."""
    max_drop: str | float | None
    """Limit of the loss of accuracy on --data: 0.01 or 1%."""
    max_error: float | None
    """Limit of the relative error against the original."""
    min_cosine: float | None
    """Limit of the outputs' cosine with the original's."""
    accept_difference: str | None
    """Take what misses the default limits; say why."""
    samples: int | None
    """Verification inputs (default 8, of large or calibrated models 3 or more)."""
    seed: int
    """Seed of random verification inputs (default 0)."""
    warmup: int | None
    """Runs before measuring (default: detected)."""
    min_runs: int
    max_runs: int
    min_seconds: float
    max_seconds: float
    """Longest time to measure (default 5)."""
    add_passes: tuple[str, ...] | list[str]
    """Run this pass too, the last of its stage."""
    skip_passes: tuple[str, ...] | list[str]
    """Do not run this pass."""
    dump: os.PathLike[str] | str | None
    """Write the program's text after each pass."""
    precision: str
    """jetson, mcu, onnx, openvino, reference, rtx, tensorrt: Arithmetic asked for, and run (see edgeopt explain
    TARGET).
    """
    threads: int
    """jetson, mcu, onnx, openvino, reference, rtx, tensorrt: Threads of one inference."""
    float_precision: str
    """jetson, rtx, tensorrt: The arithmetic of what is not quantized: fp16 or fp32. openvino: What is in float
    beside integers: fp32, bf16, or by default bf16 beside int8 where the CPU has it.
    """
    profile: str
    """jetson, rtx, tensorrt: Sizes of dynamic inputs: NAME:LEAST:USUAL:LARGEST, each such as 1x3x32x32; inputs
    separated by commas.
    """
    jetpack: str
    """jetson: JetPack's release on the device."""
    optimize: str
    """mcu: What flash is spent on: 'speed' keeps weights as int16 where a kernel is faster so, 'balanced' as far
    as the flash goes, 'size' not at all.
    """
    project: str
    """mcu: Example application: none, make, cmake, zephyr, platformio or esp-idf."""
    external_weights: str
    """mcu: The linker's section for weights that do not lie in the device's own flash, such as .qspi; the linker
    script of the board says where that is.
    """
    schedule: str
    """mcu: 'tiles' runs what goes position by position a few positions at a time, and attention row by row, so
    that less exists at once; 'heads' also makes keys and values for one head at a time, at the price of norms
    computed again; 'layers' runs every layer as a whole.
    """
    stream_input: bool
    """mcu: Read input 0 row by row through a function of the caller; it then takes no room in the arena."""
    requantization: str
    """mcu: By a 'multiplier' for each channel, or by a 'shift', all scales powers of two."""
    optimization: str
    """onnx: What ONNX Runtime may rewrite when it loads the model: none, basic, extended or all."""
    four_bits: str
    """onnx: How weights in four bits are written: as ONNX's own types ('native'), or as grouped 'int8', which ONNX
    Runtime runs where it does not run FP4.
    """
    activations: str
    """onnx: Scales of what int8 linears read: one calibrated for the 'tensor', or one for each 'token', found as
    the model runs. openvino: Scales of what int8 linears read: one calibrated for the 'tensor', or found as the
    model runs for each 'token', 64 of its values at a time. reference: Whether what linears read stays in
    'float' beside weights in four bits, or is rounded to 'four-bits' too, as hardware that multiplies four bits
    by four sees it. Rounded numbers are computed in float.
    """
    only_vnni: bool
    """openvino: Int8 weights take all of their range, which processors without VNNI compute wrongly."""
    also: str
    """rtx: Further compute capabilities that the engine holds code for, such as 8.9,12.0."""
    load: LoadOptions
    quant: QuantOptions
    search: SearchOptions
    swap: SwapOptions
    limits: Limits
    measure: MeasurePlan
