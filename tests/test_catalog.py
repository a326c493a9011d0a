"""Data sets by name, and a sentence for what is not there."""

import pytest
import torch

import minimeta as mm
from minimeta import MinimetaError
from minimeta.data import omniglot
from tests.needs import needs_data
from tests.test_sources import numbered


def test_names_give_the_data_sets():
    glyphs = mm.tasks("glyphs", split="val", ways=3, shots=2, queries=4)
    assert (glyphs.ways, glyphs.shots, glyphs.queries, glyphs.split) == (3, 2, 4, "val")
    assert glyphs.at([0]).query_x.shape == (1, 12, 1, 28, 28)
    assert mm.tasks("glyphs").ways == 5
    assert mm.tasks("sinusoids").ways is None


def test_a_split_is_loaded_once():
    assert mm.tasks("glyphs").pool.items is mm.tasks("glyphs", ways=2).pool.items


def test_omniglot_options_reach_the_data():
    needs_data("omniglot")
    nearest = mm.tasks("omniglot", split="val", resize="nearest", rotations=False)
    assert len(nearest.pool) == 172 and set(nearest.pool.items.unique().tolist()) == {0.0, 1.0}


def test_lakes_runs_are_twenty_fixed_tasks():
    needs_data("omniglot")
    runs = mm.tasks("omniglot-runs", split="test")
    assert (len(runs), runs.ways, runs.shots, runs.queries) == (20, 20, 1, 1)
    again = torch.stack(
        [mm.tasks("omniglot-runs", split="test").at([r]).query_y[0] for r in range(20)]
    )
    assert torch.equal(again, omniglot.lake_runs()[3])


BAD = [
    (dict(source="glyps"), "no data set named 'glyps'; the names are glyphs"),
    (dict(source="glyphs", split="training"), "the splits are train, val, test"),
    (dict(source="glyphs", colour=True), "option it does not have.*colour"),
    (dict(source="sinusoids", ways=5), "have no ways.*ways was given"),
    (dict(source="omniglot-runs"), "say split='test'"),
    (dict(source=numbered([5] * 4), resize="area"), "a class pool has no options.*resize"),
    (dict(source=numbered([5] * 4), queries=2), "5 ways.*has 4 classes"),
    (dict(source=numbered([5, 3, 5, 5]), ways=2, queries=3), r"smallest class of pool \(1\) has 3"),
    (dict(source=numbered([5] * 4), ways=0), "ways=0"),
    (dict(source=numbered([5] * 4), ways=2, shots=-1), "shots=-1"),
    (dict(source=numbered([5] * 4), ways=2, queries=1.5), "queries=1.5"),
    (dict(source=numbered([5] * 4), ways=True, queries=1), "ways=True"),
]


@pytest.mark.parametrize("arguments, message", BAD)
def test_bad_requests_get_a_sentence(arguments, message):
    with pytest.raises(MinimetaError, match=message) as caught:
        mm.tasks(arguments.pop("source"), **arguments)
    assert str(caught.value).endswith(".")
