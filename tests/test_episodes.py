"""Episodes check themselves, and answer bad input with a sentence."""

import pytest
import torch

import minimeta as mm
from minimeta import Episode, MinimetaError


def arrays(tasks=2, support=3, query=4, item=(5,)):
    labels = torch.arange(support).repeat(tasks, 1)
    return [
        torch.zeros(tasks, support, *item), labels,
        torch.zeros(tasks, query, *item), torch.zeros(tasks, query, dtype=torch.int64),
    ]  # fmt: skip


def test_it_knows_its_ways_whatever_the_order_and_number_of_shots():
    x, q = torch.zeros(2, 5, 3), torch.zeros(2, 1, 3)
    episode = Episode(
        x, torch.tensor([[2, 0, 1, 0, 0], [1, 2, 2, 0, 2]]), q, torch.tensor([[1], [2]])
    )
    assert episode.ways == 3 and len(episode) == 2
    assert repr(episode) == "Episode(2 tasks, 3-way unequal shots (5 in all), 1 query, 3)"


def test_regression_has_no_ways():
    x, y = torch.zeros(2, 3, 1), torch.zeros(2, 3, 2)
    assert Episode(x, y, x, y).ways is None
    assert repr(Episode(x, y, x, y)) == "Episode(2 tasks, regression, 3-shot, 3 queries, 1)"


def test_query_labels_may_be_unknown():
    sx, sy, qx, _ = arrays()
    assert Episode(sx, sy, qx).query_y is None


def test_splitting_and_joining_gives_the_episode_back():
    sx, sy, qx, qy = arrays(tasks=7)
    sx = torch.rand_like(sx)
    pieces = list(Episode(sx, sy, qx, qy).split(3))
    assert [len(p) for p in pieces] == [3, 3, 1]
    assert torch.equal(torch.cat([p.support_x for p in pieces]), sx)


def test_to_changes_floats_and_keeps_labels():
    moved = Episode(*arrays()).to(torch.float64)
    assert moved.support_x.dtype == moved.query_x.dtype == torch.float64
    assert moved.support_y.dtype == torch.int64 and moved.ways == 3


def test_it_is_frozen():
    with pytest.raises(AttributeError):
        Episode(*arrays()).support_x = torch.zeros(1)


BAD = {
    "a list": (0, [[1.0]], "support_x is a list"),
    "no task axis": (0, torch.zeros(3), r"shape \(3,\).*add the task axis"),
    "integer pictures": (0, torch.zeros(2, 3, 5, dtype=torch.uint8), "floating point"),
    "an empty support set": (0, torch.zeros(2, 0, 5), "not empty"),
    "too few labels": (1, torch.zeros(2, 2, dtype=torch.int64), r"\(2, 3\).*\(2, 2\)"),
    "float labels": (1, torch.zeros(2, 3), "as int64"),
    "int32 labels": (1, torch.zeros(2, 3, dtype=torch.int32), "as int64"),
    "a gap in the labels": (1, torch.tensor([[0, 0, 2], [0, 1, 2]]), "every label 0..N-1"),
    "a label beyond counting": (1, torch.tensor([[0, 1, 10**9]] * 2), "label is 1000000000"),
    "a picture of NaN": (2, torch.full((2, 4, 5), float("nan")), "query_x holds NaN"),
    "double and single": (2, torch.zeros(2, 4, 5, dtype=torch.float64), "give both one type"),
    "negative labels": (1, torch.tensor([[0, 1, -1], [0, 1, 2]]), "every label 0..N-1"),
    "a class only the query has": (3, torch.tensor([[0, 1, 2, 3]] * 2), "classes 0..2 only"),
    "another number of tasks": (2, torch.zeros(1, 4, 5), r"\(1, 4\).*needs its label"),
    "another item shape": (2, torch.zeros(2, 4, 6), "agree in everything"),
    "a mix of targets": (3, torch.zeros(2, 4, 1), "same kind of target"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_a_sentence(case):
    position, value, message = BAD[case]
    given = arrays()
    given[position] = value
    with pytest.raises(MinimetaError, match=message) as caught:
        Episode(*given)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_an_index_is_refused_with_the_slice_to_use():
    with pytest.raises(MinimetaError, match=r"episode\[3:4\]"):
        Episode(*arrays())[3]


def test_sampled_episodes_pass_their_own_check(images):
    episode = mm.tasks(images, ways=4, shots=2, queries=3).at(range(5))
    assert Episode(episode.support_x, episode.support_y, episode.query_x, episode.query_y).ways == 4


@pytest.mark.parametrize("which", ["support_y", "query_y"])
def test_targets_that_are_no_numbers_are_refused(which):
    given = {n: torch.zeros(1, 2, 1) for n in ("support_x", "support_y", "query_x", "query_y")}
    given[which][0, 1] = float("nan")
    with pytest.raises(MinimetaError, match=f"{which} holds NaN"):
        Episode(**given)
