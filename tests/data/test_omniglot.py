"""Laws of the resizing, counts of the splits, and oracles: Pillow, the prepared 28 x 28 copy, Lake."""

from math import gcd

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.distance import cdist

from minimeta.data import omniglot
from minimeta.errors import DataUnavailable, MinimetaError
from tests.needs import needs_data


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """A machine without the data and without a network."""
    monkeypatch.delenv("MINIMETA_DATA", raising=False)
    monkeypatch.setenv("MINIMETA_CACHE", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(omniglot, "ARCHIVES", {"http://127.0.0.1:9/images.zip": "md5:00"})


@pytest.fixture
def folder():
    return needs_data("omniglot")


def test_without_data_and_network_the_sentence_says_what_to_do(empty):
    assert omniglot.available() is None
    with pytest.raises(DataUnavailable, match="run `minimeta data get omniglot`, or set MINIMETA"):
        omniglot.load("train")


def test_what_is_prepared_is_not_fetched_again(empty, tmp_path):
    path = tmp_path / omniglot.FILE
    path.parent.mkdir()
    path.touch()
    assert omniglot.get() == path
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"split": "dev"}, "no split of protocol 'vinyals' named 'dev'; .* 'train', 'val', 'test'"),
        ({"split": "val", "protocol": "lake"}, "choose settings on 'val' of protocol 'vinyals'"),
        ({"protocol": "Vinyals"}, "no protocol named 'Vinyals'; .* 'vinyals', '1200-423', 'lake'"),
        ({"resize": "bilinear"}, "no resize named 'bilinear'; the names are 'area', 'nearest'"),
        ({"size": 0}, "size=0"),
        ({"size": "28"}, "size=.28."),
    ],
)
def test_an_unknown_name_is_answered_with_the_known_ones(empty, options, words):
    with pytest.raises(MinimetaError, match=words):
        omniglot.load(**{"split": "train"} | options)


@pytest.mark.parametrize("size", [1, 14, 28, 30, 64, 84, 105, 120])
def test_area_is_the_share_of_ink(size):
    picture = np.random.default_rng(size).random((105, 105)) < 0.3
    old, new = size // gcd(105, size), 105 // gcd(105, size)
    fine = np.kron(picture, np.ones((old, old), np.uint8))  # a new pixel is now new x new of these
    share = fine.reshape(size, new, size, new).mean((1, 3))
    small = omniglot.shrink(picture, "area", size)
    np.testing.assert_allclose(small, np.rint(share * 15) / 15, rtol=0, atol=1e-6)


def test_nearest_is_what_pillow_makes_of_a_1_bit_picture():
    picture = np.random.default_rng(0).random((105, 105)) < 0.3
    pillow = Image.fromarray(picture).resize((28, 28), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(omniglot.shrink(picture, "nearest", 28), np.asarray(pillow))


@pytest.mark.parametrize("resize", ["area", "nearest"])
def test_turning_and_resizing_commute(resize):
    picture = np.random.default_rng(0).random((105, 105)) < 0.3
    turned = omniglot.shrink(np.rot90(picture), resize, 28)
    np.testing.assert_array_equal(turned, np.rot90(omniglot.shrink(picture, resize, 28)))


COUNTS = {
    "vinyals": {"train": 1028, "val": 172, "test": 423},
    "1200-423": {"train": 1200, "test": 423},
    "lake": {"train": 964, "test": 659},
}


@pytest.mark.parametrize("protocol", COUNTS)
def test_splits_are_disjoint_and_complete(folder, protocol):
    pools = {
        split: omniglot.load(split, protocol=protocol, rotations=False, size=7)
        for split in COUNTS[protocol]
    }
    assert {split: len(pool) for split, pool in pools.items()} == COUNTS[protocol]
    names = [name for pool in pools.values() for name in pool.names]
    assert len(set(names)) == len(names) == 1623
    for pool in pools.values():
        assert pool.sizes.unique().tolist() == [20]
        assert pool.items.shape == (20 * len(pool), 1, 7, 7)
        assert pool.items.dtype == torch.float32


def test_the_1200_are_train_and_val_together(folder):
    def names(split, protocol):
        return omniglot.load(split, protocol=protocol, rotations=False, size=1).names

    both = {*names("train", "vinyals"), *names("val", "vinyals")}
    assert set(names("train", "1200-423")) == both
    assert names("test", "1200-423") == names("test", "vinyals")
    assert set(names("val", "vinyals")) <= set(names("train", "lake"))  # as the error text promises


def test_rotations_are_classes_of_their_own_by_default_only_in_vinyals(folder):
    sizes = [len(omniglot.load(split, size=1)) for split in ("train", "val", "test")]
    assert sizes == [4112, 688, 1692]
    assert len(omniglot.load("train", protocol="lake", size=1)) == 964
    assert len(omniglot.load("train", protocol="lake", size=1, rotations=True)) == 3856


def test_rotated_classes_are_turns_of_the_drawn_one(folder):
    turned, plain = omniglot.load("val"), omniglot.load("val", rotations=False)
    items = turned.items.reshape(172, 4, 20, 28, 28)
    drawn = plain.items.reshape(172, 20, 28, 28)
    for turn in range(4):
        assert torch.equal(items[:, turn], torch.rot90(drawn, turn, (-2, -1)))
    name = plain.names[1]
    assert turned.names[4:8] == tuple(f"{name}/rot{turn}" for turn in ("000", "090", "180", "270"))


def test_area_equals_the_prepared_28_pixel_copy_bit_for_bit(folder):
    with np.load(folder / "omniglot_28.npz") as file:
        packed, vinyals = file["images"], file["vinyals_split"]
    levels = np.stack([packed >> 4, packed & 15], -1).reshape(1623, 20, 28, 28)
    for value, split in enumerate(("train", "val", "test")):
        items = omniglot.load(split, rotations=False).items
        prepared = levels[vinyals == value].reshape(-1, 1, 28, 28).astype(np.float32) / 15
        np.testing.assert_array_equal(items.numpy(), prepared)


def test_lake_runs_ask_for_one_alphabet_and_two_drawers(folder):
    support_x, support_y, query_x, query_y = omniglot.lake_runs()
    assert support_x.shape == query_x.shape == (20, 20, 1, 28, 28)
    assert support_y.shape == query_y.shape == (20, 20)
    assert torch.equal(support_y, torch.arange(20).expand(20, 20))
    assert torch.equal(query_y.sort(1).values, support_y)  # each character is asked for once
    with np.load(folder / "omniglot_105.npz") as file:
        alphabet, split = file["alphabet"], file["split"]
        shots, queries, labels = (file[f"oneshot_{name}"] for name in ("train", "test", "label"))
    np.testing.assert_array_equal(query_y, labels)
    asked = np.take_along_axis(shots[..., 0], labels.astype(int), 1)
    np.testing.assert_array_equal(queries[..., 0], asked)
    assert (split[shots[..., 0]] == 1).all()
    for run, query in zip(shots, queries, strict=True):
        assert len(set(alphabet[run[:, 0]])) == 1
        assert [len(set(drawers)) for drawers in (run[:, 1], query[:, 1])] == [1, 1]
        assert run[0, 1] != query[0, 1]


@pytest.mark.slow
def test_lakes_own_baseline_errs_as_published(folder):
    """Modified Hausdorff distance of the ink, Lake et al. 2015: 38.8 % errors on the 20 runs."""

    def ink(picture):
        points = np.argwhere(picture.numpy())
        return points - points.mean(0)

    def distance(a, b):
        pairs = cdist(a, b)
        return max(pairs.min(0).mean(), pairs.min(1).mean())

    wrong = 0
    for shots, _, queries, labels in zip(*omniglot.lake_runs(size=105), strict=True):
        known = [ink(picture) for picture in shots[:, 0]]
        for query, label in zip(queries[:, 0], labels, strict=True):
            points = ink(query)
            wrong += int(np.argmin([distance(points, other) for other in known]) != label)
    assert wrong == 155  # of 400: 38.75 %
