"""Our T5 encoder against transformers', with the same random weights."""

import pytest
import torch

from edge_export.model.conditioner import Conditioner, T5Encoder, relative_buckets
from tests.edge_export.networks import CONFIG, config_with, randomized

pytestmark = pytest.mark.slow

TOKENS = 40
LENGTHS = (40, 9, 1)


@pytest.fixture(scope="module", params=["relu", "gated-gelu"])
def encoders(request):
    """Transformers' encoder and ours, with its weights."""
    from transformers import T5Config, T5EncoderModel

    config = config_with(t5={"gated": request.param == "gated-gelu"}).conditioner.t5
    theirs = T5EncoderModel(
        T5Config(
            vocab_size=config.vocab_size,
            d_model=config.d_model,
            d_kv=config.d_kv,
            d_ff=config.d_ff,
            num_layers=config.num_layers,
            num_heads=config.num_heads,
            relative_attention_num_buckets=config.relative_attention_num_buckets,
            relative_attention_max_distance=config.relative_attention_max_distance,
            feed_forward_proj=request.param,
            dropout_rate=0.0,
        )
    )
    randomized(theirs)
    ours = T5Encoder(config).eval().requires_grad_(False)
    return theirs, ours


def state_of(theirs) -> dict[str, torch.Tensor]:
    """Their weights without the second name of the embedding table."""
    return {name: tensor for name, tensor in theirs.state_dict().items() if name != "encoder.embed_tokens.weight"}


def test_the_weights_have_the_same_names_and_shapes(encoders):
    theirs, ours = encoders
    shapes = {name: tensor.shape for name, tensor in state_of(theirs).items()}
    assert {name: tensor.shape for name, tensor in ours.state_dict().items()} == shapes


def test_a_padded_batch_gives_the_same_numbers(encoders):
    theirs, ours = encoders
    ours.load_state_dict(state_of(theirs))
    ids = torch.randint(1, 50, (len(LENGTHS), TOKENS), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(TOKENS)[None] < torch.tensor(LENGTHS)[:, None]
    expected = theirs(input_ids=ids * mask, attention_mask=mask.long()).last_hidden_state
    made = ours(ids * mask, mask.float())
    assert expected[mask].std() > 0.1
    assert (made - expected)[mask].abs().max() <= 1e-5


@pytest.mark.parametrize(("buckets", "farthest"), [(32, 128), (8, 20)])
def test_distances_fall_into_the_same_buckets(buckets, farthest):
    """Beyond the farthest distance too."""
    from transformers.models.t5.modeling_t5 import T5Attention

    config = config_with(
        t5={"relative_attention_num_buckets": buckets, "relative_attention_max_distance": farthest}
    ).conditioner.t5
    position = torch.arange(200)
    expected = T5Attention._relative_position_bucket(
        position[None, :] - position[:, None], bidirectional=True, num_buckets=buckets, max_distance=farthest
    )
    assert torch.equal(relative_buckets(200, config), expected)


def test_padding_is_zeros_and_seconds_come_in_the_configs_order():
    conditioner = randomized(Conditioner(CONFIG.conditioner))
    tokens = CONFIG.conditioner.tokens
    mask = (torch.arange(tokens) < 5).float()[None]
    cross, global_cond = conditioner(torch.ones(1, tokens, dtype=torch.int32), mask, torch.tensor([3.0]))
    assert torch.equal(cross[:, 5:tokens], torch.zeros(1, tokens - 5, 96))
    assert cross[:, :5].abs().min(dim=-1).values.max() > 0
    assert torch.equal(cross[:, tokens], global_cond)


@pytest.mark.parametrize(("asked", "counted"), [(-5.0, 0.0), (1e9, 256.0)])
def test_seconds_beyond_the_range_are_clamped(asked, counted):
    conditioner = randomized(Conditioner(CONFIG.conditioner)).seconds_total
    assert torch.equal(conditioner(torch.tensor([asked])), conditioner(torch.tensor([counted])))
