"""The classifier against scikit-learn's own checks, the learner's own scores, and its laws."""

import copy
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

from minimeta import MAML, MLP, Conv4, Episode, MinimetaError, ProtoNet, RelationNet
from minimeta.classifier import FewShotClassifier

LETTERS = ["ant", "bee", "cat"]


def learners(bn="batch"):
    small = dict(filters=4, size=16, bn=bn)
    return {
        "MAML": MAML(Conv4(ways=3, **small), inner_lr=0.3, inner_steps=2).double(),
        "ProtoNet": ProtoNet(Conv4(**small)).double(),
        "ProtoNet, two passes": ProtoNet(Conv4(**small), shared_pass=False).double(),
        "RelationNet": RelationNet(Conv4(layout="maps", **(small | dict(size=24)))).double(),
    }


NAMES = list(learners())


def pictures(name, shots=2, queries=7, seed=0):
    """Support pictures with their labels, and queries."""
    rng, side = np.random.default_rng(seed), 24 if name == "RelationNet" else 16
    y = rng.permutation(np.repeat(LETTERS, shots))
    return rng.random((3 * shots, 1, side, side)), y, rng.random((queries, 1, side, side))


def close(a, b):
    return np.allclose(a, b, rtol=0, atol=1e-10)


@parametrize_with_checks([FewShotClassifier(), FewShotClassifier(ProtoNet(nn.Identity()))])
def test_scikit_learns_own_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the checks try odd things on purpose
        check(estimator)


@pytest.mark.parametrize("name", NAMES)
def test_probabilities_are_the_learners_own_scores_on_the_same_episode(name):
    X, y, new = pictures(name)
    learner = learners("support")[name].eval()
    clf = FewShotClassifier(learner).fit(X, y)
    classes, labels = np.unique(y, return_inverse=True)
    as_tensors = (torch.from_numpy(v)[None] for v in (X, labels, new))
    scores = learner(Episode(*as_tensors))[0].detach()
    share = scores / scores.sum(1, keepdim=True)
    expected = share if name == "RelationNet" else scores.softmax(1)
    assert close(clf.predict_proba(new), expected.numpy())
    assert clf.predict(new).tolist() == classes[scores.argmax(1).numpy()].tolist()


@pytest.mark.parametrize("name", NAMES)
def test_rows_sum_to_one_and_the_likeliest_class_is_predicted(name):
    X, y, new = pictures(name)
    clf = FewShotClassifier(learners()[name]).fit(X, y)
    proba = clf.predict_proba(new)
    assert proba.shape == (7, 3) and (proba >= 0).all()
    assert close(proba.sum(1), 1)
    assert clf.predict(new).tolist() == clf.classes_[proba.argmax(1)].tolist()


@pytest.mark.parametrize("name", NAMES)
def test_predictions_do_not_depend_on_the_other_queries_unless_asked(name):
    X, y, new = pictures(name)
    assert any(m.mode == "batch" for m in learners()[name].modules() if hasattr(m, "mode"))
    clf = FewShotClassifier(learners()[name]).fit(X, y)
    proba, order = clf.predict_proba(new), [3, 0, 6, 1]
    assert close(clf.predict_proba(new[order]), proba[order])
    assert close(clf.predict_proba(new[2:3]), proba[2:3])
    together = FewShotClassifier(learners()[name], bn="batch").fit(X, y)
    assert np.abs(together.predict_proba(new[:2]) - together.predict_proba(new)[:2]).max() > 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_training_examples_does_not_matter(name):
    X, y, new = pictures(name)
    clf, order = FewShotClassifier(learners("support")[name]), [4, 2, 0, 5, 1, 3]
    expected = clf.fit(X, y).predict_proba(new)
    assert close(clf.fit(X[order], y[order]).predict_proba(new), expected)


@pytest.mark.parametrize("bn", [None, "batch"])
@pytest.mark.parametrize("name", NAMES)
def test_chunks_change_no_number(name, bn):
    X, y, new = pictures(name)
    learner = learners()[name]
    whole = FewShotClassifier(learner, bn=bn, chunk=100).fit(X, y).predict_proba(new)
    for chunk in (1, 3, None):
        clf = FewShotClassifier(learner, bn=bn, chunk=chunk).fit(X, y)
        assert close(clf.predict_proba(new), whole)


def test_layers_of_torch_without_running_averages_see_all_queries_whatever_the_chunk():
    X, y, new = pictures("ProtoNet")
    norm = nn.BatchNorm2d(1, track_running_stats=False)
    learner = ProtoNet(nn.Sequential(norm, nn.Flatten())).double()
    one, all_ = (FewShotClassifier(learner, chunk=c).fit(X, y).predict_proba(new) for c in (1, 9))
    assert np.array_equal(one, all_)


def test_the_learner_stays_as_it_is_and_fitting_copies_it():
    X, y, new = pictures("ProtoNet")
    learner = ProtoNet(Conv4(filters=4, size=16, bn="running")).train()
    before = copy.deepcopy(learner.state_dict())
    clf = FewShotClassifier(learner, bn="support").fit(X, y)
    proba = clf.predict_proba(new)
    assert clf.learner is learner and learner.training
    assert {m.mode for m in learner.modules() if hasattr(m, "mode")} == {"running"}
    assert all(torch.equal(v, before[k]) for k, v in learner.state_dict().items())
    with torch.no_grad():
        learner.encoder.blocks[0].conv.weight.zero_()  # trained on: what was fitted stays
    X[:] = 0
    assert np.array_equal(clf.predict_proba(new), proba)
    assert torch.equal(clone(clf).learner.encoder.blocks[0].conv.weight, torch.zeros(4, 1, 3, 3))


@pytest.mark.parametrize(
    "labels",
    [
        ["dog", "cat", "dog", "eel"],
        [7, -3, 7, 100],
        [2.0, 0.0, 2.0, 1.0],
        [True, False, True, True],
        np.array(["dog", "cat", "dog", "eel"], dtype=object),
        torch.tensor([5, 1, 5, 2]),
        [4, 4, 4, 4],
    ],
)
def test_labels_of_any_type_come_back(labels):
    X = np.array([[0.0], [10], [0], [20]])
    plain = np.asarray(labels)
    far_apart = X if len(set(plain.tolist())) == 3 else np.where(plain == plain[0], 0.0, 9)[:, None]
    clf = FewShotClassifier().fit(far_apart, labels)
    assert clf.classes_.tolist() == sorted(set(plain.tolist()))
    assert clf.predict(far_apart).tolist() == plain.tolist()
    assert clf.predict(far_apart).dtype == plain.dtype
    assert clf.score(far_apart, labels) == 1


def test_arrays_tensors_and_lists_are_the_same_data():
    X, y, new = pictures("ProtoNet")
    clf = FewShotClassifier(ProtoNet(Conv4(filters=4, size=16)))
    expected = clf.fit(X, y).predict_proba(new)
    backwards = lambda a: np.flip(np.flip(a, -1).copy(), -1)  # noqa: E731, negative strides
    for form in (torch.from_numpy, np.ndarray.tolist, list, backwards, np.asfortranarray):
        assert np.array_equal(clf.fit(form(X), list(y)).predict_proba(form(new)), expected)


def test_pictures_of_bytes_are_divided_by_255_and_tables_of_bytes_are_not():
    rng = np.random.default_rng(0)
    X, y = rng.integers(256, size=(6, 1, 4, 4), dtype=np.uint8), LETTERS * 2
    bytes_, floats = FewShotClassifier().fit(X, y), FewShotClassifier().fit(X / 255, y)
    assert close(bytes_.predict_proba(X), floats.predict_proba(X / 255))
    table = X.reshape(6, 16)
    bytes_, floats = FewShotClassifier().fit(table, y), FewShotClassifier().fit(table * 1.0, y)
    assert np.array_equal(bytes_.predict_proba(table), floats.predict_proba(table * 1.0))


def test_the_learners_type_decides_in_which_precision_it_computes():
    X, y, new = pictures("ProtoNet")
    network = nn.Sequential(nn.Flatten(), nn.Linear(256, 3))
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        clf = FewShotClassifier(ProtoNet(network.to(dtype))).fit(X, y)
        assert clf._tensor(X).dtype == dtype and clf.predict_proba(new).dtype == np.float64
    assert FewShotClassifier().fit(X, y)._tensor(new).dtype == torch.float64


def test_maml_takes_fewer_classes_than_outputs_and_refuses_more_when_fitting():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(8, 4)), np.arange(8) % 4
    clf = FewShotClassifier(MAML(MLP(4, 3, (8,)), inner_lr=0.1, inner_steps=5))
    assert clf.fit(X[y < 2], y[y < 2]).predict_proba(X).shape == (8, 2)
    with pytest.raises(MinimetaError, match=r"X of shape \(8, 4\) with 4 classes.*has 3 outputs"):
        clf.fit(X, y)


def test_maml_uses_its_test_steps():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(8, 4)), np.arange(8) % 2
    network = MLP(4, 2, (8,))
    trained = MAML(network, inner_lr=0.1, inner_steps=1, test_inner_steps=4)
    plain = MAML(network, inner_lr=0.1, inner_steps=4)
    results = [FewShotClassifier(m).fit(X, y).predict_proba(X) for m in (trained, plain)]
    assert np.array_equal(*results)


def test_relation_scores_that_are_all_zero_mean_equal_probabilities():
    class Zero(nn.Module):
        def forward(self, pairs):
            return pairs.flatten(1)[:, :1] * 0

    learner = RelationNet(nn.Identity(), Zero())
    clf = FewShotClassifier(learner).fit([[0.0], [1.0]], ["a", "b"])
    assert clf.predict_proba([[3.0]]).tolist() == [[0.5, 0.5]]


def test_the_default_is_the_nearest_class_mean():
    X, y = load_iris(return_X_y=True)
    ours, theirs = FewShotClassifier().fit(X[::3], y[::3]), NearestCentroid().fit(X[::3], y[::3])
    assert np.array_equal(ours.predict(X), theirs.predict(X))


def test_cross_validation_pipelines_and_grid_searches_on_real_digits():
    X, y = load_digits(return_X_y=True)
    clf = make_pipeline(StandardScaler(), FewShotClassifier(ProtoNet(nn.Identity())))
    assert cross_val_score(clf, X, y, cv=3).min() > 0.8  # chance is 0.1
    grid = {"learner": [ProtoNet(nn.Flatten()), ProtoNet(nn.Flatten(), distance="euclidean")]}
    search = GridSearchCV(FewShotClassifier(), grid, cv=2).fit(X.reshape(-1, 1, 8, 8), y)
    assert search.best_score_ > 0.8


class Constant(nn.Module):
    """Sees two classes everywhere."""

    def forward(self, episode):
        return torch.zeros(*episode.query_x.shape[:2], 2)


BAD_FITS = [
    (
        FewShotClassifier(learner="protonet"),
        "learner='protonet' was given; give a module, as mm.ProtoNet is",
    ),
    (FewShotClassifier(ProtoNet), "give a module"),
    (FewShotClassifier(chunk=0), "chunk=0 was given; it is 1 query or more"),
    (FewShotClassifier(bn="batch"), "no minimeta BatchNorm layer"),
    (FewShotClassifier(ProtoNet(Conv4(size=16)), bn="none"), "bn='none' was given; it is one of"),
    (FewShotClassifier(ProtoNet(Conv4(size=16)), bn="running"), "kept no running averages"),
    (FewShotClassifier(Conv4(size=16)), "a network becomes a learner as in mm.ProtoNet"),
    (
        FewShotClassifier(ProtoNet(Conv4())),
        r"ProtoNet cannot learn from X of shape \(6, 1, 16, 16\) with 3 classes: its Conv4 takes "
        r"pictures of shape \(1, 28, 28\), so resize them to 28x28, or.*channels, height, width",
    ),
    (FewShotClassifier(ProtoNet(nn.Linear(3, 2))), "mat1 and mat2 shapes"),
    (FewShotClassifier(ProtoNet(nn.Identity())), "end the encoder with nn.Flatten"),
    (FewShotClassifier(Constant()), r"scores have shape \(1, 1, 2\), not .* \(1, 1, 3\)"),
]


@pytest.mark.parametrize("clf, sentence", BAD_FITS)
def test_fit_refuses_what_the_learner_cannot_do(clf, sentence):
    X, y, _ = pictures("ProtoNet")
    with pytest.raises(MinimetaError, match=sentence):
        clf.fit(X, y)


def test_grey_pictures_without_channels_are_told_what_is_missing():
    X, y, _ = pictures("ProtoNet")
    with pytest.raises(MinimetaError, match=r"shape \(6, 16, 16\).*\(n, channels, height, width\)"):
        FewShotClassifier(ProtoNet(Conv4(size=16))).fit(X[:, 0], y)


@pytest.mark.parametrize(
    "X, y, sentence",
    [
        ([[0.0], [np.nan]], [0, 1], "NaN"),
        (np.zeros((0, 3)), [], "0 sample"),
        (np.zeros((2, 1, 0, 3)), [0, 1], "must be .*not empty"),
        (np.zeros((3, 2)), [0, 1], "inconsistent numbers of samples"),
        (np.zeros(3), [0, 1, 0], "Reshape your data"),
        (np.zeros((2, 2)), None, "requires y"),
        (np.zeros((2, 2)), [0.5, 1.5], "Unknown label type: continuous"),
        (np.zeros((2, 2)), [["a"], ["b", "c"]], "inhomogeneous"),
    ],
)
def test_bad_training_data_is_refused(X, y, sentence):
    with pytest.raises(ValueError, match=sentence):
        FewShotClassifier().fit(X, y)


def test_predict_refuses_what_does_not_look_like_the_training_data():
    X, y, new = pictures("ProtoNet")
    clf = FewShotClassifier()
    with pytest.raises(NotFittedError):
        clf.predict(new)
    clf.fit(X, y)
    for wrong in (new[:, 0], new[0, 0], new.reshape(7, -1), new[..., :-1], new[:, [0, 0]], new[0]):
        with pytest.raises(MinimetaError, match=r"fitted on examples of shape \(1, 16, 16\)"):
            clf.predict(wrong)
    with pytest.raises(ValueError, match="NaN"):
        clf.predict(new * np.nan)
    clf.fit(X.reshape(6, -1), y)
    with pytest.raises(
        ValueError, match="X has 3 features, but FewShotClassifier is expecting 256"
    ):
        clf.predict(np.zeros((2, 3)))
    with pytest.raises(MinimetaError, match=r"fitted on examples of shape \(256,\)"):
        clf.predict(new)


def test_scores_that_are_not_numbers_are_refused():
    X, y, _ = pictures("ProtoNet")
    network = nn.Sequential(nn.Flatten(), nn.Linear(256, 3))
    nn.init.constant_(network[1].weight, torch.nan)
    with pytest.raises(MinimetaError, match="scores that are not numbers"):
        FewShotClassifier(ProtoNet(network)).fit(X, y)


def test_many_classes_of_one_example_each_are_no_reason_to_warn():
    X = np.eye(30)
    assert FewShotClassifier().fit(X, np.arange(30)).score(X, np.arange(30)) == 1
