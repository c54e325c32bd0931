"""edge_program.h from C99: the bytes of Python's engine, and a line and a code for whatever goes wrong."""

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import runtime_native
from runtime_py.bundle import open_bundle
from runtime_py.engines import executorch
from runtime_py.generation_spec import TensorSpec
from tests.fixtures.make_bundles import FOLDER, RECIPES
from tests.runtime_native.conftest import BUILD, NO_SKIP, Runner, build, executorch_sdk, lacking, refuse, runner

ROLES = ("conditioner", "dit", "decoder", "decoder_tail")
FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-pthread")


@pytest.fixture(scope="session")
def c_interface(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """Runs tests/c_interface.c with these arguments."""
    refuse(lacking())
    sdk = executorch_sdk()
    if not sdk:
        (pytest.fail if NO_SKIP else pytest.skip)("edge-program cannot be built here: pip install executorch")
    build(BUILD, "host", "edge-program", sdk)
    program = tmp_path_factory.mktemp("c") / "c-interface"
    compile_c(runtime_native.SOURCES / "tests" / "c_interface.c", program)
    return runner(str(program))


def compile_c(source: Path, program: Path) -> None:
    library = (f"-L{BUILD}", "-ledge-program", f"-Wl,-rpath,{BUILD}")
    command = ["cc", *FLAGS, f"-I{runtime_native.SOURCES / 'include'}", str(source), "-o", str(program), *library]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@dataclass(frozen=True, kw_only=True)
class Case:
    """A program of a bundle and inputs for it, in `folder` as the C program reads them."""

    path: Path
    sha256: str
    kept_bytes: int
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    folder: Path
    expected: list[bytes]

    def words(self, **changed: object) -> list[object]:
        """For the C program: the file, its hash, whether it was hashed, threads, cache, bytes kept."""
        words = {"path": self.path, "sha256": self.sha256, "hashed": 0, "threads": 1, "cache": "-"}
        return [*(words | {"kept_bytes": self.kept_bytes} | changed).values()]

    def interface(self) -> list[str]:
        return [*map(word_of, self.inputs), ":", *map(word_of, self.outputs)]

    def made(self) -> list[bytes]:
        return [(self.folder / f"output_{index}").read_bytes() for index in range(len(self.outputs))]


def word_of(spec: TensorSpec) -> str:
    return "/".join(map(str, (spec.name, spec.dtype, *spec.shape)))


def make_case(recipe: str, role: str, folder: Path, silent: bool = False) -> Case:
    bundle = open_bundle(FOLDER / recipe / "bundle")
    spec, interface = bundle.manifest.programs[role], bundle.manifest.generation.programs[role]
    path, most = bundle.path(spec), 0 if silent else 2
    draw = np.random.default_rng(1)
    inputs = {tensor.name: draw.uniform(0, most, size=tensor.shape).astype(tensor.dtype) for tensor in interface.inputs}
    made = executorch.load(path, role, interface, threads=1).run(inputs)
    by_position = {
        side: sorted(getattr(interface, side), key=lambda tensor: tensor.position) for side in ("inputs", "outputs")
    }
    for index, tensor in enumerate(by_position["inputs"]):
        (folder / f"input_{index}").write_bytes(inputs[tensor.name].tobytes())
    return Case(
        path=path,
        sha256=spec.sha256,
        kept_bytes=spec.memory.kept_bytes,
        folder=folder,
        expected=[made[tensor.name].tobytes() for tensor in by_position["outputs"]],
        **by_position,
    )


@pytest.fixture
def dit(tmp_path: Path) -> Case:
    (tmp_path / "noise").write_bytes(b"\0\0\0\0\x97\nX?" * 100)
    return make_case("int8-dynamic", "dit", tmp_path)


def lines_of(case: Case, names: bool = True) -> list[str]:
    """What the C program prints of the description."""
    lines = []
    for side, specs in (("input", case.inputs), ("output", case.outputs)):
        for index, spec in enumerate(specs):
            name, size = spec.name if names else f"{side}_{index}", np.dtype(spec.dtype).itemsize * np.prod(spec.shape)
            lines.append(f"{side} {name} {spec.dtype} {' '.join(map(str, spec.shape))} : {size}")
    return lines


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_run_gives_the_bytes_of_pythons_engine(c_interface: Runner, tmp_path: Path, recipe: str, role: str) -> None:
    case = make_case(recipe, role, tmp_path)
    for interface in (case.interface(), []):
        done = c_interface("play", tmp_path, *case.words(), *interface)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines() == [*lines_of(case, names=bool(interface)), "threads 1"]
        assert case.made() == case.expected


def test_weights_are_kept_in_the_cache_and_give_the_same_bytes(c_interface: Runner, dit: Case, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for _ in range(2):
        done = c_interface("play", dit.folder, *dit.words(cache=cache), *dit.interface())
        assert (done.returncode, done.stderr, "note" in done.stdout) == (0, "", False)
        assert dit.made() == dit.expected
        kept = [(path.name, path.stat().st_ino) for path in cache.iterdir()]
        assert len(kept) == 1
    done = c_interface("play", dit.folder, *dit.words(cache=cache, kept_bytes=0), *dit.interface())
    assert dit.made() == dit.expected and [(path.name, path.stat().st_ino) for path in cache.iterdir()] == kept


def test_a_cache_that_cannot_be_written_is_a_note(c_interface: Runner, dit: Case, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = c_interface("play", dit.folder, *dit.words(cache=tmp_path / "file"), *dit.interface())
    assert f"note packed weights are not kept in {tmp_path / 'file'}: it is no folder" in done.stdout
    assert dit.made() == dit.expected


REFUSED: dict[str, tuple[Callable[[Case], list[object]], int, str]] = {
    "missing": (
        lambda case: case.words(path=case.folder / "none.pte"),
        4,
        "no program at FOLDER/none.pte; give the path of a .pte file of a bundle",
    ),
    "a folder": (
        lambda case: case.words(path=case.folder),
        4,
        "FOLDER is not a plain file; give the path of a .pte file of a bundle",
    ),
    "no program": (
        lambda case: case.words(path=case.folder / "noise", sha256="-"),
        4,
        "FOLDER/noise is no program for ExecuTorch (Program identifier '??X?' != expected 'ET12'); rebuild the bundle",
    ),
    "another hash": (
        lambda case: case.words(sha256="0" * 64),
        4,
        "dit.pte was altered: its sha256 is not the one given; copy or build the bundle again",
    ),
    "no hash": (lambda case: case.words(sha256="DIT"), 2, "sha256 is DIT, expected 64 digits of 0-9 and a-f"),
    "a cache without a hash": (
        lambda case: case.words(sha256="-", cache=case.folder),
        2,
        "sha256 is NULL; a cache, and a file that was hashed, need it",
    ),
    "a cache without a name": (lambda case: case.words(cache=""), 2, "cache names no folder; give NULL for none"),
    "negative bytes": (lambda case: case.words(kept_bytes=-1), 2, "kept_bytes is -1, expected 0 or more"),
    "threads": (lambda case: case.words(threads=257), 2, "threads is 257, expected 0 to 256"),
    "another interface": (
        lambda case: [*case.words(), *case.interface(), "more/float32/1"],
        4,
        "the manifest says float32[1, 64, 26]; float32[1]; rebuild the bundle",
    ),
    "inputs alone": (
        lambda case: [*case.words(), word_of(case.inputs[0])],
        2,
        "outputs are 0, expected 1 to 1024",
    ),
    "a dtype": (
        lambda case: [*case.words(), "x/bool/1"],
        2,
        "inputs[0].dtype is bool, expected float32, float16, int32 or int64",
    ),
    "a name twice": (lambda case: [*case.words(), "x/int32/1", "x/int32/1"], 2, "inputs name x twice"),
    "no dtype": (lambda case: [*case.words(), "x"], 2, "inputs[0].dtype is NULL; see edge_program.h"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_refuses(c_interface: Runner, dit: Case, name: str) -> None:
    words, code, message = REFUSED[name]
    done = c_interface("play", dit.folder, *words(dit))
    assert done.returncode == code, done.stderr
    assert message.replace("FOLDER", str(dit.folder)) in done.stderr
    assert done.stderr.count("\n") == 1 and done.stdout == ""


def test_a_file_that_was_hashed_is_not_hashed_again(c_interface: Runner, dit: Case) -> None:
    assert c_interface("play", dit.folder, *dit.words(sha256="0" * 64, hashed=1)).returncode == 0


def test_calls_that_make_no_sense_are_errors_and_nothing_more(c_interface: Runner, dit: Case) -> None:
    done = c_interface("misuse", dit.folder, *dit.words())
    assert (done.returncode, done.stderr) == (0, "")
    first, out = lines_of(dit)[0].rpartition(" ")[2], lines_of(dit)[-1].rpartition(" ")[2]
    sizes = {
        side: "[" + ", ".join(map(str, spec.shape)) + "]"
        for side, spec in zip("io", (dit.inputs[0], dit.outputs[0]), strict=True)
    }
    count = len(dit.inputs)
    assert done.stdout.splitlines() == [
        "no options: 2 options is NULL; see edge_program.h",
        "no place: 2 program is NULL; see edge_program.h",
        "no path: 2 path is NULL; see edge_program.h",
        "small message: 2 path is",
        "no message: 2 ",
        "describe nothing: 2 program is NULL; see edge_program.h",
        "describe nowhere: 2 description is NULL; see edge_program.h",
        "run nothing: 2 program is NULL; see edge_program.h",
        "no inputs: 2 inputs is NULL; see edge_program.h",
        "no outputs: 2 outputs is NULL; see edge_program.h",
        f"one less: 2 inputs are {count - 1}, expected {count}",
        "one more: 2 outputs are 2, expected 1",
        f"input: 2 input input_0 has {int(first) - 1} bytes, expected {first} for float32{sizes['i']}",
        f"output: 2 output output_0 has {int(out) + 1} bytes, expected {out} for float32{sizes['o']}",
        "threads: 2 threads is 2, but there is one pool for the whole process, and open programs use it with 1; "
        "free them first, or ask for the same number",
        "nothing opened: 0 ",
        "threads again: 0 ",
    ]


def test_threads_take_turns(c_interface: Runner, dit: Case, tmp_path: Path) -> None:
    done = c_interface("share", dit.folder, *dit.words(threads=2, cache=tmp_path / "cache"), *dit.interface())
    assert (done.returncode, done.stdout, done.stderr) == (0, "wrong 0\n", "")


def test_the_version_is_that_of_edge_run(c_interface: Runner, edge_run: Runner) -> None:
    name, version, engine, engine_version = c_interface("version").stdout.split()
    assert (name, engine) == ("edge-program", "executorch")
    assert edge_run("--version").stdout == f"edge-run {version} (ExecuTorch {engine_version})\n"


def test_the_example_of_the_readme_runs(c_interface: Runner, tmp_path: Path) -> None:
    """As it stands, from the folder of the README, on silence."""
    case = make_case("fp32", "decoder_tail", tmp_path, silent=True)
    text = (runtime_native.SOURCES / "README.md").read_text("utf-8").partition("```c\n")[2].partition("```")[0]
    include, _, body = text.partition("\n")
    write = "return fwrite(sound, sizeof sound, 1, stdout) == 1 ? 0 : 1;"
    (tmp_path / "example.c").write_text(f"#include <stdio.h>\n{include}\nint main(void) {{\n{body}{write}\n}}\n")
    compile_c(tmp_path / "example.c", tmp_path / "example")
    done = subprocess.run(
        [tmp_path / "example"], cwd=runtime_native.SOURCES, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert [done.stdout] == case.expected


@pytest.mark.skipif(shutil.which("nm") is None and not NO_SKIP, reason="nm is not installed")
def test_no_other_names_leave_the_library(c_interface: Runner) -> None:
    listed = subprocess.run(
        ["nm", "-D", "--defined-only", BUILD / "libedge-program.so"], capture_output=True, text=True, check=True
    )
    names = {line.split()[-1] for line in listed.stdout.splitlines()}
    assert names == {f"edge_program_{call}" for call in ("open", "describe", "run", "free", "version")}
