"""What people give a classifier: it works, or the sentence says what to change, and that then works."""

import re

import numpy as np
import pytest
import torch
from torch import nn

import minimeta as mm
from minimeta import Conv4, MinimetaError, ProtoNet
from minimeta.classifier import FewShotClassifier
from minimeta.inputs import remedy

LABELS = ["ant", "bee", "cat"]


def refusal(X):
    with pytest.raises(MinimetaError, match="cannot learn from X") as refused:
        FewShotClassifier(mm.load("protonet-omniglot-5w1s")).fit(X, LABELS)
    text = str(refused.value)
    assert "pictures of shape (1, 28, 28)" in text and "channels=" not in text
    assert "\n" not in text and text.endswith(".")
    return text


@pytest.mark.parametrize(
    "shape",
    [(3, 3, 28, 28), (3, 28, 28, 1), (3, 28, 28, 3), (3, 28, 28), (3, 784)],
)
@pytest.mark.parametrize("dtype", [np.float64, np.uint8])
def test_doing_what_the_sentence_says_fits_in_the_right_scale(shape, dtype):
    rng = np.random.default_rng(0)
    X = (255 * rng.random(shape)).astype(dtype) if dtype == np.uint8 else rng.random(shape)
    for recipe in re.findall(r" \((\(?X[./[ ].*?)\)(?:, then|, or)", refusal(X)):
        X = eval(recipe, {"X": X})
    assert X.shape == (3, 1, 28, 28)
    clf = FewShotClassifier(mm.load("protonet-omniglot-5w1s")).fit(X, LABELS)
    assert float(clf._tensor(X).max()) <= 1


def test_other_sizes_and_channels_are_named_one_after_another():
    assert "so resize them to 28x28, or" in refusal(np.zeros((3, 1, 32, 32)))
    assert re.search(
        "channels first.*, then make them grey.*, then resize", refusal(np.zeros((3, 64, 64, 3)))
    )
    assert "so give such, or" in refusal(np.zeros((3, 5)))
    assert "so make them grey, or" in refusal(np.zeros((3, 4, 28, 28)))
    assert "give them 3 channels" in remedy(np.zeros((3, 1, 28, 28)), Conv4(channels=3))


def test_nothing_is_said_of_pictures_that_fit_or_of_other_networks():
    assert remedy(np.zeros((3, 1, 28, 28)), Conv4()) == ""
    assert remedy(np.zeros((3, 28, 28)), nn.Flatten()) == remedy(np.zeros((3, 2)), None) == ""


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_list_of_tensors_that_require_a_gradient_is_the_array_of_their_values(dtype):
    X = torch.rand(3, 4, dtype=dtype)
    rows = [row.clone().requires_grad_() for row in X]
    clf, listed = FewShotClassifier().fit(X, LABELS), FewShotClassifier().fit(rows, LABELS)
    assert np.array_equal(clf.predict_proba(X), listed.predict_proba(rows))


@pytest.mark.parametrize(
    "labels, types",
    [
        (["a", 1, 2], "int, str"),
        (["a", None, "b"], "NoneType, str"),
        (("a", float("nan"), "b"), "float, str"),
        (np.array([1, "a", 2], dtype=object), "int, str"),
    ],
)
def test_labels_of_several_types_get_a_sentence(labels, types):
    with pytest.raises(MinimetaError, match=rf"several types were given \({types}\); give all"):
        FewShotClassifier().fit(np.eye(3), labels)


def test_bytes_and_numbers_up_to_255_do_not_meet():
    rng = np.random.default_rng(0)
    X = rng.integers(256, size=(3, 1, 4, 4), dtype=np.uint8)
    clf = FewShotClassifier(ProtoNet(nn.Flatten()))
    fitted = clf.fit(X, LABELS)
    assert fitted.predict(X).tolist() == fitted.predict(X / 255).tolist() == LABELS
    for other in (X * 1.0, X.astype(np.int64), -1.0 * X):
        with pytest.raises(
            MinimetaError, match="the new pictures are .* divide the new ones by 255"
        ):
            fitted.predict(other)
    assert clf.fit(X / 255, LABELS).predict(X).tolist() == LABELS
    with pytest.raises(
        MinimetaError, match="the fitted pictures are float64 .* the fitted ones by"
    ):
        clf.fit(X * 1.0, LABELS).predict(X)
    table = X.reshape(3, 16)  # tables of bytes are not scaled
    assert clf.fit(table, LABELS).predict(table * 1.0).tolist() == LABELS
