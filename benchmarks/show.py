"""The tables and the picture of the published-size results, written from `published.json` alone.

It measures nothing. A document keeps what is outside its marks.
"""

from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCUMENT = ROOT / "docs" / "published-size.md"
PICTURE = ROOT / "docs" / "published-size.png"
BEGIN, END = "<!-- written by `make bench`: begin -->", "<!-- end -->"
COLOURS = {"conditioner": "#4c72b0", "dit": "#dd8452", "decoder": "#55a868"}
NAMES = {"litert": "LiteRT", "executorch": "ExecuTorch"}
OURS, PUBLIC = "int8-dynamic", "int8-dit"
STAGES = tuple(COLOURS)

Record = dict[str, Any]


def write_documents(results: Record) -> None:
    """README: what was aimed at and reached. docs/published-size.md: everything behind it. And the picture."""
    draw(results, PICTURE)
    replace_block(README, [*goals(results), "", where(results)])
    replace_block(DOCUMENT, [*everything(results), "", where(results)])


def replace_block(path: Path, lines: list[str]) -> None:
    before, rest = path.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    path.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}", encoding="utf-8")


def goals(results: Record) -> list[str]:
    speedup, roof = results["speedup"], results["roof_fraction"]
    short = {backend: results["raw"][f"7 s {backend}"] for backend in NAMES}
    long = results["raw"]["whole clip eager"]
    quiet = {stage: min(results["snr_db"][backend][stage] for backend in NAMES) for stage in STAGES}
    shown = [
        ("7 s clip, LiteRT", "public recipe", *faster(speedup["clip_7s_litert"], 3.5)),
        ("7 s clip, ExecuTorch", "public recipe", *faster(speedup["clip_7s_executorch"], 3.5)),
        (f"{long['seconds']:.1f} s clip, LiteRT", "eager PyTorch, fp32", *faster(speedup["clip_12s_vs_eager"], 6)),
        ("decoder, 256 latents, LiteRT", "fp32, no rewrites", *faster(speedup["decoder_256_litert"], 3.5)),
        ("decoder, 256 latents, ExecuTorch", "fp32, no rewrites", *faster(speedup["decoder_256_executorch"], 3.5)),
        ("DiT step, ExecuTorch", "straight export", *faster(speedup["dit_step_executorch"], 1.7)),
        *(
            (
                f"{name}, operations a second, LiteRT",
                "one bare int8 linear",
                f"{roof[stage]:.0%}",
                "80%",
                roof[stage] >= 0.8,
            )
            for name, stage in (("DiT", "dit"), ("decoder", "decoder"))
        ),
        (
            "peak memory of a 7 s clip, LiteRT",
            megabytes(memory(short["litert"], "b")),
            *below(memory(short["litert"], "a"), 700),
        ),
        (
            "the same, ExecuTorch, native runner",
            megabytes(native_memory(results, PUBLIC)),
            *below(native_memory(results, OURS), 700),
        ),
        (
            "the same from Python, with PyTorch below",
            megabytes(memory(short["executorch"], "b")),
            *below(memory(short["executorch"], "a"), 700),
        ),
        ("bundle, without its golden vectors", megabytes(size(results, PUBLIC)), *below(results["bundle_mb"], 540)),
        (
            "build",
            built(*build(results, PUBLIC)),
            built(*build(results, OURS)),
            "300 s, 8 GB",
            quick(*build(results, OURS)),
        ),
        *(
            (f"{stage}, SNR", "fp32 reference", f"{quiet[stage]:.1f} dB", f"{goal} dB", quiet[stage] >= goal)
            for stage, goal in (("conditioner", 30), ("dit", 25), ("decoder", 28))
        ),
    ]
    rows = [
        f"| {what} | {baseline} | {f'**{reached}**' if met else f'{reached}, not reached'} | {goal} |"
        for what, baseline, reached, goal, met in shown
    ]
    return ["| | against | reached | goal |", "|---|---|---:|---:|", *rows]


Goal = tuple[str, str, bool]
"""What was reached, what was aimed at, and whether the one is as good as the other."""


def faster(factor: float, goal: float) -> Goal:
    return f"{factor:.1f}x faster", f"{goal:g}x", factor >= goal


def below(figure: float, goal: float) -> Goal:
    return megabytes(figure), megabytes(goal), figure <= goal


def megabytes(figure: float) -> str:
    return f"{figure:.0f} MB"


def memory(record: Record, side: str) -> float:
    figure: float = record[side]["quantities"]["peak_rss_mb"]["median"]
    return figure


def native_memory(results: Record, recipe: str) -> float:
    return median(results["raw"]["7 s native executorch"][recipe]["peak_rss_mb"])


def size(results: Record, recipe: str) -> float:
    """MB of the larger backend, as an app ships it."""
    builds = [results["raw"][f"build {backend} {recipe}"] for backend in NAMES]
    return float(max(build["made_mb"] - build["golden_mb"] for build in builds))


def build(results: Record, recipe: str) -> tuple[float, float]:
    """Seconds of the slower, GB of the larger backend."""
    builds = [results["raw"][f"build {backend} {recipe}"] for backend in NAMES]
    return max(each["seconds"] for each in builds), max(each["peak_rss_mb"] for each in builds) / 1e3


def built(seconds: float, gigabytes: float) -> str:
    return f"{seconds:.0f} s, {gigabytes:.1f} GB"


def quick(seconds: float, gigabytes: float) -> bool:
    return seconds <= 300 and gigabytes <= 8


def everything(results: Record) -> list[str]:
    raw = results["raw"]
    lines = []
    for backend, name in NAMES.items():
        for label in ("7 s", "whole clip"):
            lines += ["", *pair(f"{name}, {label}", raw[f"{label} {backend}"])]
    lines += ["", *native(raw)]
    lines += ["", *pair("LiteRT and eager PyTorch in fp32, whole clip", raw["whole clip eager"])]
    return [*lines[1:], "", *fidelity(raw), "", *builds(raw), "", *outside(raw), "", *roofs(raw)]


def pair(title: str, record: Record) -> list[str]:
    rows = []
    for name, ratio in record["ratios"].items():
        a, b = (record[side]["quantities"][name] for side in ("a", "b"))
        rows.append(f"| `{name}` | {cell(a)} | {cell(b)} | {ratio['median']:.2f} |")
    header = f"| {title} | {record['a']['recipe']} | {record['b']['recipe']} | ratio |"
    return [header, "|---|---:|---:|---:|", *rows]


def native(raw: Record) -> list[str]:
    record = raw["7 s native executorch"]
    rows = [
        f"| {recipe} | {median(record[recipe]['seconds']):.3f} | {median(record[recipe]['peak_rss_mb']):.0f} |"
        for recipe in (OURS, PUBLIC)
    ]
    return ["| ExecuTorch, native runner, 7 s | seconds | peak memory, MB |", "|---|---:|---:|", *rows]


def cell(quantity: Record) -> str:
    digits = 0 if quantity["median"] >= 100 else 3
    median, low, high = (f"{quantity[key]:.{digits}f}" for key in ("median", "low", "high"))
    return f"{median} ({low} to {high})"


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
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"On {machine['usable_cores']} cores of {machine['cpu']}, 2 threads, medians of runs in turns, each in a fresh "
        f"process; random weights. {versions}."
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
