"""Whether firmware for Cortex-M can be built and run here."""

from __future__ import annotations

import shutil

import pytest

HAS_QEMU = bool(shutil.which("arm-none-eabi-gcc") and shutil.which("qemu-system-arm"))
_REASON = "the cross compiler or QEMU is not installed"

requires_qemu = pytest.mark.skipif(not HAS_QEMU, reason=_REASON)


def skip_without_qemu(device: str) -> None:
    """Skip a test on a device that is emulated, where it cannot be; ``host-c`` is not."""
    if device != "host-c" and not HAS_QEMU:
        pytest.skip(_REASON)
