"""The tables in README and docs: goals that were missed say so, and nobody wrote into what a command writes."""

import json

import pytest

from benchmarks.machines import portable
from benchmarks.show import (
    BEGIN,
    CARD,
    DOCUMENT,
    END,
    FASTER,
    GPU_BEGIN,
    GPU_RESULTS,
    MB,
    MODEL,
    MODEL_BEGIN,
    MODEL_RESULTS,
    README,
    RESULTS,
    TOOK,
    WITHIN,
    Goal,
    everything,
    goals,
    gpu,
    model,
    row,
    where,
)


@pytest.mark.parametrize(
    ("goal", "shown"),
    [
        (Goal("clip", "eager", (6.04,), FASTER, (6,)), "| clip | eager | **6.0x faster** | 6x |"),
        (Goal("clip", "eager", (5.99,), FASTER, (6,)), "| clip | eager | 6.0x faster, *not reached* | 6x |"),
        (Goal("peak", "", (700,), MB, (700,)), "| peak |  | **700 MB** | 700 MB |"),
        (Goal("int8", "", (0.8,), WITHIN, (1,)), "| int8 |  | **+0.8 points** | within 1 points |"),
        (Goal("int8", "", (3.3,), WITHIN, (1,)), "| int8 |  | +3.3 points, *not reached* | within 1 points |"),
        (Goal("build", "", (200, 8.4), TOOK, (300, 8)), "| build |  | 200 s, 8.4 GB, *not reached* | 300 s, 8 GB |"),
    ],
)
def test_only_what_is_reached_is_bold(goal, shown):
    assert row(goal) == shown


@pytest.mark.parametrize(("path", "write"), [(README, goals), (DOCUMENT, everything)], ids=["README", "docs"])
def test_the_tables_are_those_of_the_measurements(path, write):
    """`python -m benchmarks.show` writes them again."""
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    _, rest = path.read_text(encoding="utf-8").split(BEGIN)
    assert rest.split(END)[0] == "\n" + "\n".join([*write(results), "", where(results)]) + "\n"


@pytest.mark.skipif(not MODEL_RESULTS.exists(), reason="never measured")
@pytest.mark.parametrize("path", [MODEL, CARD], ids=["docs", "card"])
def test_the_models_tables_are_those_of_its_measurements(path):
    results = json.loads(MODEL_RESULTS.read_text(encoding="utf-8"))
    _, rest = path.read_text(encoding="utf-8").split(MODEL_BEGIN)
    assert rest.split(END)[0] == "\n" + "\n".join(model(results)) + "\n"


def test_no_path_of_the_machine_that_measured_is_kept():
    lay = {"verify": {"bundle": "/home/someone/bundle"}, "bench": [{"bundle": "/x/y"}, 1]}
    assert portable(lay) == {"verify": {"bundle": "bundle"}, "bench": [{"bundle": "y"}, 1]}
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert portable(results) == results


def test_the_gpus_table_is_that_of_its_measurement():
    results = json.loads(GPU_RESULTS.read_text(encoding="utf-8"))
    _, rest = DOCUMENT.read_text(encoding="utf-8").split(GPU_BEGIN)
    assert rest.split(END)[0] == "\n" + "\n".join(gpu(results)) + "\n"
