"""The tables and pictures of the docs, written from `published.json`, `gpu.json` and `model.json` alone.

    python -m benchmarks.show      writes them again, and measures nothing

A document keeps what is outside its marks.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machines import machines
from benchmarks.starts import middle, ratio

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "published.json"
README = ROOT / "README.md"
DOCUMENT = ROOT / "docs" / "published-size.md"
PICTURE = ROOT / "docs" / "published-size.png"
GPU_RESULTS, MODEL_RESULTS = RESULTS.with_name("gpu.json"), RESULTS.with_name("model.json")
MODEL = ROOT / "docs" / "model.md"
CARD = ROOT / "edge_export" / "small_model" / "README.md"
MODEL_PICTURE, MODEL_PAGE = MODEL.with_suffix(".png"), MODEL.with_suffix(".html")
BEGIN, END = "<!-- written by `make bench`: begin -->", "<!-- end -->"
GPU_BEGIN = "<!-- written by `python -m benchmarks.gpu`: begin -->"
MODEL_BEGIN = "<!-- written by `python -m benchmarks.model`: begin -->"
COLOURS = {"conditioner": "#4c72b0", "dit": "#dd8452", "decoder": "#55a868"}
PAPER_MS = 75  # for a clip on an H100 (arXiv 2505.08175)
NAMES = {"litert": "LiteRT", "executorch": "ExecuTorch"}
OURS, PUBLIC = "int8-dynamic", "int8-dit"
STARTS = {  # as they are called among the raw figures
    "litert": "LiteRT",
    "executorch": "ExecuTorch, Python",
    "executorch native": "ExecuTorch, native",
    "built-in native": "built-in model, ExecuTorch, native",
}
STAGES = tuple(COLOURS)

Record = dict[str, Any]


def write_documents(results: Record) -> None:
    """README: what was aimed at and reached. docs/published-size.md: everything behind it. And the picture."""
    draw(results, PICTURE)
    replace_block(README, [*goals(results), "", where(results)])
    replace_block(DOCUMENT, [*everything(results), "", where(results)])


def write_gpu(results: Record) -> None:
    """docs/published-size.md: what a GPU takes for a clip."""
    replace_block(DOCUMENT, gpu(results), GPU_BEGIN)


def gpu(results: Record) -> list[str]:
    """Milliseconds of a clip, against the paper's."""
    half, whole = results["half_ms"], results["float32_ms"]
    compiled = ", compiled, one CUDA graph" if results["compiled"] else ""
    return [
        f"| {results['audio_seconds']:.1f} s clip, {results['steps']} steps | milliseconds | the paper's by this |",
        "|---|---:|---:|",
        f"| half precision{compiled} | {half:.1f} | {PAPER_MS / half:.2f}x |",
        f"| float32, as published | {whole:.1f} | {PAPER_MS / whole:.2f}x |",
        f"| the paper, on an H100 | {PAPER_MS} | 1x |",
        "",
        f"On one {results['device']}, PyTorch {results['torch']}, medians of {len(results['runs_ms']['half'])} runs in "
        f"turns; random weights; from the noise to audio, the prompt's encoding left out. Half precision is "
        f"{results['snr_db']:.1f} dB (SNR) from float32.",
    ]


def write_model(results: Record) -> None:
    """docs/model.md and the model card: how well the project's own model plays."""
    for path in (MODEL, CARD):
        replace_block(path, model(results), MODEL_BEGIN)


def model(results: Record) -> list[str]:
    """Goals, then every way of playing."""
    whole, ablation = results["model"], results["no contrastive term"]
    rows = {(each["name"], each["steps"], each["guidance"]): each for each in whole["rows"]}
    arc, real, bundle = rows["ARC", 8, None], rows["real clips", None, None], whole["bundle"]
    base = max((each for key, each in rows.items() if key[:2] == ("base", 50)), key=lambda each: each["adherence"])
    short = rows["base", 8, base["guidance"]]
    contrastive = results["contrastive term"]["rows"][-1] if "contrastive term" in results else arc
    short_runs = "" if contrastive is arc else ", both short"
    gained = contrastive["adherence"] - ablation["adherence"]
    against = f"base, 50 steps, guidance {base['guidance']:g}"
    shown = [
        Goal("judge, right on real held-out clips", "", (100 * whole["classifier_accuracy"],), SHARE, (97,)),
        Goal("adherence, ARC at 8 steps", "", (100 * arc["adherence"],), SHARE, (85,)),
        Goal("adherence gained", against, (100 * (arc["adherence"] - base["adherence"]),), POINTS, (-2,)),
        Goal("Frechet distance, ARC at 8 steps", against, (arc["frechet"] / base["frechet"],), TIMES, (1.1,)),
        Goal("the same", "base, 8 steps", (arc["frechet"] / short["frechet"],), TIMES, (0.6,)),
        Goal("diversity, ARC at 8 steps", against, (arc["diversity"] / base["diversity"],), AT_LEAST, (0.9,)),
        Goal("adherence gained by the contrastive term", f"ARC without it{short_runs}", (100 * gained,), POINTS, (0,)),
        Goal("adherence, int8-dynamic bundle", "fp32", (-100 * bundle["adherence_lost"],), WITHIN, (1,)),
        Goal("Frechet distance, int8-dynamic bundle", "fp32", (1 + bundle["frechet_growth"],), TIMES, (1.05,)),
    ]
    lines = ["| | against | reached | goal |", "|---|---|---:|---:|", *(row(goal) for goal in shown), ""]
    lines += ["| | adherence | Frechet | diversity | tempo | key | note | adjectives |", "|---|" + "---:|" * 7]
    lines += [model_row(each) for each in (real, *(e for e in whole["rows"] if e is not real))]
    lines.append(model_row({**ablation["rows"][-1], "name": f"ARC without the contrastive term{short_runs}"}))
    if contrastive is not arc:
        lines.append(model_row({**contrastive, "name": f"ARC with it{short_runs}"}))
    decoded = whole["autoencoder"]
    return [
        *lines,
        "",
        f"{whole['prompts']} held-out prompts of {whole['seconds']:.2f} s; Frechet distance to {whole['references']} "
        f"other real clips; diversity among several seeds of one prompt. Real clips, encoded and decoded, are off by "
        f"{decoded['log_mel_db']:.2f} dB of log-mel level, with an SI-SDR of {decoded['si_sdr_db']:.1f} dB.",
    ]


def model_row(record: Record) -> str:
    """One way of playing."""
    name = record["name"]
    if record["steps"] is not None:
        name += f", {record['steps']} step{'s' * (record['steps'] > 1)}"
    if record["guidance"] is not None:
        name += f", guidance {record['guidance']:g}"
    shares = [record[share] for share in ("tempo", "key", "note", "adjectives")]
    cells = [f"{record['adherence']:.1%}", f"{record['frechet']:.2f}"]
    cells.append("" if record["diversity"] is None else f"{record['diversity']:.3f}")
    cells += ["" if share is None else f"{share:.1%}" for share in shares]
    return f"| {name} | {' | '.join(cells)} |"


def replace_block(path: Path, lines: list[str], begin: str = BEGIN) -> None:
    before, rest = path.read_text(encoding="utf-8").split(begin)
    _, after = rest.split(END, 1)
    path.write_text(f"{before}{begin}\n" + "\n".join(lines) + f"\n{END}{after}", encoding="utf-8")


@dataclass(frozen=True)
class Unit:
    """How a goal's figures are written, whether more or less of them is better, and if their sign says nothing."""

    reached: str
    goal: str
    more: bool
    either: bool = False


FASTER = Unit("{:.1f}x faster", "{:g}x", more=True)
SHARE = Unit("{:.0f}%", "{:g}%", more=True)
DECIBELS = Unit("{:.1f} dB", "{:g} dB", more=True)
MB = Unit("{:.0f} MB", "{:g} MB", more=False)
POINTS = Unit("{:+.1f} points", "{:+g} points", more=True)
WITHIN = Unit("{:+.1f} points", "within {:g} points", more=False, either=True)
TIMES = Unit("{:.2f}x", "{:g}x", more=False)
AT_LEAST = Unit("{:.2f}x", "{:g}x", more=True)
TOOK = Unit("{:.0f} s, {:.1f} GB", "{:g} s, {:g} GB", more=False)
TIME = Unit("{:.2f} s", "{:g} s", more=False)
NEAR = Unit("{:+.0f}%", "within {:g}%", more=False, either=True)
LASTED = Unit("{:.0f} s", "{:g} s", more=False)


@dataclass(frozen=True)
class Goal:
    """What was aimed at: all `figures` have to be as good as `goals`."""

    what: str
    against: str
    figures: tuple[float, ...]
    unit: Unit
    goals: tuple[float, ...]

    @property
    def met(self) -> bool:
        figures = [abs(found) if self.unit.either else found for found in self.figures]
        return all(found >= goal if self.unit.more else found <= goal for found, goal in zip(figures, self.goals))


def row(goal: Goal) -> str:
    """Bold what is reached, and say of the rest that it is not."""
    return f"| {goal.what} | {goal.against} | {judged(goal)} | {goal.unit.goal.format(*goal.goals)} |"


def judged(goal: Goal) -> str:
    figures = goal.unit.reached.format(*goal.figures)
    return f"**{figures}**" if goal.met else f"{figures}, *not reached*"


@dataclass(frozen=True)
class Aim:
    """A row of the table of goals: where its figure is, and what it is to be; on Intel where that is another.

    absolute: in seconds, which hold for the CPU of the goal alone.
    """

    what: str
    against: str
    where: tuple[str, ...]
    unit: Unit
    goal: float
    intel: float | None = None
    absolute: bool = False
    factor: float = 1.0


FULL, LINEAR, ALONE = "public recipe", "one bare int8 linear", "fp32, no rewrites"
AIMS = (
    Aim("7 s clip, cold, LiteRT", FULL, ("cold", "ratio_7s_litert"), FASTER, 5, intel=4.5),
    Aim("the same, ExecuTorch", FULL, ("cold", "ratio_7s_executorch"), FASTER, 5, intel=3.2),
    Aim("7 s clip, warm, LiteRT", f"{FULL}, warm", ("warm", "ratio_7s_litert"), FASTER, 5),
    Aim("the same, ExecuTorch", f"{FULL}, warm", ("warm", "ratio_7s_executorch"), FASTER, 5),
    Aim("first sound of a 7 s clip, cold, LiteRT", "", ("cold", "first_sound_seconds_litert"), TIME, 2, absolute=True),
    Aim("the same, ExecuTorch, native", "", ("cold", "first_sound_seconds_executorch_native"), TIME, 2, absolute=True),
    Aim("load of all programs, the same", "", ("cold", "load_seconds_executorch_native"), TIME, 0.15, absolute=True),
    Aim("peak memory of a 7 s clip, LiteRT", "", ("peak_rss_mb", "litert"), MB, 380),
    Aim("the same, ExecuTorch, native", "", ("peak_rss_mb", "executorch_native"), MB, 420),
    Aim("built-in model, the same", "", ("peak_rss_mb", "built_in_native"), MB, 60),
    Aim("memory told before, LiteRT", "what was measured", ("estimate_off", "litert"), NEAR, 25, factor=100),
    Aim("the same, ExecuTorch", "what was measured", ("estimate_off", "executorch"), NEAR, 25, factor=100),
    Aim("11.9 s clip, LiteRT", "eager PyTorch, fp32", ("speedup", "clip_12s_vs_eager"), FASTER, 6),
    Aim("decoder, 256 latents, LiteRT", ALONE, ("speedup", "decoder_256_litert"), FASTER, 3.5),
    Aim("the same, ExecuTorch", ALONE, ("speedup", "decoder_256_executorch"), FASTER, 3.5),
    Aim("DiT step, ExecuTorch", "straight export", ("speedup", "dit_step_executorch"), FASTER, 1.7),
    Aim("DiT, operations a second, LiteRT", LINEAR, ("roof_fraction", "dit"), SHARE, 80, factor=100),
    Aim("decoder, operations a second, LiteRT", LINEAR, ("roof_fraction", "decoder"), SHARE, 80, factor=100),
    Aim("bundle, without its golden vectors", "", ("bundle_mb",), MB, 540),
    Aim("build, LiteRT", "", ("build", "litert", "seconds"), LASTED, 120, absolute=True),
    Aim("memory of it", "", ("build", "litert", "peak_rss_mb"), MB, 5500),
    Aim("build, ExecuTorch", "", ("build", "executorch", "seconds"), LASTED, 220, absolute=True),
    Aim("memory of it", "", ("build", "executorch", "peak_rss_mb"), MB, 5500),
    Aim("conditioner, SNR", "fp32 reference", ("snr_db", "conditioner"), DECIBELS, 30.4),
    Aim("dit, SNR", "fp32 reference", ("snr_db", "dit"), DECIBELS, 31.2),
    Aim("decoder, SNR", "fp32 reference", ("snr_db", "decoder"), DECIBELS, 29.8),
)


def goals(results: Record) -> list[str]:
    """Every aim that was measured, and how far each machine came; a figure that a machine has not is left out."""
    columns = {name: {**each, "snr_db": worse(each["snr_db"])} for name, each in machines(results)}
    lines = [f"| | against | goal | {' | '.join(columns)} |", "|---|---|---:|" + "---:|" * len(columns)]
    for aim in AIMS:
        cells = [reached(aim, each) for each in columns.values()]
        if any(cells):
            lines.append(f"| {aim.what} | {aim.against} | {aim.unit.goal.format(aim.goal)} | {' | '.join(cells)} |")
    return lines


def worse(snr_db: Record) -> Record:
    """By stage, of the backend that is farther from the reference."""
    return {stage: min(found[stage] for found in snr_db.values()) for stage in STAGES}


def reached(aim: Aim, results: Record) -> str:
    """Bold what is reached, and say of the rest that it is not, or that no goal holds for this CPU."""
    figure = figure_at(results, aim.where)
    if figure is None:
        return ""
    cpu = results["machine"]["cpu"]
    if aim.absolute and not is_of_goals(results["machine"]):
        return f"{aim.unit.reached.format(aim.factor * figure)} (another CPU than the goal's)"
    goal = aim.intel if aim.intel is not None and cpu.startswith("Intel") else aim.goal
    shown = judged(Goal(aim.what, aim.against, (aim.factor * figure,), aim.unit, (goal,)))
    return shown if goal == aim.goal else f"{shown} (goal {aim.unit.goal.format(goal)})"


def is_of_goals(machine: Record) -> bool:
    """Whether goals in seconds were set on such a CPU: AMD's with fast int8; records of that time name no features."""
    return machine["cpu"].startswith("AMD") and "avx512_vnni" in machine.get("cpu_features", ("avx512_vnni",))


def figure_at(results: Record, where: tuple[str, ...]) -> float | None:
    found: Any = results
    for key in where:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def everything(results: Record) -> list[str]:
    raw = results["raw"]
    lines = ["", *starts(results)]
    for backend, name in NAMES.items():
        for label in ("7 s", "whole clip"):
            lines += ["", *pair(f"{name}, {label}", raw[f"{label} {backend}"])]
    lines += ["", *pair("LiteRT and eager PyTorch in fp32, whole clip", raw["whole clip eager"])]
    return [
        *"\n".join(lines).strip().splitlines(),
        "",
        *fidelity(raw),
        "",
        *builds(raw),
        "",
        *outside(raw),
        "",
        *roofs(raw),
    ]


def pair(title: str, record: Record) -> list[str]:
    rows = []
    for name, found in record["ratios"].items():
        a, b = (record[side]["quantities"][name] for side in ("a", "b"))
        rows.append(f"| `{name}` | {cell(a)} | {cell(b)} | {found['median']:.2f} |")
    header = f"| {title} | {record['a']['recipe']} | {record['b']['recipe']} | ratio |"
    return [header, "|---|---:|---:|---:|", *rows]


def starts(results: Record) -> list[str]:
    """How a 7 s clip begins, on every machine: medians, and how many times as long the public recipe takes."""
    rows = [
        f"| {machine} | {shown} | {recipe} | {kind} | {' | '.join(start_cells(found, recipe, kind))} |"
        for machine, each in machines(results)
        for name, shown in STARTS.items()
        for found in [each["raw"].get(f"starts {name}", {})]
        for recipe, kinds in found.items()
        for kind in kinds
    ]
    header = (
        "| machine | 7 s clip | recipe | start | seconds | ratio | first sound, s | loading, s | opening, s | peak, MB"
    )
    return [f"{header} | whole process, s |", "|---|---|---|---|" + "---:|" * 7, *rows] if rows else []


def start_cells(found: Record, recipe: str, kind: str) -> list[str]:
    mine = found[recipe][kind]
    against = f"{ratio(mine, found[PUBLIC][kind]):.2f}" if recipe == OURS and PUBLIC in found else ""
    figures = ("first_sound_seconds", "load_seconds", "open_seconds")
    return [
        f"{middle(mine, 'seconds'):.3f}",
        against,
        *(f"{middle(mine, figure):.3f}" for figure in figures),
        f"{middle(mine, 'peak_rss_mb'):.0f}",
        f"{middle(mine, 'process_seconds'):.2f}",
    ]


def cell(quantity: Record) -> str:
    digits = 0 if quantity["median"] >= 100 else 3
    middle, low, high = (f"{quantity[key]:.{digits}f}" for key in ("median", "low", "high"))
    return f"{middle} ({low} to {high})"


def fidelity(raw: Record) -> list[str]:
    rows = [
        f"| {NAMES[backend]} | {check['stage']}: {check['tensor']} | {check['snr_db']:.1f} | {mel(check)} | "
        f"{check['threshold_db']:g} |"
        for backend in NAMES
        for check in raw[f"verify {backend} {OURS}"]["checks"]
        if check["threshold_db"] is not None
    ]
    header = f"| {OURS} against the fp32 reference | tensor | SNR, dB | log-mel, dB | needs, dB |"
    return [header, "|---|---|---:|---:|---:|", *rows]


def mel(check: Record) -> str:
    return "" if check["log_mel_db"] is None else f"{check['log_mel_db']:.2f}"


def builds(raw: Record) -> list[str]:
    rows = []
    for backend, name in NAMES.items():
        for recipe in (OURS, PUBLIC):
            took, proof = raw[f"build {backend} {recipe}"], raw[f"verify {backend} {recipe}"]
            calls = ", ".join(f"{stage} {proof['delegates'][stage]}" for stage in STAGES)
            figures = (took[key] for key in ("seconds", "peak_rss_mb", "made_mb", "golden_mb"))
            rows.append(f"| {name}, {recipe} | {' | '.join(f'{figure:.0f}' for figure in figures)} | {calls} |")
    header = "| build | seconds | peak memory, MB | bundle, MB | golden vectors in it, MB | delegate calls |"
    return [header, "|---|---:|---:|---:|---:|---|", *rows]


def outside(raw: Record) -> list[str]:
    rows = []
    for backend, name in NAMES.items():
        for stage, operators in raw[f"verify {backend} {OURS}"]["undelegated"].items():
            named = ", ".join(f"{count} `{operator}`" for operator, count in operators.items())
            rows.append(f"| {name}, {stage} | {named or 'nothing'} |")
    return [f"| {OURS} | outside the delegates |", "|---|---|", *rows]


def roofs(raw: Record) -> list[str]:
    rows = []
    for backend, name in NAMES.items():
        record = raw[f"roof {backend}"]
        roof = record["gops"][record["roof"]]
        rows.append(f"| {name} | {record['roof']} | {roof:.0f} | 100% |")
        rows += [
            f"| {name} | {stage} | {record['gops'][stage]:.0f} | {record['fraction'][stage]:.0%} |"
            for stage in record["fraction"]
        ]
    return ["| roof | | GOP/s | of the roof |", "|---|---|---:|---:|", *rows]


def where(results: Record) -> str:
    machine = results["machine"]
    first = "The first machine. " if results.get("others") else ""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{first}On {machine['usable_cores']} cores of {machine['cpu']}, 2 threads, medians of runs in turns, each in "
        f"a fresh process; random weights. A ratio is the median of the ratios within each pair of runs, which need "
        f"not be the ratio of the medians. {versions}."
    )


def draw(results: Record, path: Path) -> None:
    """A bar for each side of each pair: the stages of a generation, loading and running."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    raw = results["raw"]
    bars = [
        (f"{name}, {label.format(raw[f'7 s {backend}'][side]['recipe'])}", raw[f"7 s {backend}"][side])
        for backend, name in NAMES.items()
        for side, label in (("b", "public recipe ({})"), ("a", "{}"))
    ]
    figure = Figure(figsize=(10, 3.4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for row, (_, record) in enumerate(bars):
        start = 0.0
        for stage, colour in COLOURS.items():
            seconds = record["quantities"][f"{stage}_seconds"]["median"]
            axes.barh(row, seconds, left=start, color=colour, label=stage if row == 0 else None)
            start += seconds
        axes.text(start, row, f" {record['quantities']['seconds_total']['median']:.1f} s", va="center")
    axes.set_yticks(range(len(bars)), [label for label, _ in bars])
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.08)
    axes.set(xlabel="seconds", title="A 7 s clip at the published size, programs loaded when needed")
    axes.legend(loc="lower right", frameon=False)
    figure.savefig(path)


if __name__ == "__main__":
    write_documents(json.loads(RESULTS.read_text(encoding="utf-8")))
    write_gpu(json.loads(GPU_RESULTS.read_text(encoding="utf-8")))
    write_model(json.loads(MODEL_RESULTS.read_text(encoding="utf-8")))
