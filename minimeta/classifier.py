"""Any learner behind scikit-learn's interface: fit five pictures, predict the sixth.

``fit`` keeps the labelled examples as a support set; ``predict`` asks the learner about new ones as
the queries of an episode. So learners work in pipelines, cross-validation and grid searches.

>>> import minimeta as mm
>>> from minimeta.classifier import FewShotClassifier
>>> letters = mm.tasks("glyphs", split="test", ways=5, shots=1, queries=1).at([0])
>>> clf = FewShotClassifier(mm.ProtoNet(mm.Conv4()))            # better: a trained learner
>>> clf = clf.fit(letters.support_x[0], ["ant", "bee", "cat", "dog", "eel"])
>>> clf.predict(letters.query_x[0]).shape, clf.predict_proba(letters.query_x[0]).shape
((5,), (5, 5))
"""

import copy
import math
from itertools import chain
from numbers import Integral
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Shaped
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from minimeta.episodes import Episode
from minimeta.errors import MinimetaError
from minimeta.inputs import as_numpy, check_scale, one_kind, remedy
from minimeta.learner import Learner
from minimeta.norm import BN, bn_mode, normalised
from minimeta.protonet import ProtoNet
from minimeta.relationnet import RelationNet


class FewShotClassifier(ClassifierMixin, BaseEstimator):
    r"""A scikit-learn classifier that predicts with a learner.

    Parameters
    ----------
    learner
        Maps an episode to (T, R, N) scores; usually trained. None: the nearest class mean,
        ``ProtoNet(nn.Flatten())``. It stays as it is: ``fit`` works with a copy in ``eval()`` mode, and
        scikit-learn's ``clone`` copies it, weights and all, so that every fold starts from them.
    bn
        Normalisation mode of minimeta's layers. None: the learner's own, but ``"support"`` for
        ``"batch"``, so that a prediction never depends on the other queries; a learner trained under
        ``"batch"`` may lose accuracy by it. ``"batch"``, asked for by name, lets them all see each other.
    chunk
        Queries at a time (memory); None chooses. It changes no number: queries that see each other
        pass at once whatever it says.

    Attributes
    ----------
    classes_
        (N,): the labels, sorted.
    support_x_, support_y_
        (S, \*item) and (S,): the examples as given, and their indices in ``classes_``.
    learner_
        The copy that predicts.

    Notes
    -----
    X is (n, features) or (n, \*item), pictures (n, channels, height, width): an array, a tensor, a data
    frame or lists. It takes the learner's device and floating-point type; a learner without
    parameters computes in float64. Pictures of type uint8 are divided by 255; nothing else is scaled,
    and no axis is added or moved. Labels are strings, or they are booleans or whole numbers. Where a batch
    normalisation of torch's keeps no averages, queries see each other. MAML adapts in every call.

    Examples
    --------
    >>> clf = FewShotClassifier().fit([[0, 0], [0, 1], [5, 5]], ["near", "near", "far"])
    >>> clf.predict([[4, 4]]).item(), clf.predict_proba([[0, 0]]).round(3).tolist()
    ('far', [[0.0, 1.0]])
    """

    def __init__(
        self, learner: nn.Module | None = None, *, bn: BN | None = None, chunk: int | None = None
    ) -> None:
        self.learner, self.bn, self.chunk = learner, bn, chunk

    def fit(self, X: Any, y: Any) -> "FewShotClassifier":
        r"""Keep the support set, and try the learner on it, so that it refuses now what it cannot do.

        Parameters
        ----------
        X, y
            (n, features) or (n, \*item) finite numbers, and (n,) labels: as many classes, and examples
            of each, as the learner can take.

        Raises
        ------
        MinimetaError
            If the learner cannot learn from such examples or classes; scikit-learn's own
            complaints about X and y are of its base class, ``ValueError``.
        """
        learner = ProtoNet(nn.Flatten()) if self.learner is None else self.learner
        if not isinstance(learner, nn.Module):
            raise MinimetaError(f"learner={learner!r} was given; give a module, as mm.ProtoNet is.")
        if not (self.chunk is None or (isinstance(self.chunk, Integral) and self.chunk > 0)):
            raise MinimetaError(f"chunk={self.chunk!r} was given; it is 1 query or more, or None.")
        X, y = validate_data(self, as_numpy(X), one_kind(as_numpy(y)), allow_nd=True, copy=True)
        kind = type_of_target(y, input_name="y")
        if kind not in ("binary", "multiclass"):
            raise MinimetaError(f"Unknown label type: {kind}; give strings, booleans or integers.")
        self.support_x_ = X
        self.classes_, self.support_y_ = np.unique(y, return_inverse=True)
        inductive: BN | None = "support" if "batch" in bn_mode(learner) else None
        with normalised(learner, inductive if self.bn is None else self.bn):
            self.learner_ = copy.deepcopy(learner).eval()  # the copy keeps this mode
        self._try_out()
        return self

    def predict(self, X: Any) -> Shaped[np.ndarray, " query"]:
        """Return the most probable label of each example, (n,)."""
        best = self.predict_proba(X).argmax(1)
        return self.classes_[best]

    def predict_proba(self, X: Any) -> Float64[np.ndarray, "query way"]:
        """Return the probability of each class of ``classes_``, (n, N); every row sums to 1.

        It is the softmax of the scores, as the cross-entropy in training reads them. RelationNet's
        scores, fitted by squared error to 1 and 0, are estimates of the probabilities themselves; they
        are divided by their sum instead.

        Raises
        ------
        MinimetaError
            If the examples have another shape or another scale than in ``fit``, or a score is not a
            number.
        """
        check_is_fitted(self)
        X = as_numpy(X)
        given = tuple(X.shape if hasattr(X, "shape") else np.asarray(X).shape)
        fitted = self.support_x_.shape
        if max(len(given), len(fitted)) > 2 and given[1:] != fitted[1:]:
            raise MinimetaError(
                f"X has shape {given} but the classifier was fitted on examples of shape {fitted[1:]}; "
                "give examples of the same shape, and a single one as x[None]."
            )
        X = validate_data(self, X, reset=False, allow_nd=True)
        check_scale(self.support_x_, X)
        scores = self._scores(X)
        if not isinstance(self.learner_, RelationNet):
            return softmax(scores, axis=1)
        scores = scores + np.finfo(float).tiny  # if all are 0, all classes are equally probable
        return scores / scores.sum(1, keepdims=True)

    def _scores(self, X: np.ndarray) -> Float64[np.ndarray, "query way"]:
        """Ask the learner: one task, whose queries are X, a chunk at a time."""
        support_x = self._tensor(self.support_x_)
        support_y = torch.tensor(self.support_y_, device=support_x.device)[None]
        # the support set passes with every chunk: let it be the smaller part
        size = max(len(self.support_x_), (1 << 19) // max(1, math.prod(X.shape[1:])))
        step = len(X) if _transductive(self.learner_) else self.chunk or size
        queries = (self._tensor(X[first : first + step]) for first in range(0, len(X), step))
        with torch.no_grad():
            parts = [self.learner_(Episode(support_x, support_y, q)) for q in queries]
        scores, expected = torch.cat(parts, 1), (1, len(X), len(self.classes_))
        if tuple(scores.shape) != expected:
            raise MinimetaError(
                f"the scores have shape {tuple(scores.shape)}, not (tasks, queries, classes) {expected}."
            )
        if bool(scores.isnan().any()):
            raise MinimetaError(
                "the learner gave scores that are not numbers; its weights or its adaptation diverged: "
                "look at the weights, or lower MAML's inner_lr."
            )
        return scores[0].cpu().double().numpy()

    def _tensor(self, X: np.ndarray) -> Tensor:
        r"""(n, \*item) -> (1, n, \*item) on the learner's device and in its floating-point type."""
        weights = chain(self.learner_.parameters(), self.learner_.buffers())
        like = next((w for w in weights if w.is_floating_point()), torch.empty(0).double())
        numbers = np.array(X, np.float64 if like.dtype == torch.float64 else np.float32)
        unit = 255 if X.dtype == np.uint8 and X.ndim > 2 else 1
        return (torch.from_numpy(numbers)[None] / unit).to(like)

    def _try_out(self) -> None:
        """Predict one example, and say what was given if the learner cannot."""
        try:
            self._scores(self.support_x_[:1])
        except Exception as error:
            shape, why = self.support_x_.shape, str(error).split("\n")[0].rstrip(".")
            # the learners' names for the network that sees X itself
            network = getattr(self.learner_, "encoder", getattr(self.learner_, "network", None))
            why = remedy(self.support_x_, network) or why
            if len(shape) > 2:
                why += "; pictures are (n, channels, height, width)"
            if not isinstance(self.learner_, Learner):
                why += "; a network becomes a learner as in mm.ProtoNet(network)"
            raise MinimetaError(
                f"{type(self.learner_).__name__} cannot learn from X of shape {shape} with "
                f"{len(self.classes_)} classes: {why}."
            ) from error


def _transductive(learner: nn.Module) -> bool:
    """Say whether a prediction of the learner in ``eval()`` mode depends on the other queries."""
    torchs = [m for m in learner.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    return "batch" in bn_mode(learner) or any(m.running_mean is None for m in torchs)
