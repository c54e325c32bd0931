"""The benchmark at the published size: made-up figures through its arithmetic, pretended players through its turns."""

import copy
import json
import sys
from pathlib import Path

import pytest

from benchmarks import machines, published, starts
from benchmarks.machines import machine_name, with_machine
from benchmarks.published import BUILT_IN, OURS, PUBLIC
from benchmarks.show import RESULTS, everything, goals
from benchmarks.starts import COLD, KINDS, VERY_COLD, in_turns

ROOT = Path(__file__).parents[2]
RECORD = json.loads(RESULTS.read_text(encoding="utf-8"))
CPUS = {
    "AMD EPYC": ("fpu", "avx2", "avx512_vnni"),
    "AMD EPYC, older": ("fpu", "avx2"),
    "Intel Xeon": ("avx2", "avx512_vnni", "amx_int8"),
}


def start(seconds: float, peak: float = 400.0) -> dict[str, float]:
    return {
        "seconds": seconds,
        "first_sound_seconds": seconds / 2,
        "load_seconds": seconds / 10,
        "open_seconds": 0.01,
        "peak_rss_mb": peak,
        "baseline_rss_mb": 50.0,
        "estimated_mb": (peak - 50) * 1.1,
        "process_seconds": seconds + 1,
    }


def started(ours: float, public: float, kinds: tuple[str, ...] = KINDS) -> dict:
    made = {OURS: ours, PUBLIC: public}
    return {recipe: {kind: [start(each)] * 3 for kind in kinds} for recipe, each in made.items()}


@pytest.fixture
def raw() -> dict:
    """Figures as `plan` makes them: those of the record, with starts of our own."""
    made = copy.deepcopy(RECORD["raw"])
    made |= {"starts litert": started(3.0, 15.0), "starts executorch": started(4.0, 16.0)}
    made["starts executorch native"] = started(1.0, 3.0, (VERY_COLD, COLD))
    made[f"starts {BUILT_IN} native"] = {OURS: {COLD: [start(0.5, 59.0)], VERY_COLD: [start(0.6, 160.0)]}}
    return made


def on(cpu: str, raw: dict) -> dict:
    machine = RECORD["machine"] | {"cpu": cpu, "cpu_features": CPUS[cpu]}
    return {**published.summary(raw), "machine": machine, "raw": raw}


def test_the_plan_measures_whatever_the_summary_needs(raw):
    assert published.plan(Path("work"), 3, "published").keys() >= raw.keys() - {"new-checkpoint"}
    assert published.plan(Path("work"), 3, "published").keys() <= raw.keys() | {f"build {BUILT_IN}"}


def test_the_summary_has_what_goals_are_set_for(raw):
    found = published.summary(raw)
    assert found["cold"] == {
        "load_seconds_executorch_native": 0.1,
        "first_sound_seconds_litert": 1.5,
        "first_sound_seconds_executorch_native": 0.5,
        "ratio_7s_litert": 5.0,
        "ratio_7s_executorch": 4.0,
        "ratio_7s_executorch_native": 3.0,
    }
    assert found["warm"] == {"ratio_7s_litert": 5.0, "ratio_7s_executorch": 4.0}
    assert found["peak_rss_mb"] == {"litert": 400.0, "executorch_native": 400.0, "built_in_native": 59.0}
    assert found["estimate_off"] == pytest.approx({"litert": 0.1, "executorch": 0.1})
    assert found["roof_fraction"].keys() == {"dit", "decoder"}
    assert found["build"].keys() == {"litert", "executorch"}
    assert all(each.keys() == {"seconds", "peak_rss_mb"} for each in found["build"].values())


def test_a_ratio_of_starts_is_the_median_over_the_pairs():
    ours, public = [start(1.0), start(10.0), start(3.0)], [start(2.0), start(20.0), start(12.0)]
    assert starts.ratio(ours, public) == 2.0


def test_machines_stand_side_by_side_and_only_what_holds_for_them_is_judged(raw):
    amd = on("AMD EPYC", raw)
    both = with_machine(amd, on("Intel Xeon", raw | {"starts litert": started(3.0, 13.8)}))
    lines = {line.split(" | ")[0]: line for line in goals(both)}
    intel, epyc = "Intel Xeon (avx2, avx512_vnni, amx_int8), 2 cores", "AMD EPYC (avx2, avx512_vnni), 2 cores"
    assert goals(both)[0] == f"| | against | goal | {intel} | {epyc} |"
    assert lines["| 7 s clip, cold, LiteRT"].endswith("| 5x | **4.6x faster** (goal 4.5x) | **5.0x faster** |")
    assert lines["| load of all programs, the same"].endswith(
        "| 0.15 s | 0.10 s (another CPU than the goal's) | **0.10 s** |"
    )
    assert lines["| built-in model, the same"].endswith("| 60 MB | **59 MB** | **59 MB** |")
    shown = "\n".join(everything(both))
    assert f"| {intel} | LiteRT | {OURS} | cold | 3.000 | 4.60 | 1.500 | 0.300 | 0.010 | 400 | 4.00 |" in shown
    assert f"| {epyc} | LiteRT | {OURS} | cold | 3.000 | 5.00 |" in shown
    assert f"| {epyc} | built-in model, ExecuTorch, native | {OURS} | very cold | 0.600 |  |" in shown


def test_goals_in_seconds_hold_for_the_kind_of_cpu_that_they_were_set_for(raw):
    (row,) = [line for line in goals(on("AMD EPYC, older", raw)) if line.startswith("| load of all programs")]
    assert row.endswith("| 0.15 s | 0.10 s (another CPU than the goal's) |")


def test_a_machine_is_replaced_by_itself_alone(raw):
    amd, intel = on("AMD EPYC", raw), on("Intel Xeon", raw)
    first = with_machine({}, amd)
    assert first == {**amd, "others": {}}
    second = with_machine(first, intel)
    assert list(second["others"]) == [machine_name(amd["machine"])] and second["machine"] == intel["machine"]
    again = with_machine(second, {**amd, "bundle_mb": 1.0})
    assert (list(again["others"]), again["bundle_mb"]) == ([machine_name(intel["machine"])], 1.0)
    assert with_machine(again, intel)["others"][machine_name(amd["machine"])]["bundle_mb"] == 1.0


def test_an_old_record_without_features_is_another_machine(raw):
    old = {**RECORD, "machine": {"cpu": "AMD EPYC", "usable_cores": 2}}
    assert list(with_machine(old, on("AMD EPYC", raw))["others"]) == ["AMD EPYC, 2 cores"]


def test_bundles_take_turns_and_each_round_has_caches_of_its_own():
    played: list[tuple[str, str, int]] = []

    def play(bundle: Path, caches: Path, kind: str) -> dict:
        played.append((bundle.name, kind, len(list(caches.iterdir()))))
        (caches / kind).write_text("left behind")
        return {"caches": str(caches)}

    found = in_turns({"a": Path("a"), "b": Path("b")}, play, 2)
    there, back = [("a", *KINDS), ("b", *KINDS)], [("b", *KINDS), ("a", *KINDS)]
    assert played == [(name, kind, index) for name, *kinds in there + back for index, kind in enumerate(kinds)]
    folders = {each["caches"] for name in found for kind in KINDS for each in found[name][kind]}
    assert len(folders) == 4 and not any(Path(folder).exists() for folder in folders)


def test_what_was_measured_is_not_measured_again_but_on_another_machine(tmp_path, monkeypatch):
    made: list[str] = []
    todo = {name: (lambda name=name: made.append(name) or {"of": name}) for name in ("a", "b")}
    monkeypatch.setattr(published, "plan", lambda work, runs, size: todo)
    machines.save(tmp_path / "measured.json", {"machine": published.asdict(published.environment()), "raw": {"a": {}}})
    assert published.measure_all(tmp_path, 1, "tiny") == {"a": {}, "b": {"of": "b"}} and made == ["b"]
    other = RECORD["machine"] | {"cpu": "another"}
    machines.save(tmp_path / "measured.json", {"machine": other, "raw": {"a": {}}})
    assert published.measure_all(tmp_path, 1, "tiny").keys() == {"a", "b"} and made == ["b", "a", "b"]


def test_a_size_to_try_with_does_not_write_the_docs(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "argv", ["published", "--work", str(tmp_path / "work"), "--size", "tiny"])
    with pytest.raises(SystemExit) as ended:
        published.main()
    assert ended.value.code == 2 and "name a file of your own as --results" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.build
def test_starts_of_a_bundle_are_measured(built):
    bundle = built("litert", "int8-dynamic")
    found = in_turns({OURS: bundle}, starts.python_start("rain", 0.2, 1), 1)[OURS]
    very_cold, cold, warm = (found[kind][0] for kind in KINDS)
    assert all(0 < each["first_sound_seconds"] <= each["seconds"] < each["process_seconds"] for each in (cold, warm))
    assert very_cold["load_seconds"] > 0 and cold["load_seconds"] > 0.005 > warm["load_seconds"]
    assert all(20 < each["baseline_rss_mb"] < each["peak_rss_mb"] < 2000 for each in (very_cold, cold, warm))


RUNNER = """#!/bin/sh
for word in "$@"; do case "$word" in --out=*) out="${word#--out=}";; --record=*) record="${word#--record=}";; esac; done
sleep 0.1
echo sound > "$out"
sleep 0.2
echo '{"stages": [{"load": 0.25, "peak_rss_mb": 40.5}, {"load": 0.5, "peak_rss_mb": 60.5}]}' > "$record"
echo "Played 7.000 s, opened in 0.25 s, first audio after 1.50 s; wrote $out"
"""


def test_the_native_runners_own_figures_are_taken(tmp_path):
    runner = tmp_path / "edge-run"
    runner.write_text(RUNNER)
    runner.chmod(0o755)
    found = starts.native_start("rain", 7.0, 2, runner)(Path("bundle"), tmp_path, COLD)
    assert (found["first_sound_seconds"], found["load_seconds"], found["open_seconds"]) == (1.75, 0.75, 0.25)
    assert found["peak_rss_mb"] == 60.5
    assert 0.05 < found["seconds"] < found["process_seconds"] - 0.15  # the record, written last, is not waited for
