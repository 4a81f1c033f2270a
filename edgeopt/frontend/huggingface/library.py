"""transformers itself: imported when a folder is read, silent, and cut off from the network."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from unittest.mock import patch

from edgeopt.errors import ToolchainMissing
from edgeopt.foreign import add_libraries, quiet

INSTALL = "pip install 'edgeopt[hf]'"
"""The line that installs it."""
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def installed() -> str | None:
    """Return the version of transformers that is installed, None without one."""
    try:
        return version("transformers")
    except PackageNotFoundError:
        return None


@contextmanager
def transformers() -> Iterator[ModuleType]:
    """Yield the library; nothing in the block reaches the network.

    Raises ToolchainMissing where it is not installed.
    """
    if installed() is None:
        raise ToolchainMissing("transformers, which reads Hugging Face folders,", INSTALL)
    add_libraries(["transformers"])
    logger = logging.getLogger("transformers")
    level = logger.level
    with patch.dict(os.environ, _OFFLINE):
        import transformers as library
        from huggingface_hub import constants

        try:
            # The Hub's client reads its environment once: it may have been imported before.
            with patch.object(constants, "HF_HUB_OFFLINE", True), quiet():
                logger.setLevel(logging.CRITICAL)
                yield library
        finally:
            logger.setLevel(level)
