"""Programs shared by threads give what they give alone, and a forked child plays or is refused, and always ends."""

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from runtime_py.bundle import open_bundle
from runtime_py.engine import Program, bundle_programs, kept_loaded
from runtime_py.errors import GenerationError
from runtime_py.generation_spec import Interface
from runtime_py.generator import load
from runtime_py.request import Request
from tests.fixtures.make_bundles import FOLDER
from tests.runtime_py.echo import Echo

TINY = FOLDER / "fp32" / "bundle"
THREADS = 4
REFUSED = (
    "this process was forked from one that had loaded programs, whose threads it lacks; "
    'start it by multiprocessing.get_context("spawn"), or fork before programs are loaded'
)


def inputs_of(interface: Interface, seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {tensor.name: random.random(tensor.shape).astype(tensor.dtype) for tensor in interface.inputs}


def play_together(program: Program, interface: Interface, *, times: int) -> None:
    """Four threads run one program, and each holds every output against what it had alone."""
    given = [inputs_of(interface, seed) for seed in range(THREADS)]
    alone = [program.run(inputs) for inputs in given]
    start = threading.Barrier(THREADS)

    def play(number: int) -> int:
        start.wait()
        made = [program.run(given[number]) for _ in range(times)]
        return sum(not np.array_equal(each[name], alone[number][name]) for each in made for name in each)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads give way all the time, so that what is not safe goes wrong at once
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            assert list(pool.map(play, range(THREADS))) == [0] * THREADS
    finally:
        sys.setswitchinterval(before)


class Alone:
    """A method that fails where two runs overlap, or where outputs are read while another runs."""

    def __init__(self, method: Any) -> None:
        self._method, self._running = method, 0

    def __call__(self, inputs: list[Any], **options: Any) -> Any:
        self._running += 1
        time.sleep(0.001)
        assert self._running == 1
        made = self._method(inputs, **options)
        self._running -= 1
        return made


def test_a_program_that_threads_share_gives_what_it_gives_alone():
    bundle = open_bundle(TINY)
    program: Any = bundle_programs(bundle)("dit")
    program._method = Alone(program._method)
    play_together(program, bundle.manifest.generation.programs["dit"], times=3)


def test_threads_that_ask_at_once_for_a_program_that_is_kept_get_one():
    opened, start = list[str](), threading.Barrier(THREADS)

    def open_program(role: str) -> Program:
        opened.append(role)
        start_of_others.wait(0.05)
        return Echo()

    start_of_others = threading.Event()
    kept = kept_loaded(open_program)

    def ask(_: int) -> Program:
        start.wait()
        return kept("dit")

    with ThreadPoolExecutor(THREADS) as pool:
        programs = set(pool.map(ask, range(THREADS)))
    assert (len(programs), opened) == (1, ["dit"])


def test_threads_that_fail_or_leave_half_way_or_close_leave_the_others_right():
    requests = [Request(prompt="rain", seconds=0.5, seed=seed, steps=2) for seed in range(2)]
    with load(TINY) as generator:
        alone = generator.generate(requests[0]).audio.tobytes()
        left = generator.events(requests[1])

        def leave() -> None:
            next(left)
            left.close()  # type: ignore[attr-defined]

        def fail() -> None:
            program = generator._open("dit")  # noqa: SLF001
            with pytest.raises(GenerationError, match="inputs are"):
                program.run({})

        with ThreadPoolExecutor(THREADS) as pool:
            played = [pool.submit(generator.generate, requests[0]) for _ in range(2)]
            for other in (pool.submit(leave), pool.submit(fail)):
                other.result()
            assert [each.result().audio.tobytes() for each in played] == [alone] * 2
            under_way = generator.events(requests[0])
            next(under_way)
            pool.submit(generator.close).result()
        with pytest.raises(GenerationError, match="is closed"):
            next(under_way)
    assert load(TINY).generate(requests[0]).audio.tobytes() == alone


# Forks

# What children of one process make of a bundle, as JSON: before it is loaded, and after it was played, while other
# threads of the parent are in the middle of everything.
CHILDREN = """
import gc, hashlib, json, multiprocessing, os, signal, sys, threading
from runtime_py import load
from runtime_py.bundle import open_bundle
from runtime_py.engine import bundle_programs, engine_for, kept_loaded
from runtime_py.quiet import quiet

folder, found = sys.argv[1], {}
bundle = open_bundle(folder)

def play(generator):
    return hashlib.sha256(generator.generate("rain", seconds=0.5, seed=1, steps=2).audio.tobytes()).hexdigest()

def told(work):
    try:
        return work()
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def child(name, work, end=os._exit):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        os.write(writer, told(work).encode())
        end(7)
    os.close(writer)
    said = os.fdopen(reader).read()
    found[name] = said, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def close():
    global generator, program
    generator.close()
    del generator, program
    gc.collect()
    return "closed"

engine_for(bundle.manifest.backend).prepare()
generator = load(folder, threads=4)
child("before", lambda: play(generator))
found["parent"] = play(generator), 0
kept = kept_loaded(bundle_programs(bundle, threads=4))
program = kept("dit")
waiting, ready = threading.Event(), threading.Barrier(3)

def hold(lock):
    with lock:
        ready.wait()
        waiting.wait()

turn = getattr(engine_for(bundle.manifest.backend), "_turn", None) or program._turn
for lock in (generator._turn, turn):
    threading.Thread(target=hold, args=(lock,), daemon=True).start()
ready.wait()
child("ends", lambda: "ends", sys.exit)
child("plays", lambda: play(generator))
child("asks for events", lambda: generator.events(generator.request("rain")))
child("loads", lambda: play(load(folder)))
child("runs a program", lambda: program.run({}))
child("takes a program that is kept", lambda: kept("dit"))
child("closes", close, sys.exit)
waiting.set()

def silent():
    with quiet():
        ready.wait()
        threading.Event().wait(0.3)

ready = threading.Barrier(2)
threading.Thread(target=silent).start()
ready.wait()
child("forked in another's silence", lambda: os.readlink("/proc/self/fd/2"))
process = multiprocessing.get_context("fork").Process(target=lambda: None)
process.start()
process.join(20)
found["multiprocessing"] = "ends", process.exitcode
found["parent again"] = play(generator), 0
print(json.dumps(found))
"""


def children_of(folder: object) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILDREN, str(folder)], stdout=subprocess.PIPE, text=True, check=True, timeout=120
    )
    found = {name: tuple(pair) for name, pair in json.loads(done.stdout).items()}
    sound, refused = found["parent"][0], (f"GenerationError: {REFUSED}", 7)
    assert found.pop("forked in another's silence")[0] != "/dev/null"
    assert found == {
        "before": (sound, 7),
        "parent": (sound, 0),
        "ends": ("ends", 7),
        "plays": refused,
        "asks for events": refused,
        "loads": refused,
        "runs a program": refused,
        "takes a program that is kept": refused,
        "closes": ("closed", 7),
        "multiprocessing": ("ends", 0),
        "parent again": (sound, 0),
    }


@pytest.mark.slow
def test_a_forked_child_plays_or_is_refused_and_ends():
    children_of(TINY)


@pytest.mark.build
def test_a_forked_child_of_litert_plays_or_is_refused_and_ends(built):
    children_of(built("litert", "int8-dynamic"))
