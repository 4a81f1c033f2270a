import sys
from collections.abc import Iterator, Sized
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from edgeopt.calib.data import Function, open_data
from edgeopt.errors import ToolchainMissing, UserError
from edgeopt.ir.program import TensorSpec
from tests.typed import some

X = TensorSpec("x", ("s0", 3), torch.float32)
IDS = TensorSpec("ids", (1, "s1"), torch.int64)
IMAGE = TensorSpec("image", ("s0", 3, 4, 4), torch.float32)


def some_rows() -> Iterator[dict[str, np.ndarray]]:
    yield from ({"x": np.full(3, value, np.float32)} for value in range(4))


def test_npz_with_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.arange(6, dtype=np.float32).reshape(2, 3), labels=[1, 0])
    data = open_data(str(tmp_path / "d.npz"), [X])
    assert [sample["x"].tolist() for sample in data] == [[[0, 1, 2]], [[3, 4, 5]]]
    assert some(data.labels()).tolist() == [1, 0] and isinstance(data, Sized) and len(data) == 2


def test_compressed_archives_and_shards_of_npy(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((5, 3), np.float32)
    np.savez_compressed(tmp_path / "c.npz", x=x)
    folder = tmp_path / "shards"
    folder.mkdir()
    np.save(folder / "a.npy", x[:2])
    np.save(folder / "b.npy", x[2:])
    one, two = (np.concatenate([s["x"] for s in open_data(str(p), [X])]) for p in (tmp_path / "c.npz", folder))
    assert np.array_equal(one, x) and np.array_equal(two, x)


def test_a_fixed_batch_sees_copies(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.ones((2, 3), np.float32))
    fixed = TensorSpec("x", (4, 3), torch.float32)
    assert [sample["x"].shape for sample in open_data(str(tmp_path / "d.npz"), [fixed])] == [(4, 3), (4, 3)]


def test_integers_stand_for_floats_but_not_the_reverse(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.ones((1, 3), np.uint8), ids=np.ones((1, 5)))
    assert next(iter(open_data(str(tmp_path / "d.npz"), [X])))["x"].dtype == np.float32
    with pytest.raises(UserError, match=r"sample 0 .* is float64 for input 'ids', which wants int64"):
        list(open_data(str(tmp_path / "d.npz"), [IDS]))


def test_floats_of_another_width_are_taken_where_they_fit(tmp_path: Path) -> None:
    for dtype in (np.float64, np.float16):
        np.savez(tmp_path / "d.npz", x=np.full((1, 3), 0.1, dtype))
        (sample,) = open_data(str(tmp_path / "d.npz"), [X])
        assert sample["x"].dtype == np.float32 and np.array_equal(sample["x"][0], np.full(3, 0.1, dtype).astype("f4"))
    np.savez(tmp_path / "d.npz", x=np.full((1, 3), 1e300))
    with pytest.raises(UserError, match=r"sample 0 .* holds numbers beyond float32 in input 'x'"):
        list(open_data(str(tmp_path / "d.npz"), [X]))


def test_images_as_declared(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), (255, 0, 51)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"no preprocess\.toml"):
        open_data(str(tmp_path), [IMAGE])
    declaration = tmp_path / "preprocess.toml"
    declaration.write_text('size = [4, 4]\nmean = [0.5, 0, 0]\nstd = [0.5, 1, 1]\nlayout = "CHW"\n')
    (sample,) = open_data(str(tmp_path), [IMAGE])
    assert np.allclose(sample["image"][0, :, 2, 2], [1.0, 0.0, 0.2])
    for wrong in ("size = [4, 4]", 'size=[4,4]\nmean=[0,0]\nstd=[1,1]\nlayout="CHW"', 'layout = "XY"'):
        declaration.write_text(wrong)
        with pytest.raises(UserError):
            open_data(str(tmp_path), [IMAGE])


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    (tmp_path / "preprocess.toml").write_text('size = [4, 4]\nmean = [0,0,0]\nstd = [1,1,1]\nlayout = "CHW"\n')
    with pytest.raises(UserError, match=r"a\.png is not a readable image"):
        list(open_data(str(tmp_path), [IMAGE]))


def test_images_without_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    (tmp_path / "preprocess.toml").write_text('size = [4, 4]\nmean = [0,0,0]\nstd = [1,1,1]\nlayout = "CHW"\n')
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ToolchainMissing, match="Pillow, which reads images, is not installed"):
        list(open_data(str(tmp_path), [IMAGE]))


def test_functions_run_only_when_trusted() -> None:
    name = f"{__name__}:some_rows"
    with pytest.raises(UserError, match="would run code"):
        open_data(name, [X])
    data = open_data(name, [X], trust=True)
    assert len(list(data)) == 4 and data.digest() == open_data(name, [X], trust=True).digest()
    with pytest.raises(UserError, match="cannot be imported"):
        open_data(f"{__name__}:missing", [X], trust=True)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.array([1, np.nan, 0], np.float32), "sample 2 of memory holds NaN or infinity in input 'x'"),
        (np.array([1, np.inf, 0], np.float32), "sample 2 of memory holds NaN or infinity in input 'x'"),
        (np.zeros(4, np.float32), "sample 2 of memory has shape 4 for input 'x', which wants 3"),
        (None, "sample 2 of memory lacks the input 'x'"),
    ],
)
def test_bad_samples_are_named_by_index(bad: Any, message: str) -> None:
    good = {"x": np.zeros(3, np.float32)}
    row = {} if bad is None else {"x": bad}
    with pytest.raises(UserError, match=message):
        list(Function(lambda: iter([good, good, row]), "memory", [X]))


def test_empty_and_absent_data(tmp_path: Path) -> None:
    np.savez(tmp_path / "empty.npz", x=np.zeros((0, 3), np.float32))
    with pytest.raises(UserError, match="holds no sample"):
        list(open_data(str(tmp_path / "empty.npz"), [X]))
    with pytest.raises(UserError, match="does not exist"):
        open_data(str(tmp_path / "missing.npz"), [X])
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=r"holds no \.npz"):
        open_data(str(tmp_path / "folder"), [X])


@pytest.mark.parametrize("kind", ["text", "truncated", "objects", "fortran", "lengths", "name"])
def test_unreadable_arrays(kind: Any, tmp_path: Path) -> None:
    file = tmp_path / "d.npz"
    x = np.zeros((4, 3), np.float32)
    match kind:
        case "text":
            file.write_text("no archive")
        case "truncated":
            file = tmp_path / "d.npy"
            np.save(file, x)
            file.write_bytes(file.read_bytes()[:-5])
        case "objects":
            np.savez(file, x=np.array([None, None]))
        case "fortran":
            np.savez(file, x=np.asfortranarray(x))
        case "lengths":
            np.savez(file, x=x, y=np.zeros((5, 3), np.float32))
        case "name":
            np.savez(file, z=x)
    specs = [X, TensorSpec("y", ("s0", 3), torch.float32)] if kind == "lengths" else [X]
    with pytest.raises(UserError):
        list(open_data(str(file), specs))
