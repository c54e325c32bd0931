"""The Kotlin with real programs: the WAVs of Python's runtime to the byte, records, and many rounds of bad manners."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from android_demo.offline.build import FIXTURES, LOCK
from android_demo.offline.downloads import kept
from android_demo.offline.errors import ToolFailed
from android_demo.offline.jdk import find_jdk
from android_demo.offline.lock import read_lock
from android_demo.offline.platform import STAND_INS, compile_java
from edge_export.pipeline import BuildRequest, export_bundle
from edge_export.progress import silent
from runtime_py import load
from runtime_py.request import Request
from tests.fixtures.make_bundles import FOLDER, RECIPES
from tests.runtime_native.conftest import BUILD, NO_SKIP, build, executorch_sdk, lacking, refuse

REQUESTS = (
    Request(prompt="warm arpeggios on house beats 120BPM", seconds=1.0, seed=7, steps=4),
    Request(prompt="Straße, 東京の雨 🌧 ½ tempo", seconds=0.25, seed=0, steps=1),
    Request(prompt="x" * 3000, seconds=1.1, seed=2**32 - 1, steps=8),
    Request(prompt="a", seconds=0.001, seed=12345, steps=2),
)
BUILT_IN_REQUESTS = (
    Request(prompt="warm arpeggios on house beats 120BPM", seconds=7.0, seed=7, steps=8),
    Request(prompt="rain on a tin roof", seconds=2.5, seed=11, steps=3),
)
ROUNDS = 200
STEADY = ("-Xms64m", "-Xmx64m", "-XX:+AlwaysPreTouch")  # so that what a process grows by is native
Kotlin = Callable[..., str]


@pytest.fixture
def library() -> Path:
    """libedge-program, for this machine."""
    refuse(lacking())
    sdk = executorch_sdk()
    if not sdk:
        (pytest.fail if NO_SKIP else pytest.skip)("edge-program cannot be built here: pip install executorch")
    return build(BUILD, "host", "edge-program", sdk).with_name("libedge-program.so")


@pytest.fixture
def classpath(kotlin_tested, catalog) -> tuple[Path, ...]:
    work = kotlin_tested / "build" / "offline" / "core"
    found = kept(read_lock(LOCK, catalog).of("library", "test"))
    return (work / "core.jar", work / "core-tests.jar", *found.values())


@pytest.fixture
def kotlin(classpath, catalog, library) -> Kotlin:
    """Runs a class of the Kotlin's tests with the library and these words."""
    jdk = find_jdk(int(catalog.version("jdk")))

    def run(name: str, *words: object, settings: tuple[str, ...] = ()) -> str:
        main = (f"-Dedge.fixtures={FIXTURES}", *settings, f"dev.edgeexport.core.{name}")
        return jdk.run(name, main, (str(library), *map(str, words)), classpath)

    return run


@pytest.fixture
def sdk(kotlin_tested, classpath, catalog, library, tmp_path) -> Kotlin:
    """Runs the same with the SDK's engine, on an ExecuTorch for this machine in place of Android's."""
    jdk = find_jdk(int(catalog.version("jdk")))
    work = kotlin_tested / "build" / "offline"
    known = (work / "sdk" / "sdk.jar", work / "platform" / "executorch.jar", *classpath)
    host = compile_java(
        "the host's ExecuTorch", STAND_INS.with_name("host"), tmp_path / "host.jar", jdk, str(jdk.version), known
    )

    def run(_name: str, *words: object, settings: tuple[str, ...] = ()) -> str:
        main = (*settings, "PlayExecuTorch")
        return jdk.run("PlayExecuTorch", main, (str(library), *map(str, words)), (host, *known))

    return run


def play(kotlin: Kotlin, cases: dict[Path, tuple[Request, ...]], out: Path) -> None:
    plan = [{"bundle": str(bundle), "requests": [*map(asdict, requests)]} for bundle, requests in cases.items()]
    (out / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    kotlin("PlayReal", out / "plan.json", out)


def hold_to_python(kotlin: Kotlin, cases: dict[Path, tuple[Request, ...]], out: Path) -> None:
    """Every WAV is Python's to the byte, and every record is near enough to what the bundle gives here."""
    play(kotlin, cases, out)
    for number, (bundle, requests) in enumerate(cases.items()):
        with load(bundle) as generator:
            for index, request in enumerate(requests):
                generator.generate(request).save(out / "python.wav")
                same = (out / f"{number}-{index}.wav").read_bytes() == (out / "python.wav").read_bytes()
                assert same, (bundle, request)
    records = sorted(out.glob("*-*.json"))
    assert len(records) == sum(map(len, cases.values()))
    command = ["-m", "edge_export", "compare", *records, *cases, "--matrix", "--against", "bundle"]
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_kotlin_plays_real_programs_as_python_does(kotlin, tmp_path):
    hold_to_python(kotlin, {FOLDER / recipe / "bundle": REQUESTS for recipe in RECIPES}, tmp_path)
    assert list((tmp_path / "weights").iterdir()), "the engine was not told where packed weights are kept"
    with pytest.raises(ToolFailed) as caught:
        play(kotlin, {FOLDER / "none": REQUESTS}, tmp_path)
    assert any("no bundle at" in line for line in caught.value.printed)


@pytest.mark.slow
def test_the_engine_of_the_sdk_plays_real_programs_as_python_does(sdk, tmp_path):
    hold_to_python(sdk, {FOLDER / recipe / "bundle": REQUESTS for recipe in RECIPES}, tmp_path)


@pytest.mark.slow
def test_two_at_once_cancelled_and_closed_at_every_event_make_no_wrong_byte_and_take_no_memory(kotlin):
    printed = kotlin("SoakReal", FOLDER / "int8-dynamic" / "bundle", ROUNDS, settings=STEADY)
    assert printed.startswith("heap [")


@pytest.mark.build
def test_the_kotlin_plays_the_built_in_model_as_python_does(kotlin, tmp_path):
    request = BuildRequest(out=tmp_path / "bundle", target="android-arm64", recipe="int8-dynamic")
    export_bundle(request, silent)
    hold_to_python(kotlin, {tmp_path / "bundle": BUILT_IN_REQUESTS}, tmp_path)
