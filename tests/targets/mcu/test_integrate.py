"""Example applications: make and cmake are built and run, the others are checked as far as their tools are here."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from edgeopt.errors import UserError
from edgeopt.plugins.registry import resolve
from edgeopt.targets.mcu import MicroOptions
from tests.qemu import skip_without_qemu

from .test_target import small

DEVICES = ("host-c", "stm32f746", "mps3-an547")


def generated(kind: str, device: str, folder: Path, options: MicroOptions | None = None) -> Path:
    chosen = replace(options or MicroOptions(), project=kind)
    artifact = resolve(device).compile(small(), folder, chosen)
    left = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert left == set(artifact.files)
    return folder / "project"


def requires(device: str, *tools: str) -> None:
    if missing := [tool for tool in tools if not shutil.which(tool)]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    skip_without_qemu(device)


def output(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


@pytest.mark.parametrize("device", DEVICES)
def test_make_builds_and_runs_the_golden_inputs(device: str, tmp_path: Path) -> None:
    requires(device, "make", "gcc")
    assert "golden outputs: equal" in output("make", "run", cwd=generated("make", device, tmp_path))


def test_make_runs_a_streamed_input_and_external_weights(tmp_path: Path) -> None:
    requires("mps2-an500", "make")
    options = MicroOptions(stream_input=True, external_weights=".qspi")
    project = generated("make", "mps2-an500", tmp_path, options)
    assert ".qspi : { *(.qspi*) } > EXTERNAL" in (project / "firmware.ld").read_text()
    assert "golden outputs: equal" in output("make", "run", cwd=project)


@pytest.mark.parametrize("device", DEVICES)
def test_cmake_builds_and_runs_the_golden_inputs(device: str, tmp_path: Path) -> None:
    requires(device, "cmake", "make", "gcc")
    project = generated("cmake", device, tmp_path)
    toolchain = [] if device == "host-c" else ["--toolchain", "arm-none-eabi.cmake"]
    output("cmake", "-G", "Unix Makefiles", "-B", "build", *toolchain, cwd=project)
    assert "golden outputs: equal" in output("cmake", "--build", "build", "--target", "run", cwd=project)


def test_a_wrong_output_is_noticed(tmp_path: Path) -> None:
    requires("host-c", "make", "gcc")
    project = generated("make", "host-c", tmp_path)
    golden = (project / "golden.h").read_text()
    head, _, tail = golden.rpartition("golden_output_0[] = {\n    ")
    value, _, rest = tail.partition(",")
    (project / "golden.h").write_text(f"{head}golden_output_0[] = {{\n    {(int(value) + 129) % 256 - 128},{rest}")
    done = subprocess.run(["make", "run"], cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode and "DIFFERENT" in done.stderr


def test_zephyr_module_and_application_name_each_other(tmp_path: Path) -> None:
    project = generated("zephyr", "nrf5340", tmp_path)
    assert "cmake: zephyr" in (project / "zephyr/module.yml").read_text()
    symbol = (project / "zephyr/Kconfig").read_text().split()[1]
    assert f"CONFIG_{symbol}=y" in (project / "app/prj.conf").read_text()
    assert f"if(CONFIG_{symbol})" in (project / "zephyr/CMakeLists.txt").read_text()
    compiles_for_the_host(project / "app/src/main.c", tmp_path)


def test_platformio_names_the_board(tmp_path: Path) -> None:
    project = generated("platformio", "stm32f746", tmp_path)
    settings = configparser.ConfigParser()
    settings.read(project / "platformio.ini")
    assert settings["env:example"]["board"] == "disco_f746ng"
    compiles_for_the_host(project / "src/main.c", tmp_path)


def test_esp_idf_takes_portable_c(tmp_path: Path) -> None:
    project = generated("esp-idf", "host-c", tmp_path)
    assert "void app_main(void)" in (project / "main/main.c").read_text()
    compiles_for_the_host(project / "main/main.c", tmp_path)


def compiles_for_the_host(source: Path, folder: Path) -> None:
    requires("host-c", "gcc")
    output(
        "gcc",
        "-std=c99",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-c",
        source,
        f"-I{folder / 'network'}",
        "-o",
        "/dev/null",
        cwd=folder,
    )


@pytest.mark.parametrize(
    ("device", "kind", "reason"),
    [("stm32f746", "bazel", "project is 'bazel'"), ("mps2-an386", "platformio", "no PlatformIO board"),
     ("stm32f746", "esp-idf", "Xtensa")],
)  # fmt: skip
def test_projects_that_do_not_go_are_refused(device: str, kind: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        resolve(device).check_options(MicroOptions(project=kind))
