from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt.distill.distil import distil
from edgeopt.distill.labels import cross_entropy, with_labels
from edgeopt.distill.loop import TuneOptions
from edgeopt.errors import UserError
from edgeopt.plugins.testing import to_program
from tests.distill.test_distil import original, samples, swapped


def test_labels_stand_beside_the_samples() -> None:
    program = original()
    labeled = with_labels(program, samples(program, 3), np.array([2, 0, 3, 1]))
    assert [sample["labels"].tolist() for sample in labeled] == [[2] * 8, [0] * 8, [3] * 8]
    outputs = {"output": torch.randn(8, 4)}
    batch = {"labels": torch.full((8,), 2)}
    expected = -outputs["output"].log_softmax(1)[:, 2].mean()
    torch.testing.assert_close(cross_entropy(outputs, batch), expected)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "the samples hold none"),
        (np.zeros(2, np.int64), "labels of int64 2 for 3 samples"),
        (np.zeros((3, 4), np.int64), "labels of int64 3x4 for 3 samples"),
        (np.zeros(3), "labels of float64 3 for 3 samples"),
        (np.array([0, 1, 4]), "labels from 0 to 4 for 4 classes"),
        (np.array([0, 1, -1]), "labels from -1 to 1 for 4 classes"),
    ],
)
def test_labels_that_do_not_fit(labels: np.ndarray | None, message: str) -> None:
    program = original()
    with pytest.raises(UserError, match=message):
        with_labels(program, samples(program, 3), labels)


def test_an_output_without_classes() -> None:
    program = to_program(nn.ReLU(), (torch.randn(2, 3, 4),))
    with pytest.raises(UserError, match="the first output is"):
        with_labels(program, samples(program, 3), np.zeros(3, np.int64))


def test_labels_pull_the_model_towards_them() -> None:
    program = original()
    student, swap = swapped(program)
    data = with_labels(program, samples(program, 16), np.full(16, 1))
    options = TuneOptions(steps=40, rate=5e-2, model_part=1.0, patience=100)

    def share(label_part: float) -> float:
        given = TuneOptions(**{**vars(options), "label_part": label_part})
        tuned = distil(program, student, [swap], data, given, blocks=False, whole=True).program
        return float(np.mean([next(iter(tuned.run(sample).values())).argmax(1) == 1 for sample in data]))

    assert share(5.0) > share(0.0) + 0.1
