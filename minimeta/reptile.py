"""Reptile: move the start towards where each task's own training ends.

Nichol, Achiam & Schulman, "On first-order meta-learning algorithms", 2018.

>>> import minimeta as mm
>>> learner = mm.Reptile(mm.MLP(1, 1), inner_lr=0.02, inner_steps=5)
>>> learner(mm.tasks("sinusoids", shots=10, queries=4).at([0])).shape
torch.Size([1, 4, 1])
"""

import torch
from torch import Tensor, nn

from minimeta.adapt import refuse_running_statistics, vectorises
from minimeta.episodes import Episode
from minimeta.errors import check_count
from minimeta.learner import query_targets, require_match
from minimeta.maml import MAML


class Reptile(MAML):
    r"""Reptile with any ``nn.Module``: at test time it does what MAML does, it only trains otherwise.

    Parameters
    ----------
    network
        Maps (B, \*item) to (B, outputs), as in :class:`MAML`.
    inner_lr
        Step size alpha of the inner gradient descent, for the mean loss.
    inner_steps
        Gradient steps k on every task, in training and, unless told otherwise, in testing. One step
        would be joint training, which learns nothing about adapting.
    test_inner_steps
        Steps when the learner is in ``eval()`` mode; None: ``inner_steps``. The authors train with 3 to
        19 and test with 5 to 100.
    support_only
        Train on the support set alone. By default the inner loop sees *all* labelled examples of a task,
        support and query: the authors' code has no query set in training, but more shots there (9 to 15)
        than in the test (1 or 5).

    Notes
    -----
    Algorithm 1 in its batch form (section 3): theta <- theta + epsilon · mean_t(phi_t - theta), where
    phi_t is theta after k gradient steps on task t. So that one training loop serves all learners, the
    loss is the surrogate mean_t ``|theta - phi_t|^2`` / 2 with phi_t held constant, whose gradient is
    theta - mean_t(phi_t). The paper's outer step is plain SGD with ``lr=epsilon``, which the authors let
    fall linearly to 0; the default Adam is the alternative that section 3 names. The loss says how far
    tasks pull the start, not how well they are solved: look at ``meta_test``.

    Where we differ: inner steps are gradient descent on the full set; the authors' images get Adam
    without momentum (beta1 = 0) on minibatches. Their ``--transductive`` evaluation, where queries share
    batch statistics, is ``bn="batch"`` here; ``bn="support"`` is nearest to their other one, which
    normalises each query together with the support set.
    """

    def __init__(
        self, network: nn.Module, *, inner_lr: float, inner_steps: int = 5,
        test_inner_steps: int | None = None, support_only: bool = False,
    ) -> None:  # fmt: skip
        check_count("inner_steps", inner_steps)  # without a step the loss would be 0 for ever
        super().__init__(
            network, inner_lr=inner_lr, inner_steps=inner_steps, first_order=True,
            test_inner_steps=test_inner_steps,
        )  # fmt: skip
        self.config = dict(
            network=network, inner_lr=inner_lr, inner_steps=inner_steps,
            test_inner_steps=test_inner_steps, support_only=support_only,
        )  # fmt: skip
        self.support_only = support_only

    def loss(self, episode: Episode) -> Tensor:
        """Half the squared distance from the start to each task's trained parameters, mean over tasks."""
        seen = episode if self.support_only else _everything(episode)
        require_match(self, seen)
        refuse_running_statistics(self.network)
        together = vectorises(self.network, seen.support_x.device)
        start = dict(self.network.named_parameters())
        total = torch.zeros((), dtype=seen.support_x.dtype, device=seen.support_x.device)
        for piece in seen.split(len(seen) if together else 1):
            with torch.no_grad():  # phi is a constant: this is what makes the gradient theta - phi
                trained = self.adapt(piece)
            for name, phi in trained.items():
                total = total + (start[name] - phi).square().sum()
        return total / (2 * len(seen))


def _everything(episode: Episode) -> Episode:
    """Make one support set of all labelled examples of each task."""
    x = torch.cat([episode.support_x, episode.query_x], 1)
    y = torch.cat([episode.support_y, query_targets(episode)], 1)
    return Episode._trusted(x, y, episode.query_x, episode.query_y, episode.ways)
