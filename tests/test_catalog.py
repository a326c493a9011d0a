"""Data sets by name, and a sentence for what is not there."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

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


@pytest.fixture
def pictures(tmp_path) -> Path:
    """Five classes of three pictures, 8x8."""
    for name in ("ant", "bee", "cat", "dog", "eel"):
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.new("L", (8, 8), 10 * i).save(tmp_path / name / f"{i}.png")
    return tmp_path


def test_a_path_is_pictures_with_splits_and_options(pictures):
    tasks = mm.tasks(pictures, split="train", ways=3, shots=1, queries=2, size=4)
    assert repr(tasks) == f"ClassTasks({pictures.name}/train, 3-way 1-shot, 2 queries, 3 classes)"
    assert tasks.at([0]).query_x.shape == (1, 6, 1, 4, 4)
    assert len(mm.tasks(pictures, split="all", shots=1, queries=2).pool) == 5


def test_a_path_is_read_anew(pictures):
    before = mm.tasks(pictures, split="all", shots=1, queries=1).pool
    Image.new("L", (8, 8), 200).save(pictures / "ant" / "9.png")
    after = mm.tasks(pictures, split="all", shots=1, queries=1).pool
    assert (len(before.items), len(after.items)) == (15, 16)


def test_arrays_and_datasets_are_used_whole_whatever_the_split():
    x, y = torch.randn(20, 4), torch.arange(20) % 5
    for source in ((x, y), (x.numpy(), y.tolist()), TensorDataset(x, y)):
        for split in ("train", "test", "mine"):
            tasks = mm.tasks(source, split=split, shots=1, queries=2)
            assert (len(tasks.pool), tasks.split) == (5, split)
    pair, dataset = (mm.tasks(s, shots=1, queries=2) for s in ((x, y), TensorDataset(x, y)))
    assert torch.equal(pair.at([3]).query_x, dataset.at([3]).query_x)
    assert repr(pair).startswith("ClassTasks(arrays/train") and dataset.name == "dataset"


def test_a_string_that_is_a_path_gets_a_sentence(pictures, monkeypatch):
    for name in (str(pictures), "ant"):
        monkeypatch.chdir(pictures)
        with pytest.raises(MinimetaError, match="no data set named .*so say Path"):
            mm.tasks(name)


def test_paths_get_sentences_too(pictures):
    with pytest.raises(MinimetaError, match="option it does not have.*colour"):
        mm.tasks(pictures, split="all", colour=True)
    with pytest.raises(
        MinimetaError, match="5 ways were asked for but the train split of .* has 3"
    ):
        mm.tasks(pictures)
    with pytest.raises(MinimetaError, match="no folder or zip"):
        mm.tasks(Path("nowhere"))


PAIR = (np.zeros((4, 2)), [0, 0, 1, 1])
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
    (dict(source=PAIR, size=28), "a pair of arrays has no options, but size was given"),
    (dict(source=PAIR, ways=3), "3 ways were asked for but the train split of arrays has 2"),
    (dict(source=(*PAIR, PAIR)), "a source of type tuple was given.*a pair"),
    (dict(source=42), "a source of type int was given; give a data set's name, a Path"),
    (dict(source="glyphs", split="all"), "the splits are train, val, test"),
]


@pytest.mark.parametrize("arguments, message", BAD)
def test_bad_requests_get_a_sentence(arguments, message):
    with pytest.raises(MinimetaError, match=message) as caught:
        mm.tasks(arguments.pop("source"), **arguments)
    assert str(caught.value).endswith(".")
