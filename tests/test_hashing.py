"""The counter-based hash: right bits, fair choices, one answer per key."""

import collections
import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minimeta import hashing

MASK = (1 << 64) - 1


def splitmix64(state: int, count: int) -> list[int]:
    """The published generator, in plain integers: the oracle of the tensor version."""
    out = []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        out.append(z ^ (z >> 31))
    return out


@given(st.integers(-(1 << 63), (1 << 63) - 1), st.integers(1, 20))
def test_draw_is_splitmix64(state, count):
    drawn = hashing.draw(torch.tensor(state), count).tolist()
    assert drawn == [z & ((1 << 63) - 1) for z in splitmix64(state & MASK, count)]


ways_to_choose = st.sampled_from(["by steps", "by sorting"])


def choose(way, keys, size, n):
    most = int(torch.as_tensor(size).max()) if way == "by sorting" else None
    return hashing.choose(keys, size, n, most=most)


@given(ways_to_choose, st.integers(0, 1 << 70), st.integers(1, 30), st.integers(0, 100))
def test_choose_gives_different_numbers_in_range(way, seed, n, extra):
    keys = hashing.fold(hashing.start(seed), torch.arange(4))
    chosen = choose(way, keys, n + extra, n)
    assert chosen.shape == (4, n)
    assert 0 <= chosen.min() and chosen.max() < n + extra
    assert all(len(set(row)) == n for row in chosen.tolist())


@given(
    ways_to_choose, st.integers(0, 1 << 40), st.lists(st.integers(3, 50), min_size=1, max_size=5)
)
def test_choose_takes_a_size_per_key(way, seed, sizes):
    keys = hashing.fold(hashing.start(seed), torch.arange(len(sizes)))
    together = choose(way, keys, torch.tensor(sizes), 3)
    alone = [choose(way, keys[i : i + 1], size, 3)[0] for i, size in enumerate(sizes)]
    assert torch.equal(together, torch.stack(alone))


def test_choose_equals_the_loop_it_unrolls():
    size, n = 9, 6
    keys = hashing.fold(hashing.start(5), torch.arange(300))
    numbers, order = hashing.draw(keys, 2 * n).split(n, -1)
    rows = zip(numbers.tolist(), order.argsort(-1).tolist(), strict=True)
    for row, (draws, permutation) in enumerate(rows):
        taken: list[int] = []
        for step, number in enumerate(draws):
            candidate = number % (size - n + step + 1)
            taken.append(candidate if candidate not in taken else size - n + step)
        expected = [taken[i] for i in permutation]
        assert hashing.choose(keys, size, n)[row].tolist() == expected


@pytest.mark.parametrize("way", ["by steps", "by sorting"])
def test_every_ordered_choice_is_equally_likely(way):
    keys = hashing.fold(hashing.start(1), torch.arange(60_000))
    counts = collections.Counter(map(tuple, choose(way, keys, 5, 3).tolist()))
    assert set(counts) == set(itertools.permutations(range(5), 3))
    expected = 60_000 / 60
    chi2 = sum((c - expected) ** 2 / expected for c in counts.values())
    assert chi2 < 110  # 59 degrees of freedom: mean 59, sd 11; a biased sampler gives thousands


def test_uniform_fills_the_unit_interval():
    u = hashing.uniform(hashing.fold(hashing.start(2), torch.arange(1000)), 100)
    assert u.dtype == torch.float64 and 0 <= u.min() and u.max() < 1
    assert abs(float(u.mean()) - 0.5) < 4 / (12 * 1e5) ** 0.5
    assert abs(float(u.var()) - 1 / 12) < 0.001


def test_neighbouring_keys_are_unrelated():
    a = hashing.uniform(hashing.fold(hashing.start(0), torch.arange(20_000)), 1).squeeze()
    b = hashing.uniform(hashing.fold(hashing.start(0), torch.arange(1, 20_001)), 1).squeeze()
    c = hashing.uniform(hashing.fold(hashing.start(1), torch.arange(20_000)), 1).squeeze()
    for other in (b, c):
        assert abs(float(torch.corrcoef(torch.stack([a, other]))[0, 1])) < 4 / 20_000**0.5


def test_folding_a_python_integer_and_a_tensor_agree():
    key = hashing.start(3)
    for word in (0, 7, -5, (1 << 63) - 1):
        assert hashing.fold(key, word) == hashing.fold(key, torch.tensor(word))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_gives_the_same_numbers():
    keys = hashing.fold(hashing.start(3), torch.arange(100))
    sizes = torch.arange(100) + 7
    cuda = hashing.fold(hashing.start(3, "cuda"), torch.arange(100, device="cuda"))
    assert torch.equal(hashing.choose(cuda, sizes.cuda(), 7).cpu(), hashing.choose(keys, sizes, 7))
