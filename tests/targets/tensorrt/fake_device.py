"""A directory that looks like a Jetson to ``build_on_device.sh``: stand-ins for its tools come first in the PATH."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

STAND_INS = Path(__file__).parent / "stand_ins"
_CUDART = """
#include <stdlib.h>
#include <string.h>
int cudaMalloc(void** p, size_t n) { *p = malloc(n); return *p == 0; }
int cudaMemcpy(void* to, const void* from, size_t n, int kind) { (void)kind; memcpy(to, from, n); return 0; }
int cudaDeviceSynchronize(void) { return 0; }
"""
_CMAKE = """#!/bin/sh
echo "$@" >>"{log}"
case "$1" in --build) mkdir -p plugins/build && : >plugins/build/libedgeopt_plugins.so ;; esac
"""


class FakeDevice:
    """Stand-ins for trtexec, dpkg-query, cmake, nvcc, libcudart and TensorRT's Python package, of one release."""

    def __init__(self, folder: Path, tensorrt: str, jetpack: str, has_nvcc: bool = True, free_mib: int = 8000) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        for tool in ("bash", "sed", "sort", "awk", "mkdir", "dirname", "cat", "tr", "sh", "env", "printf"):
            (self.bin / tool).symlink_to(shutil.which(tool) or f"/bin/{tool}")
        self._script("trtexec", f'#!/bin/sh\nexec "{sys.executable}" "{STAND_INS / "trtexec.py"}" "$@"\n')
        self._script("python3", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        self._script("dpkg-query", f"#!/bin/sh\necho {jetpack}\n" if jetpack else "#!/bin/sh\nexit 1\n")
        self._script("cmake", _CMAKE.format(log=folder / "cmake.log"))
        if has_nvcc:
            self._script("nvcc", "#!/bin/sh\n")
        (folder / "meminfo").write_text(f"MemTotal: 16000000 kB\nMemAvailable: {free_mib * 1024} kB\n")
        (folder / "cudart.c").write_text(_CUDART)
        library = folder / "libcudart.so"
        subprocess.run(["gcc", "-shared", "-fPIC", folder / "cudart.c", "-o", library], check=True)
        self.environment = {
            "PATH": str(self.bin),
            "CUDA_HOME": str(folder),
            "LD_LIBRARY_PATH": str(folder),
            "PYTHONPATH": str(STAND_INS),
            "TRTEXEC_RELEASE": tensorrt,
            "TRTEXEC_LOG": str(folder / "trtexec.json"),
            "MEMINFO": str(folder / "meminfo"),
            "ANSWERS": str(folder / "answers.npz"),
        }

    def run(self, bundle: Path, *arguments: str, off_by: float = 0.0) -> subprocess.CompletedProcess[str]:
        """Run a bundle's script; its engine answers with the golden outputs, moved by ``off_by``."""
        deployment = json.loads((bundle / "manifest.json").read_text())["deployment"]
        golden = np.load(bundle / "golden.npz")
        answers = {onnx: golden[f"output.{name}"] for onnx, name in deployment["outputs"].items()}
        np.savez(self.environment["ANSWERS"], **{k: (v + off_by).astype(v.dtype) for k, v in answers.items()})
        command = [str(bundle / "build_on_device.sh"), *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)

    @property
    def flags(self) -> dict[str, str]:
        """What trtexec was called with."""
        found: dict[str, str] = json.loads((self.folder / "trtexec.json").read_text())
        return found

    def _script(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        os.chmod(self.bin / name, 0o755)
