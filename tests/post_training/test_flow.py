"""The flow's formulas by hand, its times by their distribution, and how long the clips are that it is shown."""

import math

import pytest
import torch

from post_training.config import FlowSettings
from post_training.data import Examples, Latents
from post_training.flow import FlowStage, denoised, draw_times, flow_loss, logit_normal, logsnr_uniform, noised
from post_training.loop import make_accelerator
from post_training.text import train_spiece
from runtime_py.sampler import SAMPLERS
from tests.post_training.small import CONFIG, KINDS

pytestmark = pytest.mark.train

CPU = torch.device("cpu")
CLEAN = torch.full((2, 1, 3), 2.0)
NOISE = torch.full((2, 1, 3), -1.0)
TIMES = torch.tensor([0.0, 0.25])


def test_noised_and_denoised_by_hand():
    latent = noised(CLEAN, NOISE, TIMES)
    assert latent[0].eq(2.0).all() and latent[1].eq(0.75 * 2 - 0.25).all()
    assert torch.allclose(denoised(latent, NOISE - CLEAN, TIMES), CLEAN)


def test_the_loss_by_hand():
    assert float(flow_loss(NOISE - CLEAN, CLEAN, NOISE)) == 0
    assert float(flow_loss(torch.zeros_like(CLEAN), CLEAN, NOISE)) == 9  # |-1 - 2|^2


def test_times_are_distributed_as_said():
    torch.manual_seed(0)
    times = logsnr_uniform(20000, (-6.0, 2.0), CPU)
    logsnr = torch.log((1 - times) / times)
    assert -6 <= logsnr.min() < -5.99 and 1.99 < logsnr.max() <= 2
    assert float(logsnr.mean()) == pytest.approx(-2, abs=0.05) and float(logsnr.var()) == pytest.approx(
        64 / 12, rel=0.03
    )
    normal = torch.logit(logit_normal(20000, CPU))
    assert float(normal.mean()) == pytest.approx(0, abs=0.03) and float(normal.std()) == pytest.approx(1, abs=0.03)


def test_the_config_chooses_the_times():
    base = {"steps": 1, "batch": 1, "learning_rate": 1.0}
    low = FlowSettings(**base, times="logsnr-uniform", logsnr=(3.0, 4.0))
    assert draw_times(low, 100, CPU).max() < 0.05 < draw_times(FlowSettings(**base), 100, CPU).max()


def test_the_schedule_of_arc_is_the_runtimes():
    """The bounds of the training times are those between which the published sampler's sigmas lie."""
    inner = SAMPLERS["pingpong"].sigmas(8)[1:-1]
    assert (inner < 1 / (1 + math.exp(-6))).all() and (inner > 1 / (1 + math.exp(2))).all()


def test_dropped_prompts_are_the_empty_one_and_latents_are_their_own_clips():
    captions = ("low hum", "high whistle", "soft noise")
    means = torch.tensor([1.0, 2.0, 3.0]).half()[:, None, None].expand(3, 64, 5).contiguous()
    latents = Latents(means=means, captions=captions, seconds=(1.0, 2.0, 3.0))
    examples = Examples(latents, train_spiece([*captions] * 20, 200), 16, CPU)
    torch.manual_seed(0)
    batch = examples.draw(400, 0.25)
    empty = batch.mask.sum(1) == 1
    assert 0.15 < float(empty.float().mean()) < 0.35
    assert (batch.ids[empty] == torch.tensor([1] + [0] * 15)).all()
    assert torch.equal(batch.latent[:, 0, 0], batch.seconds)  # clip i holds i, and lasts i seconds
    assert not (examples.draw(400).mask.sum(1) == 1).any()


def test_the_first_steps_are_shown_short_clips():
    latents = Latents(means=torch.randn(3, 64, 16).half(), captions=KINDS, seconds=(1.0, 1.0, 1.0))
    examples = Examples(latents, train_spiece([*KINDS] * 20, 200), CONFIG.network.tokens, CPU)
    stage = FlowStage(CONFIG, examples, make_accelerator())
    lengths: list[int] = []
    stage.modules["flow"].register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].shape[-1]))
    for step in range(4):
        stage.step(step)
    assert lengths == [8, 8, 16, 16]


def test_text_queries_learn_slower_as_t5_does_not_scale_its_logits():
    latents = Latents(means=torch.randn(3, 64, 16).half(), captions=KINDS, seconds=(1.0, 1.0, 1.0))
    examples = Examples(latents, train_spiece([*KINDS] * 20, 200), CONFIG.network.tokens, CPU)
    stage = FlowStage(CONFIG, examples, make_accelerator())
    rates = {
        id(parameter): group["full_rate"]
        for group in stage.optimizers["flow"].param_groups
        for parameter in group["params"]
    }
    named = dict(stage.modules["flow"].named_parameters())
    queries = {name for name in named if name.startswith("conditioner") and name.endswith("SelfAttention.q.weight")}
    assert len(queries) == CONFIG.network.text_layers and len(rates) == len(named)
    for name, parameter in named.items():
        slower = CONFIG.network.d_kv**-0.5 if name in queries else 1
        assert rates[id(parameter)] == pytest.approx(slower * CONFIG.flow.learning_rate)
