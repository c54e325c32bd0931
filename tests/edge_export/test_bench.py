"""A bench: hand-made numbers through the arithmetic, made-up workers through the parent, a real bundle through all."""

import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from io import StringIO
from itertools import pairwise
from pathlib import Path

import pytest
from rich.console import Console

from edge_export.bench import measure as measuring
from edge_export.bench import process, threads
from edge_export.bench import subject as subjects
from edge_export.bench.environment import environment
from edge_export.bench.figures import Quantity, differences, figures, paired, steady, summarize
from edge_export.bench.job import Run, StageRun
from edge_export.bench.measure import Bench, BenchRequest, Measured, measure, order, sweep
from edge_export.bench.plot import middle_run, pieces, plot_bench, plot_sweep
from edge_export.bench.process import run_from
from edge_export.bench.show import bench_record, bench_table, sweep_record, sweep_tables
from edge_export.bench.subject import Subject, memory_needed, refuse_little_memory
from edge_export.bench.threads import read_threads
from edge_export.errors import BundleError, EdgeExportError, GenerationError, OutputError, UsageError
from edge_export.progress import silent
from runtime_py.machine import peak_memory_mb
from runtime_py.manifest import dump_manifest, load_manifest
from runtime_py.request import Request
from tests.runtime_py.test_manifest import MANIFEST

PNG = b"\x89PNG\r\n\x1a\n"
STAGES = ["conditioner", "dit", "decoder"]


def stage(load: float, *runs: float, repeats: tuple[float, ...] = ()) -> StageRun:
    return StageRun(load=load, runs=runs, repeats=repeats)


def run(total: float = 4.0, *, peak: float = 700.0, decoder: StageRun | None = None) -> Run:
    return Run(
        stages={
            "conditioner": stage(0.1, 0.3, repeats=(0.2, 0.22, 0.18)),
            "dit": stage(0.5, 0.4, 0.25, 0.25, 0.25),
            "decoder": decoder or stage(0.2, 1.0, repeats=(0.9, 0.8, 0.7)),
        },
        audio_seconds=7.0,
        seconds_open=0.02,
        seconds_total=total,
        seconds_first_audio=total - 0.5,
        baseline_rss_mb=100.0,
        peak_rss_mb=peak,
    )


def subject(side: str = "A", name: str = "mine", *, reference: bool = False) -> Subject:
    return Subject(side=side, folder=Path(name), reference=reference, manifest=MANIFEST)


def made(a: tuple[Run, ...], b: tuple[Run, ...] | None = None, name: str = "mine") -> Bench:
    other = None if b is None else Measured(subject=subject("B", reference=True), runs=b)
    request = Request(prompt="birds", seconds=7.0)
    return Bench(request=request, threads=2, a=Measured(subject=subject(name=name), runs=a), b=other)


def shown(result: Bench) -> str:
    text = StringIO()
    Console(file=text, width=200).print(*bench_table(result.summary, result.paired))
    return text.getvalue()


# Arithmetic


@pytest.mark.parametrize(("runs", "expected"), [(1, "AB"), (2, "ABBA"), (5, "ABBAABBAAB")])
def test_two_take_turns_and_every_other_round_is_turned_around(runs, expected):
    assert "".join(order(runs, ["A", "B"])) == expected


def test_one_alone_runs_as_often_as_asked():
    assert order(3, ["A"]) == ["A", "A", "A"]


def test_the_first_run_is_not_steady():
    assert steady(stage(0.0, 9.0, 1.0, 3.0, 2.0)) == 2.0
    assert steady(stage(0.0, 9.0, repeats=(1.0, 2.0, 4.0))) == 2.0
    assert steady(stage(0.0, 9.0, 1.0, repeats=(3.0, 4.0))) == 3.0
    assert steady(stage(0.0, 9.0)) is None


def test_the_figures_of_a_run():
    found = figures(run(total=3.5))
    assert found["dit_load_seconds"] == 0.5
    assert found["dit_first_seconds"] == 0.4
    assert found["dit_steady_seconds"] == 0.25
    assert found["dit_seconds"] == pytest.approx(1.65)
    assert found["decoder_seconds"] == pytest.approx(1.2)  # what is repeated afterwards belongs to no generation
    assert found["seconds_total"] == 3.5
    assert found["seconds_first_audio"] == 3.0
    assert found["real_time_factor"] == 2.0
    assert (found["baseline_rss_mb"], found["peak_rss_mb"]) == (100.0, 700.0)


def test_a_decoder_in_windows_has_many_runs():
    found = figures(run(decoder=stage(0.2, 0.5, 0.3, 0.3, 0.4)))
    assert found["decoder_first_seconds"] == 0.5
    assert found["decoder_steady_seconds"] == 0.3
    assert found["decoder_seconds"] == pytest.approx(1.7)


def test_a_summary_is_median_and_spread():
    found = summarize([run(5.0), run(3.0), run(3.5)])
    assert found.runs == 3
    assert found.quantities["seconds_total"] == Quantity(median=3.5, low=3.0, high=5.0)


def test_a_figure_that_one_run_lacks_is_not_summarized():
    found = summarize([run(), run(decoder=stage(0.2, 1.0))])
    assert "decoder_steady_seconds" not in found.quantities
    assert found.quantities["dit_steady_seconds"].median == 0.25


def test_a_ratio_is_the_median_over_pairs_and_not_of_medians():
    """A machine that slowed down in the second pair: within each pair B takes twice, twice and four times as long."""
    a, b = [run(1.0), run(10.0), run(3.0)], [run(2.0), run(20.0), run(12.0)]
    found = paired(a, b)
    assert found.ratios["seconds_total"] == Quantity(median=2.0, low=2.0, high=4.0)
    assert found.other.quantities["seconds_total"].median == 12.0  # over 3, the other median: not 2
    assert found.ratios["real_time_factor"].median == 0.5


def test_what_took_no_time_or_is_not_in_both_has_no_ratio():
    a, b = run(decoder=stage(0.0, 1.0)), run(decoder=stage(0.2, 2.0, 1.0))
    found = paired([a], [b]).ratios
    assert "decoder_load_seconds" not in found
    assert "decoder_steady_seconds" not in found
    assert found["decoder_first_seconds"].median == 2.0


def test_other_checkpoints_steps_and_latents_are_noted():
    assert differences(MANIFEST, MANIFEST) == ()
    other = dataclasses.replace(
        MANIFEST,
        model=dataclasses.replace(MANIFEST.model, checkpoint_sha256="f" * 64),
        generation=dataclasses.replace(
            MANIFEST.generation,
            sampler=dataclasses.replace(MANIFEST.generation.sampler, sigmas=(1.0, 0.0)),
            latent=dataclasses.replace(MANIFEST.generation.latent, shape=(64, 8)),
        ),
    )
    assert differences(MANIFEST, other) == (
        "A and B are built from different checkpoints",
        "A plays 2 steps, B 1",
        "A denoises 16 latents, B 8",
    )


# Tables, records, pictures


def test_the_table_shows_medians_and_spreads():
    text = shown(made((run(3.0), run(3.5), run(5.0))))
    assert "3.50" in text
    assert "3.00 .. 5.00" in text
    assert "dit: steady step, ms" in text
    assert "250.0" in text
    assert "B / A" not in text


def test_the_table_of_two_shows_ratios():
    text = shown(made((run(2.0), run(2.0)), (run(5.0), run(6.0))))
    assert "B: reference (PyTorch, fp32)" in text
    assert "2.75" in text
    assert "2.50 .. 3.00" in text


def test_a_folder_of_any_name_can_be_shown():
    assert "[bold]x (" in shown(made((run(),), name="[bold]x"))
    assert subject(name="x" * 200).shown == "x" * 60 + " (executorch, fp32)"
    assert "a b" in shown(made((run(),), name="a\nb"))


def test_a_record_is_plain_json_and_holds_every_run():
    record = json.loads(json.dumps(bench_record(made((run(2.0), run(3.0)), (run(4.0), run(5.0)))), allow_nan=False))
    assert record["order"] == ["A", "B", "B", "A"]
    assert [each["seconds_total"] for each in record["a"]["runs"]] == [2.0, 3.0]
    assert [each["seconds_total"] for each in record["b"]["runs"]] == [4.0, 5.0]
    assert record["a"]["runs"][0]["stages"]["dit"] == {"load": 0.5, "runs": [0.4, 0.25, 0.25, 0.25], "repeats": []}
    assert record["ratios"]["seconds_total"]["median"] == pytest.approx((2 + 5 / 3) / 2)
    assert record["b"]["engine"] == "reference"
    assert record["threads"] == 2
    assert record["machine"]["versions"]["numpy"]


def test_the_machine_is_described():
    machine = environment()
    assert machine.cpu
    assert 1 <= machine.usable_cores <= machine.cores
    assert {"edge-export", "numpy", "torch"} <= machine.versions.keys()


def test_the_pieces_of_a_bar_follow_one_another_and_make_up_the_whole():
    found = list(pieces(run(4.0)))
    assert [piece.loading for piece in found] == [True, False] * 3 + [False]
    for piece, following in pairwise(found):
        assert following.start == pytest.approx(piece.start + piece.seconds)
    assert found[-1].start + found[-1].seconds == pytest.approx(4.0)


def test_the_run_of_median_length_is_drawn():
    assert middle_run((run(5.0), run(3.0), run(4.0))).seconds_total == 4.0
    assert middle_run((run(5.0), run(3.0))).seconds_total == 3.0


def test_a_picture_is_drawn_and_shows_its_numbers(tmp_path):
    one, two = made((run(3.5),), (run(8.0),), name="costs $5_$ 鳥"), made((run(3.5),), (run(20.0),))
    plot_bench(tmp_path / "a.png", one)
    plot_bench(tmp_path / "b.png", two)
    plot_bench(tmp_path / "c.svg", made((run(),)))
    assert (tmp_path / "a.png").read_bytes().startswith(PNG)
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()
    assert "<svg" in (tmp_path / "c.svg").read_text()


@pytest.mark.parametrize("name", ["a.nonsense", "picture", "missing/a.png"])
def test_a_picture_that_cannot_be_written_leaves_nothing(tmp_path, name):
    with pytest.raises(OutputError, match=name):
        plot_bench(tmp_path / name, made((run(),)))
    assert list(tmp_path.iterdir()) == []


# Lists of threads


@pytest.mark.parametrize(
    ("text", "counts"), [("2", (2,)), ("256", (256,)), ("1,2,4", (1, 2, 4)), ("4,1", (4, 1)), ("1, 2", (1, 2))]
)
def test_threads_are_one_number_or_a_list(monkeypatch, text, counts):
    monkeypatch.setattr(threads, "usable_cores", lambda: 2)
    assert read_threads(text) == counts


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0", "threads is 0, expected 1 to 256"),
        ("257", "threads is 257, expected 1 to 256"),
        ("1,0", "threads is 0, expected 1 to 256"),
        ("-1,2", "threads is -1, expected 1 to 256"),
        ("abc", "threads is 'abc', expected a number such as 2, or several such as 1,2,4"),
        ("", "threads is '', expected a number such as 2, or several"),
        (",", "threads is ',', expected a number such as 2, or several"),
        ("1,,2", "threads is '1,,2', expected"),
        ("1,2,", "threads is '1,2,', expected"),
        ("1.5,2", "threads is '1.5,2', expected"),
        ("1\n,x", "threads is '1 ,x', expected"),
        ("x" * 5000, f"threads is '{'x' * 60}...', expected"),
        ("9" * 5000, f"threads is '{'9' * 60}...', expected"),
        ("1,2,1", "threads has 1 twice; name each number once"),
        ("1,9", "threads is 9, expected 1 to 8 in a list: 4 for each of the 2 cores here"),
    ],
)
def test_lists_of_threads_that_make_no_sense_are_refused(monkeypatch, text, said):
    monkeypatch.setattr(threads, "usable_cores", lambda: 2)
    with pytest.raises(UsageError) as caught:
        read_threads(text)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def swept(*seconds: float, against: bool = False) -> tuple[Bench, ...]:
    b = (run(9.0),) if against else None
    return tuple(dataclasses.replace(made((run(total),), b), threads=index + 1) for index, total in enumerate(seconds))


def test_a_sweep_is_shown_by_the_number_of_threads():
    text = StringIO()
    Console(file=text, width=200).print(*sweep_tables(swept(4.0, 2.5, 2.25, against=True)))
    lines = text.getvalue().splitlines()
    (header, _) = [line for line in lines if "1 thread" in line]
    assert [cell.strip() for cell in header.split("┃")[2:5]] == ["1 thread", "2 threads", "3 threads"]
    totals = [line.split("│")[2:5] for line in lines if "time to last audio" in line]
    assert [[float(cell) for cell in row] for row in totals] == [[4.0, 2.5, 2.25], [9.0] * 3]
    assert "B: reference (PyTorch, fp32)" in text.getvalue()


def test_a_sweeps_record_has_in_common_what_was_played():
    record = json.loads(json.dumps(sweep_record(swept(4.0, 2.5)), allow_nan=False))
    assert (record["seconds"], [each["threads"] for each in record["sweep"]]) == (7.0, [1, 2])
    assert [each["a"]["quantities"]["seconds_total"]["median"] for each in record["sweep"]] == [4.0, 2.5]
    one = json.loads(json.dumps(bench_record(swept(4.0)[0])))
    assert record["sweep"][0] | {key: record[key] for key in ("machine", "prompt", "seconds", "seed")} == one


def test_a_sweep_is_drawn_and_shows_its_numbers(tmp_path):
    for name, benches in (("a", swept(4.0, 2.5)), ("b", swept(4.0, 3.5)), ("c", swept(4.0, 2.5, against=True))):
        plot_sweep(tmp_path / f"{name}.png", benches)
        assert (tmp_path / f"{name}.png").read_bytes().startswith(PNG)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 3


# The parent


@pytest.fixture
def no_worker(monkeypatch):
    """Nothing may be started."""
    monkeypatch.setattr(measuring, "play_job", lambda *_: pytest.fail("a process was started"))


@pytest.fixture
def pretend(tmp_path, monkeypatch):
    """Code -> a worker that runs it in the real one's place, with `job` read."""

    def install(code: str) -> None:
        (tmp_path / "pretended").mkdir()
        head = "import json, os, signal, sys, time\nfrom pathlib import Path\njob = json.load(sys.stdin)\n"
        (tmp_path / "pretended" / "pretended_worker.py").write_text(head + code)
        monkeypatch.syspath_prepend(tmp_path / "pretended")
        monkeypatch.setattr(process, "WORKER", "pretended_worker")

    return install


@pytest.fixture(scope="module")
def bundle(built) -> Path:
    return built("litert", "int8-dynamic")


def refused(request: BenchRequest, kind: type[EdgeExportError]) -> str:
    with pytest.raises(kind) as caught:
        measure(request, silent)
    assert "\n" not in str(caught.value)
    assert type(caught.value) is kind
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"threads": 0}, "threads is 0, expected 1 to 256"),
        ({"threads": 10_000}, "threads is 10000"),
        ({"runs": 0}, "runs is 0, expected 1 to 1000"),
        ({"runs": 1001}, "runs is 1001"),
        ({"repeats": -1}, "repeats is -1"),
        ({"seconds": 600.0}, "at most 0.743"),
        ({"seconds": -1.0}, "seconds is -1"),
        ({"seconds": float("nan")}, "seconds is nan"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_starts(bundle, no_worker, changes, said):
    assert said in refused(dataclasses.replace(BenchRequest(bundle=bundle), **changes), UsageError)


@pytest.mark.parametrize("against", ["missing", ""])
def test_what_is_no_bundle_is_refused_before_anything_starts(tmp_path, bundle, no_worker, against):
    refused(BenchRequest(bundle=bundle, against=str(tmp_path / against)), BundleError)
    refused(BenchRequest(bundle=tmp_path / against), BundleError)


def shorter(folder: Path, seconds: float) -> Path:
    """Make a bundle's model accept no more than `seconds`."""
    manifest = load_manifest(folder)
    spec, golden = manifest.generation, manifest.golden
    conditioning = dataclasses.replace(spec.conditioning, seconds_max=seconds)
    request = dataclasses.replace(golden.request, seconds=seconds)
    text = dump_manifest(
        dataclasses.replace(
            manifest,
            generation=dataclasses.replace(spec, conditioning=conditioning),
            golden=dataclasses.replace(golden, request=request),
        )
    )
    (folder / "manifest.json").write_text(text)
    return folder


def test_a_clip_too_long_for_one_of_two_is_refused(bundle, copy_of, no_worker):
    other = shorter(copy_of(bundle), 0.3)
    said = refused(BenchRequest(bundle=bundle, against=str(other), seconds=0.5), UsageError)
    assert said.startswith(other.name)
    assert "at most 0.300" in said


ANSWER = """
log = Path(os.environ["BENCH_LOG"])
with log.open("a") as file:
    file.write(json.dumps(job) + "\\n")
count = len(log.read_text().splitlines())
total = 10.0 * count + (1 if job["reference"] else 0)
stage = {"load": 0.1, "runs": [0.5], "repeats": [0.4]}
run = {"stages": {"dit": stage}, "audio_seconds": 7.0, "seconds_open": 0.0,
       "seconds_total": total, "seconds_first_audio": total,
       "baseline_rss_mb": 1.0, "peak_rss_mb": 2.0}
print(json.dumps({"run": None if job["rehearse"] else run}))
"""


def test_all_runs_play_one_request_in_turns_after_one_rehearsal(bundle, pretend, tmp_path, monkeypatch):
    pretend(ANSWER)
    monkeypatch.setenv("BENCH_LOG", str(tmp_path / "log"))
    seen = []
    request = BenchRequest(bundle=bundle, against="reference", seconds=0.5, threads=3, runs=3, checkpoint=Path("c"))
    result = measure(request, lambda *progress: seen.append(progress))
    jobs = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [job["rehearse"] for job in jobs] == [True] * 2 + [False] * 6
    assert [job["reference"] for job in jobs] == [False, True, False, True, True, False, False, True]
    assert {job["threads"] for job in jobs} == {3}
    assert {(job["request"]["seconds"], job["request"]["seed"]) for job in jobs} == {(0.5, 0)}
    assert len({job["request"]["prompt"] for job in jobs}) == 1
    assert [job["checkpoint"] for job in jobs] == ["c" if job["reference"] else None for job in jobs]
    assert [each.seconds_total for each in result.a.runs] == [30.0, 60.0, 70.0]
    assert [each.seconds_total for each in result.b.runs] == [41.0, 51.0, 81.0]
    assert result.paired.ratios["seconds_total"].median == 81 / 70
    assert [done for _, done, _ in seen] == [0, 0, 1, 2, 3, 4, 5, 6]
    assert {total for *_, total in seen} == {6}
    assert seen[2][0].startswith("run 2 of 6: B, reference")


def test_numbers_of_threads_take_turns_each_in_processes_of_its_own(bundle, pretend, tmp_path, monkeypatch):
    pretend(ANSWER)
    monkeypatch.setenv("BENCH_LOG", str(tmp_path / "log"))
    seen = []
    request = BenchRequest(bundle=bundle, against="reference", runs=2)
    benches = sweep(request, (1, 4), lambda *progress: seen.append(progress))
    jobs = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [job["rehearse"] for job in jobs] == [True] * 2 + [False] * 8
    played = [(job["threads"], job["reference"]) for job in jobs[2:]]
    there = [(1, False), (1, True), (4, False), (4, True)]
    assert played == there + there[::-1]
    assert [bench.threads for bench in benches] == [1, 4]
    assert [each.seconds_total for each in benches[0].a.runs] == [30.0, 100.0]
    assert [each.seconds_total for each in benches[1].b.runs] == [61.0, 71.0]
    assert seen[3][0].startswith("run 3 of 8: A, ") and seen[3][0].endswith(", 4 threads")


def test_without_seconds_both_play_what_both_can(bundle, copy_of, pretend, tmp_path, monkeypatch):
    pretend(ANSWER)
    monkeypatch.setenv("BENCH_LOG", str(tmp_path / "log"))
    result = measure(BenchRequest(bundle=bundle, against=str(shorter(copy_of(bundle), 0.3)), runs=1), silent)
    assert result.request.seconds == 0.3


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "os.kill(os.getpid(), signal.SIGKILL)",
            "ended by SIGKILL, as the system does when memory runs out; close other",
        ),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "ended by SIGSEGV; close other programs"),
        ("raise RuntimeError('broken')", "its process failed (RuntimeError: broken); "),
        ("sys.exit(3)", "its process failed (exit code 3); "),
        ("print('hello')", "gave no answer"),
        ("print('[]')", "gave no answer"),
        ("""print('{"run": {"stages": {}}}')""", "gave no sound answer"),
        ("""print('{"run": 5}')""", "gave no sound answer"),
        ("""print('{"error": {"kind": "MemoryError", "message": ""}}')""", "memory ran out; close other programs"),
        ("""print('{"error": {"kind": "Exception", "message": "odd"}}')""", "odd"),
        ("""print('{"error": {"kind": "GenerationError", "message": "NaN"}}')""", "NaN"),
    ],
)
def test_a_run_that_ends_badly_is_one_line_that_says_which(bundle, pretend, code, said):
    pretend(f"""
if job["rehearse"]:
    print('{{"run": null}}')
    sys.exit()
{code}
""")
    message = refused(BenchRequest(bundle=bundle), GenerationError)
    assert message.startswith(f"run 1 of 5: A, {bundle.name} (litert, int8-dynamic): ")
    assert said in message


@pytest.mark.parametrize(
    "change", [{"seconds_total": 0.0}, {"seconds_total": -1.0}, {"peak_rss_mb": 1e999}, {"more": 1}]
)
def test_figures_that_cannot_be_are_refused(change):
    document = json.loads(json.dumps(dataclasses.asdict(run())))
    assert run_from(document, "run 1") == run()
    with pytest.raises(GenerationError, match=r"^run 1: its process"):
        run_from(document | change, "run 1")


def test_an_error_keeps_its_kind(bundle, pretend):
    pretend("""print('{"error": {"kind": "UsageError", "message": "no checkpoint"}}')""")
    said = refused(BenchRequest(bundle=bundle), UsageError)
    assert said.startswith("opening A, ")
    assert said.endswith("no checkpoint")


def test_ctrl_c_ends_the_process_and_its_files(bundle, pretend, tmp_path, monkeypatch):
    seen = tmp_path / "seen"
    monkeypatch.setenv("BENCH_SEEN", str(seen))
    pretend("""
import tempfile
made = tempfile.mkdtemp()
seen = Path(os.environ["BENCH_SEEN"])
seen.with_suffix(".part").write_text(f"{os.getpid()} {made}")
seen.with_suffix(".part").rename(seen)
time.sleep(60)
""")

    def interrupt() -> None:
        limit = time.monotonic() + 30
        while not seen.exists() and time.monotonic() < limit:
            time.sleep(0.02)
        os.kill(os.getpid(), 2)

    hand = threading.Thread(target=interrupt)
    hand.start()
    with pytest.raises(KeyboardInterrupt):
        measure(BenchRequest(bundle=bundle), silent)
    hand.join()
    pid, folder = seen.read_text().split(" ", 1)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)
    assert not Path(folder).exists()
    assert not Path(folder).parent.exists()


# Memory


def test_too_little_memory_is_refused_before_anything_starts(bundle, no_worker, monkeypatch):
    monkeypatch.setattr(subjects, "memory_available", lambda: 100_000_000)
    said = refused(BenchRequest(bundle=bundle), EdgeExportError)
    assert said.startswith(f"not enough memory to bench {bundle.name}")
    assert "100 MB are available; close other programs" in said


def test_memory_of_the_second_counts_too(bundle, no_worker, monkeypatch):
    manifest = load_manifest(bundle)
    request = manifest.golden.request
    of_bundle = memory_needed(Subject(side="A", folder=bundle, reference=False, manifest=manifest), request)
    of_reference = memory_needed(Subject(side="B", folder=bundle, reference=True, manifest=manifest), request)
    assert of_reference == 300_000_000 + 12 * sum(manifest.model.parameters.values())
    monkeypatch.setattr(subjects, "memory_needed", lambda subject, _: of_bundle * (2 if subject.reference else 1))
    monkeypatch.setattr(subjects, "memory_available", lambda: of_bundle)
    said = refused(BenchRequest(bundle=bundle, against="reference"), EdgeExportError)
    assert "reference" in said


def test_a_system_that_does_not_tell_its_memory_refuses_nothing(bundle, monkeypatch):
    monkeypatch.setattr(subjects, "memory_available", lambda: None)
    manifest = load_manifest(bundle)
    mine = Subject(side="A", folder=bundle, reference=False, manifest=manifest)
    refuse_little_memory([mine], manifest.golden.request)


def test_larger_programs_need_more(bundle):
    manifest = load_manifest(bundle)
    mine = Subject(side="A", folder=bundle, reference=False, manifest=manifest)
    larger = {role: dataclasses.replace(each, bytes=each.bytes + 10**9) for role, each in manifest.programs.items()}
    grown = dataclasses.replace(mine, manifest=dataclasses.replace(manifest, programs=larger))
    request = manifest.golden.request
    more = 2 * 10**9  # the decoder's two programs are in memory together
    assert memory_needed(grown, request) == pytest.approx(memory_needed(mine, request) + more, rel=0.05)


def test_the_memory_of_a_process_is_its_own_and_not_its_parents():
    """getrusage of a child begins with what its parent held: 300 MB here."""
    held = bytearray(b"1") * 300_000_000
    code = "from runtime_py.machine import peak_memory_mb; print(peak_memory_mb())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert peak_memory_mb() > len(held) / 1e6
    assert 5 < float(child.stdout) < 150


ROOT = Path(__file__).parents[2]


def test_the_worker_imports_no_torch_of_its_own():
    code = "import sys, edge_export.bench.worker; print({'torch', 'rich', 'typer'} & sys.modules.keys() or 'none')"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert child.stdout.strip() == "none"


# A real bundle


def test_a_bundle_is_measured_against_its_reference(bundle, oracle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a folder with a module that no process may take for the library's own
    (tmp_path / "json.py").write_text("raise ImportError('the wrong one')")
    request = BenchRequest(bundle=bundle, against="reference", seconds=0.5, threads=2, runs=1, checkpoint=oracle)
    result = measure(request, silent)
    for side in (result.a, result.b):
        (found,) = side.runs
        assert list(found.stages) == STAGES
        assert len(found.stages["dit"].runs) == side.subject.manifest.generation.sampler.steps
        assert all(len(each.runs[1:]) + len(each.repeats) >= 3 for each in found.stages.values())
        assert found.audio_seconds == pytest.approx(0.5, abs=1e-4)
        spent = sum(each.load + sum(each.runs) for each in found.stages.values())
        assert spent < found.seconds_total
        assert found.stages["conditioner"].load < found.seconds_first_audio <= found.seconds_total
        assert 10 < found.baseline_rss_mb < found.peak_rss_mb < 2000
    assert result.a.runs[0].baseline_rss_mb < result.b.runs[0].baseline_rss_mb  # no torch in the bundle's process
    assert result.paired.ratios.keys() == figures(result.a.runs[0]).keys()
    json.dumps(bench_record(result), allow_nan=False)
    assert shown(result).count("\n") > 15
    plot_bench(tmp_path / "a.png", result)
    assert (tmp_path / "a.png").read_bytes().startswith(PNG)


def test_a_reference_without_its_checkpoint_is_told_before_anything_is_measured(bundle, tmp_path):
    request = BenchRequest(bundle=bundle, against="reference", checkpoint=tmp_path / "missing")
    said = refused(request, UsageError)
    assert said.startswith("opening B, reference")
    assert f"there is no checkpoint at {tmp_path / 'missing'}" in said
