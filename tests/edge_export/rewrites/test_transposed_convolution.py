"""Transposed convolutions by phases: the same samples, no transposed operator, and no piece that is too large."""

import copy

import pytest
from torch import nn

from edge_export.model.autoencoder import Decoder
from edge_export.rewrites import transposed_convolution
from edge_export.rewrites.convolution import decoder_in_two_dimensions
from edge_export.rewrites.transposed_convolution import (
    PhasedConvolution,
    pieces_of,
    transposed_convolution_by_phases,
)
from tests.edge_export.networks import (
    CONFIG,
    assert_same,
    config_with,
    graph_of,
    kinds_in,
    noise,
    operators,
    randomized,
)

INPUTS, OUTPUTS = 6, 5
MIB = 1 << 20
STRIDES = [1, 2, 3, 4, 5, 8]


@pytest.fixture(params=[True, False], ids=["bias", "no bias"])
def bias(request) -> bool:
    return request.param


def layer(stride: int, bias: bool = True, padding: int | None = None, kernel: int | None = None) -> nn.Module:
    """Padded as in the decoder unless said."""
    padding = stride // 2 if padding is None else padding
    width = 2 * stride if kernel is None else kernel
    made = nn.ConvTranspose2d(INPUTS, OUTPUTS, (1, width), stride=(1, stride), padding=(0, padding), bias=bias)
    return randomized(made)


def phased(published: nn.Module) -> PhasedConvolution:
    made = transposed_convolution_by_phases(copy.deepcopy(published), CONFIG)
    assert type(made) is PhasedConvolution
    return made


def limit_to(monkeypatch, most: int) -> None:
    monkeypatch.setattr(transposed_convolution, "MOST_BYTES", most)


@pytest.mark.parametrize("length", [1, 2, 9])
@pytest.mark.parametrize("stride", STRIDES)
def test_samples_stay(stride, bias, length):
    published, x = layer(stride, bias), noise(1, INPUTS, 1, length)
    assert_same(published(x), phased(published)(x))


@pytest.mark.parametrize(("stride", "padding"), [(4, 0), (4, 1), (4, 3), (4, 4), (3, 0), (3, 2)])
def test_samples_stay_for_every_padding(stride, padding):
    published, x = layer(stride, padding=padding), noise(1, INPUTS, 1, 9)
    assert_same(published(x), phased(published)(x))


@pytest.mark.parametrize(("stride", "pieces"), [(2, 2), (4, 2), (4, 4), (6, 3), (3, 3), (5, 5)])
def test_samples_stay_when_the_weight_is_cut(monkeypatch, stride, pieces, bias):
    published, x = layer(stride, bias), noise(1, INPUTS, 1, 9)
    limit_to(monkeypatch, published.weight.nbytes // pieces)
    made = phased(published)
    assert [name for name, _ in made.named_children()] == [f"cut_{index}" for index in range(pieces)]
    assert_same(published(x), made(x))


@pytest.mark.parametrize("stride", [4, 6])
def test_no_piece_is_too_large_or_holds_more_than_its_own(monkeypatch, stride):
    published = layer(stride)
    limit_to(monkeypatch, published.weight.nbytes // 2)
    pieces = list(phased(published).children())
    assert len(pieces) == 2
    for piece in pieces:
        assert piece.weight.untyped_storage().nbytes() == piece.weight.nbytes == published.weight.nbytes // 2
        assert piece.bias.untyped_storage().nbytes() == piece.bias.nbytes


@pytest.mark.parametrize(
    ("size", "stride", "pieces"),
    [
        (1, 8, 1),
        (32 * MIB, 8, 1),
        (32 * MIB + 1, 8, 2),
        (64 * MIB, 8, 2),
        (64 * MIB + 1, 8, 4),
        (65 * MIB, 6, 3),
        (129 * MIB, 8, 8),
        (33 * MIB, 5, 5),
        (1, 1, 1),
    ],
)
def test_a_weight_is_cut_in_the_fewest_pieces_that_divide_the_stride(size, stride, pieces):
    assert pieces_of(size, stride) == pieces


@pytest.mark.parametrize("pieces", [1, 4])
def test_no_transposed_convolution_is_left_in_the_graph(monkeypatch, bias, pieces):
    published = layer(4, bias)
    limit_to(monkeypatch, published.weight.nbytes // pieces)
    graph = [name for name, _ in graph_of(phased(published), noise(1, INPUTS, 1, 9))]
    assert graph.count("conv2d") == pieces
    assert not {name for name in graph if "transpose" in name}


@pytest.mark.parametrize(("stride", "kernel"), [(4, 7), (4, 9), (4, 4), (3, 7), (1, 1)])
def test_kernels_that_are_not_twice_the_stride_stay(stride, kernel):
    other = layer(stride, kernel=kernel, padding=0)
    network = transposed_convolution_by_phases(nn.Sequential(other, layer(4)), CONFIG)
    assert network[0] is other
    assert type(network[1]) is PhasedConvolution


@pytest.mark.parametrize("use_snake", [True, False], ids=["snake", "elu"])
def test_the_audio_of_a_whole_decoder_stays(monkeypatch, use_snake):
    limit_to(monkeypatch, 512)
    config = config_with(decoder={"use_snake": use_snake})
    published, latent = randomized(Decoder(config.decoder)), noise(1, 8, 5)
    made = transposed_convolution_by_phases(decoder_in_two_dimensions(copy.deepcopy(published), config), config)
    assert any(name.endswith("cut_1") for name, _ in made.named_modules())
    assert nn.ConvTranspose2d not in kinds_in(made)
    assert not {name for name in operators(made, latent) if "conv_transpose" in name}
    assert_same(published(latent), made(latent))
