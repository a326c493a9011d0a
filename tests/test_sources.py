"""The laws of sampling: pure, fair, disjoint; and one sentence for what cannot be sampled."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import minimeta as mm
from minimeta import MinimetaError
from minimeta.sources import FixedTasks


def numbered(sizes):
    """A pool whose every item is its own row number, so that items can be told apart."""
    rows = sum(sizes)
    return mm.ClassPool(
        torch.arange(float(rows)).view(rows, 1),
        torch.tensor(sizes),
        tuple(map(str, range(len(sizes)))),
    )


def owner(pool, items):
    """Class of each item of a numbered pool."""
    ends = pool.starts + pool.sizes
    return torch.bucketize(items.squeeze(-1).long(), ends, right=True)


episode_counts = st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(1, 4))


@given(
    episode_counts, st.lists(st.integers(7, 30), min_size=6, max_size=12), st.integers(0, 1 << 65)
)
def test_a_task_is_n_different_classes_with_disjoint_support_and_query(counts, sizes, seed):
    ways, shots, queries = counts
    pool = numbered(sizes)
    episode = mm.tasks(pool, ways=ways, shots=shots, queries=queries).at(range(5), seed=seed)
    assert episode.support_x.shape == (5, ways * shots, 1)
    assert episode.query_x.shape == (5, ways * queries, 1)
    everything = torch.cat([episode.support_x, episode.query_x], 1).squeeze(-1)
    labels = torch.cat([episode.support_y, episode.query_y], 1)
    for task in range(5):
        assert len(set(everything[task].tolist())) == ways * (shots + queries)
        classes = owner(pool, everything[task].unsqueeze(-1))
        pairs = set(zip(classes.tolist(), labels[task].tolist(), strict=True))
        assert len(pairs) == ways  # each label is one class, each class one label
    assert torch.equal(
        episode.support_y.sort(1).values[0], torch.arange(ways).repeat_interleave(shots)
    )


@given(st.lists(st.integers(-(1 << 40), 1 << 40), min_size=1, max_size=6), st.integers(0, 1 << 65))
def test_a_task_depends_on_seed_split_and_index_alone(indices, seed):
    tasks = mm.tasks(numbered([9] * 8), ways=3, shots=2, queries=3)
    together = tasks.at(indices, seed=seed)
    for position, index in enumerate(indices):
        alone = tasks.at([index], seed=seed)
        assert torch.equal(alone.support_x[0], together.support_x[position])
        assert torch.equal(alone.query_x[0], together.query_x[position])


def test_seeds_splits_and_indices_give_different_tasks():
    pool = numbered([9] * 50)

    def rows(split, seed):
        return (
            mm.tasks(pool, split=split, ways=3, shots=2, queries=3)
            .at(range(2), seed=seed)
            .support_x
        )

    drawn = [*rows("train", 0), *rows("train", 1), *rows("val", 0)]
    assert len({tuple(d.flatten().tolist()) for d in drawn}) == len(drawn)


def test_sample_follows_its_generator_and_is_at_with_a_drawn_seed():
    tasks = mm.tasks(numbered([20] * 8), ways=3)
    a = tasks.sample(4, torch.Generator().manual_seed(5))
    b = tasks.sample(4, torch.Generator().manual_seed(5))
    c = tasks.sample(4, torch.Generator().manual_seed(6))
    assert torch.equal(a.support_x, b.support_x) and not torch.equal(a.support_x, c.support_x)
    seed = int(torch.randint(1 << 62, (), generator=torch.Generator().manual_seed(5)))
    assert torch.equal(a.query_x, tasks.at(range(4), seed=seed).query_x)


def test_classes_labels_and_examples_are_uniform():
    pool, tasks = numbered([6] * 7), 20_000
    episode = mm.tasks(pool, ways=3, shots=1, queries=1).at(range(tasks))
    classes = owner(pool, episode.support_x)  # (tasks, 3), label n in column n
    for label in range(3):
        counts = torch.bincount(classes[:, label], minlength=7).double()
        expected = tasks / 7
        assert float(((counts - expected) ** 2 / expected).sum()) < 25  # 6 degrees of freedom
    rows = torch.bincount(episode.query_x.flatten().long(), minlength=42).double()
    expected = 3 * tasks / 42
    assert float(((rows - expected) ** 2 / expected).sum()) < 90  # 41 degrees of freedom


def test_unequal_classes_are_sampled_whole():
    pool = numbered([4, 40, 4])
    episode = mm.tasks(pool, ways=3, shots=1, queries=2).at(range(3000))
    assert len(torch.cat([episode.support_x, episode.query_x], 1).unique()) == 48


def test_sinusoids_are_sines_of_the_stated_ranges():
    episode = mm.tasks("sinusoids", shots=10, queries=30).at(range(2000))
    x, y = (
        torch.cat(pair, 1).double()
        for pair in ((episode.support_x, episode.query_x), (episode.support_y, episode.query_y))
    )
    assert -5 <= x.min() < -4.99 and 4.99 < x.max() <= 5
    # y = a sin x + b cos x exactly: least squares finds amplitude and phase of every task
    basis = torch.cat([x.sin(), x.cos()], -1)
    solution = torch.linalg.lstsq(basis, y)
    a, b = solution.solution.squeeze(-1).unbind(-1)
    assert (basis @ solution.solution - y).abs().max() < 1e-5
    amplitude, phase = (a**2 + b**2).sqrt(), torch.atan2(-b, a)
    assert 0.1 - 1e-4 < amplitude.min() < 0.12 and 4.97 < amplitude.max() < 5 + 1e-4
    assert -1e-4 < phase.min() < 0.02 and 3.12 < phase.max() < torch.pi + 1e-4


def test_fixed_tasks_are_the_given_episodes():
    x = torch.rand(4, 2, 3)
    y = torch.tensor([[0, 1]] * 4)
    tasks = FixedTasks(mm.Episode(x, y, x, y), name="mine")
    assert torch.equal(tasks.at([2, 0], seed=9).support_x, x[[2, 0]])
    with pytest.raises(MinimetaError, match=r"4 fixed tasks; ask for numbers 0\.\.3"):
        tasks.at([4])


@pytest.mark.parametrize("indices", [[], [[1, 2]], [1.5], None, "abc", [2**70]])
def test_bad_task_numbers_get_a_sentence(indices):
    with pytest.raises(MinimetaError, match="list, range or int64 tensor"):
        mm.tasks("sinusoids").at(indices)


def test_a_seed_is_any_whole_number():
    tasks = mm.tasks("sinusoids")
    expected = tasks.at([0], seed=3).query_x
    assert torch.equal(tasks.at([0], seed=np.int64(3)).query_x, expected)
    assert torch.equal(tasks.at([0], seed=torch.tensor(3)).query_x, expected)
    for bad in (0.5, None, "3"):
        with pytest.raises(MinimetaError, match="seed is one whole number"):
            tasks.at([0], seed=bad)
    with pytest.raises(MinimetaError, match="tasks=0"):
        tasks.sample(0)


def test_split_names_of_any_length_are_told_apart():
    pool = numbered([9] * 50)
    a, b = (mm.tasks(pool, split=f"experiment-{i}", ways=3, queries=3).at([0]) for i in (1, 2))
    assert not torch.equal(a.query_x, b.query_x)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("source", ["glyphs", "sinusoids"])
def test_the_gpu_draws_the_same_tasks(source):
    cpu = mm.tasks(source).at(range(20), seed=3)
    gpu = mm.tasks(source, device="cuda").at(range(20), seed=3)
    assert torch.equal(gpu.query_x.cpu(), cpu.query_x) and torch.equal(
        gpu.query_y.cpu(), cpu.query_y
    )
