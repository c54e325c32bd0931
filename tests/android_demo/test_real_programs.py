"""The Kotlin with real programs: the WAV of Python's runtime to the byte, and bundles that prove themselves."""

from collections.abc import Callable
from pathlib import Path

import pytest

from android_demo.offline.build import LOCK, make
from android_demo.offline.downloads import kept
from android_demo.offline.errors import ToolFailed
from android_demo.offline.jdk import find_jdk
from android_demo.offline.lock import read_lock
from edge_export.progress import silent
from runtime_py import load
from runtime_py.request import Request
from tests.android_demo.conftest import PROJECT
from tests.fixtures.make_bundles import FOLDER, RECIPES
from tests.runtime_native.conftest import BUILD, NO_SKIP, build, executorch_sdk, lacking, refuse

REQUEST = Request(prompt="warm arpeggios on house beats 120BPM", seconds=1.0, seed=7)


@pytest.fixture
def library() -> Path:
    """libedge-program, for this machine."""
    refuse(lacking())
    sdk = executorch_sdk()
    if not sdk:
        (pytest.fail if NO_SKIP else pytest.skip)("edge-program cannot be built here: pip install executorch")
    return build(BUILD, "host", "edge-program", sdk).with_name("libedge-program.so")


@pytest.fixture
def play(downloaded, catalog, library) -> Callable[[Path, Path], None]:
    """Plays REQUEST with a bundle in Kotlin, into a WAV, and proves the bundle; ToolFailed where one of it fails."""
    make("build", PROJECT, silent)
    work = PROJECT / "build" / "offline" / "core"
    found = kept(read_lock(LOCK, catalog).of("library", "test"))
    classpath = (work / "core.jar", work / "core-tests.jar", *found.values())
    jdk = find_jdk(int(catalog.version("jdk")))

    def run(bundle: Path, wav: Path) -> None:
        asked = (REQUEST.prompt, str(REQUEST.seconds), str(REQUEST.seed))
        jdk.run("playing", ("dev.edgeexport.core.PlayReal",), (str(library), str(bundle), *asked, str(wav)), classpath)

    return run


@pytest.mark.slow
def test_the_kotlin_plays_real_programs_as_python_does(play, tmp_path):
    for recipe in RECIPES:
        bundle = FOLDER / recipe / "bundle"
        play(bundle, tmp_path / "kotlin.wav")
        with load(bundle) as generator:
            generator.generate(REQUEST).save(tmp_path / "python.wav")
        assert (tmp_path / "kotlin.wav").read_bytes() == (tmp_path / "python.wav").read_bytes(), recipe
    with pytest.raises(ToolFailed) as caught:
        play(FOLDER / "none", tmp_path / "none.wav")
    assert any("no bundle at" in line for line in caught.value.printed)
