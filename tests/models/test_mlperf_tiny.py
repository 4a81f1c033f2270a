"""The models are the reference ones: parameter counts, and the published float results on real data."""

import numpy as np
import pytest
import torch

from tests.models import mlperf_tiny as tiny

pytestmark = tiny.requires_shared

PARAMETERS = {"resnet8": 78_186, "ds_cnn": 23_756, "mobilenet_v1_025": 216_322, "fc_autoencoder": 267_928}


@pytest.mark.parametrize("name", tiny.NAMES)
def test_builds_with_every_weight(name: str) -> None:
    model = tiny.build(name)
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]
    with torch.no_grad():
        assert torch.isfinite(model(torch.from_numpy(tiny.example_inputs(name, batch=2)))).all()


def test_keyword_accuracy_is_the_reference() -> None:
    x, labels = tiny.kws01()
    with torch.no_grad():
        guesses = tiny.build("ds_cnn")(torch.from_numpy(x)).argmax(1).numpy()
    assert (guesses == labels).sum() == 913


def test_anomaly_score_is_the_reference() -> None:
    windows = tiny.autoencoder_windows()
    with torch.no_grad():
        restored = tiny.build("fc_autoencoder")(torch.from_numpy(windows)).numpy()
    assert windows.shape == (196, 640)
    assert float(np.mean((restored - windows) ** 2)) == pytest.approx(9.491, abs=5e-4)
