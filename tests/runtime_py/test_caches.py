"""One folder holds all caches: where the system's convention puts it, or nowhere, never in the working folder."""

from pathlib import Path

import pytest

from edge_export.cache import default_folder
from edge_export.device.store import store
from runtime_py.caches import cache_folder


def test_the_folder_follows_the_environment(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder("weights") == Path("/somewhere/edge-export/weights")
    assert default_folder() == Path("/somewhere/edge-export/programs")
    assert store("sdk") == Path("/somewhere/edge-export/device/sdk")


@pytest.mark.parametrize("chosen", ["", "caches", "./caches", "~/caches"])
def test_a_choice_that_is_not_absolute_does_not_count(monkeypatch, chosen):
    monkeypatch.setenv("XDG_CACHE_HOME", chosen)
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_folder("weights") == Path("/home/someone/.cache/edge-export/weights")
    assert default_folder() == Path("/home/someone/.cache/edge-export/programs")
    assert store("sdk") == Path("/home/someone/.cache/edge-export/device/sdk")


def test_a_user_without_a_home_has_none(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "someone")
    assert cache_folder("weights") is None
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert cache_folder("weights") is None


def test_the_tests_keep_theirs_among_their_own_files(own_caches):
    folder = cache_folder("weights")
    assert folder is not None
    assert folder.is_relative_to(own_caches)
