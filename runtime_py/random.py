"""Noise from a seed, equal to PyTorch's on a CPU, without PyTorch.

`std::normal_distribution` differs between C++ libraries, so a seed means nothing there; this does not. It
knows numbers only, not what they are noise for.
"""

import math

import numpy as np

from runtime_py.errors import UsageError

BLOCK = 16
MAX_SEED = 2**32 - 1


class TorchRandom:
    """The generator that `torch.manual_seed(seed)` sets up, and its `torch.randn` in float32.

    MT19937 (Matsumoto and Nishimura 1998) seeded with 32 bits by init_genrand. Draws continue where the last
    one stopped. The transforms are those of PyTorch's ATen/native/cpu/DistributionTemplates.h (normal_fill)
    and ATen/core/DistributionsHelper.h (normal_distribution).

    Raises:
        UsageError: a seed outside 0..2**32-1: PyTorch's generator keeps 32 bits, and two seeds must not give
            one sound.
    """

    def __init__(self, seed: int) -> None:
        if not isinstance(seed, int | np.integer) or not 0 <= seed <= MAX_SEED:
            raise UsageError(f"seed is {seed}, expected 0 to {MAX_SEED}{_same_sound(seed)}")
        self._bits = np.random.MT19937()
        # RandomState seeds with init_genrand; MT19937(seed) hashes the seed first
        self._bits.state = np.random.RandomState(int(seed)).get_state(legacy=False)  # type: ignore[assignment]
        self._spare: float | None = None

    def randn(self, *shape: int) -> np.ndarray:
        """Standard normal float32 of `shape`: what `torch.randn(shape)` gives, to about 1e-6."""
        count = math.prod(shape)
        flat = self._blocks(count) if count >= BLOCK else self._singles(count)
        return flat.reshape(shape)

    def _blocks(self, count: int) -> np.ndarray:
        """At least 16 numbers: uniforms for all, transformed in blocks.

        Of a count that 16 does not divide, the last 16 numbers are drawn afresh, over the end of the blocks.
        """
        values = self._uniform(count)
        whole = count - count % BLOCK
        values[:whole] = _box_muller(values[:whole])
        if count % BLOCK:
            values[-BLOCK:] = _box_muller(self._uniform(BLOCK))
        return values

    def _uniform(self, count: int) -> np.ndarray:
        """float32 in [0, 1): the low 24 bits of each 32-bit draw over 2**24."""
        raw = self._bits.random_raw(count).astype(np.uint32) & np.uint32(0xFFFFFF)
        return raw.astype(np.float32) * np.float32(2.0**-24)

    def _singles(self, count: int) -> np.ndarray:
        """Fewer than 16 numbers: one by one in double precision, the second of each pair kept for later.

        The kept one waits through draws of 16 and more.
        """
        return np.array([self._single() for _ in range(count)], np.float32)

    def _single(self) -> float:
        """Box and Muller: sqrt(-2 ln(1 - u')) times cos(2 pi u) now and sin(2 pi u) next, u drawn before u'."""
        if self._spare is not None:
            value, self._spare = self._spare, None
            return value
        turn, size = self._uniform_double(), self._uniform_double()
        radius, angle = math.sqrt(-2 * math.log1p(-size)), 2 * math.pi * turn
        self._spare = radius * math.sin(angle)
        return radius * math.cos(angle)

    def _uniform_double(self) -> float:
        """In [0, 1): the low 53 bits of two draws, the first of them high, over 2**53."""
        high, low = (int(word) for word in self._bits.random_raw(2))
        return ((high << 32 | low) & (2**53 - 1)) * 2.0**-53


def _same_sound(seed: object) -> str:
    """The seed that torch makes of one beyond 32 bits: the low ones of a number of 64 bits, signed or not."""
    if not isinstance(seed, int | np.integer) or not -(2**63) <= seed < 2**64:
        return ""
    drawn = "; where -1 is to draw one, as in stable-audio-tools, say --seed random" if seed == -1 else ""
    return f"; torch.manual_seed takes it as {int(seed) % 2**32}, which gives the same sound{drawn}"


def _box_muller(uniform: np.ndarray) -> np.ndarray:
    """Box and Muller (1958) on blocks of 16: the first 8 give the radius, the last 8 the angle.

    radius = sqrt(-2 ln(1 - u)), angle = 2 pi u'; the block becomes 8 radius cos(angle), 8 radius sin(angle).
    Logarithm, sine and cosine are taken in double precision and rounded to float32 once, where every mathematical
    library agrees: in float32 they differ in the last bit, and an int8 network makes another sound of that.
    """
    radius_part, angle_part = uniform.reshape(-1, 2, BLOCK // 2).swapaxes(0, 1)
    radius = np.sqrt(-2 * np.log((np.float32(1) - radius_part).astype(np.float64))).astype(np.float32)
    angle = (np.float32(2 * math.pi) * angle_part).astype(np.float64)
    turned = (radius * wave(angle).astype(np.float32) for wave in (np.cos, np.sin))
    return np.stack(list(turned), axis=1).reshape(-1)
