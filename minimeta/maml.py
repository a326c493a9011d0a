"""MAML: learn a start from which a few gradient steps on a support set suffice.

Finn, Abbeel & Levine, "Model-agnostic meta-learning for fast adaptation of deep networks", ICML
2017. Two lines of use:

>>> import minimeta as mm, torch
>>> learner = mm.MAML(mm.MLP(1, 1), inner_lr=0.01)
>>> learner(mm.tasks("sinusoids", shots=10, queries=4).at([0])).shape
torch.Size([1, 4, 1])
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from minimeta import fast
from minimeta.adapt import Params, Rates, refuse_running_statistics
from minimeta.adapting import Adapting
from minimeta.episodes import Episode
from minimeta.learner import query_targets, require_match, task_losses
from minimeta.norm import inside_transform, needs_support

Gradient = Callable[..., tuple[Tensor, Params, fast.Product | None]]


def meta_gradient(
    gradient: Gradient,
    theta: Params,
    support: tuple[Any, Tensor],
    query: tuple[Any, Tensor],
    *,
    rates: Sequence[Rates],
    weights: Sequence[float],
    first_order: bool,
    recompute: bool = False,
) -> tuple[Tensor, Params, list[Params]]:
    r"""Differentiate the query loss through the inner loop, task by task.

    With L_S, L_Q the losses on a task's support and query sets, r_j the rates of step j and * the
    product entry by entry:

    - there:  theta_{j+1} = theta_j - r_j * g_j,  g_j = grad L_S(theta_j)   (Algorithm 1, line 6)
    - turn:   u_k = grad L_Q(theta_k)
    - back:   u_j = u_{j+1} - H_j (r_j * u_{j+1}),  H_j the Hessian of L_S at theta_j
    - result: u_0, and -u_{j+1} * g_j for the rates

    That is the chain rule, read from the right: du/dtheta_j = I - H_j diag(r_j), and only products of a
    Hessian with a vector are ever needed. First order is H = 0.

    Parameters
    ----------
    gradient
        ``gradient(theta, x, y, twice=..., moving=...)`` -> losses (T,), their gradients by the parameters
        named in ``moving``, and v, one tensor for each of these, -> Hessian times v, for all.
    theta
        Name -> (T, \*shape), the start.
    support, query
        Examples and targets of the T tasks.
    rates
        For each inner step, name -> rate; a parameter without one stays as it is.
    weights
        k + 1 numbers: how much the query loss after 0, 1, ..., k steps counts. MAML: 0, ..., 0, 1.
    first_order
        Take g_j for constants.
    recompute
        Run the support set again on the way back instead of keeping what its Hessians need.

    Returns
    -------
    tuple
        The weighted query losses (T,), their gradient at the start (T, \*shape), and that of the rates of
        each step, (T, \*shape).
    """
    path, slopes, products = [theta], [], []
    for rate in rates:  # there
        twice = not first_order and not recompute
        _, g, product = gradient(path[-1], *support, twice=twice, moving=rate.keys())
        path.append({n: _step(p, rate[n], g[n]) if n in rate else p for n, p in path[-1].items()})
        slopes.append(g)
        products.append(product)
    value: Tensor | float = 0.0
    u: Params = {}
    rate_gradients: list[Params] = []
    for j in reversed(range(len(path))):
        if weights[j]:  # turn
            losses, g, _ = gradient(path[j], *query, twice=False, moving=theta.keys())
            value = value + weights[j] * losses
            g = g if weights[j] == 1 else {n: weights[j] * g[n] for n in g}
            u = {n: u[n] + g[n] for n in g} if u else g
        if j:  # back
            rate, g = rates[j - 1], slopes[j - 1]
            rate_gradients.append({n: -u[n] * g[n] for n in rate if isinstance(rate[n], Tensor)})
            if not first_order:
                product = products.pop()
                if product is None:
                    product = gradient(path[j - 1], *support, twice=True, moving=rate.keys())[2]
                assert product is not None
                hv = product({n: rate[n] * u[n] for n in rate})
                u = {n: u[n] - hv[n] for n in u}
    assert isinstance(value, Tensor)
    return value, u, rate_gradients[::-1]


def _step(p: Tensor, rate: Tensor | float, g: Tensor) -> Tensor:
    """Return p - rate * g, in one operation where the rate is a number."""
    return p - rate * g if isinstance(rate, Tensor) else torch.sub(p, g, alpha=rate)


class MAML(Adapting):
    r"""Model-agnostic meta-learning, first or second order, of any ``nn.Module``.

    Parameters
    ----------
    network
        Maps (B, \*item) to (B, outputs). A task with fewer classes than outputs uses the first ones.
        Parameters with ``requires_grad=False`` stay as they are.
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
    adapts
        Which parameters the inner loop changes: ``"all"``; ``"head"``, the last layer with parameters
        (ANIL, Raghu et al. 2020); ``"body"``, all but that; or a function of a parameter's name. All are
        trained by the outer loop.
    learn_lr
        Learn the rates too, from ``inner_lr`` on: one for each ``"entry"`` of the parameters (Meta-SGD,
        Li et al. 2017) or for each ``"tensor"`` of them.
    compiled
        Turn the meta-gradient into one compiled program for each kind of episode: for long runs, and
        for networks that do the same whatever the data. Needs a C++ compiler.

    Notes
    -----
    Algorithms 1 and 2, with the loss of task t written L_t and its support and query sets S and Q:
    theta'_t = theta - alpha * grad L_t(theta; S)  (Algorithm 1, line 6, here inner_steps times);
    the outer loss is the mean over tasks of L_t(theta'_t; Q)  (line 8, Eq. (1), a sum there).
    Under ``bn="batch"``, support and query pass separately, each with its own statistics.

    ``learner(episode)`` is that, differentiable as often as you like. ``learner.loss(episode)`` is the same
    number, computed with its gradient by :func:`minimeta.maml.meta_gradient`, which ``backward()`` only hands over.
    """

    def loss(self, episode: Episode) -> Tensor:
        """Return the mean query loss over tasks and queries after the inner loop, a scalar."""
        require_match(self, episode)
        refuse_running_statistics(self.network)
        sets = (episode.support_x, episode.support_y, episode.query_x, query_targets(episode))
        if not self._by_hand(sets):
            pieces = [self._graph_losses(piece) for piece in self._pieces(episode)]
            return torch.cat(pieces).mean()
        start = self._start()
        moving = sum(n in start for n in self._chosen)
        partial = moving < sum(1 for _ in self.network.parameters())
        plan = fast.plan_for(self.network, episode.ways, partial=partial)
        weights, first_order = self._weights(), self._first_order()
        differentiate = functools.partial(meta_gradient, weights=weights, first_order=first_order)

        def compute(*given: Tensor, at_once: bool) -> list[Tensor]:
            theta = dict(zip(start, given[4:], strict=False))
            learned = given[4 + len(theta) :]
            rates = self._rates(theta, learned)
            sx, sy, qx, qy = given[:4]
            piece = Episode._trusted(sx, sy, qx, qy, episode.ways)
            value, u, slopes = fast.mean_gradient(
                plan, differentiate, piece, theta, rates, at_once=at_once
            )
            return [value, *u.values(), *self._of_learned(slopes, learned)]

        given = (*sets, *start.values(), *self.rates)
        with torch.no_grad():
            if self.compiled and self._settled():
                # what the program holds as it is: while it lives, no other tensor has such an id
                still = [*self.network.buffers()]
                still += [p for p in self.network.parameters() if not p.requires_grad]
                known = (
                    episode.ways, self.training, self.inner_lr, first_order, tuple(weights), *start,
                    *(m.training for m in self.network.modules()), *map(id, still),
                )  # fmt: skip
                value, *gradients = fast.run_compiled(self, compute, given, known)
            else:
                value, *gradients = compute(*given, at_once=False)
        return fast.Known.apply(value, gradients, *start.values(), *self.rates)

    def _of_learned(self, slopes: list[Params], learned: Sequence[Tensor]) -> list[Tensor]:
        """Gather the gradients of each step's rates in the shapes of the learned rates."""
        totals = [torch.zeros_like(p) for p in learned]
        for name, total in zip(self._chosen, totals, strict=False):
            for j, slope in enumerate(slopes):
                total[min(j, len(total) - 1)] += slope.get(name, 0.0)
        return totals

    def _by_hand(self, sets: Sequence[Tensor]) -> bool:
        """Say whether ``loss`` may compute its gradient itself: nobody asks for more than backward()."""
        return (
            torch.is_grad_enabled() and not inside_transform() and not needs_support(self.network)
            and not torch.is_autocast_enabled(sets[0].device.type)
            and not any(t.requires_grad for t in sets)
        )  # fmt: skip

    def _graph_losses(self, episode: Episode) -> Tensor:
        path, targets = self._path(episode), query_targets(episode)
        losses = [
            weight * task_losses(self._predict(episode, params), targets)
            for weight, params in zip(self._weights(), path, strict=True) if weight
        ]  # fmt: skip
        return torch.stack(losses).sum(0)

    def _settled(self) -> bool:
        """Say whether the next outer steps do the same as this one, so that a program for it pays."""
        return True

    def _weights(self) -> list[float]:
        """How much the query loss after 0, 1, ..., k inner steps counts."""
        return [0.0] * self._steps() + [1.0]
