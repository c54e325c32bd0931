"""Given: the two-dimensional decoder, whose last blocks work on tensors of [channels, all samples].
Result: those blocks run tile by tile, each with the margin that they hear beyond it; the sound is the same.
Why: a tile's tensors stay in the caches, where half of the time goes into elementwise operators, and memory
no longer grows with the window.
"""

from itertools import pairwise

from torch import Tensor, nn

from edge_export.errors import BuildError
from edge_export.model.autoencoder import DecoderBlock
from edge_export.model.config import ModelConfig
from edge_export.model.receptive_field import Interval, decoder_window, needed_inputs
from edge_export.rewrites.concat import concat
from edge_export.rewrites.convolution import FlatDecoder
from edge_export.rewrites.replace import replace_each

TILE = 8
"""Latents of one tile. Half as many would double the program for little."""

MOST_MARGIN = 0.5
"""Latents: blocks that hear further than this to either side stay whole, for tiles would repeat too much."""


class TiledDecoder(FlatDecoder):
    """The first `head` layers on the whole window of latents, the others on one tile after another.

    Layers keep their names. `spans` are, for each tile, where it begins and ends in what leaves the head, and
    in what it becomes itself.
    """

    def __init__(self, flat: FlatDecoder, head: int, window: int, tiles: int) -> None:
        nn.Module.__init__(self)
        self.layers = flat.layers
        self.head = head
        cuts = [window * tile // tiles for tile in range(tiles + 1)]
        layers = list(flat.layers)
        rate, tail = upsampling(layers[:head]), layers[head:]
        self.spans = tuple(_span(tail, (start * rate, end * rate), window * rate) for start, end in pairwise(cuts))

    def run(self, x: Tensor) -> Tensor:
        layers = list(self.layers)
        for layer in layers[: self.head]:
            x = layer(x)
        tiles = []
        for needed, kept in self.spans:
            tile = x[..., slice(*needed)]
            for layer in layers[self.head :]:
                tile = layer(tile)
            tiles.append(tile[..., slice(*kept)])
        return concat(tiles, dim=-1)


def _span(tail: list[nn.Module], tile: Interval, length: int) -> tuple[Interval, Interval]:
    """What the tail must be given of `length` moments for those of `tile`, and which samples of it they become."""
    hop = upsampling(tail)
    start, end = needed_inputs(nn.Sequential(*tail), (tile[0] * hop, tile[1] * hop))
    begin, stop = max(start, 0), min(end, length)
    return (begin, stop), ((tile[0] - begin) * hop, (tile[1] - begin) * hop)


def upsampling(layers: list[nn.Module]) -> int:
    """Samples that leave `layers` for one that enters."""
    factor = 1
    for layer in layers:
        for part in layer.modules():
            if isinstance(part, nn.ConvTranspose2d):
                factor *= part.stride[-1]
    return factor


def head_length(layers: list[nn.Module]) -> int:
    """How many layers to run whole: the least after which the rest hears no further than MOST_MARGIN."""
    for head in range(1, len(layers)):
        rate, tail = upsampling(layers[:head]), layers[head:]
        needed: Interval = needed_inputs(nn.Sequential(*tail), (0, upsampling(tail)))
        if isinstance(tail[0], DecoderBlock) and max(-needed[0], needed[1] - 1) <= MOST_MARGIN * rate:
            return head
    return len(layers)


def _tiled(flat: FlatDecoder, window: int, hop: int) -> nn.Module:
    found = upsampling(list(flat.layers))
    if found != hop:  # tiles would be cut in the wrong places, or not at all
        raise BuildError(
            f"decoder tail in tiles: its transposed convolutions make {found} samples of a latent, the decoder {hop}; "
            "tile it before another rewrite replaces them"
        )
    head = head_length(list(flat.layers))
    tiles = -(-window // TILE)
    if tiles == 1 or head == len(flat.layers):
        return flat
    return TiledDecoder(flat, head, window, tiles)


def decoder_tail_in_tiles(module: nn.Module, config: ModelConfig) -> nn.Module:
    window, hop = decoder_window(config), config.decoder.hop
    return replace_each(module, FlatDecoder, lambda flat: _tiled(flat, window, hop))
