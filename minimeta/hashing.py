"""Random numbers as a pure function of a counter: the same on CPU, GPU, any worker, rank or resume.

A generator has a state, so the 1,000th task depends on the 999 before it. A counter-based hash has
none: the numbers of task i are a hash of (seed, split, i). The hash is the output function of
SplitMix64 (Steele, Lea & Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014),
written as int64 tensor arithmetic, which wraps around alike on every device.

>>> import torch
>>> key = fold(start(seed=0), torch.arange(2))      # one key a task
>>> choose(key, torch.tensor([10, 10]), 3).shape    # 3 different numbers below 10, a task
torch.Size([2, 3])
"""

import functools
import hashlib

import torch
from torch import Tensor


def _signed(word: int) -> int:
    """Read an unsigned 64-bit constant as the int64 with the same bits."""
    return word - (1 << 64) if word >= 1 << 63 else word


GOLDEN = _signed(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: SplitMix64's step between states
MIX_1 = _signed(0xBF58476D1CE4E5B9)
MIX_2 = _signed(0x94D049BB133111EB)
POSITIVE = (1 << 63) - 1


def _xor_shift(x: Tensor, bits: int) -> Tensor:
    # int64 shifts copy the sign bit; the mask makes the shift a logical one
    return (x >> bits).bitwise_and_((1 << (64 - bits)) - 1).bitwise_xor_(x)


@functools.lru_cache(maxsize=64)
def _count(n: int, device: torch.device) -> Tensor:
    """0..n-1 on a device: sampling needs the same few of these for every batch."""
    return torch.arange(n, device=device)


def mix(x: Tensor) -> Tensor:
    """Scramble each int64 of ``x``: a bijection, SplitMix64's output function.

    >>> mix(torch.tensor(GOLDEN)).item() == _signed(0xE220A8397B1DCDAF)  # first output for state 0
    True
    """
    x = _xor_shift(x, 30).mul_(MIX_1)
    x = _xor_shift(x, 27).mul_(MIX_2)
    return _xor_shift(x, 31)


def start(seed: int, device: torch.device | str = "cpu") -> Tensor:
    """Turn a seed (any Python integer; its low 64 bits count) into a key."""
    # filled on the device: nothing is copied from the host, so a GPU can record it
    return mix(torch.full((), _signed((seed + GOLDEN) % (1 << 64)), device=device))


def fold(key: Tensor, word: Tensor | int) -> Tensor:
    """Derive a new key from ``key`` and an integer; both broadcast."""
    if isinstance(word, int):
        return mix(key + _signed((word + 1) * GOLDEN % (1 << 64)))
    return mix(key + (word + 1) * GOLDEN)


def text_word(text: str) -> int:
    """Turn a text, such as a split's name, into an integer for :func:`fold`."""
    return _signed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little"))


def draw(key: Tensor, n: int) -> Tensor:
    """Draw ``n`` integers in [0, 2^63) for each key: (...) -> (..., n)."""
    counter = (_count(n, key.device) + 1).mul_(GOLDEN)
    return mix(key.unsqueeze(-1) + counter).bitwise_and_(POSITIVE)


def uniform(key: Tensor, n: int) -> Tensor:
    """Draw ``n`` float64 numbers in [0, 1) for each key: (...) -> (..., n)."""
    return (draw(key, n) >> 10).double() * 2.0**-53


def choose(key: Tensor, size: Tensor | int, n: int, *, most: int | None = None) -> Tensor:
    """Choose ``n`` different integers in [0, size) for each key, in random order.

    Parameters
    ----------
    key
        int64, (...).
    size
        int64, broadcastable to (...), at least ``n`` everywhere.
    n
        How many numbers.
    most
        The largest size, if you know it. Up to 64 the numbers are drawn by sorting, which is faster;
        the choice is another one, but just as fair and as pure.

    Returns
    -------
    Tensor
        int64, (..., n). Every ordered choice is equally likely.

    Notes
    -----
    Floyd's subset sampling (Bentley & Floyd, Comm. ACM 30(9), 1987): step j draws t_j from
    0..size-n+j and takes it, or size-n+j if t_j was taken before. Its cost does not grow with
    ``size``. The loop is unrolled: t_j was taken before if an earlier step drew it too, or if it is
    the replacement of an earlier step that was itself replaced, a chain that is followed in
    log2(n) doublings.
    """
    if isinstance(size, int):
        size = torch.full((), size, device=key.device)
    size = size.expand(key.shape)
    if most is not None and most <= 64:
        beyond = _count(most, key.device) >= size.unsqueeze(-1)
        return draw(key, most).masked_fill_(beyond, POSITIVE).argsort(-1)[..., :n]
    step = _count(n, key.device)
    base = (size - n).unsqueeze(-1)
    numbers, order = draw(key, 2 * n).split(n, -1)
    drawn = numbers % (base + step + 1)
    earlier = step.unsqueeze(-1) > step
    replaced = ((drawn.unsqueeze(-1) == drawn.unsqueeze(-2)) & earlier).any(-1)
    back = drawn - base
    link = torch.where((back >= 0) & (back < step), back, step)
    for _ in range((n - 1).bit_length()):
        replaced = replaced | replaced.gather(-1, link)
        link = link.gather(-1, link)
    chosen = torch.where(replaced, base + step, drawn)
    return chosen.gather(-1, order.argsort(-1))
