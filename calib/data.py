"""Calibration data: samples read one after another from a file, a folder or a function.

| given                      | what it holds                                                                      |
|----------------------------|------------------------------------------------------------------------------------|
| ``data.npz``               | one array an input, named as the input, samples along axis 0; optionally ``labels`` |
| folder of ``.npz``         | shards of the same, in the order of their names                                    |
| folder of ``.npy``         | shards of the single input of a model                                              |
| folder of images           | see edgeopt.calib.images                                                           |
| ``module:function``        | a function that returns an iterator of samples as dicts; it runs code, so trusted   |

Every sample is fed alone: a model with a dynamic batch sees batches of one, a model with a fixed batch of B sees
B copies of the sample. A sample that has the whole shape of the input, as of a model without a batch, is fed as it is.
Nothing that is learnt can therefore depend on how the samples were batched or ordered.
"""

from __future__ import annotations

import hashlib
import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from edgeopt.calib.images import IMAGE_SUFFIXES, Preprocessing, read_image
from edgeopt.calib.npy import npy_shape, npz_arrays, stream_npy, stream_npz
from edgeopt.errors import EdgeoptError, UserError
from edgeopt.foreign import translated
from edgeopt.ir.context import Need
from edgeopt.ir.program import TensorSpec, numpy_dtype

LABELS = "labels"
"""Name of the array of an ``.npz`` that holds the expected class of each sample."""

Row = dict[str, np.ndarray]


class CalibrationData(ABC):
    """Samples of a model's inputs; iterating starts anew each time and reads one sample at a time."""

    def __init__(self, source: str, inputs: Sequence[TensorSpec]) -> None:
        self.source = source
        self.inputs = tuple(inputs)

    @abstractmethod
    def rows(self) -> Iterator[Row]:
        """Yield samples without a batch axis, as stored."""

    @abstractmethod
    def digest(self) -> str:
        """Return the SHA-256 of everything that the samples depend on."""

    def labels(self) -> np.ndarray | None:
        """Return the expected class of each sample, or None where the data carries none."""
        return None

    def __iter__(self) -> Iterator[Row]:
        """Yield checked samples, batched as the model wants them.

        Raises UserError with the sample's index where it lacks an input, has another shape or type than the
        model's input, or holds NaN or infinity; and where there is no sample at all.
        """
        index = -1
        for index, row in enumerate(self.rows()):
            yield {spec.name: self._feed(spec, row, index) for spec in self.inputs}
        if index < 0:
            raise UserError(f"{self.source} holds no sample", "give at least one sample of every input")

    def _feed(self, spec: TensorSpec, row: Row, index: int) -> np.ndarray:
        if spec.name not in row:
            found = ", ".join(sorted(row)) or "nothing"
            raise self._refusal(index, f"lacks the input '{spec.name}' (found: {found})", "name arrays as the inputs")
        value = np.asarray(row[spec.name])
        is_whole = value.shape == spec.shape  # an input without a batch, or with a batch of its own
        if not is_whole and not _fits(spec.shape[1:], value.shape):
            want = "x".join(map(str, spec.shape[1:])) or "scalar"
            got = "x".join(map(str, value.shape)) or "scalar"
            raise self._refusal(index, f"has shape {got} for input '{spec.name}', which wants {want}", _layout(spec))
        wanted = numpy_dtype(spec.dtype)
        if not np.can_cast(value.dtype, wanted, "same_kind") and not (wanted.kind == "f" and value.dtype.kind in "iu"):
            raise self._refusal(
                index, f"is {value.dtype} for input '{spec.name}', which wants {wanted}", f"store it as {wanted}"
            )
        with np.errstate(over="ignore"):
            stored = value.astype(wanted)
        if stored.dtype.kind == "f" and not np.isfinite(stored).all():
            held = f"numbers beyond {wanted}" if np.isfinite(value).all() else "NaN or infinity"
            raise self._refusal(index, f"holds {held} in input '{spec.name}'", "remove or repair the sample")
        if is_whole:
            return stored
        batch = spec.shape[0] if isinstance(spec.shape[0], int) else 1
        return np.repeat(stored[None], batch, axis=0)

    def _refusal(self, index: int, fact: str, remedy: str) -> UserError:
        return UserError(f"sample {index} of {self.source} {fact}", remedy)


def _fits(wanted: Sequence[int | str], shape: Sequence[int]) -> bool:
    return len(wanted) == len(shape) and all(
        isinstance(want, str) or want == got for want, got in zip(wanted, shape, strict=True)
    )


def _layout(spec: TensorSpec) -> str:
    """Return how the samples of an input are stored."""
    fixed = "x".join(map(str, spec.shape))
    whole = (
        "" if any(isinstance(size, str) for size in spec.shape) else f", or Nx{fixed} where no axis of it is a batch"
    )
    return f"store N samples along axis 0{whole}"


CALIBRATION: Need[CalibrationData] = Need("calibration data", "give samples with --calib")


class Shards(CalibrationData):
    """One or several ``.npz`` or ``.npy`` files, read row by row."""

    def __init__(self, files: Sequence[Path], source: str, inputs: Sequence[TensorSpec]) -> None:
        super().__init__(source, inputs)
        self.files = tuple(files)
        if any(f.suffix == ".npy" for f in files) and len(inputs) != 1:
            names = ", ".join(spec.name for spec in inputs)
            raise UserError(f"{source} holds .npy files, but the model has the inputs {names}", "use .npz files")

    def rows(self) -> Iterator[Row]:
        """Yield the rows of all files, in order."""
        for file in self.files:
            if file.suffix == ".npz":
                yield from stream_npz(file, [spec.name for spec in self.inputs])
            else:
                with file.open("rb") as stream:
                    yield from ({self.inputs[0].name: row} for row in stream_npy(stream, str(file)))

    def digest(self) -> str:
        """Hash the files' bytes in order."""
        return _hash_files(self.files)

    def labels(self) -> np.ndarray | None:
        """Return the ``labels`` arrays of all files joined, or None where a file has none.

        Raises UserError where they are not one integer a sample.
        """
        parts = [npz_arrays(file, [LABELS]).get(LABELS) if file.suffix == ".npz" else None for file in self.files]
        if any(part is None for part in parts):
            return None
        return self._checked(np.concatenate([np.asarray(part) for part in parts]))

    def _checked(self, labels: np.ndarray) -> np.ndarray:
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            shape = "x".join(map(str, labels.shape))
            raise UserError(
                f"{self.source} has labels of {labels.dtype} and shape {shape}", "give one integer a sample, its class"
            )
        return labels

    def __len__(self) -> int:
        """Return the number of samples, from the files' headers alone."""
        return sum(npy_shape(file, self.inputs[0].name)[0] for file in self.files)


class Images(CalibrationData):
    """A folder of images for the single input of a model, with its declared preprocessing."""

    def __init__(self, folder: Path, preprocessing: Preprocessing, inputs: Sequence[TensorSpec]) -> None:
        super().__init__(str(folder), inputs)
        if len(inputs) != 1:
            raise UserError(f"{folder} holds images, but the model has {len(inputs)} inputs", "use .npz files")
        self.preprocessing = preprocessing
        self.files = tuple(_images(folder))

    def rows(self) -> Iterator[Row]:
        """Yield the preprocessed images in the order of their paths."""
        return ({self.inputs[0].name: read_image(file, self.preprocessing)} for file in self.files)

    def digest(self) -> str:
        """Hash the images' bytes and the preprocessing."""
        return hashlib.sha256(f"{_hash_files(self.files)} {self.preprocessing}".encode()).hexdigest()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.files)


class Function(CalibrationData):
    """Samples from a Python function; ``rows`` calls it anew each time."""

    def __init__(self, make: Callable[[], Iterator[Row]], source: str, inputs: Sequence[TensorSpec]) -> None:
        super().__init__(source, inputs)
        self.make = make

    def rows(self) -> Iterator[Row]:
        """Yield what the function yields.

        Raises UserError where it fails, or yields anything but dicts of arrays.
        """
        try:
            for index, row in enumerate(self.make()):
                if not isinstance(row, Mapping):
                    fact = f"is an object of type {type(row).__name__}"
                    raise self._refusal(index, fact, "yield dicts of arrays, named as the inputs")
                yield {name: np.asarray(value) for name, value in row.items()}
        except EdgeoptError:
            raise
        except Exception as error:
            raise translated(error, f"{self.source} fails", "yield dicts of arrays, named as the inputs") from error

    def digest(self) -> str:
        """Hash the samples themselves, for there is no file that holds them."""
        digest = hashlib.sha256()
        for row in self.rows():
            for name in sorted(row):
                value = np.ascontiguousarray(row[name])
                digest.update(f"{name} {value.dtype} {value.shape}\n".encode())
                digest.update(value.tobytes())
        return digest.hexdigest()


def open_data(given: str, inputs: Sequence[TensorSpec], trust: bool = False) -> CalibrationData:
    """Return the samples behind a path or ``module:function`` for a model with these inputs.

    Raises UserError where there is nothing to read, or where code would run that is not trusted.
    """
    path = Path(given)
    if not path.exists() and ":" not in given:
        raise UserError(f"'{given}' does not exist", "check the path of the samples")
    if path.is_file() and path.suffix in (".npz", ".npy"):
        return Shards([path], given, inputs)
    if path.is_dir():
        return _open_folder(path, inputs)
    module, _, function = given.partition(":")
    if function and not path.exists():
        return _open_function(module, function, inputs, trust)
    raise UserError(
        f"'{given}' is not calibration data", "give a .npz, a folder of .npz, .npy or images, or module:function"
    )


def _open_folder(folder: Path, inputs: Sequence[TensorSpec]) -> CalibrationData:
    shards = sorted(f for f in folder.iterdir() if f.suffix in (".npz", ".npy"))
    if shards:
        return Shards(shards, str(folder), inputs)
    if next(_images(folder), None) is not None:
        return Images(folder, Preprocessing.declared(folder), inputs)
    raise UserError(f"{folder} holds no .npz, .npy or image", "put the samples there")


def _open_function(module: str, function: str, inputs: Sequence[TensorSpec], trust: bool) -> CalibrationData:
    source = f"{module}:{function}"
    if not trust:
        raise UserError(f"{source} would run code of yours", "add --trust if you trust it")
    try:
        make = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UserError(f"{source} cannot be imported: {error}", "check the name and PYTHONPATH") from error
    return Function(make, source, inputs)


def _images(folder: Path) -> Iterator[Path]:
    return (f for f in sorted(folder.rglob("*")) if f.suffix.lower() in IMAGE_SUFFIXES)


def _hash_files(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            digest.update(f"{file.name} {hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()
