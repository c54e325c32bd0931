"""The command line in this process, bundles that lie, and tests that need more than Python."""

import dataclasses
import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_export import cli
from runtime_py.bundle import Bundle
from runtime_py.manifest import dump_manifest, load_manifest
from tests.shared import Result

NO_SKIP = bool(os.environ.get("EDGE_EXPORT_NO_SKIP"))


@pytest.fixture
def edge_export(monkeypatch, capfd) -> Callable[..., Result]:
    """Runs a command in this process."""

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["edge-export", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        captured = capfd.readouterr()
        return Result(program="edge-export", code=code, out=captured.out, err=captured.err)

    return run


@pytest.fixture(scope="session")
def need() -> Callable[..., None]:
    """Skips, saying why, when a command is missing; where everything is installed it fails instead."""

    def need(*commands: str) -> None:
        lacking = [command for command in commands if shutil.which(command) is None]
        if lacking and NO_SKIP:
            pytest.fail(f"{', '.join(lacking)} must be installed here: edge-export device setup")
        if lacking:
            pytest.skip(f"{', '.join(lacking)} is not installed: edge-export device setup")

    return need


@pytest.fixture
def reseal() -> Callable[..., None]:
    """Writes a manifest anew after `changes`, with the hashes the files have now: a bundle that lies."""

    def reseal(folder: Path, **changes: Any) -> None:
        bundle = Bundle(folder=folder, manifest=load_manifest(folder))

        def refreshed(spec: Any) -> Any:
            data = bundle.path(spec).read_bytes()
            return dataclasses.replace(spec, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))

        manifest = dataclasses.replace(bundle.manifest, **changes)
        manifest = dataclasses.replace(
            manifest,
            programs={role: refreshed(program) for role, program in manifest.programs.items()},
            tokenizer=refreshed(manifest.tokenizer),
            notices=tuple(map(refreshed, manifest.notices)),
            golden=refreshed(manifest.golden),
        )
        (folder / "manifest.json").write_text(dump_manifest(manifest))

    return reseal


@pytest.fixture
def swap_inputs(reseal) -> Callable[[Path], None]:
    """Names two inputs of one shape of a bundle's dit the wrong way round, under a true seal."""
    other = {"cross_k": "cross_v", "cross_v": "cross_k"}

    def swap(folder: Path) -> None:
        spec = load_manifest(folder).generation
        dit = spec.programs["dit"]
        inputs = tuple(dataclasses.replace(tensor, name=other.get(tensor.name, tensor.name)) for tensor in dit.inputs)
        programs = spec.programs | {"dit": dataclasses.replace(dit, inputs=inputs)}
        reseal(folder, generation=dataclasses.replace(spec, programs=programs))

    return swap


@pytest.fixture
def change_weight(reseal) -> Callable[[Path, str], None]:
    """Sets one value to 10 amid the first long run of what look like weights of a program, under a true hash."""

    def change(folder: Path, name: str) -> None:
        path = folder / load_manifest(folder).programs[name].file
        program = path.read_bytes()
        values = np.frombuffer(program[: len(program) // 4 * 4], "<f4").copy()
        plausible = np.isfinite(values) & (np.abs(values) > 1e-3) & (np.abs(values) < 4)
        values[int(np.argmax(np.convolve(plausible, np.ones(64), "same") >= 63))] = 10.0
        path.write_bytes(values.tobytes() + program[len(values) * 4 :])
        reseal(folder)

    return change
