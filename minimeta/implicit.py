r"""Implicit MAML: differentiate where the inner loop ends up, not the way it took.

Rajeswaran, Finn, Kakade & Levine, "Meta-learning with implicit gradients", NeurIPS 2019.

>>> import minimeta as mm
>>> learner = ImplicitMAML(mm.MLP(1, 1), penalty=2.0, inner_lr=0.05, inner_steps=16)
>>> learner(mm.tasks("sinusoids", shots=10, queries=4).at([0])).shape
torch.Size([1, 4, 1])
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from minimeta.adapt import Params, per_task, refuse_running_statistics
from minimeta.adapting import Adapting
from minimeta.episodes import Episode
from minimeta.errors import check_count, check_rate
from minimeta.learner import require_match, task_losses

Losses = Callable[[Params], Tensor]  # parameters, each with a task axis -> losses (T,)


class ImplicitMAML(Adapting):
    r"""MAML whose inner problem is regularised and solved, whatever the number of steps.

    Parameters
    ----------
    network
        Maps (B, \*item) to (B, outputs), as for :class:`minimeta.MAML`.
    penalty
        lambda, how strongly task parameters are held at the start; the paper's images: 2.
    inner_lr, inner_steps
        Gradient steps on the inner problem, from the start. The gradient is that of its solution, so take
        enough of them; the paper's 5-way images: 16. They converge for rates below 2 / (lambda + the
        largest curvature of the support loss).
    cg_steps
        Steps of conjugate gradients for each task's linear system; the paper: 5. 0 drops the curvature:
        the first-order gradient at the regularised solution.
    test_inner_steps, adapts
        As for :class:`minimeta.MAML`.

    Notes
    -----
    The inner problem is Eq. (4): phi(theta) = argmin_phi L(phi; S) + lambda ``|phi - theta|^2`` / 2. At its
    solution grad L(phi) + lambda (phi - theta) = 0; differentiated by theta, (H + lambda I) dphi = lambda
    dtheta with H the Hessian of L at phi. So the gradient g of the query loss at phi becomes
    v = (I + H / lambda)^-1 g at theta, a linear system that needs only products of H with vectors, and
    nothing of the way that led to phi: memory does not grow with ``inner_steps``. A parameter eta that
    ``adapts`` leaves out also moves the solution, by -(d/d eta <grad L(phi), v>) / lambda. Away from the
    solution all this is not the gradient of the loss; what unrolling gives (MAML) always is.

    Where we differ from the authors' code: it takes the inner steps without the penalty and one step
    back towards theta in the end, and it damps the linear system, by default to 2 I + H / (lambda + 10).
    """

    def __init__(
        self, network: nn.Module, *, penalty: float, inner_lr: float, inner_steps: int = 16,
        cg_steps: int = 5, test_inner_steps: int | None = None,
        adapts: str | Callable[[str], bool] = "all",
    ) -> None:  # fmt: skip
        check_rate("penalty", penalty)
        if cg_steps != 0:
            check_count("cg_steps", cg_steps)
        check_count("inner_steps", inner_steps)  # after none there is no solution to differentiate
        super().__init__(
            network, inner_lr=inner_lr, inner_steps=inner_steps,
            test_inner_steps=test_inner_steps, adapts=adapts,
        )  # fmt: skip
        self.config = dict(
            network=network, penalty=penalty, inner_lr=inner_lr, inner_steps=inner_steps,
            cg_steps=cg_steps, test_inner_steps=test_inner_steps, adapts=adapts,
        )  # fmt: skip
        self.penalty, self.cg_steps = penalty, cg_steps

    def adapt(self, episode: Episode) -> Params:
        r"""Return the solution of each task's inner problem, name -> (T, \*shape).

        It is a function of the start that can be differentiated once.
        """
        require_match(self, episode)
        refuse_running_statistics(self.network)
        theta = per_task(self._start(), len(episode))
        moving = [n for n in self._chosen if n in theta]

        def losses(params: Params) -> Tensor:
            out = self._outputs(params, episode.support_x, episode.ways)
            return task_losses(out, episode.support_y)

        solution = _Solution.apply(self, losses, moving, list(theta), *theta.values())
        return theta | dict(zip(moving, solution, strict=True))

    def _solve(self, losses: Losses, theta: Params, moving: list[str]) -> Params:
        """Descend on the inner problem; each step forgets the one before."""
        phi = theta
        for _ in range(self._steps()):
            _, slopes = _slopes(losses, phi, moving, twice=False)
            phi = phi | {
                n: phi[n] - self.inner_lr * (g + self.penalty * (phi[n] - theta[n]))
                for n, g in slopes.items()
            }
        return phi


class _Solution(torch.autograd.Function):
    """phi(theta), with the implicit function theorem for its backward pass."""

    @staticmethod
    def forward(
        ctx: Any, learner: ImplicitMAML, losses: Losses, moving: list[str], names: list[str],
        *theta: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        start = dict(zip(names, (t.detach() for t in theta), strict=True))
        phi = learner._solve(losses, start, moving)
        ctx.learner, ctx.losses, ctx.moving, ctx.names = learner, losses, moving, names
        ctx.save_for_backward(*phi.values())
        return tuple(phi[n] for n in moving)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        learner, phi = ctx.learner, dict(zip(ctx.names, ctx.saved_tensors, strict=True))
        v: Params = dict(zip(ctx.moving, grads, strict=True))
        through: Params = {}
        if learner.cg_steps:
            leaves, slopes = _slopes(ctx.losses, phi, ctx.moving, twice=True)

            def product(v: Params) -> Params:  # (I + H / lambda) v
                hv = _second_derivatives(slopes, v, {n: leaves[n] for n in v})
                return {n: v[n] + hv[n] / learner.penalty for n in v}

            v = conjugate_gradients(product, v, steps=learner.cg_steps)
            # the solution depends on the parameters that do not move too, through the slopes
            still = {n: p for n, p in leaves.items() if n not in v}
            cross = _second_derivatives(slopes, v, still)
            through = {n: -c / learner.penalty for n, c in cross.items()}
        return None, None, None, None, *((v | through).get(n) for n in ctx.names)


def _slopes(
    losses: Losses, params: Params, moving: list[str], *, twice: bool
) -> tuple[Params, Params]:
    """Return all parameters as leaves of a graph, and the gradients by those that move."""
    with torch.enable_grad():
        leaves = {n: p.detach().requires_grad_(twice or n in moving) for n, p in params.items()}
        # tasks do not touch each other: the gradient of the sum holds every task's own
        slopes = torch.autograd.grad(
            losses(leaves).sum(), [leaves[n] for n in moving], create_graph=twice,
            allow_unused=True, materialize_grads=True,
        )  # fmt: skip
    return leaves, dict(zip(moving, slopes, strict=True))


def _second_derivatives(slopes: Params, v: Params, by: Params) -> Params:
    """Gradient of <slopes, v>; where the slopes are constant it is 0."""
    curved = [n for n in v if slopes[n].requires_grad]
    if not curved or not by:
        return {n: torch.zeros_like(p) for n, p in by.items()}
    products = torch.autograd.grad(
        [slopes[n] for n in curved], list(by.values()), [v[n] for n in curved],
        retain_graph=True, allow_unused=True, materialize_grads=True,
    )  # fmt: skip
    return dict(zip(by, products, strict=True))


def conjugate_gradients(
    product: Callable[[Params], Params], target: Params, *, steps: int
) -> Params:
    r"""Solve product(v) = target for every task: Hestenes & Stiefel 1952, from v = 0.

    Parameters
    ----------
    product
        A symmetric matrix per task times a vector, (T, \*shape) -> (T, \*shape) for each name. Where a
        task's matrix turns out not to be positive along a direction, that task keeps what it has, or
        the target if it has nothing yet (Nocedal & Wright 2006, Algorithm 7.1).
    target
        Name -> (T, \*shape).
    steps
        As many as there are unknowns solve it exactly, up to rounding.

    Examples
    --------
    >>> twice = lambda v: {n: 2 * x for n, x in v.items()}
    >>> conjugate_gradients(twice, {"a": torch.tensor([[4.0, 6.0]])}, steps=1)
    {'a': tensor([[2., 3.]])}
    """
    solution = {n: torch.zeros_like(b) for n, b in target.items()}
    residual, direction, left = target, target, _dot(target, target)
    going = left > 0
    for j in range(steps):
        ahead = product(direction)
        curvature = _dot(direction, ahead)
        going = going & (curvature > 0)  # false too where nothing is left; who has stopped stays so
        if j == 0:
            solution = _move(solution, torch.where(going, 0.0, 1.0), target)
        step = torch.where(going, left / curvature, 0.0)
        solution = _move(solution, step, direction)
        residual = _move(residual, -step, ahead)
        before, left = left, _dot(residual, residual)
        direction = _move(residual, torch.where(going, left / before, 0.0), direction)
    return solution


def _dot(a: Params, b: Params) -> Tensor:
    """Inner product of each task's parameters, (T,)."""
    return torch.stack([(a[n] * b[n]).flatten(1).sum(1) for n in a]).sum(0)


def _move(a: Params, by: Tensor, b: Params) -> Params:
    """Return a + by * b, with a number for each task."""
    return {n: x + by.view(-1, *[1] * (x.ndim - 1)) * b[n] for n, x in a.items()}
