"""How task gradients are computed on a network; the plan here works for every ``nn.Module``."""

from collections.abc import Callable, Collection

import torch
from torch import Tensor, nn

from minimeta.adapt import Params, run, used_outputs, vectorises
from minimeta.learner import task_losses

Product = Callable[[Params], Params]  # v -> Hessian times v


class Plan:
    r"""Gradients of the task losses by autograd.

    Parameters
    ----------
    network
        Any module that maps (B, \*item) to (B, outputs).
    ways
        Outputs that the tasks use; None: all.
    """

    # threads that may work on chunks at the same time; 0: one, and none inside operations either
    workers = 1

    def __init__(self, network: nn.Module, ways: int | None) -> None:
        self.network, self.ways = network, ways

    @staticmethod
    def fits(network: object, ways: int | None, partial: bool) -> bool:
        """Say whether this plan can run ``network``."""
        return isinstance(network, nn.Module)

    def recompute(self, steps: int) -> bool:
        """Say whether to run the support set again on the way back, to save memory."""
        return False

    def chunk(self, tasks: int, device: torch.device, steps: int) -> int:
        """How many tasks to work on at a time, with so many inner steps."""
        return tasks if vectorises(self.network, device) else 1

    def pack(self, params: Params) -> Params:
        r"""Bring parameters, (\*shape) or (T, \*shape), into the plan's own layout."""
        return params

    def unpack(self, grads: Params) -> Params:
        """Undo :meth:`pack`."""
        return grads

    def prepare(self, x: Tensor) -> Tensor:
        """Do once what every pass over a set needs."""
        return x

    def gradient(
        self,
        params: Params,
        x: Tensor,
        y: Tensor,
        *,
        twice: bool,
        moving: Collection[str] | None = None,
    ) -> tuple[Tensor, Params, Product | None]:
        r"""Return losses (T,), their gradients, and the product with their Hessians.

        Parameters
        ----------
        params
            Name -> (T, \*shape) in the plan's layout.
        x, y
            A set of each task, prepared, with its targets.
        twice
            Whether the product will be asked for.
        moving
            Names of the parameters whose gradients are wanted; None: all. The product takes a vector
            over these, and is one over all parameters.
        """
        moving = params if moving is None else moving
        with torch.enable_grad():
            leaves = {n: p.detach().requires_grad_(twice or n in moving) for n, p in params.items()}
            losses = task_losses(self.outputs(leaves, x, moving if twice else ()), y)
            # tasks do not touch each other: the gradient of the sum holds every task's own
            grads = torch.autograd.grad(
                losses.sum(), [leaves[n] for n in moving], create_graph=twice, allow_unused=True,
                materialize_grads=True,
            )  # fmt: skip

        def product(v: Params) -> Params:
            live = [
                (g, v[n]) for n, g in zip(moving, grads, strict=True) if n in v and g.requires_grad
            ]
            if not live:  # the loss is linear in the parameters
                return {n: torch.zeros_like(p) for n, p in leaves.items()}
            outputs, vectors = zip(*live, strict=True)
            products = torch.autograd.grad(
                outputs, list(leaves.values()), vectors, allow_unused=True, materialize_grads=True
            )
            return dict(zip(leaves, products, strict=True))

        gradient = {n: g.detach() for n, g in zip(moving, grads, strict=True)}
        return losses.detach(), gradient, product if twice else None

    def outputs(self, params: Params, x: Tensor, twice: Collection[str]) -> Tensor:
        """Run the network on every task's set, each with its own parameters: (T, B, outputs).

        ``twice`` names the parameters whose gradients will be differentiated again.
        """
        return used_outputs(run(self.network, x, params), self.ways)
