"""The kernels and plug-ins compile without a warning, for every GPU they are meant for, where nvcc is present."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from edgeopt.kernels.cuda.inventory import PLUGINS, ROOT, kernels
from edgeopt.targets.tensorrt.jetson.project import render_library
from tests.kernels.cuda.launchers import ARCHITECTURES, HERE, requires_nvcc

WARNINGS = ["-std=c++17", "-Werror=all-warnings", "-Xcompiler=-Wall,-Wextra,-Werror"]
OLDEST, *BETWEEN, NEWEST = ARCHITECTURES
every_gpu = pytest.mark.parametrize(
    "architectures", [(OLDEST, NEWEST), pytest.param(BETWEEN, marks=pytest.mark.nightly)], ids=["ends", "between"]
)


@pytest.mark.slow
@requires_nvcc
@every_gpu
def test_kernels_compile_for_every_gpu(architectures: Sequence[str], tmp_path: Path) -> None:
    targets = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in architectures]
    library = tmp_path / "libedgeopt.so"
    subprocess.run(
        ["nvcc", "-shared", "-Xcompiler=-fPIC", *WARNINGS, *targets, ROOT / "launchers.cu", "-o", library], check=True
    )
    symbols = subprocess.run(["nm", "-D", library], check=True, capture_output=True, text=True).stdout
    assert all(f" eo_{name}\n" in symbols for name in kernels())


@pytest.mark.slow
@requires_nvcc
@every_gpu
def test_kernels_of_python_plugins_compile_for_every_gpu(architectures: Sequence[str], tmp_path: Path) -> None:
    targets = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in architectures]
    subprocess.run(["nvcc", "-c", *WARNINGS, *targets, ROOT / "aot.cu", "-o", tmp_path / "aot.o"], check=True)


@requires_nvcc
def test_plugins_compile_and_are_found_by_name(tmp_path: Path) -> None:
    """Loads the library as TensorRT does, against a stand-in of its header, and asks the creators who they are."""
    (tmp_path / "library.cu").write_text(render_library(PLUGINS))
    (tmp_path / "main.cu").write_text(_MAIN)
    include = ["-I", str(ROOT), "-I", str(HERE / "tensorrt")]
    subprocess.run(
        ["nvcc", *WARNINGS, "-arch=sm_87", "-cudart=static", *include, "library.cu", "main.cu", "-o", "main"],
        check=True,
        cwd=tmp_path,
    )
    lines = subprocess.run([tmp_path / "main"], check=True, capture_output=True, text=True).stdout.splitlines()
    expected = [
        " ".join([p.namespace, p.node, p.version, *(a.name for a in p.attributes), "serializes", "clones"])
        for p in PLUGINS
    ]
    assert lines == expected


_MAIN = r"""
#include <NvInfer.h>
#include <cstdio>
#include <cstring>
using namespace nvinfer1;
extern "C" IPluginCreatorInterface* const* getCreators(int32_t& count);
int main() {
    int32_t count = 0;
    IPluginCreatorInterface* const* creators = getCreators(count);
    for (int i = 0; i < count; ++i) {
        auto* creator = static_cast<IPluginCreatorV3One*>(creators[i]);
        std::printf("%s %s %s", creator->getPluginNamespace(), creator->getPluginName(), creator->getPluginVersion());
        PluginFieldCollection const* names = creator->getFieldNames();
        int32_t const value = 0x3f800000;
        PluginField given[4];
        for (int j = 0; j < names->nbFields; ++j) {
            std::printf(" %s", names->fields[j].name);
            given[j] = PluginField(names->fields[j].name, &value, names->fields[j].type, 1);
        }
        PluginFieldCollection const fields = {names->nbFields, given};
        PluginFieldCollection const none = {0, nullptr};
        if (names->nbFields && creator->createPlugin("", &none, TensorRTPhase::kBUILD)) return 1;
        IPluginV3* plugin = creator->createPlugin("", &fields, TensorRTPhase::kBUILD);
        IPluginV3* copy = plugin->clone();
        auto* runtime = static_cast<IPluginV3OneRuntime*>(copy->getCapabilityInterface(PluginCapabilityType::kRUNTIME));
        PluginFieldCollection const* stored = runtime->getFieldsToSerialize();
        bool equal = stored->nbFields == names->nbFields;
        for (int j = 0; equal && j < stored->nbFields; ++j) {
            equal = std::memcmp(stored->fields[j].data, &value, 4) == 0 && stored->fields[j].length == 1;
        }
        auto* core = static_cast<IPluginV3OneCore*>(copy->getCapabilityInterface(PluginCapabilityType::kCORE));
        bool const same = std::strcmp(core->getPluginName(), creator->getPluginName()) == 0;
        std::printf(" %s %s\n", equal ? "serializes" : "loses fields", same ? "clones" : "loses its name");
        delete copy;
        delete plugin;
    }
    return 0;
}
"""
