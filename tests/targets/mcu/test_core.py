"""Cores: every device has one, and it has kernels."""

from __future__ import annotations

import pytest

from edgeopt.errors import UserError
from edgeopt.kernels.mcu import inventory
from edgeopt.plugins.target import Device
from edgeopt.targets.mcu import Mcu
from edgeopt.targets.mcu.runtime.core import read_core


@pytest.mark.parametrize("device", Mcu.devices(), ids=lambda device: device.name)
def test_the_core_of_a_device_has_kernels_and_ends_with_portable_c(device: Device) -> None:
    core = read_core(device.facts["core"])
    assert {*core.isas} <= {kernel.isa for kernel in inventory()} and core.isas[-1] == "scalar"


def test_an_unknown_core_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match="unknown core 'cortex-m34'") as refused:
        read_core("cortex-m34")
    assert "cortex-m33" in str(refused.value.hint)
