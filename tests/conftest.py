"""Fixtures that more than one package's tests use. Caches are the run's own, never the user's."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

if "PYTEST_XDIST_WORKER_COUNT" in os.environ:  # before torch is imported: workers that share a core wait for each other
    _share = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(_share, 1)))

ORACLE = Path(__file__).parent / "fixtures" / "oracle"
MARKS = {
    "built": "build",
    "built_small": "build",
    "quick_to_start": "build",
    "edge_replay": "build",
    "edge_run": "build",
    "edge_replay_on_arm": "arm",
    "arm": "arm",
    "emulated": "arm",
    "phone": "slow",
}
"""How a test is marked that uses a fixture: itself, by way of another, or as the value of a parameter."""
BUILDS_BUNDLES = "test_a_bundle_proves_itself_to_its_thresholds"
"""Builds every bundle there is."""


def pytest_itemcollected(item: pytest.Item) -> None:
    assert isinstance(item, pytest.Function)
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    used = {*item.fixturenames, *(value for value in parameters if isinstance(value, str))}
    for mark in {MARKS[name] for name in used & MARKS.keys()}:
        item.add_marker(mark)


@pytest.hookimpl(trylast=True)  # of what was chosen, in pytest's own order
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what takes long before what does not, so that what is left for last is short.

    Of two workers one begins at the first test and one at that in the middle. ExecuTorch's bundles are built from the
    one and LiteRT's from the other: neither worker waits for what the other is building.
    """

    def turn(item: pytest.Item) -> int:
        return 0 if getattr(item, "originalname", "") == BUILDS_BUNDLES else 1

    slow = sorted(
        (item for item in items if any(map(item.get_closest_marker, ("build", "arm", "train", "slow")))), key=turn
    )
    quick = [item for item in items if item not in set(slow)]
    litert = [item for item in slow if "litert" in item.nodeid]
    others = [item for item in slow if "litert" not in item.nodeid]
    middle = max(len(items) // 2 - len(others), 0)
    items[:] = [*others, *quick[:middle], *litert, *quick[middle:]]


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this run, the same for all of its workers."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session", autouse=True)
def own_caches(run_folder: Path) -> Iterator[Path]:
    """Compiled programs, packed weights and remembered checkpoints of this run, of its child processes too."""
    folder = run_folder / "caches"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def oracle() -> Path:
    """A checkpoint written by stable-audio-tools 0.0.19, and beside it what that library computes from it."""
    return ORACLE


@pytest.fixture(scope="session")
def small(run_folder: Path) -> Path:
    """A checkpoint of every kind of layer and few of each, whose clips are as long as the oracle's."""
    from tests.fixtures.make_bundles import SMALLER, write_checkpoint

    out = run_folder / "small"
    with FileLock(f"{out}.lock"):
        if not out.exists():
            write_checkpoint(out, SMALLER)
    return out


@pytest.fixture(scope="session")
def built(run_folder: Path, own_caches: Path) -> Callable[[str, str], Path]:
    """(backend, recipe) -> a bundle of the oracle, built once in the whole run. Read it; to change it, copy it.

    Recipes that make the same program of a submodule share it by way of the run's own cache; a worker that wants what
    another is building waits for it.
    """
    return lambda backend, recipe: _built(run_folder / f"{backend}-{recipe}", ORACLE, backend, recipe)


@pytest.fixture(scope="session")
def built_small(run_folder: Path, own_caches: Path, small: Path) -> Callable[[str, str], Path]:
    """The same of the small checkpoint, where no number of the oracle's is needed."""
    return lambda backend, recipe: _built(run_folder / f"small-{backend}-{recipe}", small, backend, recipe)


def _built(out: Path, checkpoint: Path, backend: str, recipe: str) -> Path:
    from edge_export.pipeline import BuildRequest, export_bundle
    from edge_export.progress import silent

    with FileLock(f"{out}.lock"):
        if not out.exists():
            request = BuildRequest(
                out=out, target="android-arm64", checkpoint=checkpoint, backend=backend, recipe=recipe, steps=4
            )
            export_bundle(request, silent)
    return out


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    """A copy of a folder to break."""
    return lambda folder: Path(shutil.copytree(folder, tmp_path / folder.name))
