"""ARC's losses by hand, what each of them teaches, and that both networks start from the base."""

import math
from dataclasses import replace

import pytest
import torch

from post_training.arc import (
    ArcStage,
    Discriminator,
    contrastive,
    least_squares_discriminator,
    least_squares_generator,
    relativistic_discriminator,
    relativistic_generator,
    shuffle_prompts,
)
from post_training.data import Examples, Latents
from post_training.loop import make_accelerator
from post_training.network import averaged, build_flow
from post_training.text import train_spiece
from tests.post_training.small import CONFIG, KINDS, shaken

pytestmark = pytest.mark.train

REAL, MADE = torch.tensor([[1.0], [0.0]]), torch.tensor([[0.0], [2.0]])


def softplus(x: float) -> float:
    return math.log(1 + math.exp(x))


def test_relativistic_by_hand():
    assert float(relativistic_discriminator(REAL, MADE)) == pytest.approx((softplus(-1) + softplus(2)) / 2)
    assert float(relativistic_generator(REAL, MADE)) == pytest.approx((softplus(1) + softplus(-2)) / 2)


def test_relativistic_losses_pair_and_see_differences_alone():
    swapped = MADE.flip(0)
    assert relativistic_discriminator(REAL, swapped) != relativistic_discriminator(REAL, MADE)
    assert torch.allclose(relativistic_discriminator(REAL + 7, MADE + 7), relativistic_discriminator(REAL, MADE))


def test_each_side_pulls_its_own_way():
    real, made = REAL.clone().requires_grad_(), MADE.clone().requires_grad_()
    relativistic_discriminator(real, made).backward()
    assert (real.grad < 0).all() and (made.grad > 0).all()  # down the gradient: real up, made down
    made = MADE.clone().requires_grad_()
    relativistic_generator(REAL, made).backward()
    assert (made.grad < 0).all()


def test_least_squares_by_hand():
    assert float(least_squares_discriminator(REAL, MADE)) == pytest.approx((0 + 1) / 2 + (0 + 4) / 2)
    assert float(least_squares_generator(MADE)) == pytest.approx((1 + 1) / 2)


def test_contrastive_by_hand_and_it_wants_the_right_prompt_above():
    right, wrong = torch.tensor([[2.0]]), torch.tensor([[-1.0]])
    assert float(contrastive(right, wrong)) == pytest.approx(softplus(-3))
    assert contrastive(right, wrong) < contrastive(wrong, right)


def test_shuffled_prompts_are_all_anothers_and_seconds_their_own():
    cross = torch.arange(5.0)[:, None, None].expand(5, 3, 2).contiguous()
    seconds = torch.arange(5.0)[:, None]
    for seed in range(20):
        torch.manual_seed(seed)
        shuffled, kept = shuffle_prompts((cross, seconds))
        assert (shuffled[:, :2] != cross[:, :2]).all() and torch.equal(shuffled[:, 2:], cross[:, 2:])
        assert sorted(shuffled[:, 0, 0].tolist()) == [0, 1, 2, 3, 4] and torch.equal(kept, seconds)


def base():
    torch.manual_seed(0)
    return shaken(build_flow(CONFIG.network))


def cond(batch: int = 2):
    return torch.randn(batch, 17, 64), torch.randn(batch, 64)


def test_the_discriminator_is_the_base_cut_at_an_inner_layer():
    flow = base()
    ours = Discriminator(averaged(flow.dit), 1)
    assert len(ours.dit.transformer.layers) == 1 and len(flow.dit.transformer.layers) == 2
    seen = []
    hook = flow.dit.transformer.layers[0].register_forward_hook(lambda m, i, out: seen.append(out))
    latent, sigma, conditioning = torch.randn(2, 64, 32), torch.tensor([0.2, 0.7]), cond()
    flow.dit(latent, sigma, *conditioning)
    hook.remove()
    assert torch.allclose(ours.features(latent, sigma, *conditioning), seen[0][:, 1:].transpose(1, 2), atol=1e-5)


def test_the_discriminator_scores_stretches_of_16_latents_and_hears_prompt_and_time():
    ours = Discriminator(averaged(base().dit), 2).eval()
    latent, sigma, (cross, general) = torch.randn(2, 64, 160), torch.tensor([0.2, 0.7]), cond()
    scores = ours(latent, sigma, cross, general)
    assert scores.shape == (2, 10)
    assert not torch.allclose(ours(latent, sigma, cross.flip(0), general), scores)
    assert not torch.allclose(ours(latent, sigma.flip(0), cross, general), scores)


def stage(**changes) -> ArcStage:
    torch.manual_seed(5)
    captions = tuple(f"{kind} {i}" for i in range(4) for kind in KINDS)
    means = torch.randn(len(captions), 64, 32).half()
    latents = Latents(means=means, captions=captions, seconds=(0.3,) * len(captions))
    examples = Examples(latents, train_spiece([*captions] * 5, 200), 16, torch.device("cpu"))
    config = replace(CONFIG, arc=replace(CONFIG.arc, **changes))
    return ArcStage(config, base(), examples, make_accelerator())


def weights(module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()]).clone()


def test_a_step_moves_both_networks_and_not_the_conditioner():
    made = stage()
    flow = base()
    modules = made.modules
    assert torch.equal(weights(modules["generator"]), weights(flow.dit))
    before = {name: weights(module) for name, module in modules.items()}
    conditioner = weights(modules["average"].conditioner)
    metrics = made.step(0)
    assert set(metrics) == {"discriminator", "gap", "contrastive", "generator", "norm"}
    assert all(not torch.equal(before[name], weights(module)) for name, module in modules.items())
    assert torch.equal(conditioner, weights(modules["average"].conditioner))


def test_the_discriminator_learns_alone_when_the_generator_stands_still():
    made = stage(learning_rate=1e-12, discriminator_learning_rate=1e-3)
    losses = []
    for step in range(30):
        torch.manual_seed(step)
        losses.append(float(made.step(step)["discriminator"]))
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_ablations_by_setting():
    assert "contrastive" not in stage(contrastive_weight=0.0).step(0)
    torch.manual_seed(0)
    relativistic = stage().step(0)
    torch.manual_seed(0)
    squares = stage(adversary="least-squares").step(0)
    assert float(relativistic["discriminator"]) != float(squares["discriminator"])


def test_it_can_be_shown_the_first_latents_alone():
    made = stage(latents=16)
    lengths: list[int] = []
    made.modules["generator"].register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].shape[-1]))
    made.step(0)
    assert lengths == [16]
