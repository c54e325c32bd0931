"""Clips: the same by index whoever makes them, kept whole, refused when they are another's."""

from dataclasses import replace

import numpy as np
import pytest

from edge_export.errors import OutputError, UsageError
from post_training import clips as module
from post_training.clips import Plan, flatness, make_clips, open_clips, write_whole
from tests.post_training.small import CONFIG, RATE, draw

pytestmark = pytest.mark.train

PLAN = Plan(seed=CONFIG.seed, samples=CONFIG.network.samples, data=CONFIG.data)


def test_clips_are_drawn_by_index_and_read_back(tmp_path):
    made = make_clips(tmp_path, PLAN, draw)
    assert len(made) == 10 and len(made.shards) == 3
    expected, caption, seconds = PLAN.clip(draw, 9)
    assert np.allclose(made.read(9) * 32767, expected, atol=1e-2)
    assert (made.captions[9], made.seconds[9]) == (caption, seconds)
    assert np.array_equal(made.read(9, 100, 50), made.read(9)[:, 100:150])


def test_workers_make_the_same_clips(tmp_path):
    alone = make_clips(tmp_path / "a", PLAN, draw)
    many = make_clips(tmp_path / "b", replace(PLAN, data=replace(PLAN.data, workers=2)), draw)
    assert alone.captions == many.captions
    for one, other in zip(alone.shards, many.shards):
        assert one.path.read_bytes() == other.path.read_bytes()


def test_some_clips_are_short_and_then_silent():
    plan = replace(PLAN, data=replace(PLAN.data, clips=200, short_share=0.5))
    seconds = [plan.seconds(index) for index in range(200)]
    short = [s for s in seconds if s < PLAN.samples / RATE]
    assert 70 < len(short) < 130 and min(short) >= 0.1
    index = seconds.index(short[0])
    audio, _, length = plan.clip(draw, index)
    assert (
        length == short[0] and not audio[:, round(length * RATE) + 1 :].any() and audio[:, : round(length * RATE)].any()
    )


def test_only_what_is_missing_is_made(tmp_path):
    made = make_clips(tmp_path, PLAN, draw)
    made.shards[1].path.unlink()
    asked = []

    def counted(seed, *, seconds=1.0, held_out=False):
        asked.append(seed & 0xFFFFFFFF)
        return draw(seed, seconds=seconds)

    assert make_clips(tmp_path, PLAN, counted).captions == made.captions
    assert asked == [4, 5, 6, 7]


def test_crops_depend_on_the_step_alone_and_begin_where_it_sounds(tmp_path):
    made = make_clips(tmp_path, PLAN, draw)
    first = made.crops(1, 5, 4, 2048)
    assert first.shape == (4, 2, 2048) and np.array_equal(first, made.crops(1, 5, 4, 2048))
    assert not np.array_equal(first, made.crops(1, 6, 4, 2048))
    assert (np.abs(made.crops(1, 0, 200, 2048)).max(axis=(1, 2)) > 0.01).all()


def test_half_of_the_crops_are_the_purest_of_many(tmp_path):
    made = make_clips(tmp_path, PLAN, draw)
    pure, drawn = made.crops(1, 5, 40, 2048, purest=6), made.crops(1, 5, 20 + 6 * 20, 2048)
    assert pure.shape == (40, 2, 2048) and np.array_equal(pure[:20], drawn[:20])
    assert [flatness(crop) for crop in pure[20:]] == sorted(flatness(crop) for crop in drawn[20:])[:20]


def test_flatness_by_hand():
    """Of an impulse one; of a tone next to none; silence is no tone."""
    time = np.arange(4096) / RATE
    tone, impulse = np.sin(2 * np.pi * 1000 * time), np.zeros(4096)
    impulse[1000] = 100.0
    assert flatness(np.stack([tone, tone])) < 1e-3
    assert flatness(np.stack([impulse, impulse])) == pytest.approx(1, abs=1e-3)
    assert flatness(np.zeros((2, 4096))) == pytest.approx(1)


def test_a_folder_without_clips_or_with_anothers(tmp_path):
    with pytest.raises(UsageError, match="no clips in"):
        open_clips(tmp_path, PLAN)
    made = make_clips(tmp_path, PLAN, draw)
    with pytest.raises(UsageError, match="another config"):
        open_clips(tmp_path, replace(PLAN, seed=4))
    made.shards[0].path.write_bytes(b"none")
    with pytest.raises(UsageError, match=r"no file of clips .*; remove it"):
        open_clips(tmp_path, PLAN)
    made.shards[0].path.unlink()
    with pytest.raises(UsageError, match="is missing"):
        open_clips(tmp_path, PLAN)


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "state"
    write_whole(path, b"old")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(OutputError, match="the disk is full"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
