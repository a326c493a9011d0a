"""The one interface: a learner maps an episode to query predictions.

Few-shot learning is a function (support set, query inputs) -> query predictions. Learners differ in
how the support set becomes a predictor; training and evaluation see only ``learner(episode)`` and
``learner.loss(episode)``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from minimeta.episodes import Episode
from minimeta.errors import MinimetaError
from minimeta.networks import TaskModule


def task_losses(
    predictions: Float[Tensor, "task example output"],
    targets: Int64[Tensor, "task example"] | Float[Tensor, "task example output"],
) -> Float[Tensor, " task"]:
    """Mean loss of each task: cross-entropy for labels, squared error for float targets.

    Finn et al. 2017, Eqs. (2) and (3), print sums over the examples; we take means, so that a
    learning rate means the same at every number of shots and ways.

    >>> import torch
    >>> task_losses(torch.zeros(1, 3, 2), torch.tensor([[0, 1, 0]]))     # a guess: log 2
    tensor([0.6931])
    """
    check_predictions(predictions, targets)
    if targets.is_floating_point():
        return (predictions - targets).square().mean((1, 2))
    losses = F.cross_entropy(predictions.flatten(0, 1), targets.flatten(), reduction="none")
    return losses.view(targets.shape).mean(1)


def class_sums(
    values: Float[Tensor, "task support *shape"], labels: Int64[Tensor, "task support"], ways: int
) -> Float[Tensor, "task way *shape"]:
    """Sum the support values of each class, however many shots each class has.

    >>> import torch
    >>> class_sums(torch.tensor([[[1.0], [2.0], [5.0]]]), torch.tensor([[1, 0, 1]]), ways=2)
    tensor([[[2.],
             [6.]]])
    """
    member = one_hot(labels, ways).mT.to(values.dtype)  # (T, N, S)
    return (member @ values.flatten(2)).view(len(values), ways, *values.shape[2:])


def one_hot(labels: Int64[Tensor, "task example"], ways: int) -> Bool[Tensor, "task example way"]:
    """Say for each example and class whether the label is that class.

    ``torch.nn.functional.one_hot`` checks the labels' range, which waits for their values.

    >>> one_hot(torch.tensor([[1, 0]]), 2).int().tolist()
    [[[0, 1], [1, 0]]]
    """
    return labels.unsqueeze(-1) == torch.arange(ways, device=labels.device)


class Learner(nn.Module):
    """Base of the learners: ``forward(episode)`` predicts, ``loss(episode)`` is what to minimise.

    A learner of your own needs no more than these two; it need not derive from this class.
    """

    def __call__(self, episode: Episode) -> Any:
        """Call ``forward``; under ``torch.inference_mode`` as under ``no_grad``, since some learners adapt."""
        if not torch.is_inference_mode_enabled():
            return super().__call__(episode)
        with torch.inference_mode(False), torch.no_grad():
            return super().__call__(episode._map(lambda t: t.clone() if t.is_inference() else t))

    def forward(self, episode: Episode) -> Tensor:
        """Predict the queries: (T, R, N) scores or (T, R, D) values; never looks at ``query_y``."""
        raise NotImplementedError

    def loss(self, episode: Episode) -> Tensor:
        """Return the mean loss over tasks and queries, a scalar; ``backward()`` on it trains."""
        return task_losses(self(episode), query_targets(episode)).mean()


def check_predictions(predictions: Tensor, targets: Tensor) -> None:
    """Refuse predictions that do not fit the targets, before broadcasting makes sense of them."""
    fits = predictions.ndim == 3 and predictions.shape[:2] == targets.shape[:2]
    if not fits or (targets.is_floating_point() and predictions.shape != targets.shape):
        raise MinimetaError(
            f"predictions of shape {tuple(predictions.shape)} were made for targets of shape "
            f"{tuple(targets.shape)}; a learner gives (tasks, queries, ways) scores for labels, and values "
            "of the targets' shape for regression."
        )


def query_targets(episode: Episode) -> Tensor:
    """Return the query targets, or say that they are missing."""
    if episode.query_y is None:
        raise MinimetaError(
            "the episode has no query_y, so nothing can be scored; call the learner itself to predict, "
            "or give the queries' labels to train and test."
        )
    return episode.query_y


def require_learner(learner: object, *methods: str) -> None:
    """Refuse what is no learner, such as the network of one, or lacks a method."""
    lacks = [name for name in methods if not hasattr(learner, name)]
    if not isinstance(learner, nn.Module) or isinstance(learner, TaskModule) or lacks:
        raise MinimetaError(
            f"a {type(learner).__name__} was given as the learner; it is an nn.Module that maps an episode to "
            "predictions, with loss(episode) if it is to be trained, such as ProtoNet(network)."
        )


def require_module(network: object) -> None:
    """Refuse a network that is no module, such as a class whose parentheses were forgotten."""
    if not isinstance(network, nn.Module):
        given = (
            f"the class {network.__name__}"
            if isinstance(network, type)
            else f"a {type(network).__name__}"
        )
        raise MinimetaError(
            f"{given} was given as the network; it is an nn.Module, such as Conv4()."
        )


def require_match(learner: nn.Module, episode: Episode) -> None:
    """Refuse an episode of another type or device than the learner's weights."""
    require_same(learner, episode.support_x)


def require_same(module: nn.Module, x: Tensor) -> None:
    """Refuse examples of another type or device than any of a module's weights."""
    if torch.is_autocast_enabled(x.device.type):
        return
    for weight in filter(Tensor.is_floating_point, module.parameters()):
        if (weight.dtype, weight.device.type) != (x.dtype, x.device.type):
            raise MinimetaError(
                f"the learner's weights are {weight.dtype} on {weight.device} and the examples "
                f"{x.dtype} on {x.device}; bring them together with .to(...), such as learner.to(device)."
            )


def require_classes(episode: Episode, learner: str) -> int:
    """Return the ways of a classification episode, or refuse a regression one."""
    if episode.ways is None:
        raise MinimetaError(
            f"{learner} was given regression targets; it compares classes and needs int64 labels, so "
            "use MAML for regression."
        )
    return episode.ways


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module and all its parts in ``eval()`` mode for a while, then back as each was."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
