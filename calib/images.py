"""Images as calibration samples, prepared as the folder's ``preprocess.toml`` declares.

::

    size = [96, 96]                  # height, width: the image is resized to it (bilinear)
    mean = [0.485, 0.456, 0.406]     # of values in 0..1; one number a channel
    std = [0.229, 0.224, 0.225]
    layout = "CHW"                   # or "HWC"

One number in ``mean`` means grey images, three mean RGB. For raw values 0..255 write ``std = [0.00392156862745098]``
as often as there are channels, with a mean of 0.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeopt.errors import ToolchainMissing, UserError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp"})
INSTALL = "pip install 'edgeopt[images]'"
_DECLARATION = "preprocess.toml"
_LAYOUTS = ("CHW", "HWC")


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes an input: ``size`` (height, width), ``mean`` and ``std`` a channel, ``layout``."""

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    layout: str

    def __post_init__(self) -> None:
        if self.layout not in _LAYOUTS:
            raise UserError(f"layout is '{self.layout}'", f"choose one of: {', '.join(_LAYOUTS)}")
        if len(self.size) != 2 or min(self.size) < 1:
            raise UserError(f"size is {list(self.size)}", "give height and width")
        if len(self.mean) not in (1, 3) or len(self.std) != len(self.mean) or min(self.std) <= 0:
            raise UserError(
                f"mean is {list(self.mean)}, std {list(self.std)}", "give 1 or 3 numbers each, std above zero"
            )

    @classmethod
    def declared(cls, folder: Path) -> Preprocessing:
        """Read the declaration in ``folder``.

        Raises UserError where it is missing or incomplete: images without it would be guessed at.
        """
        file = folder / _DECLARATION
        if not file.is_file():
            raise UserError(f"{folder} holds images but no {_DECLARATION}", "declare size, mean, std and layout in it")
        try:
            content = tomllib.loads(file.read_text("utf-8"))
            height, width = content["size"]
            return cls(
                (int(height), int(width)),
                tuple(map(float, content["mean"])),
                tuple(map(float, content["std"])),
                content["layout"],
            )
        except (tomllib.TOMLDecodeError, KeyError, ValueError, TypeError) as error:
            raise UserError(f"{file} is incomplete: {error}", "declare size, mean, std and layout") from error


def read_image(file: Path, preprocessing: Preprocessing) -> np.ndarray:
    """Return one image as float32 in the declared layout.

    Raises UserError where the file is not an image, ToolchainMissing without Pillow.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise ToolchainMissing("Pillow, which reads images,", INSTALL) from error

    height, width = preprocessing.size
    try:
        with Image.open(file) as image:
            grey = len(preprocessing.mean) == 1
            resized = image.convert("L" if grey else "RGB").resize((width, height), Image.Resampling.BILINEAR)
    except (UnidentifiedImageError, OSError) as error:
        raise UserError(f"{file} is not a readable image: {error}", "remove it from the folder") from error
    pixels = np.asarray(resized, np.float32).reshape(height, width, -1) / 255
    normalized = (pixels - np.asarray(preprocessing.mean, np.float32)) / np.asarray(preprocessing.std, np.float32)
    return normalized.transpose(2, 0, 1) if preprocessing.layout == "CHW" else normalized
