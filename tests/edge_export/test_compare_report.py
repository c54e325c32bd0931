"""The page of a comparison in a real browser, on a phone's width, with no network."""

import dataclasses
import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from edge_export.compare import Comparison, compare, report
from edge_export.compare.report import report_html, write_report
from edge_export.errors import MissingDependency, OutputError
from edge_export.page import require_page
from runtime_py.bundle import open_bundle
from runtime_py.request import Request
from tests.edge_export.test_compare import recorded

EVIL = 'rain <script>document.title="owned"</script> & "wind"'
PHONE, DESK = 390, 1280


@pytest.fixture(scope="module")
def compared(built) -> Comparison:
    bundle = open_bundle(built("executorch", "fp32"))
    request = Request(prompt=EVIL, seconds=0.5, seed=1, steps=3)
    record = recorded(bundle.folder, request=request)
    run = dataclasses.replace(record.run, label="qemu:" + "very-long-name" * 8)
    return compare(dataclasses.replace(record, run=run), bundle, "bundle")


def off(comparison: Comparison, **tensors: np.ndarray) -> Comparison:
    """The same run with other tensors."""
    record = comparison.record
    return compare(
        dataclasses.replace(record, tensors={**record.tensors, **tensors}), comparison.bundle, comparison.against
    )


@pytest.fixture(scope="module")
def open_page() -> Iterator[Callable]:
    """Opens a file at a width; whatever it asks for beyond itself is an error."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    lacking = [name for name, found in (("chromium", chromium), ("playwright", _installed("playwright"))) if not found]
    if lacking:
        said = f"{' and '.join(lacking)} missing: apt-get install chromium, pip install 'edge-export[dev]'"
        (pytest.fail if os.environ.get("EDGE_EXPORT_NO_SKIP") else pytest.skip)(said)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])

        def open_page(path: Path, width: int):
            page = browser.new_page(viewport={"width": width, "height": 844})
            asked, complaints = [], []
            page.on("request", lambda request: asked.append(request.url))
            page.on("console", lambda message: complaints.append(message.text))
            page.goto(path.as_uri())
            page.wait_for_function("[...document.querySelectorAll('audio')].every(a => a.readyState > 0 || a.error)")
            return page, asked, complaints

        yield open_page
        browser.close()


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_the_page_plays_shows_and_fits(open_page, compared, tmp_path, width):
    path = tmp_path / "report.html"
    write_report(path, [("some/run.json", compared)])
    page, asked, complaints = open_page(path, width)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    durations = page.evaluate("[...document.querySelectorAll('audio')].map(audio => audio.duration)")
    assert durations == pytest.approx([0.5, 0.5], abs=1e-3)
    sizes = page.evaluate("[...document.querySelectorAll('img')].map(image => image.naturalWidth)")
    assert len(sizes) == 3
    assert all(size > 300 for size in sizes)
    assert page.locator("h1").inner_text() == "OK run.json"
    tops = page.evaluate("[...document.querySelectorAll('figure')].map(figure => figure.getBoundingClientRect().top)")
    assert (tops[0] == tops[1]) == (width == DESK)
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert complaints == []


def test_a_prompt_is_text_and_nothing_else(open_page, compared, tmp_path):
    path = tmp_path / "report.html"
    write_report(path, [("run.json", compared)])
    page, *_ = open_page(path, PHONE)
    assert EVIL in page.locator("dl").inner_text()
    assert page.title() == "OK: run.json"
    assert page.locator("script").count() == 0


def test_what_failed_is_said_first(open_page, compared, tmp_path):
    velocity = compared.record.tensors["step_velocity"].copy()
    velocity[1] += 1
    path = tmp_path / "report.html"
    write_report(path, [("bad.json", off(compared, step_velocity=velocity))])
    page, *_ = open_page(path, PHONE)
    assert page.locator("h1").inner_text() == "FAIL bad.json"
    assert "dit velocity, step 2 of 3" in page.locator("h1 + p").inner_text()
    assert page.locator("table.checks td.fail").count() == 3  # the dit, and what the sampler should have made of it


def test_many_records_lead_to_their_own_sections(open_page, compared, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "MOST_PLAYERS", 1)
    velocity = compared.record.tensors["step_velocity"].copy()
    velocity[0, 0, 0] = np.nan
    path = tmp_path / "report.html"
    results = [("bad.json", off(compared, step_velocity=velocity)), ("a.json", compared), ("b.json", compared)]
    write_report(path, results)
    page, *_ = open_page(path, PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE
    assert page.locator("h1").inner_text() == "FAIL 3 records"
    rows = page.locator("#matrix a")
    assert rows.all_inner_texts() == ["bad.json", "a.json", "b.json"]
    rows.nth(1).click()
    assert page.evaluate("location.hash") == "#record-2"
    assert page.locator("#record-2 h2").inner_text() == "OK a.json"
    assert "NaN" in page.locator("#record-1").inner_text()
    assert "1 records" in page.locator("#record-3").inner_text()
    assert page.locator("audio").count() == 0  # the furthest off has no sound
    assert "its times say nothing" in page.locator("#record-2").inner_text()  # an emulated one


def test_the_page_is_well_formed(compared):
    class Balance(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []

        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "img"):
                self.open.append(tag)

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

    balance = Balance()
    balance.feed(report_html([("run.json", compared)]))
    assert balance.open == []


def test_the_command_writes_it(edge_export, compared, tmp_path):
    from runtime_py.record import dump_record

    (tmp_path / "run.json").write_text(dump_record(compared.record))
    out = tmp_path / "report.html"
    made = edge_export("compare", tmp_path / "run.json", compared.bundle.folder, "--report", out)
    assert made.code == 0
    assert "fp32 reference" in out.read_text()
    made = edge_export(
        "compare", tmp_path / "run.json", compared.bundle.folder, "--report", tmp_path / "no" / "report.html"
    )
    assert (made.code, str(tmp_path / "no") in made.error) == (6, True)


def test_a_full_disk_leaves_the_old_page(compared, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        write_report(path, [("run.json", compared)])
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_not_installed_is_named(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "jinja2" else found(name))
    with pytest.raises(MissingDependency, match=r"reports need jinja2: pip install 'edge-export\[report\]'"):
        require_page()
