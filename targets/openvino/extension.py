"""Libraries of operators for OpenVINO: built from a package's C++ when first wanted, and kept.

A library is compiled against the installed wheel, whose headers and libraries it needs to the version, and found again
by the content of all that it is made of. Files named after an instruction set are compiled for it, and chosen at run
time.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from edgeopt.calib.cache import cache_folder
from edgeopt.errors import EdgeoptError, ToolchainMissing
from edgeopt.foreign import first_error
from edgeopt.kernels import mcu as kernels
from edgeopt.onnx import DOMAIN
from edgeopt.targets.openvino.sdk import core, openvino

INSTALL = "apt-get install g++"
SOURCES = kernels.ROOT.parent / "openvino"

_COMPILERS = ("g++", "clang++")
_FLAGS = (
    "-std=c++17",
    "-O3",
    "-fPIC",
    "-fvisibility=hidden",
    "-ffp-contract=off",
    "-DOV_THREAD=OV_THREAD_TBB_ADAPTIVE",
    "-w",
)
_INSTRUCTION_SETS = {
    "avx2": ("-mavx2", "-mfma", "-mpopcnt"),
    "avx512": ("-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512vpopcntdq", "-mpopcnt"),
}
_LINKED = ("libopenvino.so*", "libopenvino_onnx_frontend.so*", "libtbb.so*")


@dataclass(frozen=True)
class Extension:
    """The library of all operators of a ``domain``, made of the C++ in ``folder`` and below it."""

    domain: str
    folder: Path

    @property
    def name(self) -> str:
        """Its file name."""
        return f"lib{self.domain}_openvino.so"

    def library(self) -> Path:
        """Return the library, built where it is not there yet.

        Raises ToolchainMissing without a compiler, EdgeoptError where it fails or there is nothing to compile.
        """
        tool = compiler()
        if tool is None:
            raise ToolchainMissing("a C++ compiler", INSTALL)
        place = cache_folder().with_name("kernels") / _digest(self, _version(tool)) / self.name
        if not place.exists():
            self._build(tool, place)
        return place

    def load(self) -> Path:
        """Make OpenVINO know the operators, and return the library; raise as ``library``."""
        path = self.library()
        _add(path)
        return path

    def _build(self, tool: str, place: Path) -> None:
        sources = self._sources()
        if not sources:
            raise EdgeoptError(
                f"there is no C++ for the operators of '{self.domain}' in {self.folder}", "reinstall their package"
            )
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="build-", dir=place.parent) as folder:
            objects = {source: Path(folder) / f"{index}.o" for index, source in enumerate(sources)}
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(lambda item: _compile(tool, *item), objects.items()))
            whole = Path(folder) / self.name
            _run(tool, "-shared", "-s", "-o", whole, *objects.values(), *libraries())
            whole.replace(place)

    def _sources(self) -> list[Path]:
        """Return what is compiled: all but the files for another processor."""
        is_x86 = platform.machine() in ("x86_64", "AMD64")
        found = sorted(self.folder.rglob("*.cpp"))
        return [path for path in found if is_x86 or path.stem not in _INSTRUCTION_SETS]


OWN = Extension(DOMAIN, SOURCES)
"""The library of edgeopt's own operators."""


def compiler() -> str | None:
    """Return the C++ compiler: ``$CXX`` where that is set, or the first that is installed."""
    chosen = os.environ.get("CXX")
    return next((tool for tool in ((chosen,) if chosen else _COMPILERS) if shutil.which(tool)), None)


def compiler_version() -> str | None:
    """Return the compiler's name and version in one line, None without one."""
    tool = compiler()
    return None if tool is None else _version(tool)


def instruction_set() -> str:
    """Return the instruction set that edgeopt's own kernels use here: scalar, avx2 or avx512."""
    function = ctypes.CDLL(str(OWN.library())).edgeopt_isa
    function.restype = ctypes.c_char_p
    name: bytes = function()
    return name.decode()


def flags(source: Path) -> tuple[str, ...]:
    """Return what a compiler is told of a file of a library: those named after an instruction set are for it."""
    return (*_FLAGS, *_INSTRUCTION_SETS.get(source.stem, ()))


def libraries() -> Iterator[Path]:
    """Yield the libraries of the wheel that ours are linked against.

    Raises EdgeoptError where the wheel has no such library.
    """
    for pattern in _LINKED:
        found = sorted((installed() / "libs").glob(pattern))
        if not found:
            raise EdgeoptError(f"the installed OpenVINO has no {pattern}", "install it from its wheel")
        yield found[0]


def installed() -> Path:
    """Return the folder of the wheel, which holds ``include`` and ``libs``."""
    return Path(openvino().__file__).parent


@functools.cache
def _add(path: Path) -> None:
    core().add_extension(str(path))


def _compile(tool: str, source: Path, target: Path) -> None:
    _run(tool, *flags(source), f"-I{SOURCES}", "-isystem", installed() / "include", "-c", source, "-o", target)


@functools.cache
def _version(tool: str) -> str:
    return _run(tool, "--version").splitlines()[0]


@functools.cache
def _digest(extension: Extension, compiler_line: str) -> str:
    """Return the hash of what a library is made of: others' may include the headers of edgeopt's."""
    digest = hashlib.sha256(repr((compiler_line, openvino().__version__, platform.machine(), _FLAGS)).encode())
    for folder in dict.fromkeys((extension.folder, SOURCES)):
        for path in sorted(p for p in folder.rglob("*") if p.suffix in (".cpp", ".h")):
            digest.update(f"\n{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:32]


def _run(tool: str, *arguments: str | Path) -> str:
    done = subprocess.run([tool, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise EdgeoptError(
            f"{tool} ended with status {done.returncode}: {first_error(done.stderr)}",
            "mend the file that it names, or choose another target",
        )
    return done.stdout
