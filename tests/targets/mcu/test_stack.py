"""The stack: the longest path through the calls, and never less than what the emulator measures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch import nn

from edgeopt.plugins.registry import resolve
from edgeopt.targets.mcu import LIBRARY, MicroOptions
from edgeopt.targets.mcu.runtime.firmware import Firmware
from edgeopt.targets.mcu.runtime.stack import ASSEMBLY_FRAME, LIBRARY_FRAME, deepest
from tests.qemu import requires_qemu

from .quantized import quantize

GRAPHS = (
    """graph: { title: "network.c"
node: { title: "network_run" label: "network_run\\nnetwork.c:9:5\\n32 bytes (static)" }
node: { title: "kernel" label: "kernel\\nkernels.h:1:1" shape : ellipse }
edge: { sourcename: "network_run" targetname: "kernel" label: "network.c:12:5" }
edge: { sourcename: "network_run" targetname: "memcpy" label: "network.c:13:5" }
}""",
    """graph: { title: "kernel.c"
node: { title: "kernel" label: "kernel\\nkernel.c:1:1\\n200 bytes (static)" }
node: { title: "kernel.c:assembly" label: "assembly\\nkernel.c:5:1\\n0 bytes (static)" }
edge: { sourcename: "kernel" targetname: "kernel.c:assembly" label: "kernel.c:3:3" }
}""",
)


def test_the_longest_path_counts() -> None:
    assert deepest(GRAPHS, "network_run") == 32 + 200 + ASSEMBLY_FRAME
    assert deepest(GRAPHS[:1], "network_run") == 32 + LIBRARY_FRAME


@requires_qemu
@pytest.mark.parametrize("device", ["mps2-an386", "mps3-an547"])
def test_what_is_measured_stays_below(device: str, tmp_path: Path) -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(72, 5), nn.Softmax(dim=1),
    )  # fmt: skip
    x = np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32)
    target = resolve(f"mcu:{device}")
    memory = target.compile(quantize(module, x), tmp_path, MicroOptions()).memory
    firmware = Firmware(tmp_path / LIBRARY, target.device, target.device.facts["core"])
    (port,) = firmware.network.inputs
    measured = firmware.run({port.name: port.to_int8(x)}).stack_bytes
    firmware.close()
    assert measured <= memory["stack"] <= 4 * measured
    assert memory["ram"] == memory["arena"] + memory["stack"]
