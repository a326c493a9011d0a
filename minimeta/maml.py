"""MAML: learn a start from which a few gradient steps on a support set suffice.

Finn, Abbeel & Levine, "Model-agnostic meta-learning for fast adaptation of deep networks", ICML
2017. Two lines of use:

>>> import minimeta as mm, torch
>>> learner = mm.MAML(mm.MLP(1, 1), inner_lr=0.01)
>>> learner(mm.tasks("sinusoids", shots=10, queries=4).at([0])).shape
torch.Size([1, 4, 1])
"""

import torch
from torch import Tensor, nn

from minimeta.adapt import Params, inner_loop, per_task, refuse_running_statistics, run, vectorises
from minimeta.episodes import Episode
from minimeta.errors import MinimetaError, check_count, check_rate
from minimeta.learner import Learner, require_match
from minimeta.networks import Conv4
from minimeta.norm import bn_mode, needs_support


class MAML(Learner):
    r"""Model-agnostic meta-learning, first or second order, of any ``nn.Module``.

    Parameters
    ----------
    network
        Maps (B, \*item) to (B, outputs). A task with fewer classes than outputs uses the first ones.
        Parameters with ``requires_grad=False`` are not adapted.
    inner_lr
        Step size alpha, for the *mean* loss over the support set. The authors' code sums over the
        classes, so its 0.4 / 0.1 / 0.01 mean 2.0 / 2.0 / 0.05 here at 5 / 20 / 5 ways.
    inner_steps
        Gradient steps on the support set.
    first_order
        Treat the inner gradients as constants (FOMAML, section 5.2 of the paper).
    test_inner_steps
        Steps when the learner is in ``eval()`` mode; None: ``inner_steps``. The paper trains with 1
        and tests with 3 on Omniglot.

    Notes
    -----
    Algorithms 1 and 2, with the loss of task t written L_t and its support and query sets S and Q:
    theta'_t = theta - alpha * grad L_t(theta; S)  (Algorithm 1, line 6, here inner_steps times);
    the outer loss is the mean over tasks of L_t(theta'_t; Q)  (line 8, Eq. (1), a sum there).
    All of the network's parameters adapt. Under ``bn="batch"``, support and query pass separately,
    each with its own statistics.
    """

    def __init__(
        self, network: nn.Module, *, inner_lr: float, inner_steps: int = 1,
        first_order: bool = False, test_inner_steps: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.config = dict(
            network=network, inner_lr=inner_lr, inner_steps=inner_steps, first_order=first_order,
            test_inner_steps=test_inner_steps,
        )  # fmt: skip
        if isinstance(network, Conv4) and network.head is None:
            raise MinimetaError(
                "a Conv4 without a head was given to MAML, which adapts a classifier; make it with ways=, "
                "as in Conv4(ways=5)."
            )
        check_rate("inner_lr", inner_lr, zero=True)
        for word, steps in (("inner_steps", inner_steps), ("test_inner_steps", test_inner_steps)):
            if steps is not None and steps != 0:
                check_count(word, steps)
        if "running" in bn_mode(network):
            raise MinimetaError(
                "the network was made with bn='running', but an inner loop would update the averages it "
                "normalises with; make it with bn='batch' or bn='support'."
            )
        self.network = network
        self.inner_lr, self.inner_steps, self.first_order = inner_lr, inner_steps, first_order
        self.test_inner_steps = test_inner_steps

    def forward(self, episode: Episode) -> Tensor:
        """Adapt to each task's support set, then predict its queries: (T, R, N) or (T, R, D)."""
        require_match(self, episode)
        refuse_running_statistics(self.network)
        together = vectorises(self.network, episode.support_x.device)
        pieces = episode.split(len(episode) if together else 1)
        return torch.cat([self._predict(piece, self.adapt(piece)) for piece in pieces])

    def adapt(self, episode: Episode) -> Params:
        r"""Return the parameters after the inner loop, name -> (T, \*shape).

        Works under ``torch.no_grad`` too; then the result carries no graph.
        """
        outer = torch.is_grad_enabled()
        test = not self.training and self.test_inner_steps is not None
        named = self.network.named_parameters()
        theta: Params = {n: p for n, p in named if p.requires_grad}
        if not theta:
            raise MinimetaError(
                "the network has no parameter that may change (requires_grad), so there is nothing for "
                "MAML to adapt; unfreeze some, or use ProtoNet."
            )
        with torch.enable_grad():
            if not outer:  # nobody differentiates through this inner loop
                theta = {n: p.detach().requires_grad_() for n, p in theta.items()}
            adapted = inner_loop(
                lambda params, x: self._outputs(params, x, episode.ways),
                per_task(theta, len(episode)),
                episode.support_x,
                episode.support_y,
                lr=self.inner_lr,
                steps=self.test_inner_steps if test else self.inner_steps,  # type: ignore[arg-type]
                first_order=self.first_order or not outer,
            )
        return adapted if outer else {n: p.detach() for n, p in adapted.items()}

    def _predict(self, episode: Episode, params: Params) -> Tensor:
        if not needs_support(self.network):
            return self._outputs(params, episode.query_x, episode.ways)
        support = episode.support_x.shape[1]  # the support set passes too: it gives the statistics
        both = torch.cat([episode.support_x, episode.query_x], 1)
        return self._outputs(params, both, episode.ways, stats_from=support)[:, support:]

    def _outputs(
        self, params: Params, x: Tensor, ways: int | None, stats_from: int | None = None
    ) -> Tensor:
        out = run(self.network, x, params, stats_from=stats_from)
        if ways is None:
            return out
        if ways > out.shape[-1]:
            raise MinimetaError(
                f"the episode has {ways} classes but MAML's network has {out.shape[-1]} outputs; make "
                f"the network with ways={ways} or draw tasks with at most {out.shape[-1]} ways."
            )
        return out[..., :ways]
