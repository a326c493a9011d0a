"""Arrays and torch data sets as class pools: order, types, and a sentence for what cannot be read."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset, TensorDataset

from minimeta.data.arrays import from_arrays, from_dataset
from minimeta.errors import MinimetaError

X = torch.arange(12.0).view(6, 2)


class Pairs(Dataset):
    """A data set of the pairs given, which counts how often each is read."""

    def __init__(self, *pairs):
        self.pairs, self.reads = pairs, [0] * len(pairs)

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, i):
        self.reads[i] += 1
        return self.pairs[i]


def same(a, b):
    return torch.equal(a.items, b.items) and torch.equal(a.sizes, b.sizes) and a.names == b.names


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=20))
def test_every_class_gets_its_own_rows_in_the_order_given(labels):
    pool = from_arrays(np.arange(float(len(labels)))[:, None], labels)
    assert pool.names == tuple(map(str, sorted(set(labels))))
    for name, start, size in zip(
        pool.names, pool.starts.tolist(), pool.sizes.tolist(), strict=True
    ):
        rows = [float(i) for i, label in enumerate(labels) if label == int(name)]
        assert pool.items[start : start + size, 0].tolist() == rows


@pytest.mark.parametrize(
    "labels",
    [
        torch.tensor([7, -1, 7, 2, -1, 7]),
        np.array([7, -1, 7, 2, -1, 7], np.int8),
        [7, -1, 7, 2, -1, 7],
        (7, -1, 7, 2, -1, 7),
    ],
)
def test_labels_come_as_tensor_array_or_list(labels):
    pool = from_arrays(X, labels)
    assert pool.names == ("-1", "2", "7") and pool.sizes.tolist() == [2, 1, 3]
    assert pool.items[:, 0].tolist() == [2, 8, 6, 0, 4, 10]


def test_strings_are_labels_and_sort_by_code_point():
    words = ["éa", "z", "中", "z", "éa", "A"]
    pool = from_arrays(X, words)
    assert pool.names == ("A", "z", "éa", "中")
    assert same(pool, from_arrays(X, np.array(words, dtype=object)))
    assert from_arrays(X, [True, False] * 3).names == ("False", "True")


def test_names_replace_labels():
    y = [3, 0, 3, 0, 3, 3]
    assert from_arrays(X, y, ["cat", "dog", "eel", "fox"]).names == ("cat", "fox")
    assert from_arrays(X, y, {0: "cat", 3: "fox"}).names == ("cat", "fox")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_floats_are_taken_as_they_are(dtype):
    x = X.to(dtype, copy=True)
    pool = from_arrays(x.requires_grad_(), [0] * 6)
    assert torch.equal(pool.items, X) and pool.items.dtype == torch.float32
    assert not pool.items.requires_grad


def test_uint8_is_divided_by_255_and_truth_is_not():
    x = np.array([[0], [51], [255]], np.uint8)
    assert from_arrays(x, [0, 0, 0]).items.flatten().tolist() == pytest.approx([0, 0.2, 1])
    assert from_arrays(x > 50, [0, 0, 0]).items.flatten().tolist() == [0, 1, 1]


def test_the_pool_is_a_copy_and_odd_strides_do_not_matter():
    x = np.arange(12, dtype=np.float32).reshape(2, 6).T[::-1]
    x.flags.writeable = False
    pool = from_arrays(x, [0] * 6)
    assert pool.items[0].tolist() == [5, 11]
    ours = X.clone()
    pool = from_arrays(ours, [0] * 6)
    ours.zero_()
    assert torch.equal(pool.items, X)


BAD = [
    (X, [0] * 5, r"x has shape \(6, 2\) and y \(5,\); give .* one label for each"),
    (X[:, 0], [0] * 6, r"x has shape \(6,\).*two axes or more"),
    (X[:0], [], "at least one example"),
    (X, torch.zeros(6, 1, dtype=torch.long), r"labels of shape \(6, 1\)"),
    (X, [0.0] * 6, "type float64 were given; give one whole number or string"),
    (X, [[0], [1, 2]] * 3, "y is no list of labels"),
    (X, None, "labels of shape"),
    (X.long(), [0] * 6, "examples of type int64 were given; give floats, or pictures as uint8"),
    (X.numpy().astype(complex), [0] * 6, "complex128"),
    ("pictures", [0] * 6, "give floats"),
    ([[1.0], [1.0, 2.0]], [0, 0], "x is no array"),
    (np.where(X.numpy() == 7, np.nan, X), [1, 1, 0, 2, 0, 0], r"x\[3\] holds NaN"),
    (np.where(X.numpy() > 6, np.inf, X), [1, 1, 0, 2, 0, 0], r"x\[3\] holds NaN, infinity"),
    (
        np.where(X.numpy() > 9, 1e300, X.double()),
        [1, 1, 0, 2, 0, 0],
        r"x\[5\].*too large for float32",
    ),
]


@pytest.mark.parametrize("x, y, message", BAD)
def test_arrays_that_do_not_fit_get_a_sentence(x, y, message):
    with pytest.raises(MinimetaError, match=message) as caught:
        from_arrays(x, y)
    assert str(caught.value).endswith(".")


def test_a_label_without_a_name_gets_a_sentence():
    for names in ({0: "cat"}, ["cat"]):
        with pytest.raises(MinimetaError, match=r"label -1 has no name; give names\[label\]"):
            from_arrays(X, [0, -1] * 3, names)


def test_a_dataset_is_its_arrays_read_once():
    y = [5, 0, 5, 2, 0, 5]
    arrays = from_arrays(X, y)
    dataset = Pairs(*zip(X, y, strict=True))
    assert same(from_dataset(dataset), arrays) and dataset.reads == [1] * 6
    tensors = TensorDataset(X, torch.tensor(y))
    assert same(from_dataset(tensors), arrays)
    assert same(
        from_dataset(ConcatDataset([Subset(tensors, [0, 1]), Subset(tensors, range(2, 6))])), arrays
    )
    assert same(from_dataset(Pairs(*zip(X.numpy(), np.array(y), strict=True))), arrays)
    words = ["cat", "dog"] * 3
    assert same(from_dataset(Pairs(*zip(X, words, strict=True))), from_arrays(X, words))


def test_pillow_images_become_levels_over_255():
    levels = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    pool = from_dataset(Pairs((Image.fromarray(levels), 1), (Image.new("P", (5, 4)), 0)))
    assert pool.item_shape == (3, 4, 5)
    assert np.array_equal(pool.items[1].numpy(), levels.transpose(2, 0, 1) / np.float32(255))
    grey = from_dataset(Pairs((Image.fromarray(levels[..., 0]), 1)))
    assert np.array_equal(grey.items[0, 0].numpy(), levels[..., 0] / np.float32(255))


class Endless(IterableDataset):
    def __iter__(self):
        yield X[0], 0


BAD_SETS = [
    (Endless(), "Endless has no length"),
    (Pairs(), "at least one example"),
    (Pairs(X[0]), r"Pairs\[0\] is a Tensor; every item is a pair"),
    (Pairs((X[0], 0), (X[0], 0, 1)), r"Pairs\[1\] is a tuple; every item is a pair"),
    (Pairs((X[0], 0), (X[:2], 1)), r"Pairs\[0\] is float32 of shape \(2,\) but Pairs\[1\] is float32 of shape \(2, 2\)"),
    (Pairs((X[0], 0), (X[0].byte(), 1)), r"Pairs\[1\] is uint8"),
    (Pairs((Image.new("RGB", (4, 4)), 0), (Image.new("L", (4, 4)), 1)), r"shape \(1, 4, 4\); bring all"),
    (Pairs((X[0].long(), 0)), "examples of type int64"),
    (Pairs((X[0], X[0])), "labels of shape"),
    (Pairs((X[0], 0.5)), "one whole number or string"),
    (Pairs((X[0] * torch.nan, 0)), r"x\[0\] holds NaN"),
]  # fmt: skip


@pytest.mark.parametrize("dataset, message", BAD_SETS)
def test_data_sets_that_do_not_fit_get_a_sentence(dataset, message):
    with pytest.raises(MinimetaError, match=message) as caught:
        from_dataset(dataset)
    assert str(caught.value).endswith(".")
