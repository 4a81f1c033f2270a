import math
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt.calib import calibrate as module
from edgeopt.calib.calibrate import calibrate, check_model
from edgeopt.calib.data import open_data
from edgeopt.calib.methods import METHODS, method
from edgeopt.calib.ranges import Ranges, drifts, read_ranges
from edgeopt.errors import UserError
from edgeopt.plugins.testing import to_program
from tests.typed import some


def network() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 4))


def make_program(dynamic: Any = True) -> Any:
    shapes = ({0: torch.export.Dim("batch", min=1, max=64)},) if dynamic else None
    return to_program(network(), [torch.randn(2, 6)], shapes)


def rows(count: int = 40) -> Any:
    return np.random.default_rng(3).standard_normal((count, 6)).astype(np.float32) * 3


def given(program: Any, folder: Path, *shards: Any, name: str = "data") -> Any:
    """Write shards of samples and return them as calibration data."""
    target = folder / name
    target.mkdir()
    for index, shard in enumerate(shards):
        np.savez(target / f"{index:02d}.npz", **{program.inputs[0].name: shard})
    return open_data(str(target), program.inputs)


def plain(ranges: Ranges) -> Any:
    return {name: (t.low, t.high) for name, t in ranges.tensors.items()}


@pytest.mark.parametrize("name", METHODS)
def test_neither_order_nor_batches_change_a_bit(name: str, tmp_path: Path) -> None:
    program, x = make_program(), rows()
    shuffled = np.random.default_rng(1).permutation(x)
    whole = calibrate(program, given(program, tmp_path, x, name="whole"), name)
    parts = calibrate(program, given(program, tmp_path, shuffled[:7], shuffled[7:8], shuffled[8:], name="parts"), name)
    fixed = make_program(dynamic=False)
    pairs = calibrate(fixed, given(fixed, tmp_path, x, name="pairs"), name)
    assert plain(whole) == plain(parts)
    assert {n: np.float32(v).tolist() for n, v in plain(whole).items()}.keys() == plain(pairs).keys()


def test_minmax_is_what_was_observed(tmp_path: Path) -> None:
    program, x = make_program(), rows()
    ranges = calibrate(program, given(program, tmp_path, x), "minmax")
    name = program.inputs[0].name
    low, high = plain(ranges)[name]
    step = 2.0 ** (math.frexp(max(-x.min(), x.max()))[1] - 12)
    assert x.min() - step < low <= x.min() and x.max() <= high < x.max() + step
    assert low % step == high % step == 0
    assert ranges.tensors[name].how == "minmax over 40 samples"


def test_an_outlier_is_cut_by_percentile_and_kept_by_minmax(tmp_path: Path) -> None:
    program, x = make_program(), rows()
    x[0, 0] = 500
    data, name = given(program, tmp_path, x), program.inputs[0].name
    assert calibrate(program, data, "minmax").tensors[name].high == 500
    cut = calibrate(program, data, "percentile=99").tensors[name]
    assert 0 < cut.high < 20 and cut.observed_high == 500


def test_an_unknown_method_is_refused() -> None:
    for name in ("guess", "percentile=20", "percentile=x"):
        with pytest.raises(UserError):
            method(name)


def test_cache_hits_at_once_and_any_changed_byte_misses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, cache = make_program(), tmp_path / "cache"
    data = given(program, tmp_path, rows())
    first = calibrate(program, data, "mse", cache)
    monkeypatch.setattr(module, "observe", lambda *a, **k: pytest.fail("observed again"))
    assert calibrate(program, data, "mse", cache) == first
    monkeypatch.undo()
    other_data = rows()
    other_data.view(np.uint8)[5, 2] ^= 1
    other = program.clone()
    constant = next(iter(other.constants))
    other.constants[constant] = other.constants[constant] + 1e-6
    keys = {first.data + first.model}
    for p, d in ((program, given(program, tmp_path, other_data, name="other")), (other, data)):
        found = calibrate(p, d, "mse", cache)
        keys.add(found.data + found.model)
    calibrate(program, data, "minmax", cache)
    assert len(keys) == 3 and len(list(cache.glob("*.json"))) == 4


_KILLED = """
import sys
from edgeopt.calib import calibrate as module
from tests.calib.test_calibrate import make_program, open_data
module.SAVE_SECONDS = 0.0
program = make_program()
def progress(phase, done):
    if phase == "histograms" and done == 25:
        print("ready", flush=True)
        sys.stdin.read()
module.calibrate(program, open_data(sys.argv[1], program.inputs), "mse", module.Path(sys.argv[2]), progress)
"""


def test_a_killed_run_goes_on_and_ends_at_the_same_ranges(tmp_path: Path) -> None:
    program, cache = make_program(), tmp_path / "cache"
    data = given(program, tmp_path, rows())
    root = Path(__file__).resolve().parents[2]
    child = subprocess.Popen(
        [sys.executable, "-c", _KILLED, data.source, str(cache)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=root,
        text=True,
    )
    assert child.stdout is not None and child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    done = []
    resumed = calibrate(program, data, "mse", cache, lambda phase, count: done.append((phase, count)))
    assert done[0] == ("histograms", 25), "the sample in work when the run was killed is done again, no other"
    assert resumed == calibrate(program, data, "mse")
    assert not list(cache.glob("*.partial.json"))


def test_ranges_survive_json_sorted(tmp_path: Path) -> None:
    program = make_program()
    ranges = calibrate(program, given(program, tmp_path, rows()), "mse")
    file = tmp_path / "ranges.json"
    file.write_text(ranges.to_json())
    assert read_ranges(file) == ranges
    lines = [line for line in ranges.to_json().splitlines() if line.startswith('    "')]
    assert lines == sorted(lines)


def test_ranges_of_another_model_are_refused(tmp_path: Path) -> None:
    program = make_program()
    ranges = calibrate(program, given(program, tmp_path, rows()), "minmax")
    check_model(ranges, program, "ranges.json")
    with pytest.raises(UserError, match="another model"):
        check_model(ranges, make_program(dynamic=False), "ranges.json")


def test_damaged_ranges_are_refused(tmp_path: Path) -> None:
    for content in ("{", "[]", '{"schema_version": 9}', '{"schema_version": 1}'):
        (tmp_path / "r.json").write_text(content)
        with pytest.raises(UserError):
            read_ranges(tmp_path / "r.json")
    with pytest.raises(UserError):
        read_ranges(tmp_path / "missing.json")


def test_drift_names_tensors_worst_first(tmp_path: Path) -> None:
    program = make_program()
    one = calibrate(program, given(program, tmp_path, rows(), name="a"), "minmax")
    two = calibrate(program, given(program, tmp_path, rows() * 1.5, name="b"), "minmax")
    assert drifts(one, one, 0.0) == []
    found = drifts(one, two, 0.05)
    shares = [drift.share for drift in found]
    assert program.inputs[0].name in {drift.tensor for drift in found}
    assert shares == sorted(map(some, shares), reverse=True)
