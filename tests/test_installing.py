"""What is installed: the wheel, used outside of the repository, and how `make setup` calls pip."""

import json
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BUNDLE = ROOT / "tests/fixtures/bundles/fp32/bundle"
PACKAGES = ("edge_export", "post_training", "quantization", "runtime_native", "runtime_py")
USE = """
import json, sys
from pathlib import Path
import edge_export, edge_export.device.build, runtime_py
from runtime_py import load
load(sys.argv[1]).generate("rain on a tin roof", seconds=0.2, seed=1).save("rain.wav")
sources = edge_export.device.build.INSTALLED_SOURCES
print(json.dumps({
    "places": [edge_export.__file__, runtime_py.__file__, str(sources)],
    "sources": sorted(path.name for path in sources.iterdir()),
}))
"""


def tracked(*folders: str) -> list[str]:
    listed = subprocess.run(["git", "ls-files", *folders], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout: what belongs into the wheel is not known")
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy of what git knows: a `build/` that lies about would be packed too."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("wheel")
    for name in tracked(*PACKAGES, "pyproject.toml", "README.md", "LICENSE"):
        place = folder / "source" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, place)
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index")
    subprocess.run([*pip, "--wheel-dir", folder, folder / "source"], check=True, timeout=120)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """A folder with the wheel's packages and scripts, as `pip install --no-deps --target` leaves it."""
    folder = tmp_path_factory.mktemp("installed")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile")
    subprocess.run([*pip, "--target", folder, wheel], check=True, timeout=120)
    return folder


@pytest.fixture
def elsewhere(installed, tmp_path):
    """Runs this Python in an empty folder, with the wheel and the packages it needs, and nothing of the repository."""

    def run(*arguments: object) -> str:
        paths = f"{installed}:{sysconfig.get_path('purelib')}"  # as a path of its own, so that no .pth file is read
        environment = {"PYTHONPATH": paths, "HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-S", *map(str, arguments)]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.slow
def test_the_wheel_holds_what_git_has_of_the_packages_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = [name for name in archive.namelist() if ".dist-info/" not in name]
    assert sorted(held) == sorted(tracked(*PACKAGES))


@pytest.mark.slow
def test_the_wheel_plays_outside_of_the_repository(elsewhere, installed, tmp_path):
    pytest.importorskip("executorch")
    said = json.loads(elsewhere("-c", USE, BUNDLE))
    assert all(Path(place).is_relative_to(installed) for place in said["places"])
    assert {"CMakeLists.txt", "CMakePresets.json", "src"} <= set(said["sources"])
    assert (tmp_path / "rain.wav").read_bytes()[:4] == b"RIFF"


@pytest.mark.slow
def test_the_wheels_command_works_outside_of_the_repository(elsewhere, installed):
    script = installed / "bin/edge-export"
    assert "Usage: edge-export" in elsewhere(script, "--help")
    assert "int8-dynamic" in elsewhere(script, "recipes")


@pytest.mark.parametrize(
    ("variables", "torch"),
    [
        ((), "install --quiet  torch==2.13.0"),
        (("TORCH_INDEX=https://t.example/cpu",), "install --quiet --index-url 'https://t.example/cpu' torch==2.13.0"),
    ],
)
def test_make_takes_torch_and_nothing_else_from_its_index(variables, torch):
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    command = ["make", "--dry-run", "--always-make", "setup", *variables]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [line for line in shown.splitlines() if "torch==" in line] == [f".venv/bin/pip {torch}"]
    assert shown.count("--index-url") == len(variables)
