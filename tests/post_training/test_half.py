"""Half precision: in float32 it is the reference's generation, in bfloat16 near it; and the GPU's benchmark runs."""

import json
import sys

import numpy as np
import pytest
import torch

from benchmarks import gpu
from edge_export.checkpoint import open_checkpoint
from edge_export.tokenizer_export import read_spiece
from post_training.half import HalfNetwork
from post_training.play import NetworkPlayer
from runtime_py.metrics import snr_db
from runtime_py.random import TorchRandom
from runtime_py.request import Request

CPU = torch.device("cpu")
STEPS = 3


@pytest.fixture(scope="module")
def played(oracle) -> np.ndarray:
    """What the evaluation's player makes of seed 5, [channels, samples]."""
    player = NetworkPlayer(open_checkpoint(oracle), threads=1)
    request = Request(prompt="a low hum", seconds=player.longest, seed=5, steps=STEPS)
    return player.play([request])[0]


@pytest.mark.parametrize(("dtype", "least_db"), [(torch.float32, 100), (torch.bfloat16, 15)], ids=str)
def test_it_plays_what_the_reference_plays(oracle, played, dtype, least_db):
    checkpoint = open_checkpoint(oracle)
    player, config = NetworkPlayer(checkpoint, threads=1), checkpoint.config
    network = HalfNetwork(checkpoint, CPU, steps=STEPS, dtype=dtype, compiled=False)
    prompt = read_spiece(checkpoint.spiece).encode_prompt("a low hum", config.conditioner.tokens)
    ids, mask = torch.from_numpy(prompt.ids)[None], torch.from_numpy(prompt.mask)[None]
    random = TorchRandom(5)
    noise = torch.from_numpy(np.stack([random.randn(1, *config.latent_shape) for _ in range(STEPS)]))
    assert network.noise_shape == tuple(noise.shape)
    audio = network.play(*network.condition(ids, mask, torch.tensor([player.longest])), noise)[0].numpy()
    assert snr_db(played, audio[:, : played.shape[1]]) > least_db


def test_the_benchmark_tells_times_and_how_near_it_is(oracle, monkeypatch, capsys):
    arguments = ["--checkpoint", str(oracle), "--steps", "2", "--rounds", "2", "--device", "cpu", "--plain"]
    monkeypatch.setattr(sys, "argv", ["gpu", *arguments])
    gpu.main()
    result = json.loads(capsys.readouterr().out)
    assert result["snr_db"] > 15 and result["half_ms"] > 0 and len(result["runs_ms"]["float32"]) == 2
    assert result["audio_seconds"] == pytest.approx(16 * 2048 / 44100)
