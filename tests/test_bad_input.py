"""Whatever is given: it works, or one sentence says why not. Hypothesis thinks of the input."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import minimeta as mm
from minimeta import MinimetaError

SHAPES = st.lists(st.integers(0, 3), max_size=4)
DTYPES = st.sampled_from(
    [torch.float32, torch.float64, torch.int64, torch.int32, torch.uint8, torch.bool]
)
RARE = st.sampled_from([float("nan"), float("inf"), 0.0, 1e30])


@st.composite
def tensors(draw):
    dtype = draw(DTYPES)
    tensor = torch.randint(-1, 3, draw(SHAPES)).to(dtype)
    if dtype.is_floating_point and tensor.numel() and draw(st.booleans()):
        tensor.view(-1)[0] = draw(RARE)
    return tensor


ODD = st.sampled_from(
    [None, 0, -1, 1.5, "x", "glyphs", [], [1, 2], {}, object(), True, np.zeros(3), 10**30]
)
ANYTHING = st.one_of(tensors(), ODD)
NUMBERS = st.one_of(
    st.integers(-2, 6), st.sampled_from([1.5, None, "2", True, float("nan"), np.int64(2)])
)


def sentence(call):
    """Return what the call gives, or None if it was refused as it should be."""
    try:
        return call()
    except MinimetaError as error:
        text = str(error)
        assert "\n" not in text and text.endswith(".") and len(text.split()) > 4, text
        return None


@st.composite
def nearly_right(draw):
    """Four tensors of an episode, most of them fitting: what a user gets wrong is one thing."""
    tasks, ways, queries = draw(st.integers(1, 2)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    labels = torch.arange(ways).repeat(tasks, 1)
    right = [
        torch.rand(tasks, ways, 4), labels, torch.rand(tasks, queries, 4),
        torch.zeros(tasks, queries, dtype=torch.int64),
    ]  # fmt: skip
    if draw(st.booleans()):
        right[draw(st.integers(0, 3))] = draw(ANYTHING)
    return right


@settings(max_examples=400)
@given(nearly_right())
def test_episodes_are_right_or_refused_and_every_learner_takes_the_right_ones(parts):
    episode = sentence(lambda: mm.Episode(*parts))
    if episode is None:
        return
    dtype = episode.support_x.dtype
    net = nn.Linear(4, 3).to(dtype)
    relation = nn.Sequential(nn.Linear(8, 1), nn.Sigmoid()).to(dtype)
    learners = [
        mm.ProtoNet(nn.Identity()), mm.MAML(net, inner_lr=0.1), mm.RelationNet(nn.Identity(), relation),
        mm.MatchingNet(nn.Identity()), mm.R2D2(nn.Identity()).to(dtype), mm.Reptile(net, inner_lr=0.1),
        mm.ProtoMAML(nn.Linear(4, 3).to(dtype), inner_lr=0.1),
        mm.SetLearner(nn.Identity(), features=4).to(dtype),
    ]  # fmt: skip
    for learner in learners:
        out = sentence(lambda learner=learner: learner(episode))
        if out is not None and episode.ways is not None:
            assert out.shape == (len(episode), episode.query_x.shape[1], episode.ways)


@settings(max_examples=300)
@given(st.one_of(ANYTHING, st.tuples(ANYTHING, ANYTHING)), NUMBERS, NUMBERS, NUMBERS, ODD)
def test_task_sources_are_right_or_refused(source, ways, shots, queries, split):
    sentence(lambda: mm.tasks(source, ways=ways, shots=shots, queries=queries, split=split))
    sentence(lambda: mm.tasks(source))


@settings(max_examples=200)
@given(ANYTHING, ANYTHING)
def test_task_numbers_and_seeds_are_right_or_refused(indices, seed):
    tasks = mm.tasks("sinusoids", shots=2, queries=2)
    sentence(lambda: tasks.at(indices, seed=seed))
    sentence(lambda: tasks.sample(indices))


@settings(max_examples=200)
@given(ANYTHING, ANYTHING)
def test_class_pools_are_right_or_refused(items, sizes):
    sentence(lambda: mm.ClassPool(items, sizes, ("a", "b")))


@settings(max_examples=200)
@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_training_and_testing_numbers_are_right_or_refused(steps, meta_batch, chunk, other):
    tasks = mm.tasks("sinusoids", shots=2, queries=2)
    learner = mm.MAML(mm.MLP(1, 1, (2,)), inner_lr=0.01)
    sentence(
        lambda: mm.meta_train(
            learner, tasks, steps=steps, meta_batch=meta_batch, chunk=chunk, lr=other
        )
    )
    sentence(
        lambda: mm.meta_train(learner, tasks, steps=1, clip=other, val_tasks=tasks, val_every=steps)
    )
    sentence(lambda: mm.meta_test(learner, tasks, episodes=steps, chunk=chunk))


@settings(max_examples=200)
@given(NUMBERS, NUMBERS, NUMBERS)
def test_network_and_learner_numbers_are_right_or_refused(a, b, c):
    sentence(lambda: mm.Conv4(ways=a, channels=b, size=c, filters=2))
    sentence(lambda: mm.MLP(a, b, (c,) if c is not None else ()))
    sentence(lambda: mm.MAML(mm.MLP(1, 1, (2,)), inner_lr=a, inner_steps=b, test_inner_steps=c))
