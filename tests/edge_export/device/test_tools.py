"""Setting a machine up: what is missing is named, and brought where that is allowed."""

import json
from pathlib import Path

import pytest

from edge_export.device import tools
from edge_export.errors import MissingDependency, UsageError


def command(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def bare(tmp_path, monkeypatch) -> Path:
    """A PATH with nothing on it, no headers, and a cache of its own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(tools, "HEADER_FOLDERS", (tmp_path / "include",))
    monkeypatch.delenv("EDGE_HEADERS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tools.os, "geteuid", lambda: 0)
    command(folder, "env", 'while case "$1" in *=*) ;; *) false ;; esac; do shift; done; exec "$@"')
    return folder


def test_without_apt_get_the_packages_are_named(edge_export, bare):
    result = edge_export("device", "setup", "--yes")
    assert result.code == 8
    assert "there is no apt-get here" in result.error
    for package in ("g++-aarch64-linux-gnu", "qemu-user-static", "cmake", "nlohmann-json3-dev", "libcli11-dev"):
        assert package in result.error


def test_without_yes_and_without_a_terminal_nothing_is_installed(edge_export, bare):
    command(bare, "apt-get", f"echo ran > {bare}/ran")
    result = edge_export("device", "setup", "--on", "adb")
    assert result.code == 8
    assert "say --yes" in result.error
    assert "apt-get install -y g++-aarch64-linux-gnu adb cmake" in result.error
    assert not (bare / "ran").exists()


def test_without_root_the_exact_command_is_named(edge_export, bare, monkeypatch):
    monkeypatch.setattr(tools.os, "geteuid", lambda: 1000)
    command(bare, "apt-get", "exit 0")
    command(bare, "sudo", "exit 1")
    result = edge_export("device", "setup", "--on", "host", "--yes")
    assert result.code == 8
    wanted = "sudo apt-get install -y g++ cmake ninja-build nlohmann-json3-dev libcli11-dev"
    assert wanted in result.error


def test_sudo_that_asks_for_no_password_is_used(bare, monkeypatch):
    monkeypatch.setattr(tools.os, "geteuid", lambda: 1000)
    command(bare, "sudo", '[ "$1" = -n ] && shift; exec "$@"')
    command(bare, "true", "exit 0")
    brings = f"printf '#!/bin/sh\\n' > {bare}/cmake; /bin/chmod 755 {bare}/cmake"
    command(bare, "apt-get", f'echo "$@" >> {bare}/ran; {brings}')
    tools.install([tools.TOOLS["cmake"]], lambda command: command == "sudo -n apt-get install -y cmake")
    assert (bare / "ran").read_text() == "install -y --no-install-recommends cmake\n"


def test_package_lists_are_read_once_when_a_package_is_unknown(bare):
    script = f"""echo "$1" >> {bare}/ran
    if [ "$1" = update ]; then echo ok > {bare}/lists; exit 0; fi
    [ -f {bare}/lists ] || {{ echo "E: Unable to locate package cmake"; exit 100; }}
    printf '#!/bin/sh\\n' > {bare}/cmake; /bin/chmod 755 {bare}/cmake"""
    command(bare, "apt-get", script)
    tools.install([tools.TOOLS["cmake"]], lambda _: True)
    assert (bare / "ran").read_text().split() == ["install", "update", "install"]


def test_an_apt_get_that_fails_is_reported_in_its_own_words(bare):
    command(bare, "apt-get", "echo 'E: Could not get lock /var/lib/dpkg/lock'; exit 100")
    with pytest.raises(MissingDependency, match="Could not get lock"):
        tools.install([tools.TOOLS["cmake"]], lambda _: True)


def test_a_package_that_brings_no_tool_is_noticed(bare):
    command(bare, "apt-get", "exit 0")
    with pytest.raises(MissingDependency, match="still missing after"):
        tools.install([tools.TOOLS["cmake"]], lambda _: True)


def test_saying_no_installs_nothing(bare):
    command(bare, "apt-get", f"echo ran > {bare}/ran")
    with pytest.raises(UsageError, match="nothing was installed"):
        tools.install([tools.TOOLS["cmake"]], lambda _: False)
    assert not (bare / "ran").exists()


def test_headers_may_lie_in_a_folder_of_ones_own(bare, tmp_path, monkeypatch):
    assert not tools.TOOLS["json"].here()
    (tmp_path / "mine" / "nlohmann").mkdir(parents=True)
    (tmp_path / "mine" / "nlohmann" / "json.hpp").touch()
    monkeypatch.setenv("EDGE_HEADERS", str(tmp_path / "mine"))
    assert tools.TOOLS["json"].here()


def test_an_unknown_place_is_refused(edge_export):
    result = edge_export("device", "setup", "--on", "moon")
    assert result.code == 2
    assert "choose from host, qemu, adb, app" in result.error


def test_the_list_says_what_each_place_lacks(edge_export, bare):
    places = {place["where"]: place for place in json.loads(edge_export("device", "list", "--json").out)}
    assert "cmake is not installed" in places["host"]["lacks"]
    assert "qemu-aarch64-static is not installed" in places["qemu:cortex-a76"]["lacks"]
    assert any("Arm libraries of executorch" in lack for lack in places["qemu:max"]["lacks"])
    assert "adb is not installed" in places["adb"]["lacks"]


def test_the_list_shows_devices_that_cannot_be_used_yet(edge_export, phone):
    phone.devices("PIXEL8 device model:Pixel_8", "TAB unauthorized", "OLD offline")
    places = {place["where"]: place for place in json.loads(edge_export("device", "list", "--json").out)}
    assert places["adb:PIXEL8"]["what"] == "Pixel 8"
    assert not any("unauthorised" in lack for lack in places["adb:PIXEL8"]["lacks"])
    assert any("allow USB debugging" in lack for lack in places["adb:TAB"]["lacks"])
    assert any("offline" in lack for lack in places["adb:OLD"]["lacks"])
