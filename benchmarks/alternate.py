"""Bare inferences of several OpenVINO models, one each in turn, so that drift of the machine hits all alike."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgeopt.targets.openvino import extension
from edgeopt.targets.openvino.sdk import core

WARMUP = 20


def medians(
    models: Mapping[str, tuple[Path, str]], sample: Mapping[str, np.ndarray], seconds: float
) -> dict[str, float]:
    """Return the median time in us of one inference on one thread, by name; a model is its file and its float type.

    Inputs are set once and outputs shared: only what the model does is timed, not what brings arrays from and to
    Python.
    """
    extension.OWN.load()
    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    requests = {}
    for name, (path, precision) in models.items():
        model = core().compile_model(
            core().read_model(path), "CPU", {**settings, "INFERENCE_PRECISION_HINT": precision}
        )
        requests[name] = model.create_infer_request()
        for _ in range(WARMUP):
            requests[name].infer(dict(sample))
    costs: dict[str, list[float]] = {name: [] for name in models}
    order = list(requests.items())
    end = time.perf_counter() + seconds * len(order)
    while time.perf_counter() < end:
        for name, request in order:
            start = time.perf_counter()
            request.infer(share_outputs=True)
            costs[name].append(time.perf_counter() - start)
        order.reverse()
    return {name: float(np.median(values)) * 1e6 for name, values in costs.items()}
