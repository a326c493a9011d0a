"""Results, intervals and comparisons."""

import json
import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import minimeta as mm
from minimeta import Conv4, MinimetaError, ProtoNet, compare, half_width, meta_test
from minimeta.evaluate import Result
from minimeta.lineargaussian import LinearGaussian
from minimeta.sources import FixedTasks


def result(values, **changes):
    protocol = dict(
        metric="accuracy", tasks="pool/test", learner="ProtoNet", ways=3, shots=1, queries=2, bn="none",
        seed=0,
    )  # fmt: skip
    return Result(torch.as_tensor(values, dtype=torch.float64), **(protocol | changes))


def test_the_interval_over_episodes_is_196_standard_errors():
    values = torch.rand(600, dtype=torch.float64)
    expected = 1.96 * stats.sem(values.numpy())
    assert half_width(values) == pytest.approx(expected)
    assert result(values).ci95 == pytest.approx(expected)


def test_the_interval_over_seeds_is_students():
    assert half_width([1.0, 2.0, 3.0], over="seeds") == pytest.approx(
        4.302653 / math.sqrt(3), rel=1e-6
    )


def test_intervals_cover_the_truth_as_often_as_they_say():
    g = torch.Generator().manual_seed(0)

    def coverage(n, over):
        draws = torch.randn(2000, n, generator=g, dtype=torch.float64)
        return sum(abs(float(d.mean())) <= half_width(d, over=over) for d in draws) / 2000

    assert abs(coverage(200, "episodes") - 0.95) < 0.02
    assert abs(coverage(3, "seeds") - 0.95) < 0.02
    assert coverage(3, "episodes") < 0.85  # why few seeds need Student's t


def test_a_result_prints_its_protocol(vectors):
    tasks = mm.tasks(vectors, split="test", ways=3, shots=1, queries=4)
    shown = repr(meta_test(ProtoNet(nn.Identity()), tasks, episodes=30, seed=4))
    assert shown.endswith(
        "accuracy (30 episodes, pool/test, 3-way 1-shot, 4 queries, bn=none, seed 4)"
    )
    assert float(shown[:5]) <= 1


def test_it_scores_the_stated_episodes_however_they_are_chunked(vectors):
    tasks = mm.tasks(vectors, ways=3, shots=1, queries=4)
    learner = ProtoNet(nn.Identity())
    whole = tasks.at(range(7), seed=2)
    expected = (learner(whole).argmax(-1) == whole.query_y).double().mean(1)
    for chunk in (None, 1, 3):
        assert torch.equal(
            meta_test(learner, tasks, episodes=7, seed=2, chunk=chunk).values, expected
        )


def test_regression_is_scored_by_mean_squared_error():
    tasks = mm.tasks("sinusoids", split="test", shots=5, queries=6)
    learner = mm.MAML(mm.MLP(1, 1), inner_lr=0.01)
    scored = meta_test(learner, tasks, episodes=9)
    whole = tasks.at(range(9))
    expected = (learner(whole) - whole.query_y).square().mean((1, 2))
    assert scored.metric == "mse" and torch.allclose(scored.values, expected.detach().double())


def test_it_leaves_the_learner_as_it_was(images):
    learner = ProtoNet(Conv4(filters=4, size=16, bn="running")).train()
    before = {k: v.clone() for k, v in learner.state_dict().items()}
    tasks = mm.tasks(images, ways=3, shots=1, queries=2)
    assert meta_test(learner, tasks, episodes=4, bn="support").bn == "support"
    assert meta_test(learner, tasks, episodes=4).bn == "running"
    assert learner.training
    assert all(torch.equal(before[k], v) for k, v in learner.state_dict().items())


def test_paired_comparison_is_about_the_differences():
    g = torch.Generator().manual_seed(1)
    hard = torch.rand(500, generator=g, dtype=torch.float64)  # what both find hard cancels
    a, b = (
        result(hard + 0.01),
        result(hard + 0.001 * torch.randn(500, generator=g, dtype=torch.float64)),
    )
    paired = compare(a, b)
    assert paired.mean == pytest.approx(a.mean - b.mean)
    assert paired.ci95 < a.ci95 / 10
    assert compare(b, a).mean == pytest.approx(-paired.mean)
    assert "0 lies outside" in repr(paired) and "500 paired episodes" in repr(paired)
    assert "the interval holds 0" in repr(compare(a, a))


def test_results_of_different_episodes_are_not_compared():
    a = result([0.1, 0.2, 0.3])
    with pytest.raises(MinimetaError, match=r"differ in seed \(0 and 1\).*same tasks"):
        compare(a, result([0.1, 0.2, 0.3], seed=1))
    with pytest.raises(MinimetaError, match="episodes"):
        compare(a, result([0.1, 0.2]))


def test_predictions_that_are_no_numbers_are_not_scored():
    tasks = mm.tasks("sinusoids", shots=5, queries=5)
    with pytest.raises(mm.DivergedError, match="not all finite.*smaller inner_lr"):
        meta_test(mm.MAML(mm.MLP(1, 1), inner_lr=1e30, inner_steps=3), tasks, episodes=3)


def test_results_of_other_data_are_not_compared():
    g = torch.Generator().manual_seed(0)
    labels = ["a", "b", "c"] * 5
    scores = [
        meta_test(
            ProtoNet(nn.Identity()), mm.tasks((torch.rand(15, 4, generator=g), labels), ways=3, queries=2),
            episodes=4,
        )
        for _ in range(2)
    ]  # fmt: skip
    with pytest.raises(MinimetaError, match="differ in data"):
        compare(*scores)


def test_predictions_of_another_shape_are_not_scored():
    class Flat(ProtoNet):
        def forward(self, episode):
            return super().forward(episode)[..., 0]

    with pytest.raises(MinimetaError, match=r"predictions of shape \(\d+, 6\)"):
        meta_test(Flat(nn.Flatten()), mm.tasks("glyphs", ways=3, queries=2), episodes=4)


def test_a_frozen_part_stays_frozen():
    learner = ProtoNet(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(784)))
    learner.encoder[1].eval()
    meta_test(learner, mm.tasks("glyphs", ways=3, queries=2), episodes=4)
    assert learner.training and not learner.encoder[1].training


def test_too_few_numbers_get_a_sentence(vectors):
    with pytest.raises(MinimetaError, match="at least two"):
        half_width([1.0])
    with pytest.raises(MinimetaError, match="episodes=1"):
        meta_test(ProtoNet(nn.Identity()), mm.tasks(vectors, ways=3, queries=2), episodes=1)
    with pytest.raises(MinimetaError, match="'episodes' or 'seeds'"):
        half_width([1.0, 2.0], over="tasks")
    with pytest.raises(MinimetaError, match="bn='batchnorm'"):
        meta_test(ProtoNet(Conv4()), mm.tasks("glyphs"), episodes=2, bn="batchnorm")


def test_a_result_survives_json(vectors):
    import json

    scored = meta_test(ProtoNet(nn.Identity()), mm.tasks(vectors, ways=3, queries=2), episodes=5)
    plain = json.loads(json.dumps(scored.to_json()))
    assert plain["mean"] == scored.mean and plain["ci95"] == scored.ci95 and plain["episodes"] == 5


def fixed(shift):
    x, y = torch.arange(24.0).view(3, 4, 2) + shift, torch.tensor([[0, 1, 0, 1]] * 3)
    return FixedTasks(mm.Episode(x, y, x, y), name="mine")


def pooled(row):
    items = torch.rand(300, 2, generator=torch.Generator().manual_seed(0))
    items[row] = 0.5  # one row in 300
    return mm.tasks(
        mm.ClassPool(items, torch.full((3,), 100), tuple("abc")), ways=2, shots=1, queries=2
    )


def law(mean):
    return LinearGaussian(torch.tensor([mean]), torch.eye(1), noise=1.0).tasks(shots=2, queries=2)


@pytest.mark.parametrize(
    ("make", "first", "second"),
    [
        (lambda d: mm.tasks("attributes", shots=2, queries=2, attributes=d), 8, 9),
        (fixed, 0.0, 1.0),
        (pooled, 1, 2),
        (law, 0.0, 1.0),
    ],
)
def test_results_on_other_data_are_not_compared(make, first, second):
    regression = make(first).ways is None
    learner = mm.MAML(mm.MLP(1, 1), inner_lr=0.1) if regression else ProtoNet(nn.Identity())
    one, same, other = (meta_test(learner, make(x), episodes=3) for x in (first, first, second))
    assert compare(one, same).mean == 0
    with pytest.raises(MinimetaError, match="differ in data"):
        compare(one, other)


def test_what_is_no_learner_or_no_task_source_gets_a_sentence():
    tasks = mm.tasks("sinusoids", shots=2, queries=2)
    for given in (mm.MLP(1, 1), lambda episode: episode.query_y, "ProtoNet"):
        with pytest.raises(MinimetaError, match="was given as the learner"):
            meta_test(given, tasks, episodes=2)
    with pytest.raises(MinimetaError, match="a str was given as tasks"):
        meta_test(mm.MAML(mm.MLP(1, 1), inner_lr=0.1), "sinusoids", episodes=2)


def test_numpys_numbers_make_tasks_and_results():
    tasks = mm.tasks("glyphs", ways=np.int64(3), shots=np.int64(1), queries=np.int64(2))
    result = meta_test(ProtoNet(nn.Flatten()), tasks, episodes=2, seed=np.int64(0))
    assert json.loads(json.dumps(result.to_json()))["ways"] == 3
