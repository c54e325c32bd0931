"""The runner's build: once for the same sources, again for others, one line when it fails."""

import subprocess
import sys
from pathlib import Path

import pytest

from edge_export.device import build
from edge_export.device.build import build_runner
from edge_export.device.sdk import Sdk
from edge_export.errors import DeviceError, MissingDependency

pytestmark = pytest.mark.build

CMAKE = """cmake_minimum_required(VERSION 3.22)
project(edge_run LANGUAGES CXX)
add_executable(edge-run src/main.cpp)
install(TARGETS edge-run RUNTIME DESTINATION .)
"""
PRESETS = """{"version": 3, "configurePresets": [
  {"name": "host", "binaryDir": "${sourceDir}/build"},
  {"name": "linux-arm64", "binaryDir": "${sourceDir}/build", "cacheVariables": {"CMAKE_SYSTEM_NAME": "Linux",
   "CMAKE_SYSTEM_PROCESSOR": "aarch64", "CMAKE_CXX_COMPILER": "aarch64-linux-gnu-g++"}}]}
"""
MAIN = '#include <iostream>\nint main() { std::cerr << "[1/1] hello\\n"; }\n'


@pytest.fixture
def sources(tmp_path, monkeypatch, need) -> Path:
    """A runner of three lines, and an SDK that it does not need."""
    need("cmake", "ninja", "g++")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "missing", lambda _: [])
    folder = tmp_path / "sources"
    (folder / "src").mkdir(parents=True)
    (folder / "CMakeLists.txt").write_text(CMAKE)
    (folder / "CMakePresets.json").write_text(PRESETS)
    (folder / "src" / "main.cpp").write_text(MAIN)
    monkeypatch.setitem(build.TOOLCHAINS, "host", with_sdk(build.TOOLCHAINS["host"], folder))
    return folder


def with_sdk(chain: build.Toolchain, folder: Path) -> build.Toolchain:
    from dataclasses import replace

    return replace(chain, sdk=lambda: Sdk(folder=folder, version="1.5.1", digest="0"))


def test_the_same_sources_are_built_once_and_others_again(sources):
    first, again = build_runner("host", sources=sources), build_runner("host", sources=sources)
    assert first == again
    assert (
        subprocess.run([first.folder / "edge-run"], capture_output=True, text=True, check=True).stderr
        == "[1/1] hello\n"
    )
    (sources / "src" / "main.cpp").write_text(MAIN.replace("hello", "other"))
    assert build_runner("host", sources=sources).folder != first.folder


def test_a_damaged_runner_is_built_again(sources):
    built = build_runner("host", sources=sources)
    (built.folder / "edge-run").write_bytes(b"cut")
    assert build_runner("host", sources=sources).files == built.files
    assert (built.folder / "edge-run").stat().st_size > 1000


def test_sources_that_do_not_compile_are_one_line_and_a_log(sources):
    (sources / "src" / "main.cpp").write_text("int main() { return undeclared; }\n")
    with pytest.raises(DeviceError) as caught:
        build_runner("host", sources=sources)
    message = str(caught.value)
    assert "undeclared" in message
    assert "\n" not in message
    log = Path(message.rpartition("the whole log is ")[2])
    assert "main.cpp" in log.read_text()
    assert not list(log.parent.glob("runner/*"))


def test_two_processes_build_once(sources, tmp_path):
    count = f'execute_process(COMMAND sh -c "echo built >> {tmp_path}/times")\n'
    (sources / "CMakeLists.txt").write_text(CMAKE + count)
    code = (
        "from pathlib import Path; from edge_export.device import build;"
        "from edge_export.device.sdk import Sdk; from dataclasses import replace; build.missing = lambda _: [];"
        "build.TOOLCHAINS['host'] = replace(build.TOOLCHAINS['host'],"
        " sdk=lambda: Sdk(folder=Path('.'), version='1.5.1', digest='0'));"
        f"print(build.build_runner('host', sources=Path({str(sources)!r})).folder)"
    )
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    folders = {process.communicate(timeout=120)[0] for process in both}
    assert len(folders) == 1
    assert (tmp_path / "times").read_text().split() == ["built"]


def test_a_missing_compiler_is_named_before_anything_is_built(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependency, match="edge-export device setup --on qemu"):
        build_runner("linux-arm64")
